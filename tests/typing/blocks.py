"""Read by type checkers, never run: defaults and fakes are what their protocols ask for."""

from typing import assert_type

from localmcp_harden import Hardening
from localmcp_harden.core.events import EventSink
from localmcp_harden.core.model import Call, Decision
from localmcp_harden.core.ports import Clock, Random, Redactor
from localmcp_harden.mechanisms.chance import SystemRandom
from localmcp_harden.mechanisms.clock import SystemClock
from localmcp_harden.mechanisms.redact import KeyRedactor
from localmcp_harden.observability.logs import JsonLoggingService
from localmcp_harden.observability.metrics import MetricsRegistry
from localmcp_harden.observability.readers import CallLogger
from localmcp_harden.protocols.chain import GuardedRunner
from localmcp_harden.protocols.observability import (
    BindableMetrics,
    BufferedLogging,
    Logger,
    LoggingService,
    MetricsService,
)
from localmcp_harden.protocols.resilience import CircuitBreaker, Deadline, Retry
from localmcp_harden.protocols.security import (
    ArgumentValidator,
    AuditLog,
    Authenticator,
    EditablePolicyGate,
    InputBounds,
    LocalAuthenticator,
    PolicyGate,
    RateLimiter,
)
from localmcp_harden.resilience.breaker import SlidingWindowBreaker
from localmcp_harden.resilience.deadline import ScopeDeadline
from localmcp_harden.resilience.retry import StaminaRetry
from localmcp_harden.security.access.identity import DefaultAuthenticator
from localmcp_harden.security.access.limits import GcraRateLimiter
from localmcp_harden.security.audit.log import SqliteAuditLog
from localmcp_harden.security.content.bounds import DefaultInputBounds
from localmcp_harden.security.content.schema import JsonSchemaValidator
from localmcp_harden.security.policy.gate import IndexedPolicyGate
from localmcp_harden.testing import (
    FakeArgumentValidator,
    FakeAuditLog,
    FakeAuthenticator,
    FakeCircuitBreaker,
    FakeClock,
    FakeDeadline,
    FakeInputBounds,
    FakeLoggingService,
    FakeMetricsService,
    FakePolicyGate,
    FakeRandom,
    FakeRateLimiter,
    FakeRetry,
    RecordingSink,
)

# Each block is made without arguments, and is replaced by its fake.
clocks: list[Clock] = [SystemClock(), FakeClock()]
randoms: list[Random] = [SystemRandom(), FakeRandom()]
redactors: list[Redactor] = [KeyRedactor()]

authenticators: list[Authenticator] = [DefaultAuthenticator(), FakeAuthenticator()]
local_authenticators: list[LocalAuthenticator] = [DefaultAuthenticator()]
policy_gates: list[PolicyGate] = [IndexedPolicyGate(), FakePolicyGate()]
editable_policy_gates: list[EditablePolicyGate] = [IndexedPolicyGate()]
rate_limiters: list[RateLimiter] = [GcraRateLimiter(), FakeRateLimiter()]

input_bounds: list[InputBounds] = [DefaultInputBounds(), FakeInputBounds()]
argument_validators: list[ArgumentValidator] = [JsonSchemaValidator(), FakeArgumentValidator()]
audit_logs: list[AuditLog] = [SqliteAuditLog(), FakeAuditLog()]

circuit_breakers: list[CircuitBreaker] = [SlidingWindowBreaker(), FakeCircuitBreaker()]
deadlines: list[Deadline] = [ScopeDeadline(), FakeDeadline()]
retries: list[Retry] = [StaminaRetry(), FakeRetry()]

logging_services: list[LoggingService] = [JsonLoggingService(), FakeLoggingService()]
buffered: list[BufferedLogging] = [JsonLoggingService()]
loggers: list[Logger] = [JsonLoggingService().create_logger("host")]
metrics_services: list[MetricsService] = [MetricsRegistry(), FakeMetricsService()]
bindable: list[BindableMetrics] = [MetricsRegistry()]

sinks: list[EventSink] = [RecordingSink(), CallLogger(JsonLoggingService())]
runners: list[GuardedRunner] = [Hardening()]


async def number() -> int:
    return 1


async def results_keep_their_types(call: Call) -> None:
    assert_type(rate_limiters[0].limit(call), Decision)
    assert_type(await circuit_breakers[0].execute(number), int)
    assert_type(await deadlines[0].execute(number), int)
    assert_type(await retries[0].execute(number), int)


class CountsNothing:
    """Has the right name and the wrong result."""

    def limit(self, call: object, /) -> bool:
        return bool(call)


# `warn_unused_ignores` makes this a test that a wrong block is refused.
wrong: RateLimiter = CountsNothing()  # type: ignore[assignment]
