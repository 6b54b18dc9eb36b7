"""LoopWatchdog: notices a loop that stands still, and says where it stood."""

import os
import threading

import anyio
import anyio.lowlevel
import pytest

from localmcp_harden.core.events import GuardFailed, LoopStalled
from localmcp_harden.resilience.watchdog import LoopWatchdog, WatchdogConfig, service_watchdog_s
from localmcp_harden.testing.clock import FakeClock
from localmcp_harden.testing.recording import RecordingSink

pytestmark = pytest.mark.anyio


@pytest.mark.parametrize(
    ("field", "value"),
    [("beat_s", 0), ("stall_s", 0.0), ("stall_s", float("nan")), ("max_frames", 0), ("pet_s", 0)],
)
def test_nonsense_is_refused_by_name(field, value):
    with pytest.raises(ValueError, match=field):
        WatchdogConfig(**{field: value})


def watched(**changes):
    clock, sink = FakeClock(), RecordingSink()
    config = WatchdogConfig(**({"beat_s": 1.0, "stall_s": 5.0} | changes.pop("config", {})))
    return LoopWatchdog(config, clock=clock, sink=sink, **changes), clock, sink


def test_a_stall_is_told_once_when_it_is_over():
    told = []
    watchdog, clock, sink = watched(on_stall=lambda late_s, stack: told.append(late_s))
    clock.advance(5.9)
    watchdog.look()
    assert told == []
    clock.advance(0.1)
    watchdog.look()
    clock.advance(4.0)
    watchdog.look()
    assert told == [5.0]
    assert sink.events == []
    watchdog.beat()
    watchdog.beat()
    (event,) = sink.of(LoopStalled)
    assert event.stalled_s == 9.0
    clock.advance(7.0)
    watchdog.look()
    watchdog.beat()
    assert len(sink.of(LoopStalled)) == 2


def test_the_lag_is_the_worst_of_late_and_now():
    watchdog, clock, _ = watched()
    assert watchdog.get_lag_s() == 0.0
    clock.advance(1.5)
    assert watchdog.get_lag_s() == 0.5
    watchdog.beat()
    assert watchdog.get_lag_s() == 0.5
    for _ in range(20):
        clock.advance(1.0)
        watchdog.beat()
    assert watchdog.get_lag_s() == 0.0


def test_a_clock_that_goes_back_is_no_stall():
    class Back(FakeClock):
        offset = 0.0

        def monotonic(self):
            return super().monotonic() + self.offset

    clock = Back()
    sink = RecordingSink()
    watchdog = LoopWatchdog(clock=clock, sink=sink)
    clock.offset = -900.0
    watchdog.look()
    assert watchdog.get_lag_s() == 0.0
    watchdog.beat()
    assert sink.events == []


def test_the_service_manager_is_told_only_while_the_loop_beats():
    told = []
    watchdog, clock, _ = watched(notify=told.append, config={"pet_s": 2.0})
    watchdog.look()
    watchdog.look()
    assert told == ["WATCHDOG=1"]
    clock.advance(2.0)
    watchdog.look()
    assert len(told) == 2
    clock.advance(10.0)
    watchdog.look()
    assert len(told) == 2
    watchdog.beat()
    watchdog.look()
    assert len(told) == 3


def test_without_a_period_nobody_is_told():
    told = []
    watchdog, _, _ = watched(notify=told.append)
    watchdog.look()
    assert told == []


def test_functions_that_raise_in_the_thread_are_reported_by_the_loop():
    def broken(*_given):
        raise RuntimeError("the-secret")

    watchdog, clock, sink = watched(notify=broken, on_stall=broken, config={"pet_s": 1.0})
    watchdog.look()
    clock.advance(60.0)
    watchdog.look()
    assert sink.events == []
    watchdog.beat()
    assert [event.guard for event in sink.of(GuardFailed)] == [
        "watchdog.notify", "watchdog.on_stall",
    ]  # fmt: skip
    assert "the-secret" not in repr(sink.events)


async def test_a_loop_that_is_held_up_is_caught_in_the_act():
    caught = threading.Event()
    sink, reported = RecordingSink(), anyio.Event()
    told = []

    def keep(event):
        sink(event)
        reported.set()

    def on_stall(_late_s, stack):
        told.append(stack)
        caught.set()

    config = WatchdogConfig(beat_s=0.01, stall_s=0.05, max_frames=3)
    watchdog = LoopWatchdog(config, sink=keep, on_stall=on_stall)

    def hold_the_loop_up():
        local_secret = "the-secret"
        # Ends when the thread has seen it: no time is waited for.
        assert caught.wait(30), local_secret

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(watchdog.run)
        for _ in range(5):
            await anyio.lowlevel.checkpoint()
        hold_the_loop_up()
        with anyio.fail_after(30):
            await reported.wait()
        tasks.cancel_scope.cancel()
    event = sink.of(LoopStalled)[0]
    assert event.stack == told[0]
    assert len(event.stack) == 3
    assert any("hold_the_loop_up" in frame for frame in event.stack)
    assert "the-secret" not in repr(event)
    assert all(frame.count("/") <= 1 for frame in event.stack)


@pytest.mark.parametrize(
    ("environ", "seconds"),
    [
        ({}, None), ({"WATCHDOG_USEC": "30000000"}, 30.0), ({"WATCHDOG_USEC": "0"}, None),
        ({"WATCHDOG_USEC": "soon"}, None), ({"WATCHDOG_USEC": "-5"}, None),
        ({"WATCHDOG_USEC": "1000000", "WATCHDOG_PID": "1"}, None),
        ({"WATCHDOG_USEC": "1000000", "WATCHDOG_PID": str(os.getpid())}, 1.0),
    ],
)  # fmt: skip
def test_systemd_says_how_often(environ, seconds):
    assert service_watchdog_s(environ) == seconds
