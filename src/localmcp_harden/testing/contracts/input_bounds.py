"""The rules of `InputBounds`.

`make(*, max_bytes, max_depth, max_parts)` returns a guard with these bounds. Depth counts
the arguments themselves, parts count every value and container, bytes are about those
of strings and keys.
"""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, Protocol

from ...protocols.security import InputBounds
from .kit import ContractKit, expect

__all__ = ("MakeInputBounds", "input_bounds")


class MakeInputBounds(Protocol):
    """Makes the guard that is to be checked."""

    def __call__(self, *, max_bytes: int, max_depth: int, max_parts: int) -> InputBounds:
        """Return a guard with these bounds."""
        ...


input_bounds: ContractKit[MakeInputBounds] = ContractKit("InputBounds")

_LEVELS = 10_000


def _nested(levels: int) -> dict[str, Any]:
    value: dict[str, Any] = {}
    for _ in range(levels - 1):
        value = {"a": value}
    return value


@input_bounds.rule("IB1")
async def ordinary_arguments_pass(make: MakeInputBounds) -> None:
    """Arguments within every bound are allowed, in whatever mapping they come."""
    guard = make(max_bytes=1_000, max_depth=4, max_parts=20)
    arguments: Mapping[str, Any] = {"a": "x", "b": [1, 2.5, None, True, {"c": "d"}]}
    expect(guard.check_bounds(arguments).allowed, "ordinary arguments were refused")
    expect(guard.check_bounds(MappingProxyType(arguments)).allowed, "a read-only view was refused")
    expect(guard.check_bounds({}).allowed, "no arguments were refused")


@input_bounds.rule("IB2")
async def depth_is_bounded(make: MakeInputBounds) -> None:
    """`max_depth` levels pass, one more does not."""
    guard = make(max_bytes=1_000, max_depth=4, max_parts=100)
    expect(guard.check_bounds(_nested(4)).allowed, "the allowed depth was refused")
    expect(not guard.check_bounds(_nested(5)).allowed, "one level more was let through")
    expect(not guard.check_bounds({"a": [[[[]]]]}).allowed, "nested lists were let through")


@input_bounds.rule("IB3")
async def no_depth_breaks_it(make: MakeInputBounds) -> None:
    """Ten thousand levels are refused and raise nothing."""
    guard = make(max_bytes=1_000_000, max_depth=50, max_parts=1_000_000)
    deep = _nested(_LEVELS)
    expect(not guard.check_bounds(deep).allowed, "10,000 levels were let through")
    while deep:  # Taken apart by hand: freeing it at once recurses in some interpreters.
        deep = deep.pop("a", {})


@input_bounds.rule("IB4")
async def parts_are_bounded(make: MakeInputBounds) -> None:
    """More than `max_parts` values are refused, flat or nested."""
    guard = make(max_bytes=1_000_000, max_depth=10, max_parts=100)
    expect(guard.check_bounds({"a": [0] * 90}).allowed, "the allowed number was refused")
    expect(not guard.check_bounds({"a": [0] * 101}).allowed, "a long list was let through")
    nested = {"a": [[0] * 20 for _ in range(6)]}
    expect(not guard.check_bounds(nested).allowed, "many short lists were let through")


@input_bounds.rule("IB5")
async def bytes_are_bounded(make: MakeInputBounds) -> None:
    """More than about `max_bytes` are refused, in one string, in many, or in keys."""
    guard = make(max_bytes=1_000, max_depth=10, max_parts=1_000)
    expect(guard.check_bounds({"a": "x" * 900}).allowed, "the allowed size was refused")
    expect(not guard.check_bounds({"a": "x" * 1_100}).allowed, "a long string was let through")
    many = {"a": ["x" * 100 for _ in range(11)]}
    expect(not guard.check_bounds(many).allowed, "many strings were let through")
    keys = {f"{number:0100}": 0 for number in range(11)}
    expect(not guard.check_bounds(keys).allowed, "long keys were let through")
    expect(
        not guard.check_bounds({"a": "\u20ac" * 900}).allowed, "characters were counted for bytes"
    )


@input_bounds.rule("IB6")
async def what_json_lacks_is_refused(make: MakeInputBounds) -> None:
    """Numbers that are not finite, half surrogate pairs and foreign types are refused."""
    guard = make(max_bytes=1_000, max_depth=10, max_parts=1_000)
    for value in (float("nan"), float("inf"), "\ud800", {"\udfff": 1}, b"x", {1: 2}, object()):
        decision = guard.check_bounds({"a": [value]})
        expect(not decision.allowed, f"a {type(value).__name__} was let through")


@input_bounds.rule("IB7")
async def refusals_are_coded_and_discreet(make: MakeInputBounds) -> None:
    """A refusal for size has the code `input_too_large`, a reason, and shows no value."""
    guard = make(max_bytes=1_000, max_depth=10, max_parts=1_000)
    decision = guard.check_bounds({"a": "sesame" * 1_000})
    expect(decision.code == "input_too_large", f"code is {decision.code!r}")
    expect(decision.reason, "the reason is empty")
    expect("sesame" not in decision.reason, "the reason shows the value")
