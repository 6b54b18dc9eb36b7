"""The breaker against a small model of its own, over random histories.

Calls are coroutines driven by hand, so that a history can hold any number of them
open and end each one as it likes, at any time, without an event loop.
"""

from itertools import pairwise

import pytest
from hypothesis import settings, strategies as st, target
from hypothesis.stateful import (
    Bundle,
    RuleBasedStateMachine,
    consumes,
    initialize,
    invariant,
    multiple,
    precondition,
    rule,
)

from localmcp_harden.core.errors import CircuitOpenError
from localmcp_harden.core.events import BreakerStateChanged
from localmcp_harden.protocols.resilience import BreakerConfig, BreakerState
from localmcp_harden.resilience.breaker import SlidingWindowBreaker
from localmcp_harden.testing.clock import FakeClock
from localmcp_harden.testing.recording import RecordingSink


class Gate:
    def __await__(self):
        return (yield)


class BoomError(Exception):
    pass


class Cancelled(BaseException):
    pass


class Model:
    """What the breaker should do, written for reading: lists, no era, eager time."""

    def __init__(self, config, now):
        self.config = config
        self.state = "closed"
        self.mode = "automatic"
        self.window = []  # of (failed, slow, when)
        self.since = now
        self.row = 0
        self.openings = 0
        self.open_for = 0.0
        self.counted = {}  # calls whose outcome will go into the window, and when they began
        self.trials = {}
        self.successes = 0
        self.refused = 0
        self.transitions = 0
        self.would = []
        self.is_told = False

    def go(self, state, now):
        if state == "open" and self.mode == "automatic":
            if self.state == "closed" and now - self.since >= self.config.stable_s:
                self.openings = 0
            grown = self.config.open_s * self.config.open_factor**self.openings
            self.open_for = min(grown, self.config.max_open_s)
            self.openings += 1
        self.state = state
        self.transitions += 1
        self.counted, self.trials, self.successes, self.row = {}, {}, 0, 0
        self.since = now
        self.is_told = False
        if state == "closed":
            self.window = []

    def set_mode(self, mode, now):
        self.mode = mode
        self.openings = 0
        self.go("open" if mode == "forced_open" else "closed", now)
        self.window = []

    def tick(self, now):
        if self.mode == "forced_open":
            return
        if self.state == "open" and now >= self.since + self.open_for:
            self.go("half_open", now)
        wait = self.config.half_open_max_wait_s
        if any(now >= began + wait for began in self.trials.values()):
            self.go("half_open", now)
        if self.state == "closed" and self.config.window_s is not None:
            width = self.config.window_s / 10

            def bucket(when):
                return int((when - self.since) / width)

            self.window = [seen for seen in self.window if bucket(seen[2]) > bucket(now) - 10]

    def admit(self, call, now):
        if self.state == "closed":
            self.counted[call] = now
            return True
        taken = len(self.trials) + self.successes
        if self.state == "half_open" and taken < self.config.half_open_permits:
            self.trials[call] = now
            return True
        self.refused += 1
        return False

    def reasons(self):
        config = self.config
        enough = self.window and len(self.window) >= config.minimum_calls
        failed = sum(seen[0] for seen in self.window)
        slow = sum(seen[1] for seen in self.window)
        if config.consecutive_failures is not None:
            yield self.row >= config.consecutive_failures
        else:
            yield enough and failed / len(self.window) >= config.failure_rate
        if config.slow_call_s is not None:
            yield enough and slow / len(self.window) >= config.slow_call_rate

    def end(self, call, outcome, now):
        began = self.counted.pop(call, None)
        slow_s = self.config.slow_call_s
        if began is not None:
            if outcome in ("good", "bad") and self.mode != "disabled":
                slow = slow_s is not None and now - began >= slow_s
                self.window.append((outcome == "bad", slow, now))
                if self.config.window_s is None:
                    self.window = self.window[-self.config.window_calls :]
                self.row = self.row + 1 if outcome == "bad" else 0
                after = any(self.reasons())
                if after and self.mode == "automatic":
                    self.go("open", now)
                else:
                    if after and not self.is_told:
                        self.would.append(now)
                    self.is_told = bool(after)
        elif call in self.trials:
            slow = slow_s is not None and now - self.trials.pop(call, now) >= slow_s
            self.trials.pop(call, None)
            if outcome == "bad" or (outcome == "good" and slow):
                self.go("open", now)
            elif outcome == "good":
                self.successes += 1
                if self.successes == self.config.half_open_permits:
                    self.go("closed", now)


OUTCOMES = st.sampled_from(["good", "good", "bad", "bad", "ignored", "judged bad", "cancelled"])


class Breaker(RuleBasedStateMachine):
    calls = Bundle("calls")

    @initialize(
        window=st.integers(1, 5),
        minimum=st.integers(1, 5),
        rate=st.sampled_from([0.25, 0.5, 0.6, 1.0]),
        permits=st.integers(1, 3),
        window_s=st.sampled_from([None, None, 5.0]),
        row=st.sampled_from([None, None, 1, 3]),
        slow_s=st.sampled_from([None, 1.0]),
        slow_rate=st.sampled_from([0.5, 1.0]),
        factor=st.sampled_from([1.0, 2.0]),
    )
    def begin(self, window, minimum, rate, permits, window_s, row, slow_s, slow_rate, factor):
        config = BreakerConfig(
            window_calls=window,
            minimum_calls=min(minimum, window),
            failure_rate=rate,
            window_s=window_s,
            consecutive_failures=row,
            slow_call_s=slow_s,
            slow_call_rate=slow_rate,
            open_factor=factor,
            max_open_s=6.0,
            stable_s=3.0,
            open_s=2.0,
            half_open_permits=permits,
            half_open_max_wait_s=1.5,
            is_failure=lambda result: result == "judged bad",
            ignore=(LookupError,),
        )
        self.clock = FakeClock()
        self.sink = RecordingSink()
        self.breaker = SlidingWindowBreaker(config, clock=self.clock, sink=self.sink)
        self.model = Model(config, self.clock.monotonic())
        self.config = config
        self.open_calls = {}
        self.seen = set()

    @rule(target=calls, number=st.integers(1, 4))
    def start(self, number):
        started = [call for call in (self.one() for _ in range(number)) if call is not None]
        return multiple(*started)

    def one(self):
        async def operation():
            return await Gate()

        now = self.clock.monotonic()
        self.model.tick(now)
        key = object()
        admitted = self.model.admit(key, now)
        call = self.breaker.execute(operation)
        try:
            call.send(None)
        except CircuitOpenError as refusal:
            assert not admitted
            assert (refusal.retry_after_s is None) == (self.model.mode == "forced_open")
            assert refusal.retry_after_s != 0
            return None
        assert admitted
        self.open_calls[key] = call
        return key

    @rule(key=consumes(calls), outcome=OUTCOMES)
    def finish(self, key, outcome):
        self.end(key, outcome)

    def end(self, key, outcome):
        call = self.open_calls.pop(key)
        now = self.clock.monotonic()
        self.model.tick(now)
        self.model.end(key, "bad" if outcome == "judged bad" else outcome, now)
        if outcome in ("good", "judged bad"):
            with pytest.raises(StopIteration) as ended:
                call.send(outcome)
            assert ended.value.value == outcome
            return
        error = {"bad": BoomError, "ignored": KeyError, "cancelled": Cancelled}[outcome]()
        with pytest.raises(type(error)) as raised:
            call.throw(error)
        assert raised.value is error

    @rule(halves=st.integers(1, 5))
    def wait(self, halves):
        self.clock.advance(halves / 2)
        self.model.tick(self.clock.monotonic())

    @precondition(lambda self: self.model.state == "closed" and self.model.mode == "automatic")
    @rule()
    def break_the_target(self):
        """Steer: plain random walks seldom open the circuit, and seldom reach half-open."""
        for _ in range(self.config.window_calls + 3):
            key = self.one()
            if key is not None:
                self.end(key, "bad")

    @precondition(lambda self: self.model.state == "open" and self.model.mode == "automatic")
    @rule()
    def wait_until_half_open(self):
        self.clock.advance(self.model.open_for)
        self.model.tick(self.clock.monotonic())
        assert self.breaker.get_state() is BreakerState.HALF_OPEN

    @rule()
    def reset(self):
        self.breaker.reset()
        self.model.set_mode("automatic", self.clock.monotonic())

    @rule(mode=st.sampled_from(["force_open", "disable", "metrics_only", "release", "release"]))
    def control(self, mode):
        getattr(self.breaker, mode)()
        names = {"force_open": "forced_open", "disable": "disabled", "release": "automatic"}
        self.model.set_mode(names.get(mode, mode), self.clock.monotonic())

    @invariant()
    def agrees(self):
        if not hasattr(self, "breaker"):
            return
        self.model.tick(self.clock.monotonic())
        snapshot = self.breaker.snapshot()
        model = self.model
        self.seen.add(model.state)
        assert snapshot.state.value == model.state
        assert snapshot.refused == model.refused
        assert snapshot.era == model.transitions
        assert (snapshot.calls, snapshot.failures, snapshot.slow) == (
            len(model.window),
            sum(failed for failed, _, _ in model.window),
            sum(slow for _, slow, _ in model.window),
        )
        assert snapshot.mode.value == model.mode
        told = [each for each in self.sink.of(BreakerStateChanged) if each.cause == "would_open"]
        assert len(told) == len(model.would)
        assert len(model.trials) <= self.config.half_open_permits
        assert (snapshot.retry_after_s > 0) == (
            model.state == "open"
            or (
                model.state == "half_open"
                and len(model.trials) + model.successes >= self.config.half_open_permits
            )
        )

    def teardown(self):
        if not hasattr(self, "breaker"):
            return
        target(float(len(self.seen)), label="states reached")
        told = self.sink.of(BreakerStateChanged)
        assert all(one.current == next_.previous for one, next_ in pairwise(told))
        # However the calls ended, no permit is lost: the circuit can always close.
        for key in list(self.open_calls):
            self.end(key, "cancelled")
        self.clock.advance(10.0)
        if self.model.mode != "automatic":
            self.breaker.release()
        if self.breaker.get_state() is BreakerState.CLOSED:
            return
        for _ in range(self.config.half_open_permits):
            key = self.one()
            assert key is not None
            self.end(key, "good")
        assert self.breaker.get_state() is BreakerState.CLOSED


Breaker.TestCase.settings = settings(max_examples=200, stateful_step_count=40, deadline=None)
TestBreakerModel = Breaker.TestCase
