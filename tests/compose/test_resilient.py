"""resilient(): the order, the parts, asynchronous, synchronous, in threads, as a context."""

import threading

import anyio
import anyio.lowlevel
import pytest
from hypothesis import given, strategies as st

from localmcp_harden.compose.resilient import resilient
from localmcp_harden.core.errors import (
    CircuitOpenError,
    ConfigError,
    DeadlineExceededError,
    ThrottledError,
)
from localmcp_harden.core.events import RetryEnded, RetryScheduled
from localmcp_harden.mechanisms.sync_clock import SyncClock
from localmcp_harden.protocols.chaos import ChaosConfig, ChaosKind, ChaosRule
from localmcp_harden.protocols.degradation import FallbackConfig
from localmcp_harden.protocols.load import BulkheadConfig, Priority, ThrottleConfig
from localmcp_harden.protocols.repeats import HedgeConfig
from localmcp_harden.protocols.resilience import BreakerConfig, BreakerState
from localmcp_harden.resilience.breaker import SlidingWindowBreaker
from localmcp_harden.resilience.budget import QuotaRetryBudget
from localmcp_harden.resilience.deadline import DeadlineConfig
from localmcp_harden.resilience.fallback import OrderedFallback
from localmcp_harden.resilience.retry import RetryConfig, StaminaRetry, attempts_of
from localmcp_harden.testing.chance import FakeRandom
from localmcp_harden.testing.clock import FakeClock
from localmcp_harden.testing.doubles.bulkhead import FakeBulkhead
from localmcp_harden.testing.doubles.chaos import FakeChaos
from localmcp_harden.testing.doubles.retry import FakeRetry
from localmcp_harden.testing.recording import RecordingSink

pytestmark = pytest.mark.anyio

ALL = (
    "deadline",
    "fallback",
    "bulkhead",
    "throttle",
    "hedge",
    "retry",
    "breaker",
    "attempt",
    "chaos",
)


def everything(**changed):
    parts = {
        "name": "api",
        "deadline": DeadlineConfig(timeout_s=10.0),
        "fallback": FallbackConfig(),
        "bulkhead": BulkheadConfig(),
        "throttle": ThrottleConfig(),
        "hedge": HedgeConfig(),
        "retry": RetryConfig(base_s=0.1),
        "breaker": BreakerConfig(),
        "attempt_timeout_s": 2.0,
        "chaos": ChaosConfig(),
        "read_only": True,
        "clock": FakeClock(autojump=True),
        "random": FakeRandom(),
    }
    return resilient(**(parts | changed))


class Flaky:
    def __init__(self, *errors):
        self.errors = list(errors)
        self.calls = 0

    async def __call__(self, value="good"):
        self.calls += 1
        if self.errors:
            raise self.errors.pop(0)
        return value


class Fails(Flaky):
    async def __call__(self, value="good"):
        self.calls += 1
        raise ConnectionError


# --- the order, and what it is for -----------------------------------------------------------


def test_the_description_tells_the_order_and_the_settings():
    described = everything().describe()
    assert described.names == ALL
    assert described.settings("deadline") == DeadlineConfig(timeout_s=10.0)
    assert described.settings("retry").base_s == 0.1
    assert described.settings("attempt") == {"timeout_s": 2.0, "before_deadline": True}
    with pytest.raises(KeyError):
        described.settings("cache")
    assert str(described).splitlines()[0] == "api, outermost first"
    assert "  deadline: ScopeDeadline(timeout_s=10.0)" in str(described)


def test_any_part_may_be_left_out():
    assert resilient().describe().names == ()
    assert resilient(retry=RetryConfig()).describe().names == ("retry",)
    assert resilient(bulkhead=FakeBulkhead()).describe().parts[0].kind == "FakeBulkhead"


async def test_the_blocks_run_in_the_order_of_the_description():
    entered = []

    class Part:
        def __init__(self, name):
            self.name = name

        async def execute(self, operation, /, **_settings):
            entered.append(self.name)
            return await operation()

        def remaining_s(self):
            return None

    names = [name for name in ALL if name != "attempt"]
    pipeline = resilient(read_only=True, **{name: Part(name) for name in names})
    assert await pipeline.execute(Flaky()) == "good"
    assert entered == names
    assert [n for n in pipeline.describe().names if n != "attempt"] == names


async def test_what_goes_well_reaches_the_caller_as_it_is():
    answer = object()

    async def call():
        return answer

    assert await everything().execute(call) is answer
    assert await everything()(call)() is answer
    assert await resilient().execute(call) is answer


async def test_without_parts_errors_are_the_callers():
    with pytest.raises(LookupError):
        await resilient().execute(Flaky(LookupError()))


async def test_a_breaker_inside_a_retry_counts_every_attempt():
    breaker = SlidingWindowBreaker(clock=FakeClock())
    pipeline = everything(breaker=breaker, hedge=None)
    assert await pipeline.execute(Flaky(ConnectionError(), ConnectionError())) == "good"
    assert (breaker.snapshot().failures, breaker.snapshot().calls) == (2, 3)


async def test_an_open_circuit_is_not_retried_and_the_fallback_gets_its_turn():
    breaker = SlidingWindowBreaker(BreakerConfig(minimum_calls=1, window_calls=1))
    pipeline = everything(breaker=breaker, fallback=OrderedFallback(value="instead"), hedge=None)
    operation = Fails()
    assert await pipeline.execute(operation) == "instead"
    # The first attempt opened the circuit; the second was refused, and that is final.
    assert operation.calls == 1
    assert breaker.get_state() is BreakerState.OPEN


async def test_a_long_retry_after_ends_the_loop_and_the_fallback_answers():
    error = ConnectionError()
    error.retry_after_s = 3_600.0
    clock = FakeClock(autojump=True)
    pipeline = everything(fallback=OrderedFallback(value="instead"), hedge=None, clock=clock)
    assert await pipeline.execute(Flaky(error)) == "instead"
    assert clock.slept_s == []


async def test_events_carry_the_name():
    sink = RecordingSink()
    pipeline = everything(sink=sink, hedge=None)
    await pipeline.execute(Flaky(ConnectionError()))
    assert {e.operation for e in sink.of(RetryScheduled) + sink.of(RetryEnded)} == {"api"}
    brought = FakeRetry()
    await resilient(name="mine", retry=brought).execute(Flaky(ConnectionError()))
    assert [event.operation for event in brought.scheduled] == ["mine"]


async def test_results_that_are_failures_are_retried_and_counted():
    answers = ["bad", "bad", "good"]

    async def call():
        return answers.pop(0)

    breaker_config = BreakerConfig()
    pipeline = everything(is_failure=lambda answer: answer == "bad", breaker=breaker_config)
    assert await pipeline.execute(call) == "good"
    assert pipeline.describe().settings("breaker").is_failure("bad")


async def test_an_own_judgement_of_a_part_stays():
    mine = BreakerConfig(is_failure=lambda _: False)
    pipeline = everything(is_failure=lambda _: True, breaker=mine)
    assert pipeline.describe().settings("breaker") == mine


async def test_a_bulkhead_is_told_the_priority():
    seen = []

    class Bulkhead:
        async def execute(self, operation, /, *, priority=Priority.NORMAL):
            seen.append(priority)
            return await operation()

    await resilient(bulkhead=Bulkhead()).execute(Flaky())
    await resilient(bulkhead=Bulkhead(), priority=Priority.LOW).execute(Flaky())
    assert seen == [Priority.NORMAL, Priority.LOW]


# --- time --------------------------------------------------------------------------------------


async def advance(clock, *steps):
    for seconds in steps:
        await anyio.wait_all_tasks_blocked()
        clock.advance(seconds)
    await anyio.wait_all_tasks_blocked()


async def ends_after(pipeline, clock, *steps):
    """Run an operation that hangs and let time pass; return how it ended."""
    ended = []

    async def run():
        try:
            await pipeline.execute(anyio.sleep_forever)
        except Exception as error:
            ended.append(error)

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(run)
        await advance(clock, *steps)
        tasks.cancel_scope.cancel()
    return ended


async def test_an_attempt_that_is_cut_off_is_a_failure_to_the_breaker_and_retried():
    clock = FakeClock()
    pipeline = resilient(
        retry=RetryConfig(attempts=2, base_s=0.0),
        breaker=BreakerConfig(),
        attempt_timeout_s=2.0,
        clock=clock,
    )
    (error,) = await ends_after(pipeline, clock, 2.0, 0.0, 2.0)
    assert isinstance(error, TimeoutError)
    assert len(attempts_of(error)) == 2
    assert pipeline._parts.breaker.snapshot().failures == 2


async def test_the_attempt_timeout_of_a_retry_moves_inside_the_breaker():
    clock = FakeClock()
    config = RetryConfig(attempts=1, attempt_timeout_s=2.0)
    pipeline = resilient(retry=config, breaker=BreakerConfig(), clock=clock)
    assert pipeline.describe().settings("attempt") == {"timeout_s": 2.0, "before_deadline": False}
    await ends_after(pipeline, clock, 2.0)
    assert pipeline._parts.breaker.snapshot().failures == 1


async def test_a_call_that_uses_up_its_deadline_is_a_failure_to_the_breaker():
    clock = FakeClock()
    pipeline = resilient(
        deadline=DeadlineConfig(timeout_s=5.0), breaker=BreakerConfig(), clock=clock
    )
    (error,) = await ends_after(pipeline, clock, 4.98, 0.01)
    assert isinstance(error, DeadlineExceededError)
    assert pipeline._parts.breaker.snapshot().failures == 1


async def test_without_a_breaker_the_deadline_is_exact():
    clock = FakeClock()
    pipeline = resilient(
        deadline=DeadlineConfig(timeout_s=5.0), attempt_timeout_s=60.0, clock=clock
    )
    assert await ends_after(pipeline, clock, 4.995) == []
    (error,) = await ends_after(pipeline, clock, 5.0)
    assert str(error) == "the call did not finish within 5 seconds"


async def test_a_cancellation_from_outside_is_no_failure_to_the_breaker():
    clock = FakeClock()
    pipeline = everything(clock=clock, hedge=None)
    assert await ends_after(pipeline, clock, 0.0) == []
    assert pipeline._parts.breaker.snapshot().calls == 0
    assert pipeline._parts.bulkhead.snapshot().running == 0


@pytest.mark.parametrize("turns", range(12))
@pytest.mark.parametrize("hedge", [None, HedgeConfig(percentile=None, delay_s=0.5)])
async def test_wherever_it_is_cancelled_everything_is_given_back(turns, hedge):
    clock = FakeClock(autojump=True)
    pipeline = everything(clock=clock, hedge=hedge, bulkhead=BulkheadConfig(max_concurrent=1))
    errors = [ConnectionError(), ConnectionError()]

    async def call():
        await anyio.lowlevel.checkpoint()
        await anyio.lowlevel.checkpoint()
        if errors:
            raise errors.pop()
        return "good"

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(pipeline.execute, call)
        for _ in range(turns):
            await anyio.lowlevel.checkpoint()
        tasks.cancel_scope.cancel()
    assert pipeline._parts.bulkhead.snapshot().running == 0
    assert pipeline._parts.deadline.remaining_s() is None
    assert clock._due == []
    # The next call finds everything as it should be, nested-retry guard included.
    errors[:] = [ConnectionError()]
    assert await pipeline.execute(call) == "good"


async def test_without_time_limits_no_scope_is_opened():
    class NoScopes(FakeClock):
        def cut_after(self, seconds, /):
            raise AssertionError(seconds)

    pipeline = everything(
        deadline=None, attempt_timeout_s=None, hedge=None, clock=NoScopes(autojump=True)
    )
    assert await pipeline.execute(Flaky(ConnectionError())) == "good"


async def test_no_wait_is_begun_that_the_deadline_would_cut():
    clock = FakeClock(autojump=True)
    sink = RecordingSink()
    pipeline = resilient(
        deadline=DeadlineConfig(timeout_s=1.0),
        retry=RetryConfig(base_s=30.0, max_wait_s=30.0),
        clock=clock,
        random=FakeRandom(0.9),
        sink=sink,
    )
    with pytest.raises(ConnectionError):
        await pipeline.execute(Fails())
    assert (clock.slept_s, sink.of(RetryEnded)[0].outcome) == ([], "deadline")


@given(
    timeout=st.floats(0.1, 20),
    base=st.floats(0, 10),
    position=st.floats(0, 1),
    attempts=st.integers(1, 8),
)
def test_all_waits_stay_within_the_deadline(timeout, base, position, attempts):
    clock = FakeClock(autojump=True)
    pipeline = resilient(
        deadline=DeadlineConfig(timeout_s=timeout),
        retry=RetryConfig(attempts=attempts, base_s=base, max_wait_s=10.0),
        breaker=BreakerConfig(),
        clock=clock,
        random=FakeRandom(position),
    )
    with pytest.raises((ConnectionError, DeadlineExceededError)):
        anyio.run(pipeline.execute, Fails())
    assert sum(clock.slept_s) <= timeout


# --- hedge, budget, chaos ------------------------------------------------------------------------


def test_a_hedge_asks_for_operations_that_change_nothing():
    with pytest.raises(ConfigError, match="read_only"):
        resilient(hedge=HedgeConfig())


async def test_hedge_and_retry_share_a_budget_and_count_a_call_once():
    begun = []

    class Budget:
        def begin(self):
            begun.append("begin")

        def take(self, *, timed_out=False):
            begun.append("take")
            return 1.0

        def succeed(self, taken=0.0, /):
            begun.append(taken)

    pipeline = everything(budget=Budget())
    await pipeline.execute(Flaky(ConnectionError()))
    assert begun.count("begin") == 1
    assert begun.count("take") == 1


async def test_a_spent_budget_bounds_all_repeats():
    budget = QuotaRetryBudget()
    while budget.take():
        pass
    operation = Fails()
    with pytest.raises(ConnectionError):
        await everything(budget=budget, hedge=None).execute(operation)
    assert operation.calls == 1


async def test_chaos_is_what_all_other_parts_see():
    chaos = FakeChaos()
    chaos.next += [ChaosRule(kind=ChaosKind.FAULT, rate=1.0)]
    breaker = SlidingWindowBreaker(clock=FakeClock())
    operation = Flaky()
    assert await everything(chaos=chaos, breaker=breaker, hedge=None).execute(operation) == "good"
    assert operation.calls == 1
    assert breaker.snapshot().failures == 1
    assert [event.operation for event in chaos.made] == ["api"]


async def test_latency_by_chaos_is_cut_off_like_the_targets_own():
    clock = FakeClock()
    pipeline = resilient(
        attempt_timeout_s=1.0,
        chaos=ChaosConfig(rules=(ChaosRule(kind=ChaosKind.LATENCY, rate=1.0, delay_s=30.0),)),
        clock=clock,
    )
    pipeline._parts.chaos.begin(60.0)
    (error,) = await ends_after(pipeline, clock, 1.0)
    assert isinstance(error, TimeoutError)


# --- decorated functions -------------------------------------------------------------------------


async def test_a_decorated_function_keeps_its_name_and_its_arguments():
    @everything(hedge=None)
    async def search(word, *, limit=3):
        """Search."""
        return word, limit

    assert (search.__name__, search.__doc__) == ("search", "Search.")
    assert await search("x", limit=5) == ("x", 5)


async def test_callable_objects_and_methods_are_decorated_too():
    flaky = Flaky(ConnectionError())
    assert await everything(hedge=None)(flaky.__call__)("a") == "a"
    pipeline = everything(hedge=None)

    class Client:
        @pipeline
        async def get(self, value):
            return value

    assert await Client().get(4) == 4


def test_generators_are_refused():
    async def stream():
        yield 1

    def steps():
        yield 1

    for function in (stream, steps):
        with pytest.raises(ConfigError, match="generator"):
            resilient()(function)


async def test_a_fallback_keeps_results_by_key():
    stale = FallbackConfig(max_stale_s=60.0)
    pipeline = resilient(
        fallback=stale, key=lambda word, **_: word, deadline=DeadlineConfig(), clock=FakeClock()
    )
    fails = []

    @pipeline
    async def search(word, limit=1):
        if fails:
            raise ConnectionError
        return f"{word} found"

    assert await search("x", limit=2) == "x found"
    fails.append(True)
    assert await search("x") == "x found"
    with pytest.raises(ConnectionError):
        await search("y")


async def test_a_keyed_call_is_still_retried():
    pipeline = everything(key=lambda value: value, hedge=None)
    flaky = Flaky(ConnectionError())
    assert await pipeline(flaky)("z") == "z"
    assert flaky.calls == 2


@pytest.mark.parametrize(
    ("settings", "field"),
    [({"key": str}, "key"), ({"attempt_timeout_s": 0.0}, "attempt_timeout_s"),
     ({"attempt_timeout_s": float("nan")}, "attempt_timeout_s")],
)  # fmt: skip
def test_what_makes_no_sense_is_refused(settings, field):
    with pytest.raises(ConfigError, match=field):
        resilient(**settings)


# --- synchronous functions ----------------------------------------------------------------------


def sync(**parts):
    return resilient(**({"clock": SyncClock(), "random": FakeRandom(0.0)} | parts))


def test_a_synchronous_function_is_retried_and_counted():
    pipeline = sync(retry=RetryConfig(), breaker=BreakerConfig(), throttle=ThrottleConfig())
    errors = [ConnectionError(), TimeoutError()]

    @pipeline
    def search(word):
        if errors:
            raise errors.pop()
        return word

    assert search("x") == "x"
    assert pipeline._parts.breaker.snapshot().failures == 2


def test_a_synchronous_error_tells_its_attempts():
    @sync(retry=RetryConfig(attempts=2))
    def search():
        raise ConnectionError

    with pytest.raises(ConnectionError) as caught:
        search()
    assert len(attempts_of(caught.value)) == 2


def test_an_open_circuit_refuses_a_synchronous_call():
    @sync(breaker=BreakerConfig(minimum_calls=1, window_calls=1))
    def search():
        raise ConnectionError

    with pytest.raises(ConnectionError):
        search()
    with pytest.raises(CircuitOpenError):
        search()


def test_a_synchronous_function_has_a_fallback():
    @sync(fallback=OrderedFallback(value="instead"))
    def search():
        raise ConnectionError

    assert search() == "instead"


@pytest.mark.parametrize(
    "part",
    [
        {"deadline": DeadlineConfig()},
        {"bulkhead": BulkheadConfig()},
        {"hedge": HedgeConfig(), "read_only": True},
        {"attempt_timeout_s": 1.0},
        {"retry": RetryConfig(attempt_timeout_s=1.0)},
        {"retry": RetryConfig(total_timeout_s=1.0)},
        {"retry": StaminaRetry(RetryConfig(attempt_timeout_s=1.0))},
    ],
)
def test_parts_that_need_an_event_loop_are_refused_for_synchronous_functions(part):
    with pytest.raises(ConfigError, match=r"leave (it )?out"):
        sync(**part)(lambda: 1)


def test_a_synchronous_function_asks_for_a_synchronous_clock():
    with pytest.raises(ConfigError, match="SyncClock"):
        resilient(breaker=BreakerConfig())(lambda: 1)


def test_an_asynchronous_function_refuses_a_synchronous_clock():
    with pytest.raises(ConfigError, match="clock"):
        sync(retry=RetryConfig())(Flaky())


def test_a_part_that_waits_for_an_event_loop_is_told_of():
    class Waits:
        async def execute(self, operation, /, **_settings):
            class Forever:
                def __await__(self):
                    yield

            await Forever()

    with pytest.raises(ConfigError, match="event loop"):
        sync(breaker=Waits())(lambda: 1)()


def test_a_synchronous_pipeline_belongs_to_one_thread():
    search = sync(breaker=BreakerConfig())(lambda: "found")
    assert search() == "found"
    seen = []

    def elsewhere():
        try:
            search()
        except ConfigError as error:
            seen.append(str(error))

    thread = threading.Thread(target=elsewhere)
    thread.start()
    thread.join()
    assert "thread" in seen[0]


async def test_a_synchronous_retry_does_not_stop_an_event_loop():
    search = sync(retry=RetryConfig())(lambda: "found")
    with pytest.raises(ConfigError, match="event loop"):
        search()
    assert sync(breaker=BreakerConfig())(lambda: "found")() == "found"


async def test_in_a_thread_a_synchronous_function_has_all_parts():
    threads = []

    def search(word):
        threads.append(threading.get_ident())
        if len(threads) == 1:
            raise ConnectionError
        return word

    pipeline = everything(hedge=None)
    assert await pipeline.in_thread(search)("x") == "x"
    assert len(threads) == 2
    assert threading.get_ident() not in threads


def test_in_thread_is_for_synchronous_functions():
    with pytest.raises(ConfigError, match="synchronous"):
        resilient().in_thread(Flaky())


# --- as a context -----------------------------------------------------------------------------


def contextual(**changed):
    return everything(**({"fallback": None, "hedge": None, "retry": None} | changed))


async def test_a_body_runs_behind_the_parts():
    pipeline = contextual()
    async with pipeline.body():
        assert pipeline._parts.bulkhead.snapshot().running == 1
        assert pipeline._parts.deadline.remaining_s() == 10.0
        await anyio.lowlevel.checkpoint()
    assert pipeline._parts.bulkhead.snapshot().running == 0
    assert pipeline._parts.breaker.snapshot().calls == 1
    assert pipeline._parts.deadline.remaining_s() is None


async def test_a_bodys_error_is_its_own_and_counted():
    pipeline = contextual()
    mine = LookupError()
    with pytest.raises(LookupError) as caught:
        async with pipeline.body():
            raise mine
    assert caught.value is mine
    assert pipeline._parts.breaker.snapshot().failures == 1


async def test_a_body_is_cut_off():
    clock = FakeClock()
    pipeline = contextual(clock=clock, attempt_timeout_s=None)

    async def run():
        async with pipeline.body():
            clock.advance(9.995)
            await anyio.sleep_forever()

    with pytest.raises(DeadlineExceededError):
        await run()
    assert pipeline._parts.breaker.snapshot().failures == 1
    assert clock._due == []


async def test_a_refused_body_does_not_run():
    pipeline = contextual(breaker=BreakerConfig(minimum_calls=1, window_calls=1))
    with pytest.raises(LookupError):
        async with pipeline.body():
            raise LookupError
    with pytest.raises(CircuitOpenError):
        async with pipeline.body():
            raise AssertionError


async def test_a_cancelled_body_gives_everything_back():
    pipeline = contextual(clock=FakeClock())

    async def run():
        async with pipeline.body():
            await anyio.sleep_forever()

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(run)
        await anyio.wait_all_tasks_blocked()
        tasks.cancel_scope.cancel()
    assert pipeline._parts.bulkhead.snapshot().running == 0
    assert pipeline._parts.breaker.snapshot().calls == 0


async def test_a_body_waits_for_its_turn():
    pipeline = contextual(bulkhead=BulkheadConfig(max_concurrent=1), clock=FakeClock())
    order = []
    first_in, release = anyio.Event(), anyio.Event()

    async def first():
        async with pipeline.body():
            order.append("first")
            first_in.set()
            await release.wait()

    async def second():
        await first_in.wait()
        async with pipeline.body():
            order.append("second")

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(first)
        tasks.start_soon(second)
        await anyio.wait_all_tasks_blocked()
        assert order == ["first"]
        release.set()
    assert order == ["first", "second"]


@pytest.mark.parametrize(
    "part", [{"retry": RetryConfig()}, {"fallback": FallbackConfig()}, {"hedge": HedgeConfig()}]
)
async def test_a_body_that_would_run_twice_is_refused(part):
    with pytest.raises(ConfigError, match="runs once"):
        async with contextual(**part).body():
            raise AssertionError


async def test_a_part_that_answers_instead_of_the_body_is_refused():
    breaker = SlidingWindowBreaker(BreakerConfig(minimum_calls=1, window_calls=1))

    async def instead():
        return None

    breaker.set_fallback(instead)
    pipeline = resilient(breaker=breaker)
    with pytest.raises(LookupError):
        async with pipeline.body():
            raise LookupError
    with pytest.raises(ConfigError, match="in place of the body"):
        async with pipeline.body():
            raise AssertionError


async def test_a_part_that_would_run_the_body_again_is_refused():
    with pytest.raises(ConfigError, match="run the body again"):
        async with resilient(breaker=FakeRetry(retry_on=(LookupError,))).body():
            raise LookupError


async def test_one_limit_for_several_calls():
    clock = FakeClock()
    pipeline = everything(clock=clock, hedge=None)
    seen = []

    async def call():
        seen.append(pipeline._parts.deadline.remaining_s())
        clock.advance(1.0)

    with pipeline.limit(4.0):
        await pipeline.execute(call)
        await pipeline.execute(call)
    assert seen == [4.0, 3.0]


def test_a_limit_asks_for_a_deadline_that_can():
    with pytest.raises(ConfigError, match="deadline"):
        resilient().limit(4.0)


async def test_a_throttled_call_is_not_retried():
    class Throttle:
        async def execute(self, operation, /):
            raise ThrottledError("no")

    operation = Flaky()
    with pytest.raises(ThrottledError):
        await everything(throttle=Throttle(), fallback=None).execute(operation)
    assert operation.calls == 0
