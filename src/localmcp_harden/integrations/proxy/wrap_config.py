"""How a wrapped server is shared among clients, and the bounds on what it sends to them."""

from enum import StrEnum
from typing import final

from attrs import field, frozen
from attrs.validators import and_, ge, gt, instance_of, le

__all__ = ("Sharing", "WrapConfig")


class Sharing(StrEnum):
    """Which clients stand before one upstream."""

    OWN = "own"
    """Each client has its own: a stream, a session of the 2025 era, or over HTTP in the
    2026 era, which has no sessions, a principal."""

    SHARED = "shared"
    """All have the same one."""


@final
@frozen(kw_only=True)
class WrapConfig:
    """How `wrap` passes messages on.

    Args:
        sharing: `own`, so that what an upstream keeps for one client never reaches
            another; or `shared`, where it keeps nothing or costs much.
        max_upstreams: How many there may be at once (1 to 10,000; 32). A client beyond
            that is refused, unless one stands idle that no session holds.
        upstream_idle_s: How long one without a session may stand idle before it is
            closed (above 0, up to 86,400; 600).
        bridge_eras: Whether a client of one era of the protocol may stand before a
            server of the other.
        max_parked: How many calls may wait for their client's next request at once, on
            one upstream, where eras are bridged (1 to 10,000; 100).
        park_s: How long each of them waits (above 0, up to 3,600; 300).
        max_rounds: How often one call may ask its client for input where a 2025 client
            stands before a 2026 server (1 to 100; 10).
        max_queued: How many notifications may wait for one client or one of its calls (1 to
            100,000; 1,000), 4 MiB together; then the oldest are dropped and counted.
        notifications_per_s: How many a client gets in the long run (above 0, up to
            100,000; 200); bursts of `max_queued` pass.
        send_timeout_s: How long a client may leave one unread (above 0, up to 600; 5).
        max_subscriptions: How many subscriptions there may be on one upstream, each
            resource counted (1 to 100,000; 1,000).
    """

    sharing: Sharing = field(default=Sharing.OWN, converter=Sharing)
    max_upstreams: int = field(default=32, validator=[instance_of(int), and_(ge(1), le(10_000))])
    upstream_idle_s: float = field(default=600.0, validator=and_(gt(0.0), le(86_400.0)))
    bridge_eras: bool = field(default=True, validator=instance_of(bool))
    max_parked: int = field(default=100, validator=[instance_of(int), and_(ge(1), le(10_000))])
    park_s: float = field(default=300.0, validator=and_(gt(0.0), le(3_600.0)))
    max_rounds: int = field(default=10, validator=[instance_of(int), and_(ge(1), le(100))])
    max_queued: int = field(default=1_000, validator=[instance_of(int), and_(ge(1), le(100_000))])
    notifications_per_s: float = field(default=200.0, validator=and_(gt(0.0), le(100_000.0)))
    send_timeout_s: float = field(default=5.0, validator=and_(gt(0.0), le(600.0)))
    max_subscriptions: int = field(
        default=1_000, validator=[instance_of(int), and_(ge(1), le(100_000))]
    )
