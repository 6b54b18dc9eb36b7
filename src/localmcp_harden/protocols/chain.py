"""The chain that every call goes through, and how a stage joins it.

A *check* is a plain function: it reads the call's state and returns a decision,
or None when it has nothing to say. An *around* is async and wraps what follows.
"""

from collections.abc import Awaitable, Callable, Coroutine
from enum import IntEnum
from typing import Any, Protocol, TypeAlias, final

from attrs import define, field, frozen

from ..core.errors import RefusedError
from ..core.events import StageDecision
from ..core.model import Annotations, Call, Decision, Outcome, Reservation

__all__ = (
    "Around",
    "CallNext",
    "CallState",
    "Check",
    "Declare",
    "GuardedRunner",
    "Handler",
    "Probe",
    "ProbePoint",
    "Slot",
    "Stage",
)


class Slot(IntEnum):
    """The places of the chain, outermost first. The numbers only say the order."""

    RECORD = 0
    CORRELATE = 10
    AUTHENTICATE = 20
    SESSION = 30
    RATE_LIMIT = 40
    VALIDATE = 50
    CANONICALISE = 60
    CONTENT = 70
    POLICY = 80
    APPROVAL = 90
    FREEZE = 100
    AUDIT = 110
    OUTPUT = 120
    CACHE = 130
    DEADLINE = 140
    BULKHEAD = 150
    RETRY = 160
    BREAKER = 170
    HANDLER = 180


# Bare classes: calling `list[str]` costs four times as much as `list`, five times a call.
_decisions: Callable[[], list[StageDecision]] = list
_timings: Callable[[], dict[str, float]] = dict
_reservations: Callable[[], list[Reservation]] = list
_observed: Callable[[], list[str]] = list
_facts: Callable[[], dict[str, Any]] = dict


@final
@define(kw_only=True)
class CallState:
    """One call on its way: the call itself, and what the stages found out so far.

    A stage before `Slot.FREEZE` may replace `call`; one after it may not, and the
    chain refuses to run the handler with a call that policy has not judged.

    Args:
        call: The call.
        handler: What runs innermost.
        credentials: What the transport knows of the caller; the authenticator's input.
        declare: Asks the server what it declares of the target; None when that is known.
        resources: Every canonical URI the call touches; each one is judged.
        judged: The call as policy saw it; the handler gets no other.
        decisions: What stages decided, where it was more than a bare yes.
        timings: Each stage's own seconds.
        mark: Until when time has been charged to a stage, monotonic seconds.
        inside: The around that waits for what runs now, `record` outside of all.
        reservations: Shares to settle when the call is over.
        undo: What is called when the call is over, the last one first: the stage's
            name, and a function without arguments.
        observed: Codes of refusals that were not carried out.
        attempts: How often the handler was called.
        facts: Findings handed from one stage to a later one.
    """

    call: Call
    handler: "Handler"
    credentials: Any = None
    declare: "Declare | None" = None
    resources: tuple[str, ...] = ()
    judged: Call | None = None
    decisions: list[StageDecision] = field(factory=_decisions)
    timings: dict[str, float] = field(factory=_timings)
    mark: float = 0.0
    inside: str = "record"
    reservations: list[Reservation] = field(factory=_reservations)
    undo: tuple[tuple[str, Callable[[], object]], ...] = ()
    observed: list[str] = field(factory=_observed)
    attempts: int = 0
    facts: dict[str, Any] = field(factory=_facts)

    def decide(self, stage: str, decision: Decision) -> None:
        """Keep a decision for the record, and its reservation for the end of the call."""
        self.decisions.append(StageDecision(stage, decision))
        if decision.reservation is not None:
            self.reservations.append(decision.reservation)

    def charge(self, stage: str, now: float) -> None:
        """Count the time since the last charge as the own time of `stage`."""
        self.timings[stage] = self.timings.get(stage, 0.0) + now - self.mark
        self.mark = now


Handler: TypeAlias = Callable[[Call], Awaitable[Outcome]]
"""The innermost step: runs the tool and says how it ended. Raises only to be cancelled."""

Declare: TypeAlias = Callable[[], Awaitable[Annotations]]
"""Asks the server for its declarations, and returns what is then known of the target."""

Check: TypeAlias = Callable[[CallState], Decision | None]
"""A stage that decides without waiting. None and an empty allow mean the same."""

CallNext: TypeAlias = Callable[[CallState], Awaitable[Outcome]]
"""What follows further in."""

Around: TypeAlias = Callable[[CallState, CallNext], Awaitable[Outcome]]
"""A stage that may wait, repeat, replace or cut off what follows."""

ProbePoint: TypeAlias = str
"""`before:STAGE` or `after:STAGE`."""

Probe: TypeAlias = Callable[[ProbePoint, CallState], Awaitable[None]]
"""A debugger's hook between stages: awaited, so that one call can pause while others flow."""


@final
@frozen(kw_only=True)
class Stage:
    """A named stage in its slot: exactly one of `check` and `around`.

    Args:
        name: Unique in the chain; appears in records.
        slot: Where it stands.
        check: The function of a check.
        around: The coroutine function of an around.
        applies: Whether an around has anything to do for a call; one that has not is
            passed by and does not appear in the timings. None for always.
        refuses: The error by which an around refuses what it has not let through, so that
            it need not catch it; where the chain only observes, the call goes on without
            the stage. None where it catches its own.
        answers: Whether it may answer a call itself, as a cache or a fallback does.
        rewrites: Whether it may change the call's arguments.
        subject: The block behind the stage, for descriptions.
    """

    name: str
    slot: Slot
    check: Check | None = None
    around: Around | None = None
    applies: Callable[[CallState], bool] | None = None
    refuses: type[RefusedError] | None = None
    answers: bool = False
    rewrites: bool = False
    subject: object = None


class GuardedRunner(Protocol):
    """Runs code of any kind through the chain: a tool, a pipeline stage, an admin action."""

    # Not `async def`: what hands on another's coroutine obeys, too.
    def run(
        self,
        call: Call,
        handler: Handler,
        /,
        *,
        credentials: object = None,
        declare: Declare | None = None,
    ) -> Coroutine[Any, Any, Outcome]:
        """Run `handler` under every guard.

        Args:
            call: What is about to happen.
            handler: What does it.
            credentials: What is known of the caller; see `protocols.security.Credentials`.
            declare: Asks the server what it declares, when the target is not known. It
                runs inside the chain, once the caller is known and within its rate.

        Returns:
            The outcome; a refusal is an outcome, not an exception.
        """
        ...
