"""The rules of a `Degradation`.

`make(config, /, *, clock, sink)` returns one at the first level of these settings.
"""

from typing import Any, Protocol

from ...core.events import DegradationChanged, EventSink
from ...core.ports import Clock
from ...protocols.degradation import Degradation, DegradationConfig, DegradationLevel
from ..clock import FakeClock
from ..recording import RecordingSink
from .kit import ContractKit, expect

__all__ = ("MakeDegradation", "degradation")


class MakeDegradation(Protocol):
    """Makes what is to be checked."""

    def __call__(
        self, config: DegradationConfig, /, *, clock: Clock, sink: EventSink
    ) -> Degradation:
        """Return one at its first level, which health may move."""
        ...


degradation: ContractKit[MakeDegradation] = ContractKit("Degradation")

_LEVELS = (
    DegradationLevel(name="full"),
    DegradationLevel(name="lean", off=("prefetch",)),
    DegradationLevel(name="bare", off=("search", "history")),
)


class _Bench:
    """Levels, their clock and their events."""

    def __init__(self, make: MakeDegradation, **settings: Any) -> None:
        self.clock = FakeClock()
        self.sink = RecordingSink()
        self.service = make(self.config(**settings), clock=self.clock, sink=self.sink)

    @staticmethod
    def config(**settings: Any) -> DegradationConfig:
        chosen: dict[str, Any] = {
            "levels": _LEVELS,
            "statuses": {"good": "full", "poor": "lean", "bad": "bare"},
            "worsen_after": 3,
            "recover_after": 4,
            "hold_s": 10.0,
            **settings,
        }
        return DegradationConfig(**chosen)

    def observe(self, status: str, times: int = 1) -> None:
        for _ in range(times):
            self.service.observe(status)

    def expect_level(self, name: str) -> None:
        seen = self.service.get_state()
        expect(seen == name, f"it is {seen}, not {name}")
        expect(self.service.snapshot().level == name, "the snapshot says another level")


@degradation.rule("DG1")
async def all_is_on_at_first(make: MakeDegradation) -> None:
    """It begins at the first level, at which everything is on."""
    bench = _Bench(make)
    bench.expect_level("full")
    expect(all(map(bench.service.is_on, ("prefetch", "search", "other"))), "something is off")
    expect(not bench.service.snapshot().pinned, "it is pinned")


@degradation.rule("DG2")
async def levels_add_up(make: MakeDegradation) -> None:
    """At each level everything is off that it names, and that every earlier one names."""
    bench = _Bench(make)
    wanted = {"full": set[str](), "lean": {"prefetch"}, "bare": {"prefetch", "search", "history"}}
    for name, off in wanted.items():
        bench.service.set_level(name)
        bench.expect_level(name)
        seen = {
            feature
            for feature in ("prefetch", "search", "history", "other")
            if not bench.service.is_on(feature)
        }
        expect(seen == off, f"at {name}, {sorted(seen)} are off")
        expect(set(bench.service.snapshot().off) == off, "the snapshot says otherwise")


@degradation.rule("DG3")
async def one_bad_report_changes_nothing(make: MakeDegradation) -> None:
    """It takes `worsen_after` reports in a row to go down, to the best level they ask for."""
    bench = _Bench(make)
    bench.observe("bad", 2)
    bench.observe("good")
    bench.observe("bad", 2)
    bench.expect_level("full")
    bench.observe("good")
    bench.observe("bad")
    bench.observe("poor")
    bench.observe("bad")
    bench.expect_level("lean")
    bench.observe("bad", 2)
    bench.observe("good")
    bench.observe("bad", 2)
    bench.expect_level("lean")
    bench.observe("bad")
    bench.expect_level("bare")
    straight = _Bench(make)
    straight.observe("bad", 3)
    straight.expect_level("bare")


@degradation.rule("DG4")
async def recovery_is_slow(make: MakeDegradation) -> None:
    """It goes up one level at a time, after `recover_after` reports and no sooner than `hold_s`."""
    bench = _Bench(make)
    bench.observe("bad", 3)
    bench.observe("good", 20)
    bench.expect_level("bare")
    bench.clock.advance(10.0)
    bench.observe("good")
    bench.expect_level("lean")
    bench.clock.advance(10.0)
    bench.observe("good", 3)
    bench.expect_level("lean")
    bench.observe("good")
    bench.expect_level("full")


@degradation.rule("DG5")
async def recovery_begins_anew(make: MakeDegradation) -> None:
    """A report that asks for the present level, or a worse one, begins the count anew."""
    for status in ("poor", "bad"):
        bench = _Bench(make)
        bench.observe("poor", 3)
        bench.clock.advance(100.0)
        bench.observe("good", 3)
        bench.observe(status)
        bench.observe("good", 3)
        bench.expect_level("lean")
        bench.observe("good")
        bench.expect_level("full")


@degradation.rule("DG6")
async def a_hand_outweighs_health(make: MakeDegradation) -> None:
    """A level set by hand stays whatever health says, until it is let go."""
    bench = _Bench(make)
    bench.service.set_level("lean")
    expect(bench.service.snapshot().pinned, "it is not pinned")
    bench.clock.advance(100.0)
    bench.observe("bad", 10)
    bench.observe("good", 10)
    bench.expect_level("lean")
    bench.service.set_level(None)
    bench.expect_level("lean")
    bench.observe("good", 3)
    bench.expect_level("lean")
    bench.observe("good")
    bench.expect_level("full")


@degradation.rule("DG7")
async def unknown_levels_are_refused(make: MakeDegradation) -> None:
    """A level that does not exist raises ValueError, and changes nothing."""
    bench = _Bench(make)
    try:
        bench.service.set_level("nowhere")
    except ValueError:
        bench.expect_level("full")
    else:
        raise AssertionError("it took a level that does not exist")
    expect(not bench.service.snapshot().pinned, "it is pinned")


@degradation.rule("DG8")
async def unknown_statuses_change_nothing(make: MakeDegradation) -> None:
    """A status that no level is named for changes nothing, the counts included."""
    bench = _Bench(make)
    for _ in range(3):
        bench.observe("what?")
        bench.observe("bad")
    bench.expect_level("bare")


@degradation.rule("DG9")
async def every_change_is_told(make: MakeDegradation) -> None:
    """Each change is one event with its cause; what changes nothing has none."""
    bench = _Bench(make)
    bench.observe("poor", 10)
    bench.service.set_level("bare")
    bench.service.set_level("bare")
    told = [(e.previous, e.current, e.cause) for e in bench.sink.of(DegradationChanged)]
    expect(
        told == [("full", "lean", "health"), ("lean", "bare", "manual")], f"the events say {told}"
    )


@degradation.rule("DG10")
async def settings_change_live(make: MakeDegradation) -> None:
    """`configure` keeps the level of the same name, and begins at the first without one."""
    bench = _Bench(make)
    bench.service.set_level("lean")
    other = (DegradationLevel(name="all"), DegradationLevel(name="lean", off=("export",)))
    bench.service.configure(bench.config(levels=other, statuses={"good": "all"}))
    bench.expect_level("lean")
    expect(set(bench.service.snapshot().off) == {"export"}, "the old level's features are off")
    expect(bench.service.snapshot().pinned, "the hand's level was let go")
    bench.service.configure(bench.config())
    bench.expect_level("lean")
    bench.service.configure(bench.config(levels=other[:1], statuses={}))
    bench.expect_level("all")
    expect(not bench.service.snapshot().pinned, "a level that is gone is still pinned")


@degradation.rule("DG11")
async def it_says_since_when(make: MakeDegradation) -> None:
    """The snapshot says how long the level has been held."""
    bench = _Bench(make)
    bench.clock.advance(5.0)
    expect(bench.service.snapshot().since_s == 5.0, f"saw {bench.service.snapshot()}")
    bench.service.set_level("lean")
    bench.clock.advance(2.0)
    expect(bench.service.snapshot().since_s == 2.0, f"saw {bench.service.snapshot()}")
