"""How a circuit is shared through Redis, and what of its settings can be.

Part of `breaker_redis`. All times are seconds.
"""

from typing import Literal, final

from attrs import field, frozen
from attrs.validators import and_, ge, gt, in_, instance_of, le

from ..protocols.resilience import BreakerConfig

__all__ = ("MAX_OPEN_S", "RedisBreakerConfig", "require_sharable")

MAX_OPEN_S: float = 31_536_000.0
"""How long a shared circuit may be open at most: a year."""
_MAX_WINDOW_CALLS = 1_000


@final
@frozen(kw_only=True)
class RedisBreakerConfig:
    """How a circuit is shared.

    Args:
        prefix: What the key of every circuit starts with (`localmcp:breaker:`).
        sample_calls: How many outcomes are gathered before they are sent (1 to 1,000;
            20). They are sent at once when they might open the circuit.
        sample_s: How old what is known here may become before a call asks anew (above
            0; 1).
        timeout_s: How long Redis may take to answer (above 0; 0.25).
        retry_s: How long after a failure of Redis it is asked again (above 0; 1).
        on_outage: What decides while Redis does not answer: `local`, the calls of this
            process, from where the circuit stood; or `static`, nothing, so that a closed
            circuit stays closed.
        keep_s: How long Redis keeps a circuit that nobody uses (60 or above; 3,600), at
            least as long as it is open.
    """

    prefix: str = field(default="localmcp:breaker:", validator=instance_of(str))
    sample_calls: int = field(default=20, validator=[instance_of(int), and_(ge(1), le(1_000))])
    sample_s: float = field(default=1.0, validator=gt(0.0))
    timeout_s: float = field(default=0.25, validator=gt(0.0))
    retry_s: float = field(default=1.0, validator=gt(0.0))
    on_outage: Literal["local", "static"] = field(
        default="local", validator=in_(("local", "static"))
    )
    keep_s: float = field(default=3_600.0, validator=ge(60.0))


def require_sharable(config: BreakerConfig) -> None:
    """Raise `ValueError` unless a circuit with these settings can be shared."""
    if config.window_s is None and config.window_calls > _MAX_WINDOW_CALLS:
        raise ValueError(
            f"window_calls ({config.window_calls}) must not be above {_MAX_WINDOW_CALLS:,} for a "
            "shared circuit; use window_s for more calls"
        )
    if config.open_s > MAX_OPEN_S:
        raise ValueError(
            f"open_s ({config.open_s}) must not be above {MAX_OPEN_S:.0f} for a shared circuit"
        )
