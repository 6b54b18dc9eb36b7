"""Shows the play as it goes, a line a call, and what came of it in the end."""

from collections.abc import Collection
from typing import final

from ..terminal import Console, Table, Text
from .judge import CallResult, StepResult
from .performance import Performance, clock_time
from .story import Act, Verdict

__all__ = ("Live",)

_STYLES = {Verdict.ALLOWED: "green", Verdict.REFUSED: "yellow", Verdict.FAILED: "magenta"}
_CALL_CHARS = 58
_FOR_FILES = "for it: npm install -g @modelcontextprotocol/server-filesystem"


@final
class Live:
    """Writes to a console.

    Args:
        console: Where to; it colors on a terminal only.
    """

    def __init__(self, console: Console) -> None:
        self._console = console
        self._act: Act | None = None
        self._narrow = console.width < 120  # noqa: PLR2004 - the width of a whole line

    def begin(self, scratch: str, servers: Collection[str]) -> None:
        """Say where it plays, and what is left out."""
        self._line(Text(f"scratch folder {scratch}; nothing leaves this machine", style="dim"))
        if "files" not in servers:
            self._line(Text(f"left out: {Act.FILES.value}; {_FOR_FILES}", style="dim"))

    def __call__(self, result: StepResult) -> None:
        """Show a step: its title, its calls, what else the server told."""
        step = result.step
        if step.act is not self._act:
            self._act = step.act
            self._line(Text(f"\n{step.act.value}", style="bold underline"))
        self._line(Text(f"  {step.title}", style="bold"))
        if step.given.value:
            self._line(Text(f"    given: {step.given.value}", style="dim"))
        if step.waits:
            self._line(Text(f"    waited {result.waited_s:g} s, as told", style="dim"))
        for call in result.calls:
            self._line(self._call(result, call))
        for event in result.events:
            self._line(Text(f"    event: {event}", style="dim"))
        for problem in result.problems:
            self._line(Text(f"    NOT AS EXPECTED: {problem}", style="bold red"))

    def _call(self, result: StepResult, call: CallResult) -> Text:
        step, seen = result.step, call.seen
        is_last = call is result.calls[-1]
        line = Text(f"    {clock_time(call.at)}  {step.caller.value:<9}  ", style="dim")
        shown = (
            call.shown
            if len(call.shown) <= _CALL_CHARS
            else call.shown[: _CALL_CHARS - 1] + "\u2026"
        )
        line.append(shown if self._narrow else f"{shown:<{_CALL_CHARS}}", style="default")
        decision = seen.code or seen.verdict.value
        line.append(f"  {decision:<17}", style=f"{_STYLES[seen.verdict]} not dim")
        line.append(f"  {call.rules or '-':<26}", style="cyan not dim")
        line.append(f"  {call.duration_s * 1e3:>7.1f} ms  ")
        if result.passed or not is_last:
            line.append("as expected", style="green not dim")
        else:
            line.append("NOT AS EXPECTED", style="bold red not dim")
        return line

    def finish(self, performance: Performance, report: str) -> None:
        """Show the checks, the table and the verdict."""
        self._line(Text("\nAfterwards", style="bold underline"))
        for check in performance.proof.checks:
            mark = "as expected" if check.passed else "NOT AS EXPECTED"
            line = Text(f"  {check.title}  ", style="bold")
            line.append(check.detail, style="not bold")
            line.append(f"  {mark}", style="green" if check.passed else "bold red")
            self._line(line)
        self._line(Text())
        self._console.print(_table(performance))
        for head in performance.proof.heads:
            self._line(
                Text(
                    f"audit head of {head.server}: {head}",
                    style="dim",
                )
            )
        self._line(Text(f"report: {report}"))
        verdict = "everything went as the story says" if performance.passed else "NOT AS EXPECTED"
        self._line(
            Text(
                f"{len(performance.results)} steps, {len(performance.calls)} calls and "
                f"{len(performance.proof.checks)} checks in {performance.duration_s:.1f} s: "
                f"{verdict}",
                style="bold green" if performance.passed else "bold red",
            )
        )

    def _line(self, text: Text) -> None:
        self._console.print(text, soft_wrap=True)


def _table(performance: Performance) -> Table:
    table = Table(title="What the guards did", title_justify="left", title_style="bold")
    for name in ("decision", "calls", "callers", "as expected"):
        table.add_column(name, justify="right" if name == "calls" else "left")
    rows: dict[str, list[StepResult]] = {}
    counts: dict[str, int] = {}
    for result in performance.results:
        for call in result.calls:
            decision = call.seen.code or call.seen.verdict.value
            rows.setdefault(decision, []).append(result)
            counts[decision] = counts.get(decision, 0) + 1
    for decision, results in rows.items():
        callers = dict.fromkeys(result.step.caller.value for result in results)
        passed = all(result.passed for result in results)
        table.add_row(
            decision,
            str(counts[decision]),
            ", ".join(callers),
            Text("yes", style="green") if passed else Text("NO", style="bold red"),
        )
    return table
