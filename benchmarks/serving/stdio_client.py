"""A client over standard input and output that costs little beside what it measures."""

import json
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Self, final

from benchmarks.serving.http_client import RequestFailedError

MODERN = "2026-07-28"
LEGACY = "2025-11-25"


@final
class StdioClient:
    """Starts a server and calls its tool `echo`, one call at a time.

    Args:
        command: What to start.
        revision: The protocol's revision to speak: MODERN without a handshake, LEGACY
            with one.
    """

    def __init__(self, command: Sequence[str], revision: str) -> None:
        self._process = subprocess.Popen(
            list(command),
            cwd=Path(__file__).parents[2],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            bufsize=0,
        )
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._write = self._process.stdin.write
        self._read = self._process.stdout.readline
        meta: dict[str, Any] = {}
        if revision == MODERN:
            meta = {
                "_meta": {
                    "io.modelcontextprotocol/protocolVersion": MODERN,
                    "io.modelcontextprotocol/clientInfo": {"name": "load", "version": "1"},
                    "io.modelcontextprotocol/clientCapabilities": {},
                }
            }
        else:
            self._shake_hands(revision)
        params = {"name": "echo", "arguments": {"text": "hello"}, **meta}
        self._request = _line({"id": 1, "method": "tools/call", "params": params})
        self.call()

    def _shake_hands(self, revision: str) -> None:
        who = {"name": "load", "version": "1"}
        params = {"protocolVersion": revision, "capabilities": {}, "clientInfo": who}
        self._exchange(_line({"id": 0, "method": "initialize", "params": params}))
        self._write(_line({"method": "notifications/initialized"}))

    def _exchange(self, line: bytes) -> bytes:
        self._write(line)
        while True:
            answer = self._read()
            if not answer:
                raise RequestFailedError("the server has ended")
            if b'"id":' in answer:
                return answer

    def call(self) -> None:
        """Call the tool and wait for its answer."""
        answer = self._exchange(self._request)
        if b'"isError":false' not in answer:
            raise RequestFailedError(answer[:500].decode(errors="replace"))

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc_info: object) -> None:
        assert self._process.stdin is not None
        self._process.stdin.close()
        try:
            self._process.wait(10)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        assert self._process.stdout is not None
        self._process.stdout.close()


def _line(message: dict[str, Any]) -> bytes:
    return json.dumps({"jsonrpc": "2.0", **message}, separators=(",", ":")).encode() + b"\n"


def python(*arguments: str) -> list[str]:
    """Return the command that runs this interpreter."""
    return [sys.executable, *arguments]
