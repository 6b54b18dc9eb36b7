"""The kit of what an operator may do, over the default and the fake."""

import pytest

from localmcp_harden.core.events import discard
from localmcp_harden.resilience.breaker import SlidingWindowBreaker
from localmcp_harden.testing.contracts.circuit_breaker_modes import circuit_breaker_modes
from localmcp_harden.testing.contracts.kit import run
from localmcp_harden.testing.doubles.circuit_breaker import FakeCircuitBreaker

pytestmark = pytest.mark.anyio


@pytest.mark.parametrize("rule", circuit_breaker_modes.rules, ids=str)
@pytest.mark.parametrize("make", [SlidingWindowBreaker, FakeCircuitBreaker])
async def test_breaker_controls(make, rule):
    await rule.check(make)


class Deaf:
    """A breaker that hears no operator."""

    def __init__(self, config, /, *, clock, sink):
        self._real = SlidingWindowBreaker(config, clock=clock, sink=discard)

    def __getattr__(self, name):
        return getattr(self._real, name)

    def force_open(self):
        pass

    disable = metrics_only = release = force_open


async def test_every_rule_of_the_controls_can_be_broken():
    with pytest.raises(ExceptionGroup) as caught:
        await run(circuit_breaker_modes, Deaf)
    broken = {violation.rule_id for violation in caught.value.exceptions}
    assert broken == {rule.id for rule in circuit_breaker_modes.rules}
