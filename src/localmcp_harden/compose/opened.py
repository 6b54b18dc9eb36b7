"""The record of a request that a transport took, before it is known whether it is a call.

Either a call adopts it, and there is that call's record and no other; or the transport
closes it. Whatever comes first holds.
"""

from collections.abc import Mapping
from typing import Any, TypeVar, final

import anyio

from ..core.errors import RefusedError
from ..core.model import Call, Outcome, SecurityContext, filled
from ..core.ports import Clock
from ..protocols.chain import CallState
from .record import Recorder

__all__ = ("SCOPE_KEY", "OpenedRequest", "opened_in")

SCOPE_KEY = "localmcp_harden.request"
"""Where a request's ASGI scope holds it."""

_R = TypeVar("_R")


@final
class OpenedRequest:
    """One request, open until it is adopted or closed.

    Args:
        call: The request as a call of its own, to record when nothing adopts it.
        recorder: Makes that record.
        clock: Says how long it took.
    """

    __slots__ = (
        "_adopted",
        "_clock",
        "_closed",
        "_recorder",
        "_taken",
        "call",
        "code",
        "message",
        "started",
    )

    def __init__(self, call: Call, recorder: Recorder, clock: Clock) -> None:
        self.call: Call = call
        self.started: float = clock.monotonic()
        """When it began, monotonic seconds."""
        self.message: str = ""
        """The method of the message it carries, once that is known: only its call adopts it."""
        self.code: str = ""
        """The code by which it was refused, or the call that adopted it."""
        self._recorder = recorder
        self._clock = clock
        self._closed = False
        self._adopted = False
        self._taken: anyio.Event | None = None

    @property
    def id(self) -> str:
        """The id of the record."""
        return self.call.id

    @property
    def is_adopted(self) -> bool:
        """Whether a call has taken it over."""
        return self._adopted

    def adopt(self, call: Call) -> Call:
        """Let a call take the record over: id, beginning, and what is known of the trace.

        Returns:
            The call to run. One that is not the request's own, or comes too late, stays
            what it is, and names this one as its parent.
        """
        own = self.call
        if self._adopted or self._closed or (self.message and self.message != call.method):
            return _changed(call, parent_id=own.id)
        self._adopted = True
        if self._taken is not None:
            self._taken.set()
        security = {**call.security.__dict__, "timestamp": own.security.timestamp}
        fields = {**call.__dict__, "id": own.id, "parent_id": None}
        fields["security"] = filled(SecurityContext, security)
        if own.meta:
            fields["meta"] = {**own.meta, **call.meta}
        return filled(Call, fields)

    def note(self, facts: Mapping[str, Any]) -> None:
        """Add facts of the transport, for the record of whoever makes it."""
        self.call = _changed(self.call, meta={**self.call.meta, **facts})

    def started_of(self, call: Call) -> float | None:
        """Return when a call began that has adopted this, None for any other."""
        return self.started if self._adopted and call.id == self.call.id else None

    def settle(self, outcome: Outcome) -> None:
        """Say how the call that adopted it ended."""
        if outcome.refusal is not None:
            self.code = outcome.refusal.code

    async def wait_adopted(self, seconds: float) -> None:
        """Wait until a call has adopted it, at most `seconds`, cancelled or not."""
        if self._adopted:
            return
        self._taken = anyio.Event()
        with anyio.CancelScope(shield=True), self._clock.cut_after(seconds):
            await self._taken.wait()

    def close(self, outcome: Outcome | None, *, audited: bool = True) -> None:
        """Record the request, unless a call has adopted it or it is closed already.

        Args:
            outcome: How it ended; None when the client went away.
            audited: Whether a refusal is kept in the audit log. Where that has no room
                the record goes everywhere else.
        """
        if outcome is not None and outcome.refusal is not None and not self._adopted:
            self.code = outcome.refusal.code
        if self._adopted or self._closed:
            return
        self._closed = True
        ticket = None
        if audited:
            try:
                ticket = self._recorder.open()
            except RefusedError as error:
                self._recorder.guard_failed("audit", error)
        state = CallState(call=self.call, handler=_nothing)
        if outcome is not None and outcome.refusal is not None:
            state.decide("http", outcome.refusal)
        self._recorder.close(state, outcome, self._clock.monotonic() - self.started, ticket)


def opened_in(request: Any) -> OpenedRequest | None:
    """Return the open record of a Starlette request, None where no transport opened one."""
    if request is None:
        return None
    found = request.scope.get(SCOPE_KEY)
    return found if isinstance(found, OpenedRequest) else None


async def _nothing(_: Call) -> Outcome:
    """Stand for the handler of a request that has none."""
    return Outcome()


def _changed(record: _R, **fields: object) -> _R:
    """Return a copy of a record that keeps its fields in a dict: a tenth of `attrs.evolve`."""
    copy = object.__new__(type(record))
    copy.__dict__.update(record.__dict__)
    copy.__dict__.update(fields)
    return copy
