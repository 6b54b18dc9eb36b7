"""For tests: a clock in your hands, fakes that work, a sink that keeps, contract kits.

Every fake passes the contract kit of the block it stands for, so that a test with
fakes says something about the real thing. Needs no test runner.
"""

from .chance import FakeRandom as FakeRandom
from .clock import FakeClock as FakeClock
from .doubles.argument_validator import FakeArgumentValidator as FakeArgumentValidator
from .doubles.audit_log import FakeAuditLog as FakeAuditLog
from .doubles.authenticator import FakeAuthenticator as FakeAuthenticator
from .doubles.circuit_breaker import FakeCircuitBreaker as FakeCircuitBreaker
from .doubles.deadline import FakeDeadline as FakeDeadline
from .doubles.input_bounds import FakeInputBounds as FakeInputBounds
from .doubles.logging_service import FakeLoggingService as FakeLoggingService
from .doubles.metrics_service import FakeMetricsService as FakeMetricsService
from .doubles.policy_gate import FakePolicyGate as FakePolicyGate
from .doubles.rate_limiter import FakeRateLimiter as FakeRateLimiter
from .doubles.retry import FakeRetry as FakeRetry
from .recording import RecordingSink as RecordingSink

__all__ = (
    "FakeArgumentValidator",
    "FakeAuditLog",
    "FakeAuthenticator",
    "FakeCircuitBreaker",
    "FakeClock",
    "FakeDeadline",
    "FakeInputBounds",
    "FakeLoggingService",
    "FakeMetricsService",
    "FakePolicyGate",
    "FakeRandom",
    "FakeRateLimiter",
    "FakeRetry",
    "RecordingSink",
)
