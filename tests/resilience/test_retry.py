"""StaminaRetry: what is its own, and what stamina sees of it."""

import contextlib
import gc
import logging
import subprocess
import sys
import time
import traceback
import weakref

import anyio
import pytest
import stamina
from hypothesis import given, strategies as st
from stamina.instrumentation import LoggingOnRetryHook

from localmcp_harden.core.errors import RateLimitedError, RefusedError
from localmcp_harden.core.events import GuardFailed, RetryEnded, RetryScheduled
from localmcp_harden.core.model import Outcome
from localmcp_harden.mechanisms import attempt_counter
from localmcp_harden.mechanisms.chance import SystemRandom
from localmcp_harden.resilience.retry import RetryConfig, StaminaRetry
from localmcp_harden.testing.chance import FakeRandom
from localmcp_harden.testing.clock import FakeClock
from localmcp_harden.testing.doubles.retry import FakeRetry
from localmcp_harden.testing.recording import RecordingSink

pytestmark = pytest.mark.anyio


@pytest.fixture(autouse=True)
def seen_by_stamina():
    """What stamina hands its hooks; its global hooks are ours to set only in a test."""
    seen = []
    stamina.instrumentation.set_on_retry_hooks([seen.append, LoggingOnRetryHook])
    yield seen
    stamina.instrumentation.set_on_retry_hooks(None)


def make(*, sink=None, remaining_s=None, random=None, **settings):
    chosen = {"attempts": 4, "base_s": 1.0, "max_wait_s": 30.0}
    clock = FakeClock(autojump=True)
    retry = StaminaRetry(
        RetryConfig(**(chosen | settings)),
        name="t",
        clock=clock,
        random=random or FakeRandom(),
        sink=sink or RecordingSink(),
        remaining_s=remaining_s,
    )
    return retry, clock


class Flaky:
    """Fails with these errors in turn, then returns `good`."""

    def __init__(self, *errors):
        self.errors = list(errors)
        self.calls = 0

    async def __call__(self):
        self.calls += 1
        if self.errors:
            raise self.errors.pop(0)
        return "good"


class AlwaysFails:
    def __init__(self, kind=ConnectionError):
        self.kind = kind
        self.calls = 0

    async def __call__(self):
        self.calls += 1
        raise self.kind


# --- stamina: what it sees, what it decides ------------------------------------------


async def test_staminas_hooks_and_log_lines_see_nothing_of_ours(seen_by_stamina, caplog, capfd):
    retry, clock = make()
    with caplog.at_level(logging.DEBUG), pytest.raises(ConnectionError):
        await retry.execute(lambda: fail_with(ConnectionError("hunter2")))
    assert len(clock.slept_s) == 3
    assert (seen_by_stamina, caplog.records) == ([], [])
    assert capfd.readouterr() == ("", "")


async def test_stamina_never_sleeps(monkeypatch):
    def sleep(seconds):
        raise AssertionError(seconds)

    monkeypatch.setattr(time, "sleep", sleep)
    retry, clock = make()
    assert await retry.execute(Flaky(ConnectionError(), ConnectionError())) == "good"
    assert clock.slept_s == [0.5, 1.0]


async def test_staminas_own_loops_keep_their_hooks(seen_by_stamina):
    retry, _ = make()
    await retry.execute(Flaky(ConnectionError()))
    async for attempt in stamina.retry_context(on=ConnectionError, wait_initial=0, wait_jitter=0):
        with attempt:
            if attempt.num == 1:
                raise ConnectionError
    assert len(seen_by_stamina) == 1


async def test_a_context_manager_hook_is_never_entered_for_ours():
    entered = []

    @contextlib.contextmanager
    def hook(_details):
        entered.append(1)
        yield

    stamina.instrumentation.set_on_retry_hooks([hook])
    retry, _ = make()
    for _ in range(5):
        await retry.execute(Flaky(ConnectionError(), ConnectionError()))
    assert entered == []


async def test_another_stamina_would_show_its_hooks_no_secret(monkeypatch, seen_by_stamina):
    # What happens when a version of stamina keeps its loop where we do not find it.
    monkeypatch.setattr(attempt_counter, "_silence", lambda _turn: None)
    retry, _ = make()
    try:
        raise ValueError("hunter2")
    except ValueError:
        await retry.execute(Flaky(ConnectionError("hunter2")))
    (details,) = seen_by_stamina
    shown = details.caused_by
    assert "hunter2" not in repr(details)
    assert (shown.args, shown.__cause__, shown.__context__) == ((), None, None)
    assert (shown.__traceback__, details.wait_for) == (None, 0.0)


async def fail_with(error):
    raise error


async def test_stamina_switched_off_by_the_host_is_off_here_too():
    retry, clock = make()
    with stamina.set_testing(True):
        operation = AlwaysFails()
        with pytest.raises(ConnectionError):
            await retry.execute(operation)
    assert operation.calls == 1
    assert clock.slept_s == []
    stamina.set_active(False)
    try:
        with pytest.raises(ConnectionError):
            await retry.execute(operation)
    finally:
        stamina.set_active(True)
    assert operation.calls == 2


async def test_a_hook_of_the_host_that_raises_costs_no_error(monkeypatch):
    def broken(_details):
        raise RuntimeError("hook")

    monkeypatch.setattr(attempt_counter, "_silence", lambda _turn: None)
    stamina.instrumentation.set_on_retry_hooks([broken])
    sink = RecordingSink()
    retry, _ = make(sink=sink)
    mine = ConnectionError("mine")
    with pytest.raises(ConnectionError) as caught:
        await retry.execute(Flaky(mine))
    assert caught.value is mine
    (failed,) = sink.of(GuardFailed)
    assert (failed.guard, failed.error_type) == ("t.stamina", "RuntimeError")


def test_a_success_does_not_import_stamina():
    program = (
        "import anyio, sys\n"
        "from localmcp_harden.resilience.retry import StaminaRetry\n"
        "async def good(): return 1\n"
        "async def bad(): raise TimeoutError\n"
        "retry = StaminaRetry()\n"
        "assert anyio.run(retry.execute, good) == 1\n"
        "assert 'stamina' not in sys.modules and 'tenacity' not in sys.modules\n"
    )
    ended = subprocess.run([sys.executable, "-c", program], capture_output=True, check=False)
    assert ended.returncode == 0, ended.stderr.decode()


# --- waits -----------------------------------------------------------------------------


@given(
    base=st.floats(0, 100),
    limit=st.floats(0, 100),
    position=st.floats(0, 1),
    attempts=st.integers(2, 12),
)
def test_waits_stay_within_full_jitter(base, limit, position, attempts):
    retry, clock = make(
        attempts=attempts, base_s=base, max_wait_s=limit, random=FakeRandom(position)
    )
    stamina.instrumentation.set_on_retry_hooks([])
    with pytest.raises(ConnectionError):
        anyio.run(retry.execute, AlwaysFails())
    assert len(clock.slept_s) == attempts - 1
    for repetition, waited in enumerate(clock.slept_s):
        assert 0 <= waited <= min(limit, base * 2**repetition)


async def test_jitter_does_not_vanish_at_the_cap():
    retry, clock = make(attempts=60, base_s=1.0, max_wait_s=1.0, random=SystemRandom())
    with pytest.raises(ConnectionError):
        await retry.execute(AlwaysFails())
    assert len(set(clock.slept_s[1:])) > 50


@pytest.mark.parametrize("asked", [None, float("nan"), -5.0, "soon", True, object()])
async def test_an_asked_wait_that_makes_no_sense_is_not_kept(asked):
    error = ConnectionError()
    error.retry_after_s = asked
    retry, clock = make(random=FakeRandom(0.0))
    assert await retry.execute(Flaky(error)) == "good"
    assert clock.slept_s == [0.0]


async def test_an_asked_wait_that_can_not_be_read_is_reported():
    class Odd(ConnectionError):  # noqa: N818
        @property
        def retry_after_s(self):
            raise RuntimeError

    sink = RecordingSink()
    retry, _ = make(sink=sink)
    assert await retry.execute(Flaky(Odd())) == "good"
    assert sink.of(GuardFailed)[0].guard == "t.retry_after_s"


async def test_a_wait_that_the_deadline_does_not_leave_is_not_begun():
    left = [10.0, 0.4]
    retry, clock = make(remaining_s=lambda: left.pop(0))
    operation = AlwaysFails()
    with pytest.raises(ConnectionError):
        await retry.execute(operation)
    assert clock.slept_s == [0.5]
    assert operation.calls == 2


async def test_without_a_deadline_nothing_is_cut_short():
    retry, clock = make(remaining_s=lambda: None)
    await retry.execute(Flaky(ConnectionError()))
    assert clock.slept_s == [0.5]


# --- what is retried -------------------------------------------------------------------


@pytest.mark.parametrize(
    ("error", "calls"),
    [
        (ConnectionResetError(), 4),
        (TimeoutError(), 4),
        (FileNotFoundError(), 1),
        (ValueError(), 1),
        (RateLimitedError("no", 0.1), 1),
        (ExceptionGroup("g", [ConnectionError(), TimeoutError()]), 4),
        (ExceptionGroup("g", [ConnectionError(), RefusedError("no")]), 1),
    ],
)
async def test_defaults_repeat_passing_faults_only(error, calls):
    retry, _ = make()
    count = []

    async def operation():
        count.append(1)
        raise error

    with pytest.raises(type(error)):
        await retry.execute(operation)
    assert len(count) == calls


async def test_naming_one_refusal_names_no_other():
    retry, _ = make(retry_on=(Exception, RateLimitedError))
    limited, refused = Flaky(RateLimitedError("no", 0.1)), Flaky(RefusedError("no"))
    assert await retry.execute(limited) == "good"
    with pytest.raises(RefusedError):
        await retry.execute(refused)


async def test_a_group_without_end_is_not_searched_for_ever():
    retry, _ = make()
    group = ExceptionGroup("g", [ConnectionError() for _ in range(2_000)])
    operation = Flaky(group)
    with pytest.raises(ExceptionGroup):
        await retry.execute(operation)
    assert operation.calls == 1


async def test_a_predicate_that_raises_takes_no_result_away():
    def broken(_result):
        raise RuntimeError("secret")

    sink = RecordingSink()
    retry, _ = make(sink=sink)
    assert await retry.execute(Flaky(), is_failure=broken) == "good"
    assert sink.of(GuardFailed)[0].guard == "t.is_failure"
    assert "secret" not in repr(sink.events)


async def test_a_metaclass_that_raises_makes_an_error_final():
    class Meta(type):
        def __instancecheck__(cls, instance):
            raise RuntimeError

    class Odd(Exception, metaclass=Meta):  # noqa: N818
        pass

    sink = RecordingSink()
    retry, _ = make(sink=sink, retry_on=(Odd,))
    with pytest.raises(ConnectionError):
        await retry.execute(Flaky(ConnectionError()))
    assert sink.of(GuardFailed)[0].guard == "t.retry_on"


async def test_the_chains_outcomes_say_what_failed_and_how_long_to_wait():
    sink = RecordingSink()
    retry, clock = make(sink=sink, random=FakeRandom(0.0))
    failure = ConnectionError()
    failure.retry_after_s = 3.0
    outcomes = [Outcome(failure=failure), Outcome(is_error=True), Outcome(value=1)]

    async def operation():
        return outcomes.pop(0)

    result = await retry.execute(operation, is_failure=lambda outcome: not outcome.is_success)
    assert result.value == 1
    assert clock.slept_s == [3.0, 0.0]
    assert [event.error_type for event in sink.of(RetryScheduled)] == ["ConnectionError", "result"]


# --- what the caller sees ----------------------------------------------------------------


async def test_events_tell_of_every_repetition():
    sink = RecordingSink()
    retry, _ = make(sink=sink)
    await retry.execute(Flaky(ConnectionError("secret"), TimeoutError()))
    told = [(e.operation, e.attempt, e.wait_s, e.error_type) for e in sink.of(RetryScheduled)]
    assert told == [("t", 1, 0.5, "ConnectionError"), ("t", 2, 1.0, "TimeoutError")]
    assert "secret" not in repr(sink.events)


async def test_a_sink_that_raises_stops_no_repetition():
    def sink(_event):
        raise RuntimeError

    retry, _ = make(sink=sink)
    assert await retry.execute(Flaky(ConnectionError())) == "good"


async def test_the_note_tells_the_history_and_no_message():
    retry, _ = make(attempts=3)
    errors = [ConnectionError("secret"), TimeoutError(), ConnectionError()]
    with pytest.raises(ConnectionError) as caught:
        await retry.execute(Flaky(*errors))
    assert caught.value.__notes__ == [
        "gave up after 3 attempts: ConnectionError, TimeoutError, ConnectionError"
    ]
    assert caught.value.__context__ is None


async def test_an_error_that_is_raised_again_and_again_collects_no_notes():
    retry, _ = make(attempts=2)
    only = ConnectionError()
    for _ in range(50):
        with pytest.raises(ConnectionError):
            await retry.execute(lambda: fail_with(only))
    assert len(only.__notes__) == 1


async def test_an_error_leaves_no_cycle_and_few_frames():
    class BoomError(ConnectionError):
        pass

    retry, _ = make(attempts=3)
    kept, names = [], None

    async def operation():
        error = BoomError()
        kept.append(weakref.ref(error))
        try:
            raise error
        finally:
            del error

    gc.collect()
    gc.disable()
    try:
        try:
            await retry.execute(operation)
        except BoomError as error:
            names = [frame.name for frame in traceback.extract_tb(error.__traceback__)]
        assert [reference() for reference in kept] == [None, None, None]
    finally:
        gc.enable()
    assert names[1:] == ["execute", "_repeat", "_attempt", "operation"]


async def test_a_single_attempt_is_no_retry(seen_by_stamina):
    sink = RecordingSink()
    retry, _ = make(attempts=1, sink=sink)
    with pytest.raises(ConnectionError) as caught:
        await retry.execute(AlwaysFails())
    assert not hasattr(caught.value, "__notes__")
    assert await retry.execute(Flaky(), is_failure=bool) == "good"
    assert (seen_by_stamina, sink.events) == ([], [])


async def test_spent_attempts_are_no_fault_of_a_guard():
    sink = RecordingSink()
    retry, _ = make(sink=sink)
    with pytest.raises(ConnectionError):
        await retry.execute(AlwaysFails())
    assert {type(event) for event in sink.events} == {RetryScheduled, RetryEnded}


# --- retries in retries --------------------------------------------------------------------


async def test_nested_retries_add_up_and_do_not_multiply():
    operation = AlwaysFails()
    outer, inner = make()[0], make()[0]
    with pytest.raises(ConnectionError):
        await outer.execute(lambda: inner.execute(operation))
    assert operation.calls == 4 + 3


async def test_nested_retries_of_results_add_up_too():
    operation = Flaky()
    outer, inner = make()[0], make()[0]
    await outer.execute(
        lambda: inner.execute(operation, is_failure=lambda _: True), is_failure=lambda _: True
    )
    assert operation.calls == 4 + 3


async def test_a_retry_after_a_repeated_one_repeats_again():
    retry, _ = make()
    await retry.execute(Flaky(ConnectionError()))
    operation = Flaky(ConnectionError())
    assert await retry.execute(operation) == "good"
    assert operation.calls == 2


async def test_a_task_that_outlives_a_repetition_may_retry():
    outer, inner = make()[0], make()[0]
    later = Flaky(ConnectionError())
    release = anyio.Event()
    answers = []

    async def background():
        await release.wait()
        answers.append(await inner.execute(later))

    async with anyio.create_task_group() as tasks:
        first = [True]

        async def operation():
            if first.pop() if first else False:
                raise ConnectionError
            tasks.start_soon(background)

        await outer.execute(operation)
        release.set()
    assert answers == ["good"]


# --- settings and the fake -------------------------------------------------------------------


@pytest.mark.parametrize(
    "wrong",
    [
        {"attempts": 0},
        {"attempts": 101},
        {"base_s": -1.0},
        {"base_s": float("nan")},
        {"max_wait_s": float("inf")},
    ],
)
def test_numbers_out_of_range_are_refused(wrong):
    with pytest.raises(ValueError, match=next(iter(wrong))):
        RetryConfig(**wrong)


@pytest.mark.parametrize(
    "wrong", [ConnectionError, [ConnectionError], (BaseException,), ("TimeoutError",), (1,)]
)
def test_only_exceptions_can_be_retried(wrong):
    with pytest.raises(TypeError, match="retry_on"):
        RetryConfig(retry_on=wrong)


async def test_the_fake_tells_what_it_did():
    fake = FakeRetry()
    await fake.execute(Flaky(ConnectionError()))
    fake.active = False
    with pytest.raises(ConnectionError):
        await fake.execute(AlwaysFails())
    assert fake.attempts == [2, 1]
    assert [event.attempt for event in fake.scheduled] == [1]
