"""What a server itself wrote of each call: its log lines, read while it runs."""

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, final

import anyio
from attrs import frozen

__all__ = ("Record", "RecordReader")

_CALLS = "localmcp.calls"
_EVENTS = "localmcp.events"
_POLL_S = 0.01
_READ_BYTES = 1 << 20


@final
@frozen(kw_only=True)
class Record:
    """What a server wrote of one call.

    Args:
        call_id: Its id.
        method: The protocol method.
        name: The tool.
        outcome: `ok`, `error`, `refused` or `cancelled`.
        code: The refusal's code or the error's type.
        rules: Every rule that decided.
        attempts: How often the tool ran.
        duration_s: From arrival to outcome.
    """

    call_id: str
    method: str
    name: str
    outcome: str
    code: str = ""
    rules: tuple[str, ...] = ()
    attempts: int = 0
    duration_s: float = 0.0


@final
class RecordReader:
    """Reads a server's log as it grows.

    Args:
        file: The log, one JSON object a line; it need not exist yet.
    """

    def __init__(self, file: Path) -> None:
        self._file = file
        self._position = 0
        self._rest = b""
        self._waiting: list[Record] = []
        self._events: list[str] = []

    async def find(
        self, matches: Callable[[Record], bool], *, within_s: float = 5.0
    ) -> Record | None:
        """Return the next record that matches, None when none comes in time.

        What stands before it and does not match is passed over for good.
        """
        with anyio.move_on_after(within_s):
            while True:
                self._read()
                while self._waiting:
                    record = self._waiting.pop(0)
                    if matches(record):
                        return record
                await anyio.sleep(_POLL_S)
        return None

    async def find_event(self, line: str, *, within_s: float = 5.0) -> bool:
        """Return whether the server told of an event, waiting for it a while."""
        with anyio.move_on_after(within_s):
            while True:
                self._read()
                if line in self._events:
                    return True
                await anyio.sleep(_POLL_S)
        return False

    def take_events(self) -> tuple[str, ...]:
        """Return the events that were told since this was asked last."""
        self._read()
        events = tuple(self._events)
        self._events.clear()
        return events

    def _read(self) -> None:
        try:
            with self._file.open("rb") as log:
                log.seek(self._position)
                fresh = log.read(_READ_BYTES)
        except FileNotFoundError:
            return
        self._position += len(fresh)
        *lines, self._rest = (self._rest + fresh).split(b"\n")
        for line in lines:
            self._take(line)

    def _take(self, line: bytes) -> None:
        try:
            entry: Any = json.loads(line)
        except ValueError:
            return
        if not isinstance(entry, dict):
            return
        if entry.get("logger") == _EVENTS:
            self._events.append(str(entry.get("message", "")))
        elif entry.get("logger") == _CALLS and isinstance(entry.get("ctx"), dict):
            self._waiting.append(_record(entry["ctx"]))


def _record(context: Mapping[str, Any]) -> Record:
    return Record(
        call_id=str(context.get("call_id", "")),
        method=str(context.get("method", "")),
        name=str(context.get("name", "")),
        outcome=str(context.get("outcome", "")),
        code=str(context.get("code", "")),
        rules=tuple(map(str, context.get("rules", ()))),
        attempts=int(context.get("attempts", 0)),
        duration_s=float(context.get("duration_s", 0.0)),
    )
