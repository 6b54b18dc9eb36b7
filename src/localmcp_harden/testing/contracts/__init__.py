"""Contract kits: the rules of each protocol, for whoever implements one.

    await contracts.run(contracts.rate_limiter, make_my_limiter)

raises one `ExceptionGroup` with a `ContractViolation` for every broken rule. Each kit's
module says how `make` is called.
"""

from .any_policy_gate import any_policy_gate as any_policy_gate
from .argument_validator import argument_validator as argument_validator
from .audit_log import audit_log as audit_log
from .authenticator import (
    authenticator as authenticator,
    local_authenticator as local_authenticator,
)
from .bulkhead import bulkhead as bulkhead
from .chaos import chaos as chaos
from .circuit_breaker import circuit_breaker as circuit_breaker
from .circuit_breaker_modes import circuit_breaker_modes as circuit_breaker_modes
from .deadline import deadline as deadline
from .deadline_scopes import deadline_scopes as deadline_scopes
from .degradation import degradation as degradation
from .editable_policy_gate import editable_policy_gate as editable_policy_gate
from .fallback import fallback as fallback
from .health_registry import health_registry as health_registry
from .hedge import hedge as hedge
from .input_bounds import input_bounds as input_bounds
from .kit import (
    ContractKit as ContractKit,
    ContractViolation as ContractViolation,
    Rule as Rule,
    run as run,
)
from .logging_service import logging_service as logging_service
from .metrics_service import metrics_service as metrics_service
from .policy_gate import policy_gate as policy_gate
from .rate_limiter import rate_limiter as rate_limiter
from .redactor import redactor as redactor
from .retry import retry as retry
from .retry_budget import retry_budget as retry_budget
from .supervisor import supervisor as supervisor
from .throttle import throttle as throttle

__all__ = (
    "ContractKit",
    "ContractViolation",
    "Rule",
    "any_policy_gate",
    "argument_validator",
    "audit_log",
    "authenticator",
    "bulkhead",
    "chaos",
    "circuit_breaker",
    "circuit_breaker_modes",
    "deadline",
    "deadline_scopes",
    "degradation",
    "editable_policy_gate",
    "fallback",
    "health_registry",
    "hedge",
    "input_bounds",
    "local_authenticator",
    "logging_service",
    "metrics_service",
    "policy_gate",
    "rate_limiter",
    "redactor",
    "retry",
    "retry_budget",
    "run",
    "supervisor",
    "throttle",
)
