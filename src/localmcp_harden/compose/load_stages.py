"""Fits what sheds load into the chain: bulkheads, and levels of service.

A bulkhead does nothing where the chain only observes: waiting would change what a call
does. What would be refused because it is switched off is observed like other refusals.
"""

from collections.abc import Awaitable, Callable
from functools import partial

from ..core.errors import OverloadedError
from ..core.model import CallKind, Decision, Outcome, deny
from ..protocols.chain import Around, CallNext, CallState, Check
from ..protocols.degradation import Degradation
from ..protocols.load import Bulkhead
from ..resilience.bulkheads import BulkheadSet
from .chain import decision_of, refused

__all__ = ("bulkhead", "is_bounded", "switched_off")

_OFF = deny("switched_off", "this is switched off while the server is under strain")


def bulkhead(bulkheads: BulkheadSet) -> Around:
    """Let a call run when it is its turn: in the bulkhead of all calls, then in its tool's."""

    async def around(state: CallState, call_next: CallNext) -> Outcome:
        try:
            return await _through(_those_of(bulkheads, state), partial(call_next, state))
        except OverloadedError as error:
            decision = decision_of(error)
            state.decide("bulkhead", decision)
            return refused(decision)

    return around


def is_bounded(bulkheads: BulkheadSet) -> Callable[[CallState], bool]:
    """Return the function that tells whether a call goes through a bulkhead.

    What only keeps a conversation going does not: a subscription would hold a permit for
    as long as it lasts.
    """
    return lambda state: (
        state.call.kind is not CallKind.PROTOCOL and bool(_those_of(bulkheads, state))
    )


def switched_off(degradation: Degradation) -> Check:
    """Refuse a tool that is off at the present level of service."""

    def check(state: CallState) -> Decision | None:
        call = state.call
        return _OFF if call.kind is CallKind.TOOL and not degradation.is_on(call.name) else None

    return check


def _those_of(bulkheads: BulkheadSet, state: CallState) -> tuple[Bulkhead, ...]:
    if state.call.kind is CallKind.TOOL:
        return bulkheads.of_tool(state.call.name)
    return bulkheads.of_others()


async def _through(
    bulkheads: tuple[Bulkhead, ...], operation: Callable[[], Awaitable[Outcome]]
) -> Outcome:
    for each in reversed(bulkheads):
        operation = partial(each.execute, operation)
    return await operation()
