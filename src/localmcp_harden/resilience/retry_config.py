"""The settings of a retry."""

from typing import Any, final

from attrs import Attribute, field, frozen
from attrs.validators import and_, ge, gt, instance_of, le, optional

from ..core.errors import UpstreamError
from ..mechanisms.backoff import Jitter

__all__ = ("RetryConfig",)


def _are_exceptions(_config: object, attribute: "Attribute[Any]", value: object) -> None:
    kinds: list[object] = list(value) if isinstance(value, tuple) else [value]  # pyright: ignore[reportUnknownArgumentType, reportUnknownVariableType]
    if not isinstance(value, tuple) or not all(
        isinstance(kind, type) and issubclass(kind, Exception) for kind in kinds
    ):
        raise TypeError(
            f"{attribute.name} must be a tuple of subclasses of Exception; "
            "cancellation and interrupts are never retried"
        )


@final
@frozen(kw_only=True)
class RetryConfig:
    """How often to repeat, how long to wait, and what for.

    Args:
        attempts: How often the operation runs at most, the first time included
            (1 to 100; 3, which rides out a short fault and adds little load to a
            long one).
        base_s: The upper end of the first wait (0 to 3,600; 0.1).
        max_wait_s: The upper end of every wait (0 to 3,600; 5). A target that asks
            for a longer wait (`retry_after_s`, `Retry-After`) is not called again.
        jitter: From which range waits are drawn (`full`, which spreads callers
            that failed together the most).
        attempt_timeout_s: How long each attempt may take (above 0, up to 86,400;
            None: as long as it likes). One that is cut off raises `TimeoutError`.
        total_timeout_s: How long all attempts and waits may take together (above 0,
            up to 86,400; None: no limit of its own).
        retry_on: What is retried; an exception group is when all its members are.
            A refusal of this package is only when its class is named here, not
            when a base class such as `Exception` is (connection errors, timeouts,
            and a wrapped server that went away).
    """

    attempts: int = field(default=3, validator=[instance_of(int), and_(ge(1), le(100))])
    base_s: float = field(default=0.1, validator=and_(ge(0.0), le(3_600.0)))
    max_wait_s: float = field(default=5.0, validator=and_(ge(0.0), le(3_600.0)))
    jitter: Jitter = field(default=Jitter.FULL, validator=instance_of(Jitter))
    attempt_timeout_s: float | None = field(
        default=None, validator=optional(and_(gt(0.0), le(86_400.0)))
    )
    total_timeout_s: float | None = field(
        default=None, validator=optional(and_(gt(0.0), le(86_400.0)))
    )
    retry_on: tuple[type[Exception], ...] = field(
        default=(ConnectionError, TimeoutError, UpstreamError), validator=_are_exceptions
    )
