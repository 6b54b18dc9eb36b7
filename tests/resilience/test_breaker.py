"""SlidingWindowBreaker: what is its own, and the defects of its peers."""

import abc
import functools
import gc
import pickle
import traceback
import weakref
from contextlib import suppress

import anyio
import anyio.lowlevel
import pytest
from hypothesis import given, strategies as st

from localmcp_harden.core.errors import CircuitOpenError
from localmcp_harden.core.events import BreakerStateChanged, GuardFailed
from localmcp_harden.protocols.resilience import BreakerConfig, BreakerState
from localmcp_harden.resilience.breaker import SlidingWindowBreaker
from localmcp_harden.testing.chance import FakeRandom
from localmcp_harden.testing.clock import FakeClock
from localmcp_harden.testing.doubles.circuit_breaker import FakeCircuitBreaker
from localmcp_harden.testing.recording import RecordingSink

pytestmark = pytest.mark.anyio

CLOSED, OPEN, HALF_OPEN = BreakerState.CLOSED, BreakerState.OPEN, BreakerState.HALF_OPEN


class BoomError(Exception):
    pass


async def good():
    return "good"


async def bad():
    raise BoomError


def make(**settings):
    chosen = {"window_calls": 4, "minimum_calls": 2, "open_s": 10.0, "half_open_max_wait_s": 5.0}
    clock, sink = FakeClock(), RecordingSink()
    config = BreakerConfig(**(chosen | settings))
    return SlidingWindowBreaker(config, name="t", clock=clock, sink=sink), clock, sink


async def trip(breaker):
    while breaker.get_state() is CLOSED:
        with pytest.raises(BoomError):
            await breaker.execute(bad)


class Pause:
    """Awaitable that gives control to whoever drives the coroutine by hand."""

    def __await__(self):
        yield


async def two_pauses():
    await Pause()
    await Pause()
    return "good"


# --- cancellation -----------------------------------------------------------------


@pytest.mark.parametrize("ending", [GeneratorExit, KeyboardInterrupt, SystemExit])
@pytest.mark.parametrize("pauses", [1, 2])
@pytest.mark.parametrize("half_open", [True, False])
async def test_ended_at_any_await_nothing_is_recorded(half_open, pauses, ending):
    breaker, clock, _ = make()
    if half_open:
        await trip(breaker)
        clock.advance(10)
    before = breaker.snapshot()
    call = breaker.execute(two_pauses)
    for _ in range(pauses):
        call.send(None)

    with pytest.raises(ending):
        call.throw(ending())

    assert breaker.snapshot() == before
    assert await breaker.execute(good) == "good"


async def test_a_call_that_is_never_awaited_takes_no_permit():
    breaker, clock, _ = make()
    await trip(breaker)
    clock.advance(10)
    breaker.execute(good).close()
    assert await breaker.execute(good) == "good"


async def test_a_fallback_can_be_cancelled():
    breaker, _, _ = make()
    await trip(breaker)
    breaker.set_fallback(anyio.sleep_forever)
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(breaker.execute, good)
        await anyio.wait_all_tasks_blocked()
        tasks.cancel_scope.cancel()
    assert breaker.get_state() is OPEN


async def test_own_cancel_scope_of_the_operation_is_a_success():
    breaker, _, _ = make()

    async def operation():
        with anyio.CancelScope() as scope:
            scope.cancel()
            await anyio.sleep_forever()
        return "good"

    assert await breaker.execute(operation) == "good"
    assert breaker.snapshot().calls == 1


# --- defects of peers (numbers of anchors/resilience.md, section 1) --------------------


@pytest.mark.parametrize("step_s", [7_200.0, -7_200.0])
async def test_the_wall_clock_decides_nothing_5_7(step_s):
    breaker, clock, _ = make()
    await trip(breaker)
    clock.step_wall(step_s)
    assert breaker.snapshot().retry_after_s == 10.0
    clock.advance(10)
    clock.step_wall(-step_s)
    assert breaker.get_state() is HALF_OPEN


def test_a_breaker_that_never_opened_can_be_asked_6():
    breaker, _, _ = make()
    assert breaker.snapshot().retry_after_s == 0.0


@pytest.mark.parametrize(
    "wrong",
    [
        {"open_s": 0.0},
        {"open_s": float("nan")},
        {"failure_rate": 0.0},
        {"failure_rate": 1.1},
        {"window_calls": 0},
        {"half_open_permits": 0},
        {"half_open_max_wait_s": 0.0},
        {"minimum_calls": 200},
    ],
)
def test_nonsense_is_refused_and_never_read_as_a_default_6(wrong):
    with pytest.raises(ValueError, match=next(iter(wrong))):
        BreakerConfig(**wrong)


async def test_the_tripping_error_has_no_wrapper_and_no_cause_8():
    breaker, _, _ = make(minimum_calls=1)
    with pytest.raises(BoomError) as caught:
        await breaker.execute(bad)
    assert caught.value.__cause__ is None
    assert caught.value.__context__ is None
    assert breaker.get_state() is OPEN


async def test_an_ignored_exception_with_a_metaclass_ignores_nothing_else_10():
    class Business(Exception, metaclass=abc.ABCMeta):  # noqa: N818
        pass

    breaker, _, _ = make(ignore=(Business,))
    await trip(breaker)
    assert breaker.get_state() is OPEN


async def test_a_breaker_around_a_breaker_runs_both_11():
    outer, _, _ = make()
    inner, _, _ = make()
    with pytest.raises(BoomError):
        await outer.execute(lambda: inner.execute(bad))
    assert [outer.snapshot().failures, inner.snapshot().failures] == [1, 1]


async def test_partials_and_callable_objects_are_operations_18():
    breaker, _, _ = make()

    class Callable:
        async def __call__(self):
            return 1

    async def double(number):
        await anyio.lowlevel.checkpoint()
        return 2 * number

    assert await breaker.execute(functools.partial(double, 2)) == 4
    assert await breaker.execute(Callable()) == 1
    assert breaker.snapshot().calls == 2


async def test_an_operation_that_is_no_coroutine_function_is_a_failure_18():
    breaker, _, _ = make()
    with pytest.raises(TypeError):
        await breaker.execute(lambda: 1)
    assert breaker.snapshot().failures == 1


@pytest.mark.parametrize("half_open", [True, False])
async def test_a_failure_adds_few_frames_and_no_cycle_20(half_open):
    breaker, clock, _ = make()
    if half_open:
        await trip(breaker)
        clock.advance(10)
    kept = names = None
    gc.collect()
    gc.disable()
    try:
        try:
            await breaker.execute(bad)
        except BoomError as error:
            kept = weakref.ref(error)
            names = [frame.name for frame in traceback.extract_tb(error.__traceback__)]
        assert kept() is None
    finally:
        gc.enable()
    assert names[1:] == (["execute", "_try", "bad"] if half_open else ["execute", "bad"])


async def test_the_lock_of_pybreaker_is_not_ours_calls_overlap():
    breaker, _, _ = make()
    both = anyio.Event()
    inside = []

    async def operation():
        inside.append(1)
        if len(inside) == 2:
            both.set()
        await both.wait()

    with anyio.fail_after(5):
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(breaker.execute, operation)
            tasks.start_soon(breaker.execute, operation)
    assert breaker.snapshot().calls == 2


# --- the half-open state -------------------------------------------------------------


async def test_no_more_trials_run_than_are_needed():
    breaker, clock, _ = make(half_open_permits=2)
    await trip(breaker)
    clock.advance(10)
    await breaker.execute(good)
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(breaker.execute, anyio.sleep_forever)
        await anyio.wait_all_tasks_blocked()
        with pytest.raises(CircuitOpenError):
            await breaker.execute(good)
        tasks.cancel_scope.cancel()
    await breaker.execute(good)
    assert breaker.get_state() is CLOSED


async def test_a_refusal_while_trials_run_says_when_they_count_as_hung():
    breaker, clock, sink = make()
    await trip(breaker)
    clock.advance(10)
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(breaker.execute, anyio.sleep_forever)
        await anyio.wait_all_tasks_blocked()
        clock.advance(2)
        with pytest.raises(CircuitOpenError) as refusal:
            await breaker.execute(good)
        assert refusal.value.retry_after_s == 3.0
        clock.advance(3)
        era = breaker.snapshot().era
        assert await breaker.execute(good) == "good"
        tasks.cancel_scope.cancel()
    changes = [(e.previous, e.current, e.cause) for e in sink.of(BreakerStateChanged)]
    assert ("half_open", "half_open", "trial_hung") in changes
    assert breaker.snapshot().era == era + 1


async def test_a_slow_trial_counts_while_it_is_not_hung():
    breaker, clock, _ = make()
    await trip(breaker)
    clock.advance(10)

    async def slow():
        clock.advance(4.9)

    await breaker.execute(slow)
    assert breaker.get_state() is CLOSED


async def test_a_trial_that_ends_after_its_time_is_dropped_though_nobody_looked():
    breaker, clock, _ = make()
    await trip(breaker)
    clock.advance(10)

    async def hung():
        clock.advance(5.0)

    await breaker.execute(hung)
    assert breaker.get_state() is HALF_OPEN


# --- settings ------------------------------------------------------------------------


async def test_configuring_fewer_permits_closes_what_has_seen_enough():
    breaker, clock, sink = make(half_open_permits=3)
    await trip(breaker)
    clock.advance(10)
    await breaker.execute(good)
    breaker.configure(BreakerConfig(half_open_permits=1))
    assert breaker.get_state() is CLOSED
    assert sink.of(BreakerStateChanged)[-1].cause == "configured"


@given(
    outcomes=st.lists(st.booleans(), max_size=30),
    before=st.integers(1, 12),
    after=st.integers(1, 12),
    more=st.lists(st.booleans(), max_size=30),
)
def test_configure_keeps_the_newest_that_fit(outcomes, before, after, more):
    def settings(window):
        return BreakerConfig(window_calls=window, minimum_calls=window, failure_rate=1.0)

    async def scenario():
        breaker = SlidingWindowBreaker(settings(before), clock=FakeClock())
        # A success every second call, so that the window is never all failures.
        window = []
        for failed in outcomes:
            for each in (failed, False):
                await call(breaker, each)
                window = [*window, each][-before:]
        if breaker.get_state() is not CLOSED:
            return
        breaker.configure(settings(after))
        window = window[-after:]
        for each in more:
            snapshot = breaker.snapshot()
            if breaker.get_state() is not CLOSED:
                return
            assert (snapshot.calls, snapshot.failures) == (len(window), sum(window))
            await call(breaker, each)
            window = [*window, each][-after:]

    async def call(breaker, failed):
        with suppress(BoomError, CircuitOpenError):
            await breaker.execute(bad if failed else good)

    anyio.run(scenario)


async def test_an_open_circuit_takes_a_new_open_time():
    breaker, clock, _ = make()
    await trip(breaker)
    breaker.configure(BreakerConfig(open_s=2.0))
    assert breaker.snapshot().retry_after_s == 2.0
    assert breaker.config.open_s == 2.0
    clock.advance(2)
    assert breaker.get_state() is HALF_OPEN


async def test_configure_takes_the_new_predicates():
    breaker, _, _ = make()
    breaker.configure(BreakerConfig(is_failure=lambda result: result == "good", ignore=(KeyError,)))
    await breaker.execute(good)
    assert breaker.snapshot().failures == 1


async def test_results_begun_before_a_reset_count_no_more():
    breaker, _, _ = make()

    async def resets_and_fails():
        breaker.reset()
        raise BoomError

    for _ in range(5):
        with pytest.raises(BoomError):
            await breaker.execute(resets_and_fails)
    assert breaker.snapshot().calls == 0


async def test_a_circuit_without_end_promises_nothing():
    breaker, clock, _ = make(open_s=float("inf"))
    await trip(breaker)
    clock.advance(1e9)
    with pytest.raises(CircuitOpenError) as refusal:
        await breaker.execute(good)
    assert refusal.value.retry_after_s is None


async def test_the_rate_is_exact():
    breaker, _, _ = make(window_calls=10, minimum_calls=10, failure_rate=0.3)
    for operation in [good] * 7 + [bad] * 2:
        with suppress(BoomError):
            await breaker.execute(operation)
    assert breaker.get_state() is CLOSED
    with pytest.raises(BoomError):
        await breaker.execute(bad)
    assert breaker.get_state() is OPEN


async def test_a_full_window_of_successes_still_counts_the_next_failure():
    breaker, _, _ = make(window_calls=3, minimum_calls=3, failure_rate=0.6)
    for _ in range(10):
        await breaker.execute(good)
    for expected in (1, 2):
        with pytest.raises(BoomError):
            await breaker.execute(bad)
        assert breaker.snapshot().failures == expected
    assert breaker.get_state() is OPEN


async def test_a_full_window_of_successes_still_judges_the_next_result():
    async def worse():
        return "bad"

    breaker, _, _ = make(window_calls=3, is_failure=lambda result: result == "bad")
    for _ in range(10):
        await breaker.execute(good)
    await breaker.execute(worse)
    assert breaker.snapshot().failures == 1


async def test_a_full_window_of_successes_can_grow():
    breaker, _, _ = make(window_calls=3)
    for _ in range(10):
        await breaker.execute(good)
    breaker.configure(BreakerConfig(window_calls=10))
    await breaker.execute(good)
    assert breaker.snapshot().calls == 4


@given(open_s=st.floats(1e-3, 1e6), started=st.floats(0, 1e6), passed=st.floats(0, 1))
def test_waiting_as_long_as_told_is_always_enough(open_s, started, passed):
    async def scenario():
        clock = FakeClock()
        clock.advance(started)
        breaker = SlidingWindowBreaker(
            BreakerConfig(window_calls=1, minimum_calls=1, open_s=open_s), clock=clock
        )
        await trip(breaker)
        clock.advance(passed * open_s)
        wait = breaker.snapshot().retry_after_s
        assert wait <= open_s + 0.0011
        clock.advance(wait)
        assert breaker.get_state() is HALF_OPEN

    anyio.run(scenario)


# --- groups, predicates, sinks --------------------------------------------------------


@pytest.mark.parametrize(
    ("leaves", "counted"),
    [([KeyError()], 0), ([KeyError(), IndexError()], 0), ([KeyError(), BoomError()], 1)],
)
async def test_a_group_is_ignored_when_all_of_it_is(leaves, counted):
    breaker, _, _ = make(ignore=(LookupError,))

    async def operation():
        raise ExceptionGroup("tasks", leaves)

    with pytest.raises(ExceptionGroup):
        await breaker.execute(operation)
    assert breaker.snapshot().calls == counted


async def test_broken_predicates_are_reported_by_type_alone():
    def broken(_result):
        raise RuntimeError("secret")

    breaker, _, sink = make(is_failure=broken)
    await breaker.execute(good)
    (failed,) = sink.of(GuardFailed)
    assert (failed.guard, failed.error_type) == ("t.is_failure", "RuntimeError")
    assert "secret" not in repr(sink.events)


async def test_a_metaclass_that_raises_in_isinstance_is_reported_and_does_no_harm():
    class Meta(type):
        def __instancecheck__(cls, instance):
            raise RuntimeError

    class Odd(Exception, metaclass=Meta):  # noqa: N818
        pass

    breaker, _, sink = make(ignore=(Odd,))
    with pytest.raises(BoomError):
        await breaker.execute(bad)
    assert sink.of(GuardFailed)[0].guard == "t.ignore"
    assert breaker.snapshot().calls == 0


async def test_a_trial_whose_result_can_not_be_judged_gives_its_permit_back():
    def broken(_result):
        raise RuntimeError

    breaker, clock, _ = make(is_failure=broken)
    await trip(breaker)
    clock.advance(10)
    for _ in range(3):
        assert await breaker.execute(good) == "good"
    assert breaker.get_state() is HALF_OPEN


async def test_a_sink_that_raises_hears_of_it():
    heard = []

    def sink(event):
        heard.append(event)
        if len(heard) == 1:
            raise RuntimeError

    breaker = SlidingWindowBreaker(
        BreakerConfig(window_calls=1, minimum_calls=1), name="t", clock=FakeClock(), sink=sink
    )
    with pytest.raises(BoomError):
        await breaker.execute(bad)
    assert [type(event).__name__ for event in heard] == ["BreakerStateChanged", "GuardFailed"]
    assert heard[1].guard == "t.sink"


async def test_a_sink_may_use_the_breaker_it_hears_of():
    seen = []

    def sink(event):
        seen.append((event.current, breaker.get_state().value))
        if event.current == "open":
            breaker.reset()

    clock = FakeClock()
    breaker = SlidingWindowBreaker(
        BreakerConfig(window_calls=1, minimum_calls=1), clock=clock, sink=sink
    )
    with pytest.raises(BoomError):
        await breaker.execute(bad)
    assert seen == [("open", "open"), ("closed", "closed")]
    assert await breaker.execute(good) == "good"


async def test_a_sink_that_resets_at_the_half_opening_makes_the_trial_stale():
    def sink(event):
        if event.current == "half_open":
            breaker.reset()

    clock = FakeClock()
    breaker = SlidingWindowBreaker(
        BreakerConfig(window_calls=1, minimum_calls=1), clock=clock, sink=sink
    )
    await trip(breaker)
    clock.advance(30)
    with pytest.raises(BoomError):
        await breaker.execute(bad)
    assert breaker.get_state() is CLOSED
    assert breaker.snapshot().calls == 0


async def test_events_carry_name_and_wall_time():
    breaker, clock, sink = make()
    await trip(breaker)
    (change,) = sink.of(BreakerStateChanged)
    assert (change.breaker, change.at) == ("t", clock.wall())


async def test_a_stale_result_is_not_judged():
    judged = []
    breaker, _, _ = make(is_failure=lambda result: judged.append(result) or False)

    async def operation():
        breaker.reset()
        return "stale"

    assert await breaker.execute(operation) == "stale"
    assert breaker.snapshot().calls == 0


async def test_a_refusal_survives_pickling():
    breaker, _, _ = make()
    await trip(breaker)
    with pytest.raises(CircuitOpenError) as caught:
        await breaker.execute(good)
    again = pickle.loads(pickle.dumps(caught.value))  # noqa: S301
    assert (again.retry_after_s, str(again)) == (10.0, str(caught.value))


# --- the fake -------------------------------------------------------------------------


async def test_the_fake_can_be_forced():
    fake = FakeCircuitBreaker()
    fake.forced = OPEN
    with pytest.raises(CircuitOpenError):
        await fake.execute(good)
    fake.set_fallback(good)
    assert await fake.execute(bad) == "good"
    assert (fake.get_state(), fake.snapshot().state) == (OPEN, OPEN)

    fake.forced = CLOSED
    for _ in range(20):
        with pytest.raises(BoomError):
            await fake.execute(bad)
    assert fake.get_state() is CLOSED

    fake.reset()
    assert fake.forced is None
    assert fake.outcomes == ["refused", "ok", *["BoomError"] * 20]


# --- windows, slow calls, growing open times -----------------------------------------------


async def test_chance_takes_its_share_of_the_open_time():
    clock = FakeClock()
    config = BreakerConfig(minimum_calls=1, window_calls=1, open_s=10.0, open_jitter=0.4)
    breaker = SlidingWindowBreaker(config, clock=clock, random=FakeRandom(0.5))
    await trip(breaker)
    assert breaker.snapshot().retry_after_s == 8.0


async def test_a_slow_success_ends_a_row_of_failures():
    breaker, clock, _ = make(consecutive_failures=2, slow_call_s=1.0, minimum_calls=4)

    async def slow():
        clock.advance(1.0)

    for operation in (bad, slow, bad):
        with suppress(BoomError):
            await breaker.execute(operation)
    assert breaker.get_state() is CLOSED


async def test_a_time_window_is_exact_to_a_tenth():
    breaker, clock, _ = make(window_s=10.0, minimum_calls=100)
    await breaker.execute(good)
    clock.advance(9.9)
    assert breaker.snapshot().calls == 1
    clock.advance(0.1)
    assert breaker.snapshot().calls == 0


@pytest.mark.parametrize(
    "wrong",
    [
        {"window_s": 0.0},
        {"consecutive_failures": 0},
        {"slow_call_s": 0.0},
        {"slow_call_rate": 1.1},
        {"open_factor": 0.5},
        {"max_open_s": 1.0, "open_factor": 2.0},
        {"open_jitter": 1.1},
        {"stable_s": -1.0},
    ],
)
def test_nonsense_of_the_newer_settings_is_refused(wrong):
    with pytest.raises(ValueError, match=next(iter(wrong))):
        BreakerConfig(**wrong)
