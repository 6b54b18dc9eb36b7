"""GcraRateLimiter: the contract, and what is its own."""

import pytest
from hypothesis import given, strategies as st

from localmcp_harden.core.model import ANONYMOUS, Call, CallKind, Principal, SecurityContext
from localmcp_harden.security.access.limits import GcraRateLimiter, RateLimit, RateLimitConfig
from localmcp_harden.testing.clock import FakeClock
from localmcp_harden.testing.contracts.rate_limiter import rate_limiter
from localmcp_harden.testing.doubles.rate_limiter import FakeRateLimiter

pytestmark = pytest.mark.anyio


def make_gcra(*, rate_per_s, burst, clock):
    return GcraRateLimiter(RateLimitConfig(rate_per_s=rate_per_s, burst=burst), clock=clock)


@pytest.mark.parametrize("rule", rate_limiter.rules, ids=str)
@pytest.mark.parametrize("make", [make_gcra, FakeRateLimiter], ids=["gcra", "fake"])
async def test_contract(make, rule):
    await rule.check(make)


def call(name="t", *, subject="ann", ip=None, kind=CallKind.TOOL):
    user = Principal(client="c", subject=subject) if subject else ANONYMOUS
    security = SecurityContext(user=user, ip_address=ip)
    return Call(id="1", kind=kind, method="tools/call", name=name, security=security)


def test_tool_limit_holds_beside_the_general_one():
    config = RateLimitConfig(burst=100, tools={"slow": RateLimit(rate_per_s=1, burst=1)})
    limiter = GcraRateLimiter(config, clock=FakeClock())

    assert limiter.limit(call("slow")).allowed
    refusal = limiter.limit(call("slow"))

    assert refusal.rules == ("rate_limit:tool:slow",)
    assert limiter.limit(call("quick")).allowed


def test_general_refusal_returns_the_tools_share():
    clock = FakeClock()
    config = RateLimitConfig(
        rate_per_s=1, burst=1, tools={"t": RateLimit(rate_per_s=0.001, burst=2)}
    )
    limiter = GcraRateLimiter(config, clock=clock)
    assert limiter.limit(call("other")).allowed
    for _ in range(5):
        assert limiter.limit(call("t")).rules == ("rate_limit:caller",)

    clock.advance(1)
    assert limiter.limit(call("t")).allowed
    clock.advance(1)
    assert limiter.limit(call("t")).allowed


@pytest.mark.parametrize(
    ("first", "second", "same"),
    [
        ("2001:db8::1", "2001:db8::ffff", True),
        ("2001:db8:0:1::1", "2001:db8:0:2::1", False),
        ("192.0.2.1", "192.0.2.2", False),
        (None, None, True),
    ],
)
def test_anonymous_callers_are_told_apart_by_address(first, second, same):
    limiter = GcraRateLimiter(RateLimitConfig(rate_per_s=1, burst=1), clock=FakeClock())
    limiter.limit(call(subject="", ip=first))
    assert limiter.limit(call(subject="", ip=second)).allowed is not same


def test_a_new_configuration_keeps_what_callers_owe():
    clock = FakeClock()
    tools = {"t": RateLimit(rate_per_s=1, burst=1)}
    limiter = GcraRateLimiter(RateLimitConfig(tools=tools), clock=clock)
    assert limiter.limit(call("t")).allowed

    limiter.configure(RateLimitConfig(tools={**tools, "u": RateLimit(rate_per_s=1, burst=1)}))

    assert not limiter.limit(call("t")).allowed
    assert limiter.limit(call("u")).allowed
    limiter.configure(RateLimitConfig(max_callers=1))
    limiter.limit(call("t", subject="bob"))
    assert len(limiter._all) == 1


def test_the_table_is_bounded():
    limiter = GcraRateLimiter(RateLimitConfig(max_callers=10), clock=FakeClock())
    for number in range(1_000):
        limiter.limit(call(subject=str(number)))
    assert len(limiter._all) == 10


@pytest.mark.parametrize(
    "wrong", [{"rate_per_s": 0}, {"burst": 0}, {"rate_per_s": float("nan")}, {"max_callers": 0}]
)
def test_nonsense_is_refused(wrong):
    with pytest.raises(ValueError, match=next(iter(wrong))):
        RateLimitConfig(**wrong)


@given(
    rate=st.floats(0.1, 1000),
    burst=st.integers(1, 50),
    gaps=st.lists(st.floats(0, 10), min_size=1, max_size=200),
)
def test_no_window_holds_more_than_promised(rate, burst, gaps):
    clock = FakeClock()
    limiter = make_gcra(rate_per_s=rate, burst=burst, clock=clock)
    passed = []
    for gap in gaps:
        clock.advance(gap)
        if limiter.limit(call()).allowed:
            passed.append(clock.monotonic())
    for start in range(len(passed)):
        for end in range(start, len(passed)):
            window = passed[end] - passed[start]
            assert end - start + 1 <= burst + rate * window + 1e-6
