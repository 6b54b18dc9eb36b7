"""AiobreakerCircuitBreaker: what aiobreaker does, and where ours differs on purpose.

The first part runs over both. The second lists the differences, with the numbers of
aiobreaker's defects; where a test names a peer it fails there.
"""

import abc
import functools
import pickle
from contextlib import suppress
from datetime import datetime, timedelta

import anyio
import anyio.lowlevel
import pytest

aiobreaker = pytest.importorskip("aiobreaker")

from aiobreaker.state import (  # noqa: E402
    CircuitClosedState,
    CircuitHalfOpenState,
    CircuitOpenState,
)

from localmcp_harden.core.errors import CircuitOpenError  # noqa: E402
from localmcp_harden.core.events import BreakerStateChanged, GuardFailed  # noqa: E402
from localmcp_harden.protocols.resilience import BreakerConfig  # noqa: E402
from localmcp_harden.resilience.breaker_aiobreaker import AiobreakerCircuitBreaker  # noqa: E402
from localmcp_harden.testing.clock import FakeClock  # noqa: E402
from localmcp_harden.testing.recording import RecordingSink  # noqa: E402

pytestmark = [
    pytest.mark.anyio,
    # aiobreaker's own, from Python 3.12 on.
    pytest.mark.filterwarnings("ignore:.*utcnow.*:DeprecationWarning"),
]

State = aiobreaker.CircuitBreakerState
OpenError = aiobreaker.CircuitBreakerError


class BoomError(Exception):
    pass


class Theirs(aiobreaker.CircuitBreaker):
    def advance(self, seconds):
        if self._state_storage.opened_at is not None:
            self._state_storage.opened_at -= timedelta(seconds=seconds)


def theirs(**settings):
    breaker = Theirs(**settings)
    return breaker, breaker.advance


def ours(*, legacy_errors=True, **settings):
    clock = FakeClock()
    breaker = AiobreakerCircuitBreaker(clock=clock, legacy_errors=legacy_errors, **settings)
    return breaker, clock.advance


both = pytest.mark.parametrize("make", [theirs, ours])


async def good():
    return "good"


async def bad():
    raise BoomError


def plain_bad():
    raise BoomError


async def trip(breaker):
    while breaker.current_state is not State.OPEN:
        with suppress(BoomError, OpenError):
            await breaker.call_async(bad)


class Recorder(aiobreaker.CircuitBreakerListener):
    def __init__(self):
        self.told = []

    def before_call(self, breaker, func, *args, **kwargs):
        self.told.append(("before_call", args, kwargs))

    def failure(self, breaker, exception):
        self.told.append(("failure", type(exception)))

    def success(self, breaker):
        self.told.append("success")

    def state_change(self, breaker, old, new):
        self.told.append((old.state.name, new.state.name))


# --- what both do ------------------------------------------------------------------------


@both
async def test_defaults(make):
    breaker, _ = make()
    assert (breaker.fail_max, breaker.timeout_duration) == (5, timedelta(seconds=60))
    assert (breaker.name, breaker.fail_counter) == (None, 0)
    assert (breaker.listeners, breaker.excluded_exceptions) == ((), ())
    assert breaker.current_state is State.CLOSED


@both
async def test_calls_pass_their_arguments_and_results(make):
    breaker, _ = make()

    async def double(number, *, plus=0):
        return 2 * number + plus

    assert await breaker.call_async(double, 2, plus=1) == 5
    assert breaker.call(lambda number: number + 1, 2) == 3
    assert breaker.fail_counter == 0


@both
async def test_failures_are_raised_and_counted_until_a_success(make):
    breaker, _ = make()
    for count in (1, 2):
        with pytest.raises(BoomError):
            await breaker.call_async(bad)
        assert breaker.fail_counter == count
    with pytest.raises(BoomError):
        breaker.call(plain_bad)
    assert breaker.fail_counter == 3
    await breaker.call_async(good)
    assert breaker.fail_counter == 0


@both
async def test_the_tripping_call_raises_their_error_with_its_cause(make):
    breaker, _ = make(fail_max=2)
    with pytest.raises(BoomError):
        await breaker.call_async(bad)
    with pytest.raises(OpenError) as caught:
        await breaker.call_async(bad)
    assert type(caught.value.__cause__) is BoomError
    assert breaker.current_state is State.OPEN


@both
async def test_an_open_circuit_refuses_without_running(make):
    breaker, _ = make(fail_max=1)
    await trip(breaker)
    ran = []
    with pytest.raises(OpenError):
        await breaker.call_async(ran.append, 1)
    with pytest.raises(OpenError):
        breaker.call(ran.append, 1)
    assert ran == []


@both
async def test_a_good_trial_closes(make):
    breaker, advance = make(fail_max=1, timeout_duration=timedelta(seconds=10))
    await trip(breaker)
    advance(10.5)
    assert breaker.current_state is State.OPEN
    assert await breaker.call_async(good) == "good"
    assert breaker.current_state is State.CLOSED
    assert breaker.fail_counter == 0


@both
async def test_a_failed_trial_opens_again(make):
    breaker, advance = make(fail_max=3, timeout_duration=timedelta(seconds=10))
    await trip(breaker)
    advance(10.5)
    with pytest.raises(OpenError) as caught:
        await breaker.call_async(bad)
    assert type(caught.value.__cause__) is BoomError
    assert breaker.current_state is State.OPEN
    with pytest.raises(OpenError):
        await breaker.call_async(good)


@both
async def test_listeners_are_told_in_order(make):
    listener = Recorder()
    breaker, advance = make(fail_max=1, listeners=[listener])
    await breaker.call_async(good)
    await trip(breaker)
    advance(61)
    await breaker.call_async(good)
    assert listener.told == [
        ("before_call", (), {}),
        "success",
        ("before_call", (), {}),
        ("failure", BoomError),
        ("CLOSED", "OPEN"),
        ("OPEN", "HALF_OPEN"),
        ("before_call", (), {}),
        ("HALF_OPEN", "CLOSED"),
        "success",
    ]


@both
async def test_listeners_come_and_go(make):
    breaker, _ = make()
    one, two = Recorder(), Recorder()
    breaker.add_listener(one)
    breaker.add_listeners(two)
    breaker.call(lambda number: number, 7)
    breaker.remove_listener(one)
    breaker.call(lambda: None)
    assert breaker.listeners == (two,)
    assert one.told == [("before_call", (7,), {}), "success"]
    assert len(two.told) == 4


@both
async def test_opening_half_opening_and_closing_by_hand(make):
    listener = Recorder()
    breaker, _ = make(listeners=[listener])
    breaker.open()
    assert (breaker.current_state, type(breaker.state).__mro__[-4:]) == (
        State.OPEN,
        CircuitOpenState.__mro__[-4:],
    )
    assert isinstance(breaker.state, CircuitOpenState)
    with pytest.raises(OpenError):
        await breaker.call_async(good)
    breaker.half_open()
    assert isinstance(breaker.state, CircuitHalfOpenState)
    assert await breaker.call_async(good) == "good"
    assert isinstance(breaker.state, CircuitClosedState)
    breaker.open()
    breaker.close()
    assert breaker.current_state is State.CLOSED
    assert breaker.fail_counter == 0


@both
async def test_excluded_exceptions_do_not_trip(make):
    breaker, _ = make(fail_max=1, exclude=[LookupError, lambda error: error.args == ("business",)])
    for error in (KeyError(), BoomError("business")):

        async def operation(error=error):
            raise error

        with pytest.raises(type(error)) as caught:
            await breaker.call_async(operation)
        assert caught.value is error
    assert breaker.current_state is State.CLOSED
    assert not breaker.is_system_error(KeyError())
    assert breaker.is_system_error(BoomError())


@both
async def test_exclusions_come_and_go(make):
    breaker, _ = make()
    breaker.add_excluded_exception(KeyError)
    breaker.add_excluded_exceptions(IndexError, BoomError)
    breaker.remove_excluded_exception(IndexError)
    assert breaker.excluded_exceptions == (KeyError, BoomError)
    assert not breaker.is_system_error(BoomError())


@both
async def test_decorators(make):
    breaker, _ = make(fail_max=2)

    @breaker
    async def one(number):
        """One."""
        return number

    @breaker()
    def two(number):
        raise BoomError

    assert await one(1) == 1
    assert (one.__name__, one.__doc__) == ("one", "One.")
    with pytest.raises(BoomError):
        two(1)
    with pytest.raises(OpenError):
        two(2)
    with pytest.raises(OpenError):
        await one(1)
    with pytest.raises(TypeError):
        breaker(one, two)


@both
async def test_what_it_has_decorated_is_not_counted_twice(make):
    breaker, _ = make()

    @breaker
    async def once():
        raise BoomError

    @breaker(ignore_on_call=False)
    async def twice():
        raise BoomError

    with pytest.raises(BoomError):
        await breaker.call_async(once)
    assert breaker.fail_counter == 1
    with pytest.raises(BoomError):
        await breaker.call_async(twice)
    assert breaker.fail_counter == 3


@both
async def test_generators_count_when_they_end(make):
    breaker, _ = make(fail_max=2)

    @breaker
    def numbers(*, fail=False):
        got = yield 1
        yield got
        if fail:
            raise BoomError

    items = numbers()
    assert (next(items), items.send(2)) == (1, 2)
    assert list(items) == []
    with pytest.raises(BoomError):
        list(numbers(fail=True))
    assert breaker.fail_counter == 1


@both
async def test_settings_change_while_it_works(make):
    breaker, advance = make()
    breaker.fail_max = 1
    breaker.timeout_duration = timedelta(seconds=5)
    breaker.name = "other"
    assert (breaker.fail_max, breaker.timeout_duration) == (1, timedelta(seconds=5))
    assert breaker.name == "other"
    await trip(breaker)
    advance(5.5)
    assert await breaker.call_async(good) == "good"


@both
async def test_the_error_has_their_attributes(make):
    breaker, _ = make(fail_max=1)
    await trip(breaker)
    with pytest.raises(OpenError) as caught:
        await breaker.call_async(good)
    assert isinstance(caught.value.message, str)
    assert isinstance(caught.value.reopen_time, datetime)
    assert caught.value.reopen_time.tzinfo is None


@both
async def test_cancelled_calls_count_nothing(make):
    breaker, _ = make(fail_max=1)
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(breaker.call_async, anyio.sleep_forever)
        await anyio.wait_all_tasks_blocked()
        tasks.cancel_scope.cancel()
    assert (breaker.current_state, breaker.fail_counter) == (State.CLOSED, 0)


@both
async def test_a_state_object_can_be_called_through(make):
    breaker, _ = make(fail_max=1)
    assert await breaker.state.call_async(good) == "good"
    assert breaker.state.call(lambda: 1) == 1
    await trip(breaker)
    with pytest.raises(OpenError):
        await breaker.state.call_async(good)


# --- where ours differs on purpose -----------------------------------------------------------


@pytest.mark.parametrize("trial", [False, True])
async def test_the_tripping_call_raises_its_own_error_8(trial):
    breaker, advance = ours(fail_max=1, legacy_errors=False)
    if trial:
        await trip(breaker)
        advance(60)
    with pytest.raises(BoomError) as caught:
        await breaker.call_async(bad)
    assert caught.value.__cause__ is None
    assert breaker.current_state is State.OPEN
    with pytest.raises(OpenError):
        await breaker.call_async(good)


async def test_their_error_is_our_refusal_too():
    breaker, _ = ours(fail_max=1)
    await trip(breaker)
    with pytest.raises(CircuitOpenError) as caught:
        await breaker.call_async(good)
    assert (caught.value.code, caught.value.retry_after_s) == ("circuit_open", 60.0)
    again = pickle.loads(pickle.dumps(caught.value))  # noqa: S301
    assert (again.retry_after_s, again.reopen_time, again.message) == (
        60.0,
        caught.value.reopen_time,
        caught.value.message,
    )


async def test_one_trial_for_200_callers_2():
    breaker, advance = ours(fail_max=1)
    await trip(breaker)
    advance(60)
    ran, refused = [], []

    async def held():
        ran.append(1)
        await anyio.sleep_forever()

    async def caller():
        try:
            await breaker.call_async(held)
        except OpenError:
            refused.append(1)

    async with anyio.create_task_group() as tasks:
        for _ in range(200):
            tasks.start_soon(caller)
        await anyio.wait_all_tasks_blocked()
        assert (len(ran), len(refused)) == (1, 199)
        tasks.cancel_scope.cancel()
    # The cancelled trial gave its permit back.
    assert await breaker.call_async(good) == "good"


async def test_late_outcomes_change_nothing_3_4():
    breaker, advance = ours(fail_max=2, timeout_duration=timedelta(seconds=10))
    release = anyio.Event()

    async def late():
        await release.wait()
        raise BoomError

    async def caller():
        with pytest.raises(BoomError):
            await breaker.call_async(late)

    async with anyio.create_task_group() as tasks:
        for _ in range(3):
            tasks.start_soon(caller)
        await anyio.wait_all_tasks_blocked()
        await trip(breaker)
        advance(5)
        before = breaker.time_until_open
        release.set()
        await anyio.wait_all_tasks_blocked()
        assert breaker.time_until_open == before == timedelta(seconds=5)


@pytest.mark.parametrize("step_s", [7_200.0, -7_200.0])
async def test_the_wall_clock_decides_nothing_5_7(step_s):
    clock = FakeClock()
    breaker = AiobreakerCircuitBreaker(fail_max=1, clock=clock)
    with pytest.raises(BoomError):
        await breaker.call_async(bad)
    clock.step_wall(step_s)
    assert breaker.time_until_open == timedelta(seconds=60)
    # Local time, as aiobreaker means it, whatever the zone.
    assert breaker.opens_at.timestamp() == pytest.approx(clock.wall() + 60)
    clock.advance(60)
    assert (breaker.opens_at, breaker.time_until_open) == (None, None)


async def test_a_breaker_that_never_opened_can_be_asked_6():
    breaker, _ = ours()
    assert (breaker.opens_at, breaker.time_until_open) == (None, None)
    await breaker.sleep_until_open()


@pytest.mark.parametrize(
    ("wrong", "field"),
    [
        ({"timeout_duration": timedelta(0)}, "timeout_duration"),
        ({"fail_max": 0}, "consecutive_failures"),
        ({"state_storage": object()}, "state_storage"),
    ],
)
def test_nonsense_is_refused_and_never_read_as_a_default_6(wrong, field):
    with pytest.raises(ValueError, match=field):
        AiobreakerCircuitBreaker(**wrong)


async def test_an_excluded_error_is_no_success_9():
    listener = Recorder()
    breaker, advance = ours(fail_max=2, exclude=[KeyError], listeners=[listener])

    async def business():
        raise KeyError

    with pytest.raises(BoomError):
        await breaker.call_async(bad)
    with pytest.raises(KeyError):
        await breaker.call_async(business)
    assert breaker.fail_counter == 1
    await trip(breaker)
    advance(60)
    with pytest.raises(KeyError):
        await breaker.call_async(business)
    assert breaker.current_state is State.HALF_OPEN
    assert "success" not in listener.told
    assert await breaker.call_async(good) == "good"


async def test_an_excluded_exception_with_a_metaclass_excludes_nothing_else_10():
    class Business(Exception, metaclass=abc.ABCMeta):  # noqa: N818
        pass

    breaker, _ = ours(fail_max=2, exclude=[Business])
    await trip(breaker)
    assert breaker.current_state is State.OPEN


async def test_a_breaker_around_what_another_decorated_runs_both_11():
    outer, _ = ours()
    inner, _ = ours()

    @inner
    async def operation():
        raise BoomError

    with pytest.raises(BoomError):
        await outer.call_async(operation)
    assert (outer.fail_counter, inner.fail_counter) == (1, 1)


@pytest.mark.parametrize("hook", ["before_call", "success", "failure", "state_change"])
async def test_broken_listeners_do_no_harm_12(hook):
    def broken(self, *args, **kwargs):
        raise RuntimeError("secret")

    listener = type("Broken", (aiobreaker.CircuitBreakerListener,), {hook: broken})()
    sink = RecordingSink()
    breaker = AiobreakerCircuitBreaker(
        fail_max=1, listeners=[listener], name="b", clock=FakeClock(), sink=sink
    )
    assert await breaker.call_async(good) == "good"
    with pytest.raises(BoomError):
        await breaker.call_async(bad)
    assert breaker.current_state is State.OPEN
    assert {event.guard for event in sink.of(GuardFailed)} == {f"b.listener.{hook}"}
    assert "secret" not in repr(sink.events)


async def test_sleeping_until_it_opens_works_on_both_loops_16():
    clock = FakeClock(autojump=True)
    breaker = AiobreakerCircuitBreaker(fail_max=1, clock=clock)
    with pytest.raises(BoomError):
        await breaker.call_async(bad)
    await breaker.sleep_until_open()
    assert clock.slept_s == [60.0]
    assert await breaker.call_async(good) == "good"


async def test_the_error_can_be_slept_on_on_both_loops_5_16():
    breaker = AiobreakerCircuitBreaker(fail_max=1, timeout_duration=timedelta(microseconds=1))
    with pytest.raises(BoomError):
        await breaker.call_async(bad)
    breaker.timeout_duration = timedelta(seconds=1)
    with pytest.raises(OpenError) as caught:
        await breaker.call_async(good)
    assert timedelta(0) < caught.value.time_remaining <= timedelta(seconds=1)
    caught.value.reopen_time -= timedelta(seconds=2)
    await caught.value.sleep_until_open()


async def test_partials_objects_and_awaitables_count_when_they_have_ended_18():
    breaker, _ = ours()

    class Callable:
        async def __call__(self):
            raise BoomError

    guarded = breaker(functools.partial(bad))
    for call in (guarded, functools.partial(breaker.call, bad), breaker(Callable())):
        pending = call()
        before = breaker.fail_counter
        with pytest.raises(BoomError):
            await pending
        assert breaker.fail_counter == before + 1


async def test_async_generators_can_be_decorated_18():
    breaker, _ = ours()

    @breaker
    async def numbers(*, fail=False):
        yield 1
        await anyio.lowlevel.checkpoint()
        if fail:
            raise BoomError
        yield 2

    with pytest.raises(BoomError):
        async for _ in numbers(fail=True):
            pass
    assert breaker.fail_counter == 1
    assert [item async for item in numbers()] == [1, 2]
    assert breaker.fail_counter == 0
    items = numbers()
    await anext(items)
    await items.aclose()


@pytest.mark.parametrize("way", ["close", "throw"])
async def test_generators_are_closed_and_thrown_into_and_give_their_permit_back_18(way):
    breaker, advance = ours(fail_max=1, legacy_errors=False)
    await trip(breaker)
    advance(60)
    ended = []

    @breaker
    def numbers():
        try:
            yield 1
        finally:
            ended.append(1)

    items = numbers()
    next(items)
    if way == "close":
        items.close()
        assert breaker.current_state is State.HALF_OPEN
    else:
        with pytest.raises(BoomError):
            items.throw(BoomError())
        assert breaker.current_state is State.OPEN
    assert ended == [1]


async def test_windows_slow_calls_and_permits_of_ours_can_be_had_1_19():
    config = BreakerConfig(window_calls=4, minimum_calls=4, failure_rate=0.5, open_s=10)
    breaker, _ = ours(config=config, legacy_errors=False)
    for operation in (bad, good, bad):
        try:
            await breaker.call_async(operation)
        except BoomError:
            continue
    await breaker.call_async(good)
    assert breaker.current_state is State.OPEN
    assert (breaker.snapshot().failures, breaker.fail_max) == (2, 4)
    assert breaker.config is config


async def test_a_failed_result_counts_19():
    breaker, _ = ours(
        config=BreakerConfig(consecutive_failures=1, is_failure=lambda r: r == "good")
    )
    assert await breaker.call_async(good) == "good"
    assert breaker.current_state is State.OPEN


async def test_a_slow_call_counts_and_a_broken_predicate_gives_the_permit_back():
    clock, sink = FakeClock(), RecordingSink()
    config = BreakerConfig(minimum_calls=1, window_calls=1, slow_call_s=2.0, open_s=10.0)
    breaker = AiobreakerCircuitBreaker(config=config, clock=clock, sink=sink)
    breaker.call(clock.advance, 2.0)
    assert sink.of(BreakerStateChanged)[0].cause == "slow_call_rate"

    def broken(_):
        raise RuntimeError

    breaker.configure(BreakerConfig(is_failure=broken, open_s=10.0))
    clock.advance(10.0)
    for _ in range(2):
        breaker.call(lambda: 1)
    assert breaker.current_state is State.HALF_OPEN


async def test_setting_the_state_moves_it():
    breaker, _ = ours()
    for state in (State.OPEN, State.HALF_OPEN, State.CLOSED):
        breaker.state = state
        assert breaker.current_state is state
        assert breaker.state.state is state
