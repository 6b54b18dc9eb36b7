from hypothesis import settings, strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from localmcp_harden.security.transport.budget import BodyBudget

MAX_BODIES, MAX_PER_ADDRESS, MAX_BYTES = 4, 2, 100


class Budget(RuleBasedStateMachine):
    def __init__(self):
        super().__init__()
        self.budget = BodyBudget()
        self.budget.retune(
            max_bodies=MAX_BODIES, max_per_address=MAX_PER_ADDRESS, max_bytes=MAX_BYTES
        )
        self.reading = []
        self.held = []

    @rule(address=st.sampled_from("abc"))
    def begin(self, address):
        fits = len(self.reading) < MAX_BODIES and self.reading.count(address) < MAX_PER_ADDRESS
        assert self.budget.begin(address) is fits
        if fits:
            self.reading.append(address)

    @precondition(lambda self: self.reading)
    @rule(which=st.integers(0, 100))
    def end(self, which):
        self.budget.end(self.reading.pop(which % len(self.reading)))

    @rule(size=st.integers(0, 60))
    def hold(self, size):
        fits = sum(self.held) + size <= MAX_BYTES
        assert self.budget.hold(size) is fits
        if fits:
            self.held.append(size)

    @precondition(lambda self: self.held)
    @rule()
    def let_go(self):
        self.budget.let_go(self.held.pop())

    @invariant()
    def counts(self):
        assert self.budget.reading == len(self.reading)
        assert self.budget.held_bytes == sum(self.held)
        assert set(self.budget._addresses) == set(self.reading)


TestBudget = Budget.TestCase
TestBudget.settings = settings(max_examples=50, stateful_step_count=30)
