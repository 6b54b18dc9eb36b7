"""Refuses calls beyond a rate, for each caller and tool, by the generic cell rate algorithm.

Rates are calls a second, bursts are calls. What is promised: over any window of
W seconds a caller gets at most `burst + rate_per_s * W` calls of what one limit
covers. See `mechanisms.gcra` for the algorithm and its source.
"""

import ipaddress
import math
from collections.abc import Mapping
from typing import final

from attrs import field, frozen
from attrs.validators import and_, deep_mapping, ge, gt, instance_of, le

from ...core.events import EventSink, discard
from ...core.model import ALLOW, Call, CallKind, Decision, deny
from ...core.ports import Clock, Random
from ...mechanisms.clock import SystemClock
from ...mechanisms.gcra import GcraTable

__all__ = ("GcraRateLimiter", "RateLimit", "RateLimitConfig")


@final
@frozen(kw_only=True)
class RateLimit:
    """How much one caller may call.

    Args:
        rate_per_s: Calls a second in the long run (above 0, up to 1,000,000).
        burst: Calls at once (1 to 1,000,000).
    """

    rate_per_s: float = field(validator=and_(gt(0.0), le(1e6)))
    burst: int = field(validator=[instance_of(int), and_(ge(1), le(1_000_000))])


@final
@frozen(kw_only=True)
class RateLimitConfig:
    """The limits of a server.

    Args:
        rate_per_s: Calls a second for each caller over all tools (above 0; 20, well
            above a person's agent and well below a runaway loop).
        burst: Calls at once (at least 1; 40, two seconds' worth).
        tools: Further limits for single tools; both must hold.
        max_callers: How many callers are kept apart (1 to 10,000,000; 10,000, about
            1 MB). Beyond it, the caller that owes least is forgotten.
    """

    rate_per_s: float = field(default=20.0, validator=and_(gt(0.0), le(1e6)))
    burst: int = field(default=40, validator=[instance_of(int), and_(ge(1), le(1_000_000))])
    tools: Mapping[str, RateLimit] = field(
        factory=dict[str, RateLimit],
        validator=deep_mapping(instance_of(str), instance_of(RateLimit)),
    )
    max_callers: int = field(
        default=10_000, validator=[instance_of(int), and_(ge(1), le(10_000_000))]
    )


@final
class GcraRateLimiter:
    """The default `RateLimiter`: in memory, one number a caller.

    A caller is its principal; of an anonymous one the address counts, an IPv6
    address by its /64, since whoever has one address there has them all.
    """

    def __init__(
        self,
        config: RateLimitConfig | None = None,
        *,
        clock: Clock | None = None,
        random: Random | None = None,  # noqa: ARG002 - the constructor every block has
        sink: EventSink = discard,  # noqa: ARG002 - a limit has no event that the record lacks
    ) -> None:
        self.config: RateLimitConfig = config or RateLimitConfig()
        self._monotonic = (clock or SystemClock()).monotonic
        self._all = self._table(self.config.rate_per_s, self.config.burst)
        self._tools = {
            name: self._table(limit.rate_per_s, limit.burst)
            for name, limit in self.config.tools.items()
        }

    def limit(self, call: Call, /) -> Decision:
        """Count the call under every limit that covers it."""
        now = self._monotonic()
        user = call.security.user
        key: object = (user.issuer, user.client, user.subject)
        if key == _NOBODY:
            key = _address(call)
        table: GcraTable | None = None
        if self._tools and call.kind is CallKind.TOOL:
            table = self._tools.get(call.name)
        if table is not None:
            wait = table.hit(key, now)
            if wait:
                return _refusal(wait, f"tool:{call.name}")
        wait = self._all.hit(key, now)
        if not wait:
            return ALLOW
        if table is not None:
            # A denied call counts nowhere: hand the tool's share back.
            table.hit(key, now, cost=-1.0)
        return _refusal(wait, "caller")

    def configure(self, config: RateLimitConfig, /) -> None:
        """Go on under other limits; what callers owe is kept where a limit stays."""
        self.config = config
        self._all.retune(
            rate_per_s=config.rate_per_s, burst=config.burst, max_keys=config.max_callers
        )
        tables: dict[str, GcraTable] = {}
        for name, limit in config.tools.items():
            table = self._tools.get(name) or self._table(limit.rate_per_s, limit.burst)
            table.retune(
                rate_per_s=limit.rate_per_s, burst=limit.burst, max_keys=config.max_callers
            )
            tables[name] = table
        self._tools = tables

    def _table(self, rate_per_s: float, burst: int) -> GcraTable:
        return GcraTable(rate_per_s=rate_per_s, burst=burst, max_keys=self.config.max_callers)


_NOBODY = ("", "", "")


def _refusal(wait_s: float, limit: str) -> Decision:
    # Round up: a client that waits exactly this long must get through.
    wait_s = math.ceil(wait_s * 1000) / 1000
    return deny(
        "rate_limited",
        f"too many calls; the next one is possible in {wait_s:g} seconds",
        rules=(f"rate_limit:{limit}",),
        retry_after_s=wait_s,
    )


def _address(call: Call) -> object:
    address = call.security.ip_address
    if address is None:
        return "local"
    try:
        parsed = ipaddress.ip_address(address)
    except ValueError:
        return "unparsable"
    if parsed.version == 6:  # noqa: PLR2004
        return ipaddress.IPv6Network((int(parsed) >> 64 << 64, 64)).network_address
    return parsed
