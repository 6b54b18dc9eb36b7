"""AdaptiveThrottle: what is its own."""

from contextlib import suppress
from random import Random

import anyio
import pytest
from hypothesis import given, strategies as st

from localmcp_harden.core.errors import ThrottledError
from localmcp_harden.core.events import GuardFailed
from localmcp_harden.protocols.load import ThrottleConfig
from localmcp_harden.resilience.throttle import AdaptiveThrottle
from localmcp_harden.testing import FakeClock, FakeRandom, FakeThrottle, RecordingSink

pytestmark = pytest.mark.anyio


async def good():
    return "good"


async def bad():
    raise ConnectionError


class NoChance(FakeRandom):
    def uniform(self, low, high, /):
        raise AssertionError("chance was asked")


async def test_a_target_that_is_well_costs_no_chance():
    throttle = AdaptiveThrottle(clock=FakeClock(), random=NoChance())
    for _ in range(100):
        assert await throttle.execute(good) == "good"


async def test_one_outcome_counts_where_its_request_was():
    clock = FakeClock()
    throttle = AdaptiveThrottle(ThrottleConfig(window_s=40.0), clock=clock)

    async def slow():
        clock.advance(30.0)

    await throttle.execute(slow)
    assert throttle.snapshot().accepts == 1
    clock.advance(10.5)
    seen = throttle.snapshot()
    assert (seen.requests, seen.accepts) == (0, 0)


async def test_an_outcome_after_the_window_counts_nowhere():
    clock = FakeClock()
    throttle = AdaptiveThrottle(ThrottleConfig(window_s=40.0), clock=clock)

    async def very_slow():
        clock.advance(100.0)

    for _ in range(3):
        await throttle.execute(very_slow)
        seen = throttle.snapshot()
        assert (seen.requests, seen.accepts) == (0, 0)


async def test_what_was_turned_away_here_is_no_answer_of_the_target():
    clock = FakeClock()
    throttle = AdaptiveThrottle(
        ThrottleConfig(window_s=40.0, minimum_calls=10), clock=clock, random=FakeRandom(0.0)
    )
    for _ in range(10):
        with suppress(ConnectionError):
            await throttle.execute(bad)
    clock.advance(20.0)
    for _ in range(20):
        with pytest.raises(ThrottledError):
            await throttle.execute(good)
    clock.advance(21.0)
    assert throttle.snapshot().requests == 20
    assert await throttle.execute(good) == "good"


async def test_another_window_begins_empty_and_old_calls_do_not_harm_it():
    throttle = AdaptiveThrottle(ThrottleConfig(window_s=40.0), clock=FakeClock())

    async def reconfigure():
        throttle.configure(ThrottleConfig(window_s=10.0))

    await throttle.execute(reconfigure)
    seen = throttle.snapshot()
    assert (seen.requests, seen.accepts, seen.rejection) == (0, 0, 0.0)


class _Meta(type):
    def __instancecheck__(cls, instance):
        raise LookupError("broken")


class BrokenKindError(Exception, metaclass=_Meta):
    pass


@pytest.mark.parametrize("part", ["is_rejection", "rejected_on"])
async def test_a_broken_predicate_changes_nothing(part):
    sink = RecordingSink()

    def is_rejection(result):
        raise LookupError("secret")

    throttle = AdaptiveThrottle(
        ThrottleConfig(is_rejection=is_rejection, rejected_on=(BrokenKindError,)),
        clock=FakeClock(),
        sink=sink,
    )
    if part == "is_rejection":
        assert await throttle.execute(good) == "good"
    else:
        with pytest.raises(ConnectionError):
            await throttle.execute(bad)
    assert [event.guard for event in sink.of(GuardFailed)] == [f"throttle.{part}"]
    assert "secret" not in repr(sink.events)
    assert throttle.snapshot().requests == 0


async def test_a_refusal_has_its_code():
    throttle = AdaptiveThrottle(
        ThrottleConfig(minimum_calls=1), clock=FakeClock(), random=FakeRandom(0.0)
    )
    with pytest.raises(ConnectionError):
        await throttle.execute(bad)
    with pytest.raises(ThrottledError) as caught:
        await throttle.execute(good)
    assert caught.value.code == "throttled"


async def test_the_fake_turns_away_on_command():
    throttle = FakeThrottle()
    assert await throttle.execute(good) == "good"
    throttle.throttling = True
    with pytest.raises(ThrottledError):
        await throttle.execute(good)
    throttle.throttling = False
    with pytest.raises(ConnectionError):
        await throttle.execute(bad)
    with anyio.move_on_after(0):
        await throttle.execute(anyio.sleep_forever)
    assert throttle.outcomes == ["ok", "throttled", "ConnectionError", "cancelled"]


@pytest.mark.parametrize(
    "wrong",
    [{"window_s": 0}, {"multiplier": 1.0}, {"max_rejection": 1.1}, {"minimum_calls": 0}],
    ids=str,
)
def test_nonsense_is_refused(wrong):
    with pytest.raises(ValueError, match=next(iter(wrong))):
        ThrottleConfig(**wrong)


class Dice(FakeRandom):
    def __init__(self):
        super().__init__()
        self.uniform = Random(7).uniform  # noqa: S311


@pytest.mark.parametrize(
    ("room", "least", "most"), [(0, 3, 8), (25, 45, 56), (50, 85, 100), (100, 99, 100)]
)
async def test_a_target_is_sent_about_twice_what_it_takes(room, least, most):
    """The point of the formula. The target takes `room` of 100 calls a second, after an outage."""
    clock = FakeClock()
    throttle = AdaptiveThrottle(
        ThrottleConfig(max_rejection=0.95, window_s=10.0), clock=clock, random=Dice()
    )
    sent = []

    async def operation():
        sent[-1] += 1
        if sent[-1] > (room if len(sent) > 20 else 0):
            raise ConnectionError

    for _ in range(200):
        sent.append(0)
        for _ in range(100):
            with suppress(ThrottledError, ConnectionError):
                await throttle.execute(operation)
        clock.advance(1.0)
    assert least <= sum(sent[100:]) / 100 <= most


@given(
    steps=st.lists(
        st.tuples(st.sampled_from(["good", "bad", "advance"]), st.integers(1, 30)), max_size=80
    )
)
def test_the_rejection_is_that_of_a_plain_count(steps):
    clock = FakeClock()
    throttle = AdaptiveThrottle(
        ThrottleConfig(window_s=40.0, minimum_calls=1, max_rejection=1.0),
        clock=clock,
        random=FakeRandom(1.0),
    )
    calls = []

    async def main():
        for kind, count in steps:
            if kind == "advance":
                # Whole slices, in whose middle the calls are: no rounding to model.
                clock.advance(count)
                continue
            for _ in range(count):
                calls.append((clock.monotonic(), kind == "good"))
                with suppress(ConnectionError):
                    await throttle.execute(good if kind == "good" else bad)

    clock.advance(0.5)
    anyio.run(main)
    live = [accepted for at, accepted in calls if clock.monotonic() - at < 40]
    seen = throttle.snapshot()
    assert (seen.requests, seen.accepts) == (len(live), sum(live))
    wanted = max(0.0, (len(live) - 2 * sum(live)) / (len(live) + 1))
    assert seen.rejection == pytest.approx(wanted)
