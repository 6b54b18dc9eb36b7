"""Every error the package raises, each with a stable `code`.

A `RefusedError` says that a guard decided against a call; anything else that
derives from `HardenError` says that something is broken or set up wrongly.
Messages are written for the person who reads them and never carry the value
that was refused: values may be secrets.
"""

from typing import ClassVar

__all__ = (
    "AuditUnavailableError",
    "AuditVerificationError",
    "BulkheadFullError",
    "CircuitOpenError",
    "ConfigError",
    "DeadlineExceededError",
    "GateFailedError",
    "HardenError",
    "InputTooLargeError",
    "InvalidArgumentsError",
    "InvalidResourceError",
    "MissingExtraError",
    "OverloadedError",
    "PolicyDeniedError",
    "RateLimitedError",
    "RefusedError",
    "RestartsExhaustedError",
    "StoreError",
    "StoreVersionError",
    "SwitchedOffError",
    "ThrottledError",
    "UnauthenticatedError",
    "UnsafeOrderError",
    "UpstreamError",
)


class HardenError(Exception):
    """The root of all errors of this package."""

    code: ClassVar[str] = "harden_error"


class RefusedError(HardenError):
    """A guard refused a call.

    Args:
        reason: One sentence that the caller may read.
        retry_after_s: Seconds after which the same call may succeed, or None.
    """

    code: ClassVar[str] = "refused"

    def __init__(self, reason: str, retry_after_s: float | None = None) -> None:
        # Both arguments go to super(), or the error cannot be pickled.
        super().__init__(reason, retry_after_s)
        self.reason: str = reason
        self.retry_after_s: float | None = retry_after_s

    def __str__(self) -> str:
        """Return the reason alone, without the retry time."""
        return self.reason


class UnauthenticatedError(RefusedError):
    """The caller is not known, or its credentials do not hold."""

    code: ClassVar[str] = "unauthenticated"


class PolicyDeniedError(RefusedError):
    """No rule allows the call, or a rule denies it."""

    code: ClassVar[str] = "policy_denied"


class RateLimitedError(RefusedError):
    """The caller has spent its rate; `retry_after_s` is exact."""

    code: ClassVar[str] = "rate_limited"


class InputTooLargeError(RefusedError):
    """The arguments pass a bound of size, depth or count."""

    code: ClassVar[str] = "input_too_large"


class InvalidArgumentsError(RefusedError):
    """The arguments do not fit the tool's schema."""

    code: ClassVar[str] = "invalid_arguments"


class InvalidResourceError(RefusedError):
    """A path or URI of the call has no canonical form, so no rule can judge it."""

    code: ClassVar[str] = "invalid_resource"


class CircuitOpenError(RefusedError):
    """The circuit is open: the target failed too often and is left in peace."""

    code: ClassVar[str] = "circuit_open"


class OverloadedError(RefusedError):
    """Too much is running: the call waited for its turn in vain, or gave way to another."""

    code: ClassVar[str] = "overloaded"


class BulkheadFullError(OverloadedError):
    """As many calls run and wait as may: this one could not even wait."""

    code: ClassVar[str] = "bulkhead_full"


class SwitchedOffError(RefusedError):
    """The feature is switched off at the present level of service."""

    code: ClassVar[str] = "switched_off"


class ThrottledError(RefusedError):
    """The target turns calls away, so a share of them is not sent at all."""

    code: ClassVar[str] = "throttled"


class DeadlineExceededError(RefusedError):
    """The call did not finish within its deadline and was cancelled."""

    code: ClassVar[str] = "deadline_exceeded"


class AuditUnavailableError(RefusedError):
    """The audit log can not take an entry, so the call that asks for one is refused."""

    code: ClassVar[str] = "audit_unavailable"


class GateFailedError(RefusedError):
    """A guard itself broke; a broken guard refuses."""

    code: ClassVar[str] = "gate_failed"


class ConfigError(HardenError):
    """A configuration value is missing, unknown, mistyped or out of range.

    Args:
        message: What is wrong and what would be right.
        path: The dotted path of the field, `""` for the document as a whole.
        source: Where the value came from, for example `harden.toml:12`.
    """

    code: ClassVar[str] = "config_error"

    def __init__(self, message: str, path: str = "", source: str = "") -> None:
        super().__init__(message, path, source)
        self.message: str = message
        self.path: str = path
        self.source: str = source

    def __str__(self) -> str:
        """Return `source: path: message`, without the parts that are unknown."""
        return ": ".join(part for part in (self.source, self.path, self.message) if part)


class UnsafeOrderError(ConfigError):
    """The stages are in an order in which a call could pass a guard unjudged."""

    code: ClassVar[str] = "unsafe_order"


class MissingExtraError(HardenError, ImportError):
    """An optional part needs a distribution that is not installed.

    Args:
        extra: The extra of this package that brings it.
        purpose: What the extra is needed for.
    """

    code: ClassVar[str] = "missing_extra"

    def __init__(self, extra: str, purpose: str) -> None:
        super().__init__(extra, purpose)
        self.extra: str = extra
        self.purpose: str = purpose

    def __str__(self) -> str:
        """Return the purpose and the install line."""
        return f"{self.purpose} needs an extra: pip install 'localmcp-harden[{self.extra}]'"


class StoreError(HardenError):
    """A file that holds state can not be opened, read or written."""

    code: ClassVar[str] = "store_error"


class StoreVersionError(StoreError):
    """A file that holds state was written by a newer version than this one."""

    code: ClassVar[str] = "store_version"


class AuditVerificationError(HardenError):
    """An audit log does not verify; the message names the first bad entry."""

    code: ClassVar[str] = "audit_verification"


class UpstreamError(HardenError):
    """A wrapped server did not start, went away, or answered with garbage."""

    code: ClassVar[str] = "upstream_unavailable"


class RestartsExhaustedError(HardenError):
    """A supervised service failed more often than its restarts allow; the cause says how."""

    code: ClassVar[str] = "restarts_exhausted"
