"""The contract kits over the defaults and the fakes."""

import pytest

from localmcp_harden.protocols.resilience import BreakerSnapshot, BreakerState
from localmcp_harden.resilience.breaker import SlidingWindowBreaker
from localmcp_harden.resilience.breakers import BreakerRegistry
from localmcp_harden.resilience.deadline import DeadlineConfig, ScopeDeadline
from localmcp_harden.resilience.retry import RetryConfig, StaminaRetry
from localmcp_harden.testing.contracts.circuit_breaker import circuit_breaker
from localmcp_harden.testing.contracts.deadline import deadline
from localmcp_harden.testing.contracts.kit import ContractViolation, run
from localmcp_harden.testing.contracts.retry import retry
from localmcp_harden.testing.doubles.circuit_breaker import FakeCircuitBreaker
from localmcp_harden.testing.doubles.deadline import FakeDeadline
from localmcp_harden.testing.doubles.retry import FakeRetry

pytestmark = pytest.mark.anyio


def make_registered(config, /, *, clock, sink):
    return BreakerRegistry(config, clock=clock, sink=sink).get("kit")


def make_stamina(*, clock, random, **settings):
    return StaminaRetry(RetryConfig(**settings), clock=clock, random=random)


def make_scope(*, timeout_s, clock):
    return ScopeDeadline(DeadlineConfig(timeout_s=timeout_s), clock=clock)


@pytest.mark.parametrize("rule", circuit_breaker.rules, ids=str)
@pytest.mark.parametrize(
    "make",
    [SlidingWindowBreaker, make_registered, FakeCircuitBreaker],
    ids=["window", "registry", "fake"],
)
async def test_circuit_breaker(make, rule):
    await rule.check(make)


@pytest.mark.parametrize("rule", retry.rules, ids=str)
@pytest.mark.parametrize("make", [make_stamina, FakeRetry], ids=["stamina", "fake"])
async def test_retry(make, rule):
    await rule.check(make)


@pytest.mark.parametrize("rule", deadline.rules, ids=str)
@pytest.mark.parametrize("make", [make_scope, FakeDeadline], ids=["scope", "fake"])
async def test_deadline(make, rule):
    await rule.check(make)


class Nothing:
    """Does nothing that any of the three protocols promises, and runs the operation."""

    def __init__(self, config=None, /, **_settings):
        pass

    async def execute(self, operation, /, **_settings):
        return await operation()

    def get_state(self):
        return BreakerState.CLOSED

    def snapshot(self):
        return BreakerSnapshot(
            state=BreakerState.CLOSED, era=0, calls=0, failures=0, refused=0, retry_after_s=0.0
        )

    def remaining_s(self):
        return None

    def reset(self):
        pass

    def configure(self, config, /):
        pass

    def set_fallback(self, fallback, /):
        pass


@pytest.mark.parametrize(
    ("kit", "kept"),
    [
        # What is kept by doing nothing: a rule more here is a rule that tests nothing.
        (circuit_breaker, {"CB22"}),
        (retry, {"RT1", "RT9"}),
        (deadline, {"DL1", "DL4", "DL9"}),
    ],
    ids=["circuit_breaker", "retry", "deadline"],
)
async def test_kits_say_which_rules_are_broken(kit, kept):
    with pytest.raises(ExceptionGroup) as caught:
        await run(kit, Nothing)
    broken = {violation.rule_id for violation in caught.value.exceptions}
    assert {type(violation) for violation in caught.value.exceptions} == {ContractViolation}
    assert {rule.id for rule in kit.rules} - broken == kept
