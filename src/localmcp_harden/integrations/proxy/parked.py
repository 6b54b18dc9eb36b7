"""Lets a server of 2025 ask a client of 2026 for input in the middle of a call.

The server asks by a request and waits; the client expects the call to be answered with
what is needed, and to repeat it with that. So the server's call is kept open in between:
a bounded number of them, each for a bounded time, each to be continued once by whoever
began it.
"""

import os
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, final

import anyio

try:
    from mcp.shared.exceptions import MCPError
    from mcp_types import INVALID_PARAMS, INVALID_REQUEST, methods
    from pydantic import ValidationError
except ImportError as _missing:  # pragma: no cover - needs an environment without the extra
    from ...core.errors import MissingExtraError

    raise MissingExtraError("mcp", "wrapping a server") from _missing

from ...core.errors import UpstreamError
from .about import Json
from .mailbox import Spawn
from .wrap_config import WrapConfig

__all__ = ("ParkedCall", "ParkingLot")


@final
class _Question:
    def __init__(self, method: str, params: Mapping[str, Any]) -> None:
        self.method = method
        self.params = dict(params)
        self.answered = anyio.Event()
        self.answer: Json | MCPError | None = None


@final
class ParkedCall:
    """One call to the server, which may outlive the request that began it.

    Args:
        work: The call.
        version: The protocol version that the server speaks.
    """

    def __init__(self, work: Callable[[], Awaitable[Json]], version: str) -> None:
        self.token: str | None = None
        """By which its running is known to the connection."""
        self._work = work
        self._version = version
        self._scope = anyio.CancelScope()
        self._questions: dict[str, _Question] = {}
        self._asked = 0
        self._told: set[str] = set()
        self._changed = anyio.Event()
        self._result: Json | None = None
        self._error: Exception | None = None
        self._done = False

    async def run(self) -> None:
        """Do the call; whatever becomes of it is kept for whoever waits."""
        try:
            with self._scope:
                self._result = await self._work()
        except Exception as error:  # noqa: BLE001 - raised again where it is waited for
            self._error = error
        finally:
            if self._result is None and self._error is None:
                self._error = MCPError(INVALID_REQUEST, "the call waited too long for its client")
            self._done = True
            for question in self._questions.values():
                question.answered.set()
            self._wake()

    async def ask(self, method: str, params: Mapping[str, Any]) -> Json:
        """Put a question of the server's to the client, and wait for its answer.

        Raises:
            MCPError: There is none to be had.
        """
        self._asked += 1
        key = f"input-{self._asked}"
        question = self._questions[key] = _Question(method, params)
        self._wake()
        try:
            await question.answered.wait()
        finally:
            self._questions.pop(key, None)
        if isinstance(question.answer, MCPError):
            raise question.answer
        if question.answer is None:
            raise MCPError(INVALID_REQUEST, "the call ended before its client answered")
        return question.answer

    def give(self, responses: Mapping[str, Any]) -> None:
        """Answer the questions that the client was told of."""
        for key in self._told:
            question = self._questions.get(key)
            if question is None:
                continue
            answer = responses.get(key)
            if not isinstance(answer, Mapping):
                question.answer = MCPError(INVALID_REQUEST, "the client gave no answer")
            else:
                question.answer = self._checked(question.method, dict(answer))
            question.answered.set()
        self._told.clear()

    def _checked(self, method: str, answer: Json) -> Json | MCPError:
        answer.pop("resultType", None)
        try:
            methods.validate_client_result(method, self._version, answer)
        except (KeyError, ValidationError):
            return MCPError(INVALID_PARAMS, "the client's answer does not fit the protocol")
        return answer

    async def outcome(self) -> Json | None:
        """Wait and return the result; None when the server has questions first.

        Raises:
            MCPError, UpstreamError: The call failed.
        """
        while not self._done:
            open_questions = {
                key: each for key, each in self._questions.items() if not each.answered.is_set()
            }
            if open_questions:
                self._told = set(open_questions)
                return None
            await self._changed.wait()
        if self._error is not None:
            raise self._error
        return self._result

    def questions(self) -> Json:
        """Return what the client is asked, as the modern era writes it."""
        asked: Json = {}
        for key in sorted(self._told):
            question = self._questions.get(key)
            if question is not None:
                entry: Json = {"method": question.method}
                if question.params or question.method != "roots/list":
                    entry["params"] = {
                        name: value for name, value in question.params.items() if name != "_meta"
                    }
                asked[key] = entry
        return asked

    def expire_after(self, seconds: float | None) -> None:
        """End the call in so many seconds; never when None."""
        self._scope.deadline = float("inf") if seconds is None else anyio.current_time() + seconds

    def cancel(self) -> None:
        """End the call now."""
        self._scope.cancel()

    @property
    def is_done(self) -> bool:
        """Return whether the call has ended."""
        return self._done

    def _wake(self) -> None:
        self._changed.set()
        self._changed = anyio.Event()


@final
class ParkingLot:
    """The calls of one upstream that wait for their client's next request.

    Args:
        config: How many, and for how long.
    """

    def __init__(self, config: WrapConfig) -> None:
        self._config = config
        self._parked: dict[str, ParkedCall] = {}

    def __len__(self) -> int:
        """Return how many wait."""
        return len(self._parked)

    def is_used(self) -> bool:
        """Return whether any call waits that has not run out of time."""
        return any(not each.is_done for each in self._parked.values())

    def begin(self, work: Callable[[], Awaitable[Json]], version: str, spawn: Spawn) -> ParkedCall:
        """Begin a call."""
        call = ParkedCall(work, version)
        spawn(call.run)
        return call

    def park(self, call: ParkedCall) -> str:
        """Keep a call for its client's next request, and return the name to ask for it by.

        Raises:
            UpstreamError: Too many wait already; the call is ended.
        """
        for name in [name for name, each in self._parked.items() if each.is_done]:
            # Its client never came back, or too late.
            del self._parked[name]
        if len(self._parked) >= self._config.max_parked:
            call.cancel()
            raise UpstreamError("too many calls wait for their clients' input")
        call.expire_after(self._config.park_s)
        name = os.urandom(16).hex()
        self._parked[name] = call
        return name

    def resume(self, name: object, responses: object) -> ParkedCall:
        """Return a parked call, with its questions answered.

        Raises:
            MCPError: There is none of this name any more.
        """
        call = self._parked.pop(name, None) if isinstance(name, str) else None
        if call is None:
            raise MCPError(INVALID_PARAMS, "the call that asked for input is over; make it again")
        call.expire_after(None)
        call.give(responses if isinstance(responses, Mapping) else {})
        return call
