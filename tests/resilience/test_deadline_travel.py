"""The time left: as a context, on its way upstream, and read from whoever called."""

import math

import anyio
import pytest
from hypothesis import given, strategies as st

from localmcp_harden.core.errors import DeadlineExceededError
from localmcp_harden.resilience.deadline import DeadlineConfig, ScopeDeadline
from localmcp_harden.resilience.deadline_travel import DeadlineTravel, DeadlineTravelConfig
from localmcp_harden.testing.clock import FakeClock
from localmcp_harden.testing.contracts.deadline_scopes import deadline_scopes
from localmcp_harden.testing.doubles.deadline import FakeDeadline

pytestmark = pytest.mark.anyio


def travel(left_s, **settings):
    config = DeadlineTravelConfig(**({"margin_s": 0.0} | settings))
    return DeadlineTravel(lambda: left_s, config)


def make_scope(*, timeout_s, clock):
    return ScopeDeadline(DeadlineConfig(timeout_s=timeout_s), clock=clock)


@pytest.mark.parametrize("rule", deadline_scopes.rules, ids=str)
@pytest.mark.parametrize("kind", [make_scope, FakeDeadline], ids=["scope", "fake"])
async def test_deadline_scopes(kind, rule):
    await rule.check(kind)


async def test_the_fake_refuses_a_body_too():
    fake = FakeDeadline()
    fake.exceeded = True
    with pytest.raises(DeadlineExceededError), fake.limit(3.0):
        raise AssertionError
    assert fake.timeouts == [3.0]


# --- as a context --------------------------------------------------------------------------


def make(timeout_s=10.0):
    clock = FakeClock()
    return ScopeDeadline(DeadlineConfig(timeout_s=timeout_s), clock=clock), clock


async def test_a_body_is_cut_off_and_told_so():
    deadline, clock = make()
    cleaned = []

    async def run():
        with deadline.limit():
            clock.advance(10.0)
            try:
                await anyio.sleep_forever()
            finally:
                cleaned.append(deadline.remaining_s())

    with pytest.raises(DeadlineExceededError, match="10 seconds"):
        await run()
    assert cleaned == [0.0]
    assert deadline.remaining_s() is None


async def test_a_body_shares_its_time_between_its_calls():
    deadline, clock = make()
    seen = []

    async def call():
        seen.append(deadline.remaining_s())
        clock.advance(3.0)

    with deadline.limit(7.0):
        await deadline.execute(call)
        await deadline.execute(call)
    assert seen == [7.0, 4.0]


@pytest.mark.parametrize("timeout_s", [None, math.inf])
async def test_a_body_without_a_limit_has_none(timeout_s):
    deadline, _ = make(None)
    with deadline.limit(timeout_s):
        assert deadline.remaining_s() is None


@pytest.mark.parametrize("nothing", [0.0, -1.0, math.nan])
async def test_a_body_without_time_is_not_begun(nothing):
    deadline, _ = make()
    with pytest.raises(DeadlineExceededError), deadline.limit(nothing):
        raise AssertionError


async def test_a_bodys_own_error_is_its_own():
    deadline, _ = make()
    with pytest.raises(LookupError), deadline.limit():
        raise LookupError
    assert deadline.remaining_s() is None


async def test_a_cancellation_from_outside_is_not_taken_for_the_bodys_deadline():
    deadline, _ = make()
    ended = []

    async def run():
        try:
            with deadline.limit():
                await anyio.sleep_forever()
        except DeadlineExceededError:
            ended.append("deadline")

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(run)
        await anyio.wait_all_tasks_blocked()
        tasks.cancel_scope.cancel()
    assert ended == []


# --- on its way upstream -------------------------------------------------------------------


@pytest.mark.parametrize(
    ("left_s", "field"),
    [
        (0.000001, "1u"),
        (0.0305, "30500u"),
        (1.5, "1500000u"),
        (99.999999, "99999999u"),
        (100.0, "100000m"),
        (86_400.0, "86400000m"),
        (1e6, "1000000S"),
        (1e9, "16666666M"),
        (1e10, "2777777H"),
        (1e300, "99999999H"),
    ],
)
async def test_the_field_has_the_form_of_grpc(left_s, field):
    assert travel(left_s).headers() == {"grpc-timeout": field}


async def test_without_a_limit_nothing_is_sent():
    unlimited = travel(None)
    assert (unlimited.headers(), unlimited.meta()) == ({}, {})
    assert unlimited.read_timeout_seconds() is None
    assert unlimited.read_timeout_seconds(5.0) == 5.0


async def test_the_protocols_meta_and_timeouts():
    limited = travel(2.0)
    assert limited.meta() == {"localmcp-harden/remaining-us": 2_000_000}
    assert limited.read_timeout_seconds() == 2.0
    assert limited.read_timeout_seconds(5.0) == 2.0
    assert limited.read_timeout_seconds(1.0) == 1.0


async def test_a_margin_is_kept_back():
    assert travel(2.0, margin_s=0.5).meta() == {"localmcp-harden/remaining-us": 1_500_000}


@pytest.mark.parametrize("left_s", [0.0, 0.5, -1.0, math.nan])
async def test_with_nothing_left_nothing_is_sent(left_s):
    for send in ("headers", "meta", "read_timeout_seconds", "left_s"):
        with pytest.raises(DeadlineExceededError, match="not sent"):
            getattr(travel(left_s, margin_s=0.5), send)()


async def test_a_handlers_deadline_travels():
    deadline, clock = make()
    going = DeadlineTravel(deadline.remaining_s, DeadlineTravelConfig(margin_s=1.0))

    async def handler():
        clock.advance(4.0)
        return going.headers()

    assert await deadline.execute(handler) == {"grpc-timeout": "5000000u"}


# --- read from whoever called -----------------------------------------------------------


@pytest.mark.parametrize(
    ("field", "seconds"),
    [
        ("1500m", 1.5),
        ("2S", 2.0),
        ("1M", 60.0),
        ("99999999H", 60.0),
        ("0n", 0.0),
        ("123456789S", None),
        ("1s", None),
        ("-1S", None),
        ("1.5S", None),
        ("1S ", None),
        ("1S\n", None),
        ("٣S", None),
        ("S", None),
        ("", None),
        (5, None),
    ],
)
async def test_what_is_read_is_bounded(field, seconds):
    assert travel(None).from_headers({"grpc-timeout": field}, trusted=True) == seconds


@pytest.mark.parametrize(
    ("value", "seconds"),
    [
        (1_500_000, 1.5),
        (0, 0.0),
        (10**400, 60.0),
        (-1, None),
        (1.5, None),
        (True, None),
        ("1", None),
        (None, None),
    ],
)
async def test_what_is_read_from_meta_is_bounded(value, seconds):
    meta = {"localmcp-harden/remaining-us": value}
    assert travel(None).from_meta(meta, trusted=True) == seconds


async def test_whoever_is_not_trusted_says_nothing():
    reader = travel(None)
    assert reader.from_headers({"grpc-timeout": "1S"}, trusted=False) is None
    assert reader.from_meta(travel(5.0).meta(), trusted=False) is None


async def test_a_field_is_found_whatever_the_case_of_its_name():
    reader = travel(None, header="X-Timeout")
    assert reader.from_headers({"x-timeout": "1S"}, trusted=True) == 1.0
    assert reader.from_headers({"X-Timeout": "1S"}, trusted=True) == 1.0


@given(left_s=st.floats(1e-6, 1e9))
def test_what_arrives_is_never_more_than_what_was_left(left_s):
    sender, reader = travel(left_s), travel(None, max_s=86_400.0)
    for arrived in (
        reader.from_headers(sender.headers(), trusted=True),
        reader.from_meta(sender.meta(), trusted=True),
    ):
        assert arrived <= left_s * (1 + 1e-12)
        assert arrived == 86_400.0 or arrived >= left_s * 0.98 - 1e-6


@given(st.text(max_size=40))
def test_no_field_breaks_the_reader(value):
    found = travel(None).from_headers({"grpc-timeout": value}, trusted=True)
    assert found is None or 0.0 <= found <= 60.0


@pytest.mark.parametrize(
    "wrong", [{"header": "a b"}, {"header": ""}, {"meta_key": "a b"}, {"margin_s": -1.0},
              {"max_s": 0.0}, {"max_s": math.inf}]
)  # fmt: skip
def test_nonsense_is_refused(wrong):
    with pytest.raises(ValueError, match=next(iter(wrong))):
        DeadlineTravelConfig(**wrong)
