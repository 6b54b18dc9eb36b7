"""The defects of retries elsewhere, one test each: ours does not have them."""

import subprocess
import sys

import anyio
import pytest
import stamina
from hypothesis import given, strategies as st

from localmcp_harden.core.errors import DeadlineExceededError
from localmcp_harden.core.events import RetryEnded, RetryScheduled
from localmcp_harden.mechanisms.backoff import Backoff, Jitter
from localmcp_harden.mechanisms.chance import SystemRandom
from localmcp_harden.mechanisms.retry_after import asked_wait_s, parse_retry_after
from localmcp_harden.resilience.retry import RetryConfig, StaminaRetry, attempts_of
from localmcp_harden.testing.chance import FakeRandom
from localmcp_harden.testing.clock import FakeClock
from localmcp_harden.testing.recording import RecordingSink

pytestmark = pytest.mark.anyio


def make(*, position=0.5, random=None, sink=None, autojump=True, remaining_s=None, **settings):
    clock = FakeClock(autojump=autojump)
    retry = StaminaRetry(
        RetryConfig(**({"attempts": 4, "base_s": 1.0, "max_wait_s": 30.0} | settings)),
        clock=clock,
        random=random or FakeRandom(position),
        sink=sink or RecordingSink(),
        remaining_s=remaining_s,
    )
    return retry, clock


class Fails:
    def __init__(self, error=None, times=10_000):
        self.error = error
        self.times = times
        self.calls = 0

    async def __call__(self):
        self.calls += 1
        if self.calls > self.times:
            return "good"
        raise self.error or ConnectionError()


class RateLimited(ConnectionError):  # noqa: N818
    """As an HTTP client raises it."""

    def __init__(self, field):
        super().__init__("429")
        self.response = type("Response", (), {"headers": {"retry-after": field}})()


# --- stamina: the jitter vanishes at the cap ---------------------------------------------


@pytest.mark.parametrize("jitter", list(Jitter))
def test_jitter_does_not_vanish_at_the_cap(jitter):
    backoff = Backoff(jitter, 1.0, 5.0, SystemRandom())
    waits = [backoff.next_s() for _ in range(2_000)][20:]
    assert len(set(waits)) == len(waits)
    assert max(waits) <= 5.0


@pytest.mark.parametrize(
    ("jitter", "position", "waits"),
    [
        (Jitter.FULL, 0.0, [0.0, 0.0, 0.0, 0.0, 0.0]),
        (Jitter.FULL, 0.5, [0.5, 1.0, 2.0, 2.5, 2.5]),
        (Jitter.FULL, 1.0, [1.0, 2.0, 4.0, 5.0, 5.0]),
        (Jitter.EQUAL, 0.0, [0.5, 1.0, 2.0, 2.5, 2.5]),
        (Jitter.EQUAL, 0.5, [0.75, 1.5, 3.0, 3.75, 3.75]),
        (Jitter.DECORRELATED, 0.0, [1.0, 1.0, 1.0, 1.0, 1.0]),
        (Jitter.DECORRELATED, 0.5, [2.0, 3.0, 3.0, 3.0, 3.0]),
        (Jitter.DECORRELATED, 1.0, [3.0, 5.0, 5.0, 5.0, 5.0]),
    ],
)
async def test_schedules_are_exact(jitter, position, waits):
    retry, clock = make(attempts=6, max_wait_s=5.0, jitter=jitter, position=position)
    with pytest.raises(ConnectionError):
        await retry.execute(Fails())
    assert clock.slept_s == waits


@given(
    jitter=st.sampled_from(Jitter),
    base=st.floats(0, 100),
    limit=st.floats(0, 100),
    positions=st.lists(st.floats(0, 1), min_size=1, max_size=30),
)
def test_every_wait_is_within_its_bounds(jitter, base, limit, positions):
    random = FakeRandom()
    backoff = Backoff(jitter, base, limit, random)
    last = min(base, limit)
    for repetition, random.position in enumerate(positions):
        wait = backoff.next_s()
        top = min(limit, base * 2.0**repetition)
        low = {Jitter.FULL: 0.0, Jitter.EQUAL: top / 2}.get(jitter, min(base, limit))
        top = min(limit, 3.0 * last) if jitter is Jitter.DECORRELATED else top
        assert low - 1e-9 <= wait <= max(low, top) + 1e-9
        last = wait


# --- stamina: a custom backoff is clamped by neither the cap nor the timeout -------------


async def test_a_retry_after_of_an_hour_is_not_slept_within_a_timeout_of_ten_seconds():
    sink = RecordingSink()
    retry, clock = make(total_timeout_s=10.0, max_wait_s=3_600.0, sink=sink)
    operation = Fails(RateLimited("3600"))
    with pytest.raises(RateLimited):
        await retry.execute(operation)
    assert (operation.calls, clock.slept_s) == (1, [])
    assert sink.of(RetryEnded)[0].outcome == "deadline"


async def test_a_retry_after_above_the_cap_ends_the_loop_so_that_a_fallback_gets_its_turn():
    sink = RecordingSink()
    retry, clock = make(sink=sink)
    with pytest.raises(RateLimited):
        await retry.execute(Fails(RateLimited("31")))
    assert clock.slept_s == []
    assert sink.of(RetryEnded)[0].outcome == "asked_wait"


async def test_a_retry_after_field_is_waited_for():
    retry, clock = make(position=0.0)
    assert await retry.execute(Fails(RateLimited("7"), times=1)) == "good"
    assert clock.slept_s == [7.0]


async def test_a_retry_after_date_is_waited_for():
    retry, clock = make(position=0.0)
    # The clock of the tests begins at 2027-01-15 08:00:00 UTC.
    date = "Fri, 15 Jan 2027 08:00:09 GMT"
    assert await retry.execute(Fails(RateLimited(date), times=1)) == "good"
    assert clock.slept_s == [9.0]


@pytest.mark.parametrize(
    ("value", "seconds"),
    [
        ("0", 0.0),
        (" 120 ", 120.0),
        ("Thu, 01 Jan 1970 00:01:00 GMT", 50.0),
        ("Thu, 01 Jan 1970 00:00:01 GMT", 0.0),
        ("-1", None),
        ("1.5", None),
        ("٣", None),
        ("9" * 11, None),
        ("9" * 5_000, None),
        (f"Thu, 01 Jan 1970 00:01:00 GMT ({'x' * 100})", None),
        ("soon", None),
        ("", None),
        ("Thu, 99 Jan 1970 00:00:01 GMT", None),
        ("Fri, 01 Jan 99999 00:00:00 GMT", None),
    ],
)
def test_retry_after_fields_are_bounded(value, seconds):
    assert parse_retry_after(value, wall_s=10.0) == seconds


@given(st.text(max_size=80))
def test_no_field_breaks_the_parser(value):
    found = parse_retry_after(value, wall_s=10.0)
    assert found is None or found >= 0.0


def test_an_own_attribute_counts_before_a_field():
    error = RateLimited("7")
    error.retry_after_s = 3.0
    assert asked_wait_s(error, wall_s=0.0) == 3.0


# --- stamina: the timeout never cuts an attempt and ignores the coming wait --------------


async def hang_until_cut(clock, retry, *advances):
    """Run an operation that hangs; return how it ended after time has passed."""
    ended = []

    async def run():
        try:
            await retry.execute(anyio.sleep_forever)
        except Exception as error:
            ended.append(error)

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(run)
        for seconds in advances:
            await anyio.wait_all_tasks_blocked()
            clock.advance(seconds)
        await anyio.wait_all_tasks_blocked()
        tasks.cancel_scope.cancel()
    return ended


async def test_the_total_timeout_cuts_an_attempt():
    retry, clock = make(total_timeout_s=5.0, autojump=False)
    assert await hang_until_cut(clock, retry, 4.9) == []
    retry, clock = make(total_timeout_s=5.0, autojump=False)
    (error,) = await hang_until_cut(clock, retry, 5.0)
    assert isinstance(error, DeadlineExceededError)


async def test_an_attempt_timeout_is_repeated_and_named():
    retry, clock = make(attempts=2, attempt_timeout_s=2.0, position=0.0, autojump=False)
    (error,) = await hang_until_cut(clock, retry, 2.0, 0.0, 2.0)
    assert isinstance(error, TimeoutError)
    assert str(error) == "the attempt did not finish within 2 seconds"
    assert [a.error_type for a in attempts_of(error)] == ["TimeoutError", "TimeoutError"]
    assert [a.duration_s for a in attempts_of(error)] == [2.0, 2.0]


async def test_of_attempt_and_total_timeout_the_earlier_counts():
    retry, clock = make(attempt_timeout_s=9.0, total_timeout_s=5.0, autojump=False)
    (error,) = await hang_until_cut(clock, retry, 5.0)
    assert isinstance(error, DeadlineExceededError)


async def test_the_total_timeout_counts_the_coming_wait():
    retry, clock = make(total_timeout_s=2.0, position=1.0)
    operation = Fails()
    with pytest.raises(ConnectionError):
        await retry.execute(operation)
    # One second was waited for; the next two would end after the two that there are.
    assert (operation.calls, clock.slept_s) == (2, [1.0])


async def test_an_attempt_without_time_is_not_begun():
    class Oversleeps(FakeClock):
        async def sleep(self, seconds, /):
            await super().sleep(seconds + 60.0)

    retry = StaminaRetry(RetryConfig(total_timeout_s=30.0), clock=Oversleeps(autojump=True))
    operation = Fails()
    with pytest.raises(DeadlineExceededError):
        await retry.execute(operation)
    assert operation.calls == 1


async def test_an_own_timeout_error_is_not_taken_for_a_cut():
    retry, _ = make(attempts=1, attempt_timeout_s=5.0)
    mine = TimeoutError("mine")
    with pytest.raises(TimeoutError) as caught:
        await retry.execute(Fails(mine))
    assert caught.value is mine


async def test_without_a_timeout_no_scope_is_opened():
    class NoScopes(FakeClock):
        def cut_after(self, seconds, /):
            raise AssertionError(seconds)

    retry = StaminaRetry(RetryConfig(base_s=0.0), clock=NoScopes(autojump=True))
    assert await retry.execute(Fails(times=1)) == "good"


@given(
    total=st.floats(0.1, 50),
    base=st.floats(0, 20),
    position=st.floats(0, 1),
    stands_still=st.booleans(),
    jitter=st.sampled_from(Jitter),
)
def test_all_waits_together_stay_within_the_total_timeout(
    total, base, position, stands_still, jitter
):
    clock = FakeClock(autojump=True)
    if stands_still:
        now = clock.monotonic()
        clock.monotonic = lambda: now
    retry = StaminaRetry(
        RetryConfig(
            attempts=20, base_s=base, max_wait_s=20.0, total_timeout_s=total, jitter=jitter
        ),
        clock=clock,
        random=FakeRandom(position),
    )
    operation = Fails()
    with pytest.raises((ConnectionError, DeadlineExceededError)) as caught:
        anyio.run(retry.execute, operation)
    assert sum(clock.slept_s) < total + 1e-9
    # The history is complete, whatever ended it.
    history = attempts_of(caught.value)
    # An attempt for which a rounding error left nothing is one that was not begun.
    begun = operation.calls + isinstance(caught.value, DeadlineExceededError)
    assert len(history) == (begun if begun > 1 else 0)
    assert [a.waited_s for a in history[1:]] == clock.slept_s
    assert [a.number for a in history] == list(range(1, len(history) + 1))


@pytest.mark.parametrize("jump", [-1e6, 1e6])
async def test_a_clock_that_jumps_makes_no_negative_duration_and_no_endless_loop(jump):
    clock = FakeClock(autojump=True)
    retry = StaminaRetry(RetryConfig(base_s=0.0, total_timeout_s=60.0), clock=clock)

    async def operation():
        clock._now += jump
        raise ConnectionError

    with pytest.raises((ConnectionError, DeadlineExceededError)) as caught:
        await retry.execute(operation)
    assert all(attempt.duration_s >= 0.0 for attempt in attempts_of(caught.value))


# --- stamina: hooks fire only when a retry is scheduled ----------------------------------


def refusing(calls=None):
    class Budget:
        def begin(self):
            pass

        def take(self, *, timed_out=False):
            return 0.0

        def succeed(self, taken=0.0, /):
            raise AssertionError

    return Budget()


@pytest.mark.parametrize(
    ("operation", "settings", "outcome", "attempts", "error_type"),
    [
        (Fails(times=2), {}, "recovered", 3, ""),
        (Fails(), {}, "exhausted", 4, "ConnectionError"),
        (Fails(), {"total_timeout_s": 0.5, "position": 1.0}, "deadline", 1, "ConnectionError"),
        (Fails(RateLimited("99")), {}, "asked_wait", 1, "RateLimited"),
    ],
)
async def test_every_outcome_is_an_event(operation, settings, outcome, attempts, error_type):
    operation.calls = 0
    sink = RecordingSink()
    retry, clock = make(sink=sink, **settings)
    try:
        await retry.execute(operation, name="search")
    except ConnectionError:
        assert outcome != "recovered"
    (ended,) = sink.of(RetryEnded)
    assert (ended.operation, ended.outcome, ended.attempts) == ("search", outcome, attempts)
    assert (ended.error_type, ended.waited_s) == (error_type, sum(clock.slept_s))
    assert {event.operation for event in sink.of(RetryScheduled)} <= {"search"}


async def test_a_later_error_that_is_final_is_an_event():
    sink = RecordingSink()
    retry, _ = make(sink=sink)
    errors = [ConnectionError(), LookupError()]

    async def operation():
        raise errors.pop(0)

    with pytest.raises(LookupError):
        await retry.execute(operation)
    assert sink.of(RetryEnded)[0].outcome == "not_retryable"


async def test_a_bad_result_at_the_end_is_an_event():
    sink = RecordingSink()
    retry, _ = make(sink=sink)

    async def operation():
        return "bad"

    assert await retry.execute(operation, is_failure=lambda _: True) == "bad"
    ended = sink.of(RetryEnded)[0]
    assert (ended.outcome, ended.error_type) == ("exhausted", "result")


async def test_a_switched_off_stamina_is_an_event():
    sink = RecordingSink()
    retry, _ = make(sink=sink)
    with stamina.set_testing(True), pytest.raises(ConnectionError):
        await retry.execute(Fails())
    assert sink.of(RetryEnded)[0].outcome == "switched_off"


async def test_a_nested_retry_that_gives_way_is_an_event():
    sink = RecordingSink()
    outer, inner = make()[0], make(sink=sink)[0]
    with pytest.raises(ConnectionError):
        await outer.execute(lambda: inner.execute(Fails()))
    assert [event.outcome for event in sink.of(RetryEnded)] == ["exhausted"] + ["nested"] * 3


@pytest.mark.parametrize("where", ["wait", "attempt"])
async def test_cancellation_while_repeating_is_an_event(where):
    sink = RecordingSink()
    retry, _ = make(sink=sink, autojump=where == "attempt")
    first = [True]

    async def operation():
        if first:
            first.clear()
            raise ConnectionError
        await anyio.sleep_forever()

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(retry.execute, operation)
        await anyio.wait_all_tasks_blocked()
        tasks.cancel_scope.cancel()
    assert [event.outcome for event in sink.of(RetryEnded)] == ["cancelled"]


async def test_what_could_never_be_repeated_is_no_event():
    sink = RecordingSink()
    retry, _ = make(sink=sink)
    with pytest.raises(LookupError):
        await retry.execute(Fails(LookupError()))
    assert await retry.execute(Fails(times=0)) == "good"
    assert sink.events == []


# --- stamina: of an exhausted retry only the bare last error is left --------------------


async def test_the_error_tells_every_attempt():
    retry, _ = make(attempts=3)
    errors = [ConnectionError("secret"), TimeoutError(), ConnectionError()]

    async def operation():
        raise errors.pop(0)

    with pytest.raises(ConnectionError) as caught:
        await retry.execute(operation)
    told = [(a.number, a.error_type, a.waited_s) for a in attempts_of(caught.value)]
    assert told == [
        (1, "ConnectionError", 0.0),
        (2, "TimeoutError", 0.5),
        (3, "ConnectionError", 1.0),
    ]
    assert "secret" not in repr(attempts_of(caught.value))


async def test_an_error_that_takes_no_attribute_is_raised_all_the_same():
    class Sealed(ConnectionError):  # noqa: N818
        def __setattr__(self, name, value):
            raise AttributeError(name)

        def add_note(self, _note):
            raise RuntimeError

    retry, _ = make()
    with pytest.raises(Sealed) as caught:
        await retry.execute(Fails(Sealed()))
    assert attempts_of(caught.value) == ()


# --- everybody: process-wide switches ----------------------------------------------------


def test_no_process_wide_switch_of_stamina_is_ever_set():
    program = (
        "import anyio, stamina\n"
        "from stamina import _config\n"
        "from localmcp_harden.resilience.retry import RetryConfig, StaminaRetry\n"
        "async def bad(): raise TimeoutError\n"
        "before = _config.CONFIG._on_retry, _config.CONFIG._get_on_retry.__name__\n"
        "try: anyio.run(StaminaRetry(RetryConfig(base_s=0.0)).execute, bad)\n"
        "except TimeoutError: pass\n"
        "assert stamina.is_active() and not stamina.is_testing()\n"
        "assert before == (_config.CONFIG._on_retry, _config.CONFIG._get_on_retry.__name__)\n"
    )
    ended = subprocess.run([sys.executable, "-c", program], capture_output=True, check=False)
    assert (ended.returncode, ended.stdout) == (0, b""), ended.stderr.decode()


# --- the budget ------------------------------------------------------------------------------


class Budget:
    """Keeps what it was asked, and has so much left."""

    def __init__(self, left):
        self.left = left
        self.asked = []

    def begin(self):
        self.asked.append("begin")

    def take(self, *, timed_out=False):
        self.asked.append("timed out" if timed_out else "take")
        if self.left <= 0:
            return 0.0
        self.left -= 1
        return 7.0

    def succeed(self, taken=0.0, /):
        self.asked.append(taken)


def with_budget(budget, *, sink=None, **settings):
    return StaminaRetry(
        RetryConfig(**({"attempts": 4, "base_s": 0.0} | settings)),
        budget=budget,
        clock=FakeClock(autojump=True),
        sink=sink or RecordingSink(),
    )


async def test_a_budget_is_told_of_calls_repeats_and_successes():
    budget = Budget(10)
    retry = with_budget(budget)
    await retry.execute(Fails(times=0))
    await retry.execute(Fails(TimeoutError(), times=1))
    assert budget.asked == ["begin", 0.0, "begin", "timed out", 7.0]


async def test_an_empty_budget_ends_the_retry():
    budget, sink, operation = Budget(1), RecordingSink(), Fails()
    with pytest.raises(ConnectionError) as caught:
        await with_budget(budget, sink=sink).execute(operation)
    assert operation.calls == 2
    assert sink.of(RetryEnded)[0].outcome == "budget"
    assert len(attempts_of(caught.value)) == 2


async def test_nothing_is_taken_for_a_repeat_that_is_not_made():
    budget = Budget(10)
    with pytest.raises(RateLimited):
        await with_budget(budget, max_wait_s=1.0).execute(Fails(RateLimited("5")))
    with pytest.raises(ConnectionError):
        await with_budget(budget, attempts=2).execute(Fails())
    assert budget.asked.count("take") == 1


async def test_a_budget_that_raises_is_reported_and_empty():
    class Broken:
        def begin(self):
            raise LookupError("secret")

        def take(self, *, timed_out=False):
            raise LookupError("secret")

        def succeed(self, taken=0.0, /):
            raise LookupError("secret")

    sink, operation = RecordingSink(), Fails()
    retry = with_budget(Broken(), sink=sink)
    with pytest.raises(ConnectionError):
        await retry.execute(operation)
    assert await retry.execute(Fails(times=0)) == "good"
    assert operation.calls == 1
    assert "secret" not in repr(sink.events)


async def test_a_remaining_time_that_can_not_be_read_is_reported():
    def broken():
        raise LookupError

    sink = RecordingSink()
    retry, _ = make(sink=sink, remaining_s=broken)
    assert await retry.execute(Fails(times=1)) == "good"
    assert [event.guard for event in sink.events if hasattr(event, "guard")] == [
        "operation.remaining_s"
    ]
