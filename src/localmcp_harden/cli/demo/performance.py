"""What came of the whole demo, and its form for programs."""

import platform
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from typing import Any, final

from attrs import frozen

from .judge import CallResult, StepResult
from .proof import Proof

__all__ = ("DOCUMENT_KIND", "Performance", "as_document", "clock_time")

DOCUMENT_KIND: str = "localmcp-harden/demo"
"""What the document says of itself, so that a former report is known as one."""

_DOCUMENT_VERSION = 1


@final
@frozen(kw_only=True)
class Performance:
    """The demo as it went.

    Args:
        started_at: Seconds since the Unix epoch.
        duration_s: How long it took.
        results: What came of each step.
        proof: What holds afterwards.
    """

    started_at: float
    duration_s: float
    results: tuple[StepResult, ...]
    proof: Proof

    @property
    def passed(self) -> bool:
        """Return whether everything went as the story says."""
        return bool(self.results) and self.proof.passed and all(r.passed for r in self.results)

    @property
    def calls(self) -> tuple[CallResult, ...]:
        """Return every call of every step."""
        return tuple(call for result in self.results for call in result.calls)


def clock_time(at: float) -> str:
    """Return a time of day in UTC, to the millisecond."""
    return datetime.fromtimestamp(at, UTC).strftime("%H:%M:%S.%f")[:-3]


def as_document(performance: Performance) -> dict[str, Any]:
    """Return it as JSON values; the keys are stable, further ones may come."""
    return {
        "kind": DOCUMENT_KIND,
        "version": _DOCUMENT_VERSION,
        "passed": performance.passed,
        "started_at": performance.started_at,
        "duration_s": round(performance.duration_s, 3),
        "versions": _versions(),
        "steps": [_step(result) for result in performance.results],
        "checks": [
            {
                "id": check.id,
                "title": check.title,
                "passed": check.passed,
                "detail": check.detail,
            }
            for check in performance.proof.checks
        ],
        "heads": [
            {
                "server": head.server,
                "writer": head.writer,
                "sequence": head.sequence,
                "hash": head.hash,
                "head": str(head),
            }
            for head in performance.proof.heads
        ],
    }


def _versions() -> dict[str, str]:
    found = {"python": platform.python_version()}
    for name in ("localmcp-harden", "mcp", "mcp-server-git"):
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            found[name] = "unknown"
    return found


def _step(result: StepResult) -> dict[str, Any]:
    step = result.step
    return {
        "id": step.id,
        "act": step.act.value,
        "title": step.title,
        "caller": step.caller.value,
        "given": step.given.value,
        "waited_s": result.waited_s,
        "expected": {
            "verdict": step.expect.verdict.value,
            "code": step.expect.code,
            "rules": list(step.expect.rules),
            "attempts": step.expect.attempts,
        },
        "passed": result.passed,
        "problems": list(result.problems),
        "events": list(result.events),
        "calls": [_call(call) for call in result.calls],
    }


def _call(call: CallResult) -> dict[str, Any]:
    record = call.record
    return {
        "at": call.at,
        "call": call.shown,
        "verdict": call.seen.verdict.value,
        "code": call.seen.code,
        "retry_after_s": call.seen.retry_after_s,
        "tools": None if call.seen.tools is None else list(call.seen.tools),
        "duration_s": call.duration_s,
        "call_id": "" if record is None else record.call_id,
        "rules": [] if record is None else list(record.rules),
        "attempts": None if record is None else record.attempts,
    }
