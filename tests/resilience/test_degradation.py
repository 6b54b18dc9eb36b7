"""OrderedFallback and DegradationLevels: what is their own."""

import pytest
from hypothesis import given, strategies as st

from localmcp_harden.core.events import DegradationChanged, FallbackUsed, GuardFailed
from localmcp_harden.protocols.degradation import (
    AnswerSource,
    DegradationConfig,
    DegradationLevel,
    FallbackConfig,
)
from localmcp_harden.resilience.degradation import DegradationLevels
from localmcp_harden.resilience.fallback import NO_VALUE, OrderedFallback
from localmcp_harden.testing import FakeClock, FakeDegradation, FakeFallback, RecordingSink

pytestmark = pytest.mark.anyio

OFF = ("search", "export")


async def good():
    return "good"


async def bad():
    raise ConnectionError("secret")


async def test_a_value_stands_in_last():
    async def broken(error):
        raise LookupError("secret")

    sink = RecordingSink()
    fallback = OrderedFallback(value=None, function=broken, sink=sink)
    answer = await fallback.answer(bad)
    assert (answer.value, answer.source) == (None, AnswerSource.VALUE)
    assert isinstance(answer.error, ConnectionError)
    assert [type(event) for event in sink.events] == [GuardFailed, FallbackUsed]
    assert "secret" not in repr(sink.events)
    assert await fallback.execute(bad) is None


async def test_without_a_time_nothing_is_kept():
    fallback = OrderedFallback()
    await fallback.execute(good, key="k")
    assert len(fallback) == 0


async def test_what_is_too_old_is_forgotten():
    clock = FakeClock()
    fallback = OrderedFallback(FallbackConfig(max_stale_s=5.0), clock=clock)
    await fallback.execute(good, key="k")
    assert len(fallback) == 1
    clock.advance(6.0)
    with pytest.raises(ConnectionError):
        await fallback.execute(bad, key="k")
    assert len(fallback) == 0


async def test_results_are_forgotten_on_request():
    fallback = OrderedFallback(FallbackConfig(max_stale_s=5.0), clock=FakeClock())
    for key in "abc":
        await fallback.execute(good, key=key)
    fallback.forget("a")
    fallback.forget("unknown")
    assert len(fallback) == 2
    fallback.forget()
    assert len(fallback) == 0


async def test_memory_is_bounded():
    fallback = OrderedFallback(FallbackConfig(max_stale_s=5.0, max_entries=10), clock=FakeClock())
    for number in range(1_000):
        await fallback.execute(good, key=number)
    assert len(fallback) == 10


class _Meta(type):
    def __instancecheck__(cls, instance):
        raise LookupError("secret")


class BrokenKindError(Exception, metaclass=_Meta):
    pass


@pytest.mark.parametrize("part", ["is_failure", "on"])
async def test_a_broken_predicate_replaces_nothing(part):
    sink = RecordingSink()

    def is_failure(result):
        raise LookupError("secret")

    fallback = OrderedFallback(
        FallbackConfig(is_failure=is_failure, on=(BrokenKindError,)), value="value", sink=sink
    )
    if part == "is_failure":
        assert await fallback.execute(good) == "good"
    else:
        with pytest.raises(ConnectionError):
            await fallback.execute(bad)
    assert [event.guard for event in sink.of(GuardFailed)] == [f"operation.{part}"]
    assert "secret" not in repr(sink.events)


async def test_the_fake_says_where_answers_came_from():
    fallback = FakeFallback(value="value")
    assert await fallback.execute(good) == "good"
    assert await fallback.execute(bad) == "value"
    fallback.set_function(None)
    fallback.configure(FallbackConfig(on=()))
    with pytest.raises(ConnectionError):
        await fallback.execute(bad)
    assert fallback.sources == [AnswerSource.OPERATION, AnswerSource.VALUE]
    assert repr(NO_VALUE) == "NO_VALUE"


@pytest.mark.parametrize(
    ("kind", "wrong"),
    [
        (FallbackConfig, {"max_stale_s": -1.0}),
        (FallbackConfig, {"max_entries": 0}),
        (DegradationConfig, {"levels": ()}),
        (DegradationConfig, {"levels": (DegradationLevel(name="a", off=("x",)),), "statuses": {}}),
        (DegradationConfig, {"levels": (DegradationLevel(name="a"),) * 2, "statuses": {}}),
        (DegradationConfig, {"statuses": {"healthy": "nowhere"}}),
        (DegradationConfig, {"worsen_after": 0}),
        (DegradationConfig, {"recover_after": 0}),
        (DegradationConfig, {"hold_s": -1.0}),
        (DegradationLevel, {"name": ""}),
    ],
    ids=str,
)
def test_nonsense_is_refused(kind, wrong):
    with pytest.raises(ValueError, match=next(iter(wrong))):
        kind(**wrong)


@pytest.mark.parametrize("kinds", [(BaseException,), ConnectionError])
def test_only_exceptions_are_replaced(kinds):
    with pytest.raises(TypeError, match="on must be"):
        FallbackConfig(on=kinds)


def test_health_drives_the_default_levels():
    sink = RecordingSink()
    service = DegradationLevels(name="docs", clock=FakeClock(), sink=sink)
    for status in ("healthy", "unhealthy", "unhealthy", "unhealthy"):
        service.observe(status)
    assert service.get_state() == "minimal"
    (told,) = sink.of(DegradationChanged)
    assert (told.service, told.previous, told.current, told.cause) == (
        "docs",
        "normal",
        "minimal",
        "health",
    )


def test_an_unknown_status_is_told_and_never_quoted():
    sink = RecordingSink()
    service = DegradationLevels(sink=sink)
    service.observe("secret")
    assert [event.guard for event in sink.of(GuardFailed)] == ["service.observe"]
    assert "secret" not in repr(sink.events)


def test_a_sink_sees_what_already_holds():
    seen = []
    service = DegradationLevels(sink=lambda _event: seen.append(service.get_state()))
    service.set_level("reduced")
    assert seen == ["reduced"]


def test_a_broken_sink_changes_nothing():
    def sink(event):
        raise LookupError

    service = DegradationLevels(sink=sink)
    service.set_level("minimal")
    assert service.get_state() == "minimal"


def test_the_fake_switches_off_one_feature():
    service = FakeDegradation()
    service.off.add("search")
    assert not service.is_on("search")
    assert service.is_on("export")
    assert service.asked == ["search", "export"]


@given(
    reports=st.lists(
        st.tuples(st.sampled_from(["healthy", "degraded", "unhealthy"]), st.floats(0, 20)),
        max_size=200,
    )
)
def test_levels_do_not_swing(reports):
    """Between two changes lie the reports that are asked for, and before an ascent the time."""
    clock, changes = FakeClock(), []
    config = DegradationConfig(worsen_after=3, recover_after=5, hold_s=30.0)
    names = [level.name for level in config.levels]
    service = DegradationLevels(config, clock=clock)
    since = 0
    for status, gap in reports:
        clock.advance(gap)
        before = service.get_state()
        held = service.snapshot().since_s
        service.observe(status)
        since += 1
        if service.get_state() != before:
            step = names.index(service.get_state()) - names.index(before)
            changes.append(step)
            assert since >= (3 if step > 0 else 5)
            assert step > 0 or (step == -1 and held >= 30.0)
            since = 0
    ups = sum(1 for step in changes if step < 0)
    assert ups <= sum(gap for _, gap in reports) / 30.0
