"""Compares what was seen with what the story says, in plain code."""

from collections.abc import Sequence
from typing import final

from attrs import field, frozen

from .actors import Seen
from .records import Record
from .story import Expectation, Step, Verdict

__all__ = ("CallResult", "StepResult", "judge")

_OUTCOMES = {Verdict.ALLOWED: "ok", Verdict.REFUSED: "refused", Verdict.FAILED: "error"}


@final
@frozen(kw_only=True)
class CallResult:
    """One call: what the client saw, and what the server wrote of it.

    Args:
        at: When it began, seconds since the Unix epoch.
        shown: The call in words.
        seen: What the client saw.
        record: What the server wrote, None where it is not hardened or wrote nothing.
    """

    at: float
    shown: str
    seen: Seen
    record: Record | None = None

    @property
    def rules(self) -> str:
        """Return the rules that decided, in words."""
        return ", ".join(self.record.rules) if self.record is not None else ""

    @property
    def duration_s(self) -> float:
        """Return the server's own time, the client's where there is none."""
        return self.seen.duration_s if self.record is None else self.record.duration_s


@final
@frozen(kw_only=True)
class StepResult:
    """What came of a step; without problems it went as the story says."""

    step: Step
    calls: tuple[CallResult, ...]
    events: tuple[str, ...] = ()
    waited_s: float = 0.0
    problems: tuple[str, ...] = field(default=())

    @property
    def passed(self) -> bool:
        """Return whether everything went as the story says."""
        return not self.problems


def judge(
    step: Step, calls: Sequence[CallResult], events: Sequence[str] = (), *, recorded: bool = True
) -> tuple[str, ...]:
    """Return every way in which a step went otherwise than the story says.

    Args:
        step: The step.
        calls: What came of it, in order.
        events: What the server told beside its calls.
        recorded: Whether the server keeps records at all.
    """
    if not calls:
        return ("nobody called",)
    expect = step.expect
    *first, last = calls
    problems: list[str] = []
    for number, call in enumerate(first, start=1):
        problems += _of_call(
            Expectation(verdict=Verdict.ALLOWED), call, recorded=recorded, number=number
        )
    if len(first) < expect.passes_first:
        problems.append(f"expected {expect.passes_first} calls to pass first, saw {len(first)}")
    problems += _of_call(expect, last, recorded=recorded)
    if expect.event and expect.event not in events:
        problems.append(f"expected the event {expect.event!r}")
    return tuple(problems)


def _of_call(
    expect: Expectation, call: CallResult, *, recorded: bool, number: int | None = None
) -> list[str]:
    where = "" if number is None else f"call {number}: "
    problems = _of_client(expect, call.seen)
    if recorded:
        if call.record is None:
            problems.append("the server has no record of it")
        else:
            problems += _of_record(expect, call.seen, call.record)
    return [where + problem for problem in problems]


def _of_client(expect: Expectation, seen: Seen) -> list[str]:
    problems = [
        f"expected {name} {wanted!r}, the client saw {got!r}"
        for name, wanted, got in (
            ("verdict", expect.verdict.value, seen.verdict.value),
            ("code", expect.code, seen.code),
        )
        if wanted != got
    ]
    if expect.text not in seen.text:
        problems.append(f"expected an answer with {expect.text!r}, the client read {seen.text!r}")
    if expect.tools is not None and seen.tools != tuple(sorted(expect.tools)):
        problems.append(f"expected the tools {sorted(expect.tools)}, the client saw {seen.tools}")
    if expect.retry_after and not (seen.retry_after_s and seen.retry_after_s > 0):
        problems.append("expected to be told when to come again")
    if expect.within_s is not None and seen.duration_s > expect.within_s:
        problems.append(
            f"expected an end within {expect.within_s:g} s, it took {seen.duration_s:.1f} s"
        )
    return problems


def _of_record(expect: Expectation, seen: Seen, record: Record) -> list[str]:
    problems = [
        f"expected {name} {wanted!r} in the record, it says {got!r}"
        for name, wanted, got in (
            ("outcome", _OUTCOMES[expect.verdict], record.outcome),
            ("attempts", expect.attempts, record.attempts),
        )
        if wanted is not None and wanted != got
    ]
    if expect.code and record.code != expect.code:
        problems.append(f"expected code {expect.code!r} in the record, it says {record.code!r}")
    if seen.call_id and record.call_id != seen.call_id:
        problems.append("the refusal leads to another call's record")
    missing = [rule for rule in expect.rules if rule not in record.rules]
    if missing:
        problems.append(
            f"expected the rules {missing} in the record, it names {list(record.rules)}"
        )
    return problems
