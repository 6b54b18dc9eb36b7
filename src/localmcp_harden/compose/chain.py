"""The compiled chain: one pass for every call, checks in a loop, arounds nested.

Compiling turns the list of stages into one coroutine function. Checks that stand
next to each other run in one loop without an await; each around costs one
coroutine. Probes cost nothing unless they are compiled in.
"""

from collections.abc import Sequence
from enum import StrEnum
from typing import final

from ..core.errors import RefusedError
from ..core.model import ALLOW, Call, Decision, Effect, Outcome, deny
from ..core.ports import Clock
from ..protocols.chain import Around, CallNext, CallState, Check, Handler, Probe, Slot, Stage
from ..protocols.security import AuditTicket
from .order import check_order
from .record import Recorder

__all__ = ("Chain", "Mode", "decision_of", "refused")


class Mode(StrEnum):
    """Whether refusals are carried out."""

    ENFORCE = "enforce"
    OBSERVE = "observe"
    """Every guard decides and is recorded; the call goes on whatever they say."""


def decision_of(error: RefusedError) -> Decision:
    """Return the decision that a refusal stands for; its notes are for the record alone."""
    notes = tuple(getattr(error, "__notes__", ()))
    return deny(error.code, error.reason, rules=notes, retry_after_s=error.retry_after_s)


def refused(decision: Decision) -> Outcome:
    """Return the outcome of a refused call."""
    return Outcome(refusal=decision)


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
        self.mode: Mode = mode
        self._recorder = recorder
        self._monotonic = clock.monotonic
        self._probe = probe
        self._entry = self._compile(custom)

    async def run(self, call: Call, handler: Handler, /, *, credentials: object = None) -> Outcome:
        """Take one call through all stages; see `GuardedRunner.run`."""
        state = CallState(call=call, handler=handler, credentials=credentials)
        started = state.mark = self._monotonic()
        outcome: Outcome | None = None
        ticket, refusal = self._open(state)
        try:
            outcome = refusal or await self._pass(state)
            return outcome
        finally:
            # Runs on cancellation too, when there is no outcome.
            self._recorder.close(state, outcome, self._monotonic() - started, ticket)

    def _open(self, state: CallState) -> tuple[AuditTicket | None, Outcome | None]:
        try:
            return self._recorder.open(), None
        except RefusedError as error:
            return None, self._unless_observing(state, decision_of(error))

    async def _pass(self, state: CallState) -> Outcome:
        try:
            return await self._entry(state)
        except Exception as error:  # noqa: BLE001 - a guard that breaks refuses
            return await self._guard_broke(state, error)

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
                return await self._call_handler(state)
            return Outcome(failure=error)
        return outcome

    def _compile(self, custom: frozenset[str]) -> CallNext:
        outer = self._outer_names()
        following = self._innermost(outer[-1], custom)
        checks: list[Stage] = []
        for stage, outside in zip(reversed(self.stages), reversed(outer[:-1]), strict=True):
            if stage.check is not None:
                checks.insert(0, stage)
                if self._probe is None and stage is not self.stages[0]:
                    continue
            if checks:
                following, checks = self._checks(checks, following), []
            if stage.around is not None:
                following = self._around(stage.name, stage.around, outside, following)
            if self._probe is not None:
                following = self._probed(stage.name, self._probe, following)
        return following

    def _outer_names(self) -> list[str]:
        """Return, for each stage and for the handler, the stage that waits for it."""
        names = [_RECORD]
        for stage in self.stages:
            names.append(stage.name if stage.around is not None else names[-1])
        return names

    def _checks(self, stages: Sequence[Stage], following: CallNext) -> CallNext:
        pairs: tuple[tuple[str, Check], ...] = tuple(
            (stage.name, stage.check) for stage in stages if stage.check is not None
        )
        monotonic = self._monotonic
        enforcing = self.mode is Mode.ENFORCE

        async def run_checks(state: CallState) -> Outcome:
            for name, check in pairs:
                try:
                    decision = check(state)
                except Exception as error:  # noqa: BLE001 - a guard that breaks refuses
                    self._recorder.guard_failed(name, error)
                    decision = _BROKEN
                state.charge(name, monotonic())
                if decision is None or decision is ALLOW:
                    continue
                state.decide(name, decision)
                if decision.effect is Effect.DENY:
                    if enforcing:
                        return Outcome(refusal=decision)
                    state.observed.append(decision.code)
            return await following(state)

        return run_checks

    def _around(self, name: str, around: Around, outside: str, following: CallNext) -> CallNext:
        monotonic = self._monotonic

        async def run_around(state: CallState) -> Outcome:
            state.charge(outside, monotonic())
            try:
                return await around(state, following)
            finally:
                state.charge(name, monotonic())

        return run_around

    def _probed(self, name: str, probe: Probe, step: CallNext) -> CallNext:
        before, after = f"before:{name}", f"after:{name}"

        async def run_probed(state: CallState) -> Outcome:
            await probe(before, state)
            try:
                return await step(state)
            finally:
                await probe(after, state)

        return run_probed

    def _innermost(self, outside: str, custom: frozenset[str]) -> CallNext:
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
            state.charge(outside, monotonic())
            return await self._call_handler(state)

        return run_handler

    async def _call_handler(self, state: CallState) -> Outcome:
        state.attempts += 1
        try:
            return await state.handler(state.call)
        except Exception as error:  # noqa: BLE001 - what the target raises is its outcome
            return Outcome(failure=error)
        finally:
            state.charge("handler", self._monotonic())


_RECORD = "record"
_BROKEN = deny("gate_failed", "a guard could not decide, so the call is refused")
_CHANGED = deny("gate_failed", "the call changed after it was judged, so it is refused")
