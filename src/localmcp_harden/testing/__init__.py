"""For tests: a clock in your hands, fakes that work, a sink that keeps, contract kits.

Every fake passes the contract kit of the block it stands for, so that a test with
fakes says something about the real thing. Needs no test runner.
"""

from .chance import FakeRandom as FakeRandom
from .clock import FakeClock as FakeClock
from .doubles.argument_validator import FakeArgumentValidator as FakeArgumentValidator
from .doubles.audit_log import FakeAuditLog as FakeAuditLog
from .doubles.authenticator import FakeAuthenticator as FakeAuthenticator
from .doubles.bulkhead import FakeBulkhead as FakeBulkhead
from .doubles.chaos import FakeChaos as FakeChaos
from .doubles.circuit_breaker import FakeCircuitBreaker as FakeCircuitBreaker
from .doubles.deadline import FakeDeadline as FakeDeadline
from .doubles.degradation import FakeDegradation as FakeDegradation
from .doubles.fallback import FakeFallback as FakeFallback
from .doubles.health_registry import FakeHealthRegistry as FakeHealthRegistry
from .doubles.hedge import FakeHedge as FakeHedge
from .doubles.input_bounds import FakeInputBounds as FakeInputBounds
from .doubles.logging_service import FakeLoggingService as FakeLoggingService
from .doubles.metrics_service import FakeMetricsService as FakeMetricsService
from .doubles.policy_gate import FakePolicyGate as FakePolicyGate
from .doubles.rate_limiter import FakeRateLimiter as FakeRateLimiter
from .doubles.retry import FakeRetry as FakeRetry
from .doubles.retry_budget import FakeRetryBudget as FakeRetryBudget
from .doubles.supervisor import FakeSupervisor as FakeSupervisor
from .doubles.throttle import FakeThrottle as FakeThrottle
from .recording import RecordingSink as RecordingSink

__all__ = (
    "FakeArgumentValidator",
    "FakeAuditLog",
    "FakeAuthenticator",
    "FakeBulkhead",
    "FakeChaos",
    "FakeCircuitBreaker",
    "FakeClock",
    "FakeDeadline",
    "FakeDegradation",
    "FakeFallback",
    "FakeHealthRegistry",
    "FakeHedge",
    "FakeInputBounds",
    "FakeLoggingService",
    "FakeMetricsService",
    "FakePolicyGate",
    "FakeRandom",
    "FakeRateLimiter",
    "FakeRetry",
    "FakeRetryBudget",
    "FakeSupervisor",
    "FakeThrottle",
    "RecordingSink",
)
