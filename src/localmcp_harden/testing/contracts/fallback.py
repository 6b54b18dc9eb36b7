"""The rules of a `Fallback`.

`make(config, /, *, clock, sink)` returns a fallback with these settings, without a
function and without a value to answer with.
"""

from collections.abc import Hashable
from typing import Any, Protocol

import anyio

from ...core.errors import CircuitOpenError, PolicyDeniedError, RefusedError
from ...core.events import EventSink, FallbackUsed
from ...core.ports import Clock
from ...protocols.degradation import Answer, AnswerSource, Fallback, FallbackConfig
from ..clock import FakeClock
from ..recording import RecordingSink
from .circuit import BoomError
from .kit import ContractKit, expect
from .tasks import open_tasks

__all__ = ("MakeFallback", "fallback")


class MakeFallback(Protocol):
    """Makes the fallback that is to be checked."""

    def __call__(self, config: FallbackConfig, /, *, clock: Clock, sink: EventSink) -> Fallback:
        """Return a fallback that keeps no result yet."""
        ...


fallback: ContractKit[MakeFallback] = ContractKit("Fallback")


class _Bench:
    """A fallback, its clock and its events."""

    def __init__(self, make: MakeFallback, **settings: Any) -> None:
        chosen: dict[str, Any] = {"on": (BoomError,), "max_stale_s": 10.0, **settings}
        self.clock = FakeClock()
        self.sink = RecordingSink()
        self.fallback = make(FallbackConfig(**chosen), clock=self.clock, sink=self.sink)

    async def ask(self, answer: object, key: Hashable | None = None) -> Answer[object]:
        async def operation() -> object:
            if isinstance(answer, Exception):
                raise answer
            return answer

        return await self.fallback.answer(operation, key=key)

    async def error_of(self, error: Exception, key: Hashable | None = None) -> Exception:
        try:
            seen = await self.ask(error, key)
        except Exception as raised:  # noqa: BLE001 - the rule looks at it
            return raised
        raise AssertionError(f"an answer from {seen.source.value} instead of an error")


@fallback.rule("FB1")
async def a_good_result_is_left_alone(make: MakeFallback) -> None:
    """A good result is handed back as it is, and no event says otherwise."""
    bench = _Bench(make)
    mine = object()
    seen = await bench.ask(mine, "k")
    expect(seen.value is mine, "the result was changed")
    expect(seen.source is AnswerSource.OPERATION, f"it is said to be {seen.source}")

    async def operation() -> object:
        return mine

    expect(await bench.fallback.execute(operation) is mine, "`execute` changed the result")
    expect(not bench.sink.events, f"saw {bench.sink.events}")


@fallback.rule("FB2")
async def without_a_replacement_the_error_is_the_callers(make: MakeFallback) -> None:
    """When nothing stands in, the operation's own error is raised as it is."""
    bench = _Bench(make)
    mine = BoomError("mine")
    expect(await bench.error_of(mine, "k") is mine, "the error was changed")
    expect(not bench.sink.events, "an event says that something stood in")


@fallback.rule("FB3")
async def a_stale_result_stands_in_for_its_time(make: MakeFallback) -> None:
    """The last result of the key stands in for `max_stale_s`, with its age, and no longer."""
    bench = _Bench(make)
    await bench.ask("older", "k")
    await bench.ask("old", "k")
    bench.clock.advance(10.0)
    mine = BoomError()
    seen = await bench.ask(mine, "k")
    wanted = Answer[object](value="old", source=AnswerSource.STALE, age_s=10.0, error=mine)
    expect(seen == wanted, f"saw {seen}")
    bench.clock.advance(0.1)
    await bench.error_of(BoomError(), "k")


@fallback.rule("FB4")
async def keys_are_apart(make: MakeFallback) -> None:
    """A result stands in for its own key only; without a key nothing is kept or found."""
    bench = _Bench(make)
    await bench.ask("of k", "k")
    await bench.ask("of nobody")
    await bench.error_of(BoomError(), "other")
    await bench.error_of(BoomError())
    expect((await bench.ask(BoomError(), "k")).value == "of k", "the key's own was lost")


@fallback.rule("FB5")
async def what_is_kept_is_bounded(make: MakeFallback) -> None:
    """Beyond `max_entries` the result that was not used longest is forgotten."""
    bench = _Bench(make, max_entries=2)
    await bench.ask("a", "a")
    await bench.ask("b", "b")
    await bench.ask(BoomError(), "a")
    await bench.ask("c", "c")
    await bench.error_of(BoomError(), "b")
    expect((await bench.ask(BoomError(), "a")).value == "a", "the wrong one was forgotten")


@fallback.rule("FB6")
async def a_function_stands_in(make: MakeFallback) -> None:
    """Without a stale result the function answers, and is given the error."""
    bench = _Bench(make)
    given: list[Exception | None] = []

    async def function(error: Exception | None) -> str:
        given.append(error)
        return "made"

    bench.fallback.set_function(function)
    mine = BoomError()
    seen = await bench.ask(mine)
    expect((seen.value, seen.source) == ("made", AnswerSource.FUNCTION), f"saw {seen}")
    expect(given == [mine], f"the function was given {given}")
    await bench.ask("kept", "k")
    expect((await bench.ask(BoomError(), "k")).value == "kept", "the function came first")
    bench.fallback.set_function(None)
    await bench.error_of(BoomError())


@fallback.rule("FB7")
async def a_broken_function_hides_nothing(make: MakeFallback) -> None:
    """When the function raises, the operation's own error is raised."""
    bench = _Bench(make)

    async def function(_error: Exception | None) -> str:
        raise LookupError("broken")

    bench.fallback.set_function(function)
    mine = BoomError()
    expect(await bench.error_of(mine) is mine, "the function's error was raised")


@fallback.rule("FB8")
async def other_errors_are_raised(make: MakeFallback) -> None:
    """An error that is not named in `on` is raised, and so is a group with one in it."""
    bench = _Bench(make)
    await bench.ask("kept", "k")
    other = LookupError("other")
    expect(await bench.error_of(other, "k") is other, "the error was changed")
    mixed = ExceptionGroup("tasks", [BoomError(), LookupError()])
    expect(await bench.error_of(mixed, "k") is mixed, "the group was changed")
    group = ExceptionGroup("tasks", [BoomError(), BoomError()])
    expect((await bench.ask(group, "k")).value == "kept", "the group was not replaced")


@fallback.rule("FB9")
async def refusals_are_not_answered_from_elsewhere(make: MakeFallback) -> None:
    """A refusal is replaced only when its class is named: what policy denies stays denied."""
    bench = _Bench(make, on=(Exception,))
    await bench.ask("kept", "k")
    for refusal in (PolicyDeniedError("no"), RefusedError("no")):
        expect(await bench.error_of(refusal, "k") is refusal, "the refusal was changed")
    named = _Bench(make, on=(CircuitOpenError,))
    await named.ask("kept", "k")
    seen = await named.ask(CircuitOpenError("open"), "k")
    expect(seen.value == "kept", "a refusal that is named is replaced")


@fallback.rule("FB10")
async def bad_results_are_replaced(make: MakeFallback) -> None:
    """A result that `is_failure` is replaced and not kept; if nothing stands in, it counts."""
    bench = _Bench(make, is_failure=_is_bad)
    expect((await bench.ask("bad", "k")).value == "bad", "the result was not handed back")
    await bench.error_of(BoomError(), "k")
    await bench.ask("good", "k")
    seen = await bench.ask("bad", "k")
    expect((seen.value, seen.source) == ("good", AnswerSource.STALE), f"saw {seen}")


@fallback.rule("FB11")
async def it_says_so(make: MakeFallback) -> None:
    """An event says each time that something stood in, for what, and how old it was."""
    bench = _Bench(make)
    await bench.ask("kept", "k")
    bench.clock.advance(3.0)
    await bench.ask(BoomError(), "k")
    told = bench.sink.of(FallbackUsed)
    expect(len(told) == 1, f"{len(told)} events")
    expect(
        (told[0].source, told[0].error_type, told[0].age_s) == ("stale", "BoomError", 3.0),
        f"saw {told[0]}",
    )


@fallback.rule("FB12")
async def cancellation_is_final(make: MakeFallback) -> None:
    """A cancelled call is cancelled: nothing stands in for it."""
    bench = _Bench(make)
    await bench.ask("kept", "k")
    ended: list[object] = []

    async def through() -> None:
        ended.append(await bench.fallback.execute(anyio.sleep_forever, key="k"))

    async with open_tasks() as tasks:
        tasks.start_soon(through)
        await anyio.wait_all_tasks_blocked()
        tasks.cancel_scope.cancel()
    expect(not ended, f"the cancellation became {ended}")


@fallback.rule("FB13")
async def settings_change_live(make: MakeFallback) -> None:
    """`configure` takes other settings; results that must not be kept any more are not."""
    bench = _Bench(make)
    for key in ("a", "b"):
        await bench.ask(key, key)
    bench.fallback.configure(FallbackConfig(on=(BoomError,), max_stale_s=10.0, max_entries=1))
    await bench.error_of(BoomError(), "a")
    expect((await bench.ask(BoomError(), "b")).value == "b", "the newest was forgotten")
    bench.fallback.configure(FallbackConfig(on=(BoomError,), max_stale_s=0.0))
    bench.fallback.configure(FallbackConfig(on=(BoomError,), max_stale_s=10.0))
    await bench.error_of(BoomError(), "b")


def _is_bad(result: object) -> bool:
    return result == "bad"
