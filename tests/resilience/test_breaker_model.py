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

    def __init__(self, config):
        self.config = config
        self.state = "closed"
        self.window = []
        self.opened_at = 0.0
        self.counted = set()  # calls whose outcome will go into the window
        self.trials = {}
        self.successes = 0
        self.refused = 0
        self.transitions = 0

    def go(self, state, now):
        self.state = state
        self.transitions += 1
        self.counted, self.trials, self.successes = set(), {}, 0
        if state == "open":
            self.opened_at = now
        if state == "closed":
            self.window = []

    def tick(self, now):
        if self.state == "open" and now >= self.opened_at + self.config.open_s:
            self.go("half_open", now)
        wait = self.config.half_open_max_wait_s
        if any(now >= began + wait for began in self.trials.values()):
            self.go("half_open", now)

    def admit(self, call, now):
        if self.state == "closed":
            self.counted.add(call)
            return True
        taken = len(self.trials) + self.successes
        if self.state == "half_open" and taken < self.config.half_open_permits:
            self.trials[call] = now
            return True
        self.refused += 1
        return False

    def end(self, call, outcome, now):
        if call in self.counted:
            self.counted.discard(call)
            if outcome in ("good", "bad"):
                self.window = [*self.window, outcome][-self.config.window_calls :]
                failures = self.window.count("bad")
                enough = len(self.window) >= self.config.minimum_calls
                if enough and failures and failures / len(self.window) >= self.config.failure_rate:
                    self.go("open", now)
        elif call in self.trials:
            del self.trials[call]
            if outcome == "bad":
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
    )
    def begin(self, window, minimum, rate, permits):
        config = BreakerConfig(
            window_calls=window,
            minimum_calls=min(minimum, window),
            failure_rate=rate,
            open_s=2.0,
            half_open_permits=permits,
            half_open_max_wait_s=1.5,
            is_failure=lambda result: result == "judged bad",
            ignore=(LookupError,),
        )
        self.clock = FakeClock()
        self.sink = RecordingSink()
        self.breaker = SlidingWindowBreaker(config, clock=self.clock, sink=self.sink)
        self.model = Model(config)
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
            assert refusal.retry_after_s
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

    @precondition(lambda self: self.model.state == "closed")
    @rule()
    def break_the_target(self):
        """Steer: plain random walks seldom open the circuit, and seldom reach half-open."""
        for _ in range(self.config.window_calls):
            key = self.one()
            if key is not None:
                self.end(key, "bad")

    @precondition(lambda self: self.model.state == "open")
    @rule()
    def wait_until_half_open(self):
        self.clock.advance(2.0)
        self.model.tick(self.clock.monotonic())
        assert self.breaker.get_state() is BreakerState.HALF_OPEN

    @rule()
    def reset(self):
        self.breaker.reset()
        self.model.go("closed", self.clock.monotonic())

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
        assert (snapshot.calls, snapshot.failures) == (len(model.window), model.window.count("bad"))
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
        if self.breaker.get_state() is BreakerState.CLOSED:
            return
        for _ in range(self.config.half_open_permits):
            key = self.one()
            assert key is not None
            self.end(key, "good")
        assert self.breaker.get_state() is BreakerState.CLOSED


Breaker.TestCase.settings = settings(max_examples=150, stateful_step_count=40, deadline=None)
TestBreakerModel = Breaker.TestCase
