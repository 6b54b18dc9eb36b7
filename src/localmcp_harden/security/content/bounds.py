"""Refuses arguments that are too large, too deep or too many, whatever the tool.

Sizes are bytes and characters. The walk stops at the first bound that is passed, so
that judging costs no more than `max_parts` steps. Text is bounded before it is parsed
by `mechanisms.json_bounds.check_json_text`; this guard judges what came out of it.
"""

from collections.abc import Mapping
from typing import Any, final

from attrs import field, frozen
from attrs.validators import and_, ge, instance_of, le

from ...core.events import EventSink, discard
from ...core.model import ALLOW, Decision, deny
from ...core.ports import Clock, Random
from ...mechanisms.json_walk import JsonLimits, find_excess

__all__ = ("BoundsConfig", "DefaultInputBounds")


def _whole(default: int, low: int, high: int) -> Any:
    return field(default=default, validator=[instance_of(int), and_(ge(low), le(high))])


@final
@frozen(kw_only=True)
class BoundsConfig:
    """How large the arguments of one call may be.

    Args:
        max_bytes: UTF-8 bytes of all strings and keys, and 8 for every other scalar
            (64 to 1 GiB; 4 MiB, a large source file).
        max_depth: Objects and arrays within each other, the arguments themselves counted
            (1 to 1,000; 32, several times what tools nest).
        max_parts: Values, containers counted (1 to 10,000,000; 10,000, a millisecond).
        max_string_chars: Characters of one string (1 to 2**30; 2 Mi, so that one file fits).
        max_key_chars: Characters of one key (1 to 1,000,000; 256).
        max_integer_bits: Bits of an integer's magnitude (8 to 65,536; 64, since readers
            in other languages stop there).
    """

    max_bytes: int = _whole(4 * 1024 * 1024, 64, 1 << 30)
    max_depth: int = _whole(32, 1, 1_000)
    max_parts: int = _whole(10_000, 1, 10_000_000)
    max_string_chars: int = _whole(2 * 1024 * 1024, 1, 1 << 30)
    max_key_chars: int = _whole(256, 1, 1_000_000)
    max_integer_bits: int = _whole(64, 8, 65_536)


@final
class DefaultInputBounds:
    """The default `InputBounds`.

    What is too large is refused with `input_too_large`; what JSON has no form for (a
    number that is not finite, half of a surrogate pair, a foreign type) with
    `invalid_arguments`.
    """

    def __init__(
        self,
        config: BoundsConfig | None = None,
        *,
        clock: Clock | None = None,  # noqa: ARG002 - the constructor every block has
        random: Random | None = None,  # noqa: ARG002 - the constructor every block has
        sink: EventSink = discard,  # noqa: ARG002 - a refusal is in the call's record
    ) -> None:
        self.config: BoundsConfig = config or BoundsConfig()
        self._limits = JsonLimits(
            max_bytes=self.config.max_bytes,
            max_depth=self.config.max_depth,
            max_parts=self.config.max_parts,
            max_string_chars=self.config.max_string_chars,
            max_key_chars=self.config.max_key_chars,
            max_integer_bits=self.config.max_integer_bits,
        )

    def check_bounds(self, arguments: Mapping[str, Any], /) -> Decision:
        """Decide on the arguments' size, depth and number of parts."""
        if not arguments:
            return ALLOW
        excess = find_excess(arguments, self._limits, "arguments")
        if excess is None:
            return ALLOW
        code = "input_too_large" if excess.too_large else "invalid_arguments"
        return deny(code, excess.reason)
