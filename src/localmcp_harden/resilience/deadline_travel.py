"""Takes the time that is left along: to upstream calls, and from whoever called.

All times are seconds. What travels is the time left and not a point in time, since the
clocks of two machines differ: the form is that of gRPC's `grpc-timeout` ("gRPC over
HTTP/2", section Requests), and whole microseconds in the protocol's `_meta`.

What is read was written by somebody else. It counts only where the host trusts the
sender, never for more than `max_s`, and what makes no sense is as if it were not there.
"""

import re
from collections.abc import Callable, Mapping
from typing import Any, final

from attrs import field, frozen
from attrs.validators import and_, ge, gt, instance_of, le, matches_re

from ..core.errors import DeadlineExceededError

__all__ = ("DeadlineTravel", "DeadlineTravelConfig")

_UNITS_S: Mapping[str, float] = {
    "H": 3_600.0,
    "M": 60.0,
    "S": 1.0,
    "m": 1e-3,
    "u": 1e-6,
    "n": 1e-9,
}
_TIMEOUT = re.compile(r"([0-9]{1,8})([HMSmun])", re.ASCII)
_MOST_DIGITS = 99_999_999
_A_MILLION = 1_000_000
_MOST_US = 86_400 * _A_MILLION


@final
@frozen(kw_only=True)
class DeadlineTravelConfig:
    """Where the time left is written, and how much of it is believed.

    Args:
        header: The HTTP field (`grpc-timeout`, which proxies and gateways know).
        meta_key: The key in the protocol's `_meta` (`localmcp-harden/remaining-us`).
        margin_s: What is kept back for the way there and back (0 to 3,600; 0.05), so
            that an upstream gives up first and its answer still arrives.
        max_s: The most that is believed of a sender (above 0, up to 86,400; 60, the
            default of a deadline of our own).
    """

    header: str = field(
        default="grpc-timeout",
        validator=[instance_of(str), matches_re(r"[A-Za-z0-9!#$%&'*+.^_`|~-]{1,64}")],
    )
    meta_key: str = field(
        default="localmcp-harden/remaining-us",
        validator=[instance_of(str), matches_re(r"[A-Za-z0-9._/-]{1,128}")],
    )
    margin_s: float = field(default=0.05, validator=and_(ge(0.0), le(3_600.0)))
    max_s: float = field(default=60.0, validator=and_(gt(0.0), le(86_400.0)))


@final
class DeadlineTravel:
    """Writes the time left into upstream calls and reads it from trusted callers.

    Args:
        remaining_s: Tells how much time is left, for example `deadline.remaining_s`.
        config: Where it is written and how much is believed.
    """

    def __init__(
        self,
        remaining_s: Callable[[], float | None],
        config: DeadlineTravelConfig | None = None,
    ) -> None:
        self.config: DeadlineTravelConfig = config or DeadlineTravelConfig()
        self._remaining_s = remaining_s

    def left_s(self) -> float | None:
        """Return the seconds an upstream call may take, None when nothing limits it.

        Raises:
            DeadlineExceededError: Nothing is left; the call should not be sent.
        """
        remaining_s = self._remaining_s()
        if remaining_s is None:
            return None
        left_s = remaining_s - self.config.margin_s
        # Not `<=`: of a time that is not a number nothing is left either.
        if not left_s * _A_MILLION >= 1.0:
            raise DeadlineExceededError("no time is left for an upstream call; it was not sent")
        return left_s

    def headers(self) -> dict[str, str]:
        """Return the field for an outgoing HTTP request; nothing when nothing limits it.

        Raises:
            DeadlineExceededError: Nothing is left; the call should not be sent.
        """
        left_s = self.left_s()
        return {} if left_s is None else {self.config.header: _to_timeout(left_s)}

    def meta(self) -> dict[str, Any]:
        """Return the entry for `_meta` of an outgoing MCP request; nothing without a limit.

        Raises:
            DeadlineExceededError: Nothing is left; the call should not be sent.
        """
        left_s = self.left_s()
        if left_s is None:
            return {}
        return {self.config.meta_key: min(_MOST_US, int(left_s * _A_MILLION))}

    def read_timeout_seconds(self, own_s: float | None = None) -> float | None:
        """Return the `read_timeout_seconds` of an MCP client's call: the smaller of two.

        Args:
            own_s: What the call would be given without a deadline; None for no limit.

        Raises:
            DeadlineExceededError: Nothing is left; the call should not be sent.
        """
        left_s = self.left_s()
        if left_s is None or own_s is None:
            return own_s if left_s is None else left_s
        return min(own_s, left_s)

    def from_headers(self, headers: Mapping[str, str], *, trusted: bool) -> float | None:
        """Return the seconds that a caller's request leaves, None when it does not say.

        Hand it to `Deadline.execute` as `timeout_s`: a deadline in force stays the earlier.

        Args:
            headers: The request's fields, under lower-case names or in a mapping that
                looks them up whatever their case.
            trusted: Whether the host trusts the sender to say so.
        """
        if not trusted:
            return None
        name = self.config.header
        value: object = headers.get(name) or headers.get(name.lower())
        found = _TIMEOUT.fullmatch(value) if isinstance(value, str) else None
        return None if found is None else self._bounded(int(found[1]) * _UNITS_S[found[2]])

    def from_meta(self, meta: Mapping[str, Any], *, trusted: bool) -> float | None:
        """Return the seconds that a caller's `_meta` leaves, None when it does not say.

        Args:
            meta: The request's `_meta`.
            trusted: Whether the host trusts the sender to say so.
        """
        value: object = meta.get(self.config.meta_key) if trusted else None
        if isinstance(value, bool) or not isinstance(value, int) or value < 0:
            return None
        return self._bounded(min(value, _MOST_US) / _A_MILLION)

    def _bounded(self, seconds: float) -> float:
        return min(self.config.max_s, seconds)


def _to_timeout(seconds: float) -> str:
    """Return at most `seconds`, in the finest unit whose value has eight digits or fewer."""
    for unit in ("u", "m", "S", "M"):
        # Rounded down: what is sent on is never more than what is left.
        value = int(seconds / _UNITS_S[unit])
        if value <= _MOST_DIGITS:
            return f"{value}{unit}"
    return f"{min(_MOST_DIGITS, int(seconds / _UNITS_S['H']))}H"
