"""BreakerRegistry: one breaker for each name."""

import pytest

from localmcp_harden.core.errors import CircuitOpenError
from localmcp_harden.core.events import BreakerStateChanged
from localmcp_harden.protocols.resilience import BreakerConfig, BreakerState
from localmcp_harden.resilience.breakers import BreakerRegistry
from localmcp_harden.testing.clock import FakeClock
from localmcp_harden.testing.doubles.circuit_breaker import FakeCircuitBreaker
from localmcp_harden.testing.recording import RecordingSink

pytestmark = pytest.mark.anyio

CONFIG = BreakerConfig(window_calls=1, minimum_calls=1)


async def good():
    return "good"


async def bad():
    raise ConnectionError


async def trip(registry, name):
    with pytest.raises(ConnectionError):
        await registry.get(name).execute(bad)


async def test_names_are_apart():
    sink = RecordingSink()
    registry = BreakerRegistry(CONFIG, clock=FakeClock(), sink=sink)
    await trip(registry, "a")

    with pytest.raises(CircuitOpenError):
        await registry.get("a").execute(good)
    assert await registry.get("b").execute(good) == "good"
    assert [event.breaker for event in sink.of(BreakerStateChanged)] == ["a"]


def test_a_name_keeps_its_breaker_and_the_registry_is_a_function():
    registry = BreakerRegistry()
    assert registry("a") is registry.get("a")
    assert registry.get("a") is not registry.get("b")


def test_the_number_is_bounded_and_the_least_used_gives_way():
    registry = BreakerRegistry(max_breakers=3)
    first = registry.get("0")
    kept = registry.get("1")
    for number in range(2, 1_000):
        assert registry.get("1") is kept
        registry.get(str(number))
    assert len(registry) == 3
    assert registry.get("0") is not first


async def test_a_flood_of_names_does_not_close_an_open_circuit():
    registry = BreakerRegistry(CONFIG, max_breakers=3, clock=FakeClock())
    await trip(registry, "broken")
    for number in range(100):
        registry.get(str(number))
    assert registry.get("broken").get_state() is BreakerState.OPEN


async def test_with_none_closed_the_oldest_gives_way():
    registry = BreakerRegistry(CONFIG, max_breakers=2, clock=FakeClock())
    for name in "abc":
        await trip(registry, name)
    assert list(registry.snapshots()) == ["b", "c"]


async def test_configure_and_reset_reach_every_breaker_and_those_to_come():
    clock = FakeClock()
    registry = BreakerRegistry(CONFIG, clock=clock)
    await trip(registry, "a")
    registry.configure(BreakerConfig(window_calls=2, minimum_calls=2, open_s=5.0))

    assert registry.snapshots()["a"].retry_after_s == 5.0
    await trip(registry, "new")
    assert registry.get("new").get_state() is BreakerState.CLOSED

    registry.reset()
    assert registry.get("a").get_state() is BreakerState.CLOSED


async def test_other_breakers_can_be_kept():
    made = []

    def make(name, config):
        made.append((name, config))
        return FakeCircuitBreaker(config)

    registry = BreakerRegistry(CONFIG, make=make)
    assert isinstance(registry.get("a"), FakeCircuitBreaker)
    assert made == [("a", CONFIG)]


async def test_a_sink_may_use_the_registry_while_it_makes_room():
    def sink(_event):
        registry.get("from the sink")

    clock = FakeClock()
    registry = BreakerRegistry(CONFIG, max_breakers=1, clock=clock, sink=sink)
    await trip(registry, "a")
    clock.advance(30)
    registry.get("b")
    assert len(registry) == 1


@pytest.mark.parametrize("wrong", [0, -1, 2_000_000])
def test_nonsense_is_refused(wrong):
    with pytest.raises(ValueError, match="max_breakers"):
        BreakerRegistry(max_breakers=wrong)
