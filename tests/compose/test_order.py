"""Unsafe orders are refused, with a reason that says what could go wrong."""

import itertools

import pytest

from localmcp_harden.compose.order import check_order
from localmcp_harden.core.errors import UnsafeOrderError
from localmcp_harden.protocols.chain import Slot, Stage


def check(_):
    return None


async def around(state, call_next):
    return await call_next(state)


def stage(slot, name=None, **changes):
    kind = {"around": around} if changes.get("answers") else {"check": check}
    return Stage(name=name or slot.name, slot=slot, **{**kind, **changes})


def test_the_design_order_is_safe():
    check_order([stage(slot) for slot in sorted(Slot)])


@pytest.mark.parametrize(
    ("outer", "inner", "harm"),
    [
        (Slot.CACHE, Slot.POLICY, "cached answer would bypass policy"),
        (Slot.POLICY, Slot.AUTHENTICATE, "nobody has identified"),
        (Slot.RATE_LIMIT, Slot.AUTHENTICATE, "nobody has identified"),
        (Slot.POLICY, Slot.CANONICALISE, "not the one opened"),
        (Slot.CACHE, Slot.OUTPUT, "bypass the output filter"),
        (Slot.BREAKER, Slot.RETRY, "one failure for many attempts"),
        (Slot.RETRY, Slot.DEADLINE, "no deadline"),
    ],
)
def test_swapped_stages_are_refused(outer, inner, harm):
    stages = [stage(outer), stage(inner), stage(Slot.FREEZE)]
    with pytest.raises(UnsafeOrderError, match=harm) as caught:
        check_order(stages)
    assert outer.name in str(caught.value)
    assert inner.name in str(caught.value)


def test_every_stage_is_compared_and_not_only_the_first_of_its_slot():
    stages = [
        stage(Slot.POLICY, "p1"),
        stage(Slot.FREEZE),
        stage(Slot.CACHE),
        stage(Slot.POLICY, "p2"),
    ]
    with pytest.raises(UnsafeOrderError):
        check_order(stages)


def test_nothing_answers_before_policy():
    with pytest.raises(UnsafeOrderError, match="before policy"):
        check_order([stage(Slot.CONTENT, answers=True), stage(Slot.POLICY), stage(Slot.FREEZE)])


def test_nothing_rewrites_after_policy():
    with pytest.raises(UnsafeOrderError, match="after policy"):
        check_order([stage(Slot.POLICY), stage(Slot.FREEZE), stage(Slot.OUTPUT, rewrites=True)])


def test_policy_without_freeze_is_refused():
    with pytest.raises(UnsafeOrderError, match="freeze"):
        check_order([stage(Slot.POLICY)])


@pytest.mark.parametrize(
    "stages",
    [
        [stage(Slot.CONTENT, "a"), stage(Slot.CONTENT, "a")],
        [Stage(name="", slot=Slot.CONTENT, check=check)],
        [Stage(name="neither", slot=Slot.CONTENT)],
        [Stage(name="both", slot=Slot.CONTENT, check=check, around=around)],
        [Stage(name="x", slot=Slot.CACHE, check=check, answers=True)],
    ],
)
def test_malformed_stages_are_refused(stages):
    with pytest.raises(UnsafeOrderError):
        check_order(stages)


def test_exactly_the_orders_that_keep_the_pairs_are_accepted():
    slots = [Slot.AUTHENTICATE, Slot.POLICY, Slot.FREEZE, Slot.CACHE]
    accepted = set()
    for order in itertools.permutations(slots):
        try:
            check_order([stage(slot) for slot in order])
        except UnsafeOrderError:
            continue
        accepted.add(order)
    expected = {
        order
        for order in itertools.permutations(slots)
        if order.index(Slot.AUTHENTICATE) < order.index(Slot.POLICY)
        and order.index(Slot.POLICY) < order.index(Slot.FREEZE)
        and order.index(Slot.POLICY) < order.index(Slot.CACHE)
    }
    assert accepted == expected
