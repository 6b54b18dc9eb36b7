"""The compiled chain: one pass for every call, checks in a loop, arounds nested.

Compiling turns the list of stages into one coroutine function. Checks that stand
next to each other run in one loop without an await; each around costs one
coroutine. Probes cost nothing unless they are compiled in.
"""

from collections.abc import Callable, Sequence
from enum import StrEnum
from typing import TypeAlias, final

from ..core.errors import RefusedError
from ..core.events import StageDecision
from ..core.model import ALLOW, Call, Decision, Effect, Outcome, deny
from ..core.ports import Clock
from ..protocols.chain import (
    Around,
    CallNext,
    CallState,
    Check,
    Declare,
    Handler,
    Probe,
    Slot,
    Stage,
)
from ..protocols.security import AuditTicket
from .opened import OpenedRequest
from .order import check_order
from .record import Recorder

__all__ = ("Chain", "Mode", "decision_of", "refuse_unless_observing", "refused")


class Mode(StrEnum):
    """Whether refusals are carried out."""

    ENFORCE = "enforce"
    OBSERVE = "observe"
    """Every guard decides and is recorded; the call goes on whatever they say."""


_Entry: TypeAlias = tuple[
    Callable[[CallState], bool] | None, Around, CallNext, tuple[type[RefusedError], ...]
]
"""Whether an around applies, the around, what follows it, and the error by which it refuses."""
_Step: TypeAlias = tuple[str, Check, _Entry | None]
# Asking an enumeration for a member runs its metaclass, on every call: once is enough.
_DENY = Effect.DENY


def _says_nothing(_: CallState) -> None:
    """Stand for the check of a step that is an around."""


def decision_of(error: RefusedError) -> Decision:
    """Return the decision that a refusal stands for; its notes are for the record alone."""
    notes = tuple(getattr(error, "__notes__", ()))
    return deny(error.code, error.reason, rules=notes, retry_after_s=error.retry_after_s)


def refused(decision: Decision) -> Outcome:
    """Return the outcome of a refused call."""
    return Outcome(refusal=decision)


def refuse_unless_observing(
    state: CallState, stage: str, error: RefusedError, *, enforcing: bool
) -> Outcome | None:
    """Set a stage's refusal down; return its outcome, or None where it is only observed."""
    decision = decision_of(error)
    state.decide(stage, decision)
    if enforcing:
        return refused(decision)
    state.observed.append(decision.code)
    return None


@final
class Chain:
    """A `GuardedRunner` over a fixed list of stages.

    Args:
        stages: Outermost first; see `order.check_order` for what is refused.
        recorder: Opens and closes every call's record.
        clock: Times the stages.
        mode: Whether refusals are carried out.
        probe: A debugger's hook before and after every stage, or None.
        custom: Names of stages that are not the package's own. Where one stands
            inside policy, the arguments are compared before the handler runs.

    Raises:
        UnsafeOrderError: The order is not safe.
    """

    def __init__(
        self,
        stages: Sequence[Stage],
        *,
        recorder: Recorder,
        clock: Clock,
        mode: Mode = Mode.ENFORCE,
        probe: Probe | None = None,
        custom: frozenset[str] = frozenset(),
    ) -> None:
        check_order(stages)
        self.stages: tuple[Stage, ...] = tuple(stages)
        self.mode: Mode = Mode(mode)
        self._recorder = recorder
        self._monotonic = clock.monotonic
        self._probe = probe
        self._entry = self._compile(custom)

    async def run(
        self,
        call: Call,
        handler: Handler,
        /,
        *,
        credentials: object = None,
        declare: Declare | None = None,
        opened: OpenedRequest | None = None,
    ) -> Outcome:
        """Take one call through all stages; see `GuardedRunner.run`.

        Args:
            call: What is about to happen.
            handler: What does it.
            credentials: What is known of the caller.
            declare: Asks the server what it declares.
            opened: The request that the call adopted, if any; it began when that did.
        """
        state = CallState(call=call, handler=handler, credentials=credentials, declare=declare)
        monotonic = self._monotonic
        started = now = state.mark = monotonic()
        if opened is not None:
            begun = opened.started_of(call)
            if begun is None:
                opened = None
            else:
                started = begun
                state.timings["transport"] = now - begun
        outcome: Outcome | None = None
        ticket: AuditTicket | None = None
        refusal: Outcome | None = None
        try:
            try:
                ticket = self._recorder.open()
            except RefusedError as error:
                refusal = self._unless_observing(state, decision_of(error))
            outcome = refusal or await self._entry(state)
        except Exception as error:  # noqa: BLE001 - a guard that breaks refuses
            outcome = await self._guard_broke(state, error)
            return outcome
        else:
            return outcome
        finally:
            # Runs on cancellation too, when there is no outcome.
            if state.undo:
                self._undo(state)
            if opened is not None and outcome is not None:
                opened.settle(outcome)
            self._recorder.close(state, outcome, monotonic() - started, ticket)

    def _undo(self, state: CallState) -> None:
        for name, end in reversed(state.undo):
            try:
                end()
            except Exception as error:  # noqa: BLE001 - the record must be made all the same
                self._recorder.guard_failed(name, error)
            state.charge(name, self._monotonic())

    def _unless_observing(self, state: CallState, decision: Decision) -> Outcome | None:
        if self.mode is Mode.OBSERVE:
            state.observed.append(decision.code)
            return None
        return refused(decision)

    async def _guard_broke(self, state: CallState, error: Exception) -> Outcome:
        self._recorder.guard_failed("chain", error)
        outcome = self._unless_observing(state, _BROKEN)
        if outcome is None:
            # Observing must not change what a call does, and this one has not been made yet.
            if state.attempts == 0:
                return await self._call_anyway(state)
            return Outcome(failure=error)
        return outcome

    async def _call_anyway(self, state: CallState) -> Outcome:
        state.attempts += 1
        try:
            return await state.handler(state.call)
        except Exception as error:  # noqa: BLE001 - what the target raises is its outcome
            return Outcome(failure=error)
        finally:
            state.charge("handler", self._monotonic())

    def _compile(self, custom: frozenset[str]) -> CallNext:
        """Make one coroutine function of the stages, from the innermost outwards."""
        last = self._innermost(custom)
        steps: list[_Step] = []
        for stage in reversed(self.stages):
            if stage.around is not None:
                # What follows an around is a coroutine of its own, for it to await.
                following = self._segment(steps, last)
                refuses = () if stage.refuses is None else (stage.refuses,)
                entry = (stage.applies, stage.around, following, refuses)
                step: _Step = (stage.name, _says_nothing, entry)
                # Where it does not apply, the loop goes on to the steps further in.
                steps = [step] if stage.applies is None else [step, *steps]
            elif stage.check is not None:
                steps = [(stage.name, stage.check, None), *steps]
            if self._probe is not None:
                last = self._probed(stage.name, self._probe, self._segment(steps, last))
                steps = []
        return self._segment(steps, last)

    def _segment(self, steps: Sequence["_Step"], last: CallNext) -> CallNext:  # noqa: C901
        """Return steps as one coroutine: checks in a loop, up to the first around that applies."""
        if not steps:
            return last
        frozen = tuple(steps)
        monotonic = self._monotonic
        enforcing = self.mode is Mode.ENFORCE

        async def run_segment(state: CallState) -> Outcome:
            # What `state.charge` does, here and below, without the call: it runs ten times.
            timings, inside, mark = state.timings, state.inside, monotonic()
            timings[inside] = timings.get(inside, 0.0) + mark - state.mark
            state.mark = mark
            for name, check, entry in frozen:
                if entry is not None:
                    applies, around, following, refuses = entry
                    if applies is not None and not applies(state):
                        continue
                    state.inside = name
                    try:
                        return await around(state, following)
                    except refuses as error:
                        refusal = refuse_unless_observing(state, name, error, enforcing=enforcing)
                        return await following(state) if refusal is None else refusal
                    finally:
                        mark = monotonic()
                        timings[name] = timings.get(name, 0.0) + mark - state.mark
                        state.mark, state.inside = mark, inside
                try:
                    decision = check(state)
                except Exception as error:  # noqa: BLE001 - a guard that breaks refuses
                    self._recorder.guard_failed(name, error)
                    decision = _BROKEN
                mark = monotonic()
                timings[name] = timings.get(name, 0.0) + mark - state.mark
                state.mark = mark
                if decision is None or decision is ALLOW:
                    continue
                # As `state.decide`, without two calls: every call that a rule allows comes here.
                state.decisions.append(tuple.__new__(StageDecision, (name, decision)))
                if decision.reservation is not None:
                    state.reservations.append(decision.reservation)
                if decision.effect is _DENY:
                    if enforcing:
                        return Outcome(refusal=decision)
                    state.observed.append(decision.code)
            return await last(state)

        return run_segment

    def _probed(self, name: str, probe: Probe, step: CallNext) -> CallNext:
        before, after = f"before:{name}", f"after:{name}"

        async def run_probed(state: CallState) -> Outcome:
            await probe(before, state)
            try:
                return await step(state)
            finally:
                await probe(after, state)

        return run_probed

    def _innermost(self, custom: frozenset[str]) -> CallNext:
        slots = [stage.slot for stage in self.stages]
        frozen = slots.index(Slot.FREEZE) if Slot.FREEZE in slots else len(slots)
        # Where only our own stages run between policy and handler, identity is enough.
        compare = any(stage.name in custom for stage in self.stages[frozen:])
        judges = frozen < len(slots)
        monotonic = self._monotonic

        async def run_handler(state: CallState) -> Outcome:
            if judges and (
                state.call is not state.judged
                or (compare and state.call.arguments != state.facts["frozen"])
            ):
                self._recorder.guard_failed("freeze", RuntimeError())
                state.decide("freeze", _CHANGED)
                outcome = self._unless_observing(state, _CHANGED)
                if outcome is not None:
                    return outcome
            timings, inside, mark = state.timings, state.inside, monotonic()
            timings[inside] = timings.get(inside, 0.0) + mark - state.mark
            state.mark = mark
            state.attempts += 1
            try:
                return await state.handler(state.call)
            except Exception as error:  # noqa: BLE001 - what the target raises is its outcome
                return Outcome(failure=error)
            finally:
                mark = monotonic()
                timings["handler"] = timings.get("handler", 0.0) + mark - state.mark
                state.mark = mark

        return run_handler


_BROKEN = deny("gate_failed", "a guard could not decide, so the call is refused")
_CHANGED = deny("gate_failed", "the call changed after it was judged, so it is refused")
