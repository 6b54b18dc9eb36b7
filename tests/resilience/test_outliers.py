"""OutlierEjector: who is left out, for how long, and that never too many are."""

from contextlib import suppress

import anyio
import pytest
from hypothesis import given, strategies as st

from localmcp_harden.core.errors import CircuitOpenError
from localmcp_harden.core.events import EndpointEjectionChanged, GuardFailed
from localmcp_harden.resilience.outliers import OutlierConfig, OutlierEjector
from localmcp_harden.testing.chance import FakeRandom
from localmcp_harden.testing.clock import FakeClock
from localmcp_harden.testing.recording import RecordingSink

pytestmark = pytest.mark.anyio

TEN = tuple(f"e{number}" for number in range(10))


class BoomError(Exception):
    pass


async def good():
    return "good"


async def bad():
    raise BoomError


def make(endpoints=TEN, **settings):
    clock, sink = FakeClock(), RecordingSink()
    options = {
        key: settings.pop(key) for key in ("is_failure", "ignore", "random") if key in settings
    }
    pool = OutlierEjector(
        endpoints, OutlierConfig(**settings), name="p", clock=clock, sink=sink, **options
    )
    return pool, clock, sink


async def fail(pool, endpoint, times=1):
    for _ in range(times):
        with suppress(BoomError, CircuitOpenError):
            await pool.execute(endpoint, bad)


async def test_errors_in_a_row_eject_at_once_and_a_success_begins_anew():
    pool, _, sink = make()
    await fail(pool, "e1", 4)
    assert await pool.execute("e1", good) == "good"
    await fail(pool, "e1", 4)
    assert "e1" in pool.available()
    await fail(pool, "e1")
    assert "e1" not in pool.available()
    with pytest.raises(CircuitOpenError) as refused:
        await pool.execute("e1", good)
    assert refused.value.retry_after_s == 30.0
    (event,) = sink.of(EndpointEjectionChanged)
    told = (event.pool, event.endpoint, event.ejected, event.cause, event.ejection_s)
    assert told == ("p", "e1", True, "consecutive_errors", 30.0)


async def test_an_ejected_endpoint_is_let_in_again_on_time():
    pool, clock, sink = make()
    await fail(pool, "e1", 5)
    clock.advance(29.9)
    assert "e1" not in pool.available()
    clock.advance(0.1)
    assert "e1" in pool.available()
    assert [event.cause for event in sink.of(EndpointEjectionChanged)][1:] == ["ejection_over"]
    assert await pool.execute("e1", good) == "good"


async def test_ejections_last_longer_each_time_up_to_the_most():
    pool, clock, _ = make(max_ejection_s=75.0, interval_s=1_000.0)
    for seconds in (30.0, 60.0, 75.0, 75.0):
        await fail(pool, "e1", 5)
        assert pool.snapshots()["e1"].retry_after_s == seconds
        clock.advance(seconds)


async def test_each_interval_in_the_pool_takes_one_ejection_away():
    pool, clock, _ = make()
    await fail(pool, "e1", 5)
    clock.advance(30.0)
    await fail(pool, "e1", 5)
    assert pool.snapshots()["e1"].retry_after_s == 60.0
    # The time out of the pool does not count.
    clock.advance(60.0)
    assert pool.snapshots()["e1"].ejections == 2
    clock.advance(10.0)
    assert pool.snapshots()["e1"].ejections == 1
    clock.advance(10.0)
    assert pool.snapshots()["e1"].ejections == 0
    await fail(pool, "e1", 5)
    assert pool.snapshots()["e1"].retry_after_s == 30.0


async def run_interval(pool, clock, failures, calls=20):
    for endpoint, failed in failures.items():
        for number in range(calls):
            # Spread out, so that they are never five in a row.
            with suppress(BoomError):
                await pool.execute(endpoint, bad if number % 2 and number // 2 < failed else good)
    clock.advance(10.0)


async def test_a_success_rate_far_below_the_others_ejects():
    pool, clock, sink = make(minimum_calls=20)
    await run_interval(pool, clock, dict.fromkeys(TEN, 0) | {"e3": 8})
    assert set(TEN) - set(pool.available()) == {"e3"}
    assert sink.of(EndpointEjectionChanged)[0].cause == "success_rate"


async def test_equally_bad_endpoints_stay():
    pool, clock, _ = make(minimum_calls=20)
    await run_interval(pool, clock, dict.fromkeys(TEN, 9))
    assert pool.available() == TEN


@pytest.mark.parametrize(
    "settings", [{"minimum_calls": 21}, {"minimum_calls": 20, "minimum_endpoints": 11}]
)
async def test_too_little_is_known_to_compare(settings):
    pool, clock, _ = make(**settings)
    await run_interval(pool, clock, dict.fromkeys(TEN, 0) | {"e3": 8})
    assert pool.available() == TEN


async def test_an_interval_is_judged_by_itself():
    pool, clock, _ = make(minimum_calls=20)
    await run_interval(pool, clock, dict.fromkeys(TEN, 0), calls=19)
    await run_interval(pool, clock, dict.fromkeys(TEN, 0) | {"e3": 8}, calls=19)
    assert pool.available() == TEN


async def test_the_deviation_factor_is_that_of_the_formula():
    # Nine at 1.0 and one at 0.6: mean 0.96, standard deviation 0.12, so 3 of it are 0.36.
    rates = dict.fromkeys(TEN, 0) | {"e3": 8}
    for factor, out in ((2.9, {"e3"}), (3.1, set())):
        pool, clock, _ = make(minimum_calls=20, deviation_factor=factor)
        await run_interval(pool, clock, rates)
        assert set(TEN) - set(pool.available()) == out


@pytest.mark.parametrize(("share", "out"), [(0.0, 1), (0.1, 1), (0.29, 2), (0.3, 3), (1.0, 9)])
async def test_no_more_than_the_share_is_out_but_always_one_and_never_the_last(share, out):
    pool, _, _ = make(max_ejected_share=share)
    for endpoint in TEN:
        await fail(pool, endpoint, 20)
    assert len(pool.available()) == 10 - out


async def test_a_single_endpoint_is_never_ejected():
    pool, _, _ = make(("only",))
    await fail(pool, "only", 50)
    assert pool.available() == ("only",)


async def test_what_began_before_an_ejection_counts_no_more():
    pool, clock, _ = make()

    async def ejected_meanwhile():
        await fail(pool, "e1", 5)
        clock.advance(30.0)
        raise BoomError

    with pytest.raises(BoomError):
        await pool.execute("e1", ejected_meanwhile)
    assert pool.snapshots()["e1"].consecutive_errors == 0


async def test_a_cancelled_call_counts_nothing():
    pool, _, _ = make()
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(pool.execute, "e1", anyio.sleep_forever)
        await anyio.wait_all_tasks_blocked()
        tasks.cancel_scope.cancel()
    assert pool.snapshots()["e1"].calls == 0


async def test_results_and_errors_are_judged_as_told():
    pool, _, _ = make(
        is_failure=lambda result: result == "good", ignore=(BoomError,), consecutive_errors=2
    )
    await fail(pool, "e1", 10)
    assert pool.snapshots()["e1"].calls == 0
    for _ in range(2):
        assert await pool.execute("e1", good) == "good"
    assert "e1" not in pool.available()


async def test_a_broken_predicate_is_reported_and_does_no_harm():
    def broken(_result):
        raise RuntimeError("secret")

    pool, _, sink = make(is_failure=broken)
    assert await pool.execute("e1", good) == "good"
    assert sink.of(GuardFailed)[0].guard == "p.is_failure"
    assert "secret" not in repr(sink.events)


async def test_a_sink_may_ask_the_pool():
    seen = []

    def sink(event):
        seen.append((event.endpoint, pool.available()))

    pool = OutlierEjector(TEN, clock=FakeClock(), sink=sink)
    await fail(pool, "e1", 5)
    assert seen == [("e1", tuple(name for name in TEN if name != "e1"))]


async def test_endpoints_come_and_go_and_those_that_stay_are_known():
    pool, _, _ = make()
    await fail(pool, "e1", 5)
    await fail(pool, "e2", 3)
    pool.set_endpoints(["e1", "e2", "new"])
    assert pool.available() == ("e2", "new")
    assert pool.snapshots()["e2"].consecutive_errors == 3
    assert pool.endpoints == ("e1", "e2", "new")
    with pytest.raises(ValueError, match="set_endpoints"):
        await pool.execute("e5", good)


async def test_a_pool_that_shrinks_to_who_is_left_out_lets_it_in():
    pool, _, sink = make()
    await fail(pool, "e1", 5)
    pool.set_endpoints(["e1"])
    assert pool.available() == ("e1",)
    assert sink.of(EndpointEjectionChanged)[-1].cause == "reset"


async def test_an_outcome_of_an_endpoint_that_is_gone_is_dropped():
    pool, _, _ = make()

    async def gone():
        pool.set_endpoints(["e2"])
        return "done"

    assert await pool.execute("e1", gone) == "done"


async def test_reset_lets_all_in():
    pool, _, _ = make()
    await fail(pool, "e1", 5)
    await fail(pool, "e2", 3)
    pool.reset()
    assert pool.available() == TEN
    assert pool.snapshots()["e2"].consecutive_errors == 0


async def test_chance_shortens_an_ejection():
    pool, _, _ = make(ejection_jitter=0.5, random=FakeRandom(1.0))
    await fail(pool, "e1", 5)
    assert pool.snapshots()["e1"].retry_after_s == 15.0


async def test_configure_counts_from_now():
    pool, _, _ = make()
    pool.configure(OutlierConfig(consecutive_errors=2))
    await fail(pool, "e1", 2)
    assert "e1" not in pool.available()
    assert pool.config.consecutive_errors == 2


async def test_without_the_rule_errors_in_a_row_do_nothing():
    pool, _, _ = make(consecutive_errors=None)
    await fail(pool, "e1", 100)
    assert pool.available() == TEN


@pytest.mark.parametrize(
    "wrong",
    [
        {"consecutive_errors": 0},
        {"interval_s": 0.0},
        {"minimum_endpoints": 1},
        {"deviation_factor": 0.0},
        {"max_ejected_share": 1.1},
        {"max_ejection_s": 1.0},
        {"ejection_jitter": -0.1},
    ],
)
def test_nonsense_is_refused(wrong):
    with pytest.raises(ValueError, match=next(iter(wrong))):
        OutlierConfig(**wrong)


@pytest.mark.parametrize("endpoints", [(), tuple(str(number) for number in range(10_001))])
def test_a_pool_has_endpoints_and_not_too_many(endpoints):
    with pytest.raises(ValueError, match="endpoints"):
        OutlierEjector(endpoints)


@given(
    calls=st.lists(st.tuples(st.sampled_from(TEN[:5]), st.booleans(), st.floats(0, 20))),
    share=st.floats(0, 1),
)
def test_never_too_many_whatever_happens(calls, share):
    async def scenario():
        pool, clock, _ = make(
            TEN[:5],
            consecutive_errors=2,
            minimum_calls=1,
            minimum_endpoints=2,
            deviation_factor=0.5,
            max_ejected_share=share,
        )
        for endpoint, failed, wait in calls:
            with suppress(BoomError, CircuitOpenError):
                await pool.execute(endpoint, bad if failed else good)
            clock.advance(wait)
            out = 5 - len(pool.available())
            assert out <= max(1, int(share * 5 + 1e-9))

    anyio.run(scenario)
