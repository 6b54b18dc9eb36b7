"""Writes the report: a page without scripts or outside parts, the facts, the audit logs."""

import json
import shutil
from datetime import UTC, datetime
from importlib import resources
from pathlib import Path
from string import Template

from ...core.errors import ConfigError
from .judge import CallResult, StepResult
from .markup import Content, Html, join, tag
from .performance import DOCUMENT_KIND, Performance, as_document, clock_time
from .scenery import Scenery
from .story import Act, Caller, Verdict

__all__ = ("prepare_folder", "render_page", "write_report")

_PAGE = "report.html"
_FACTS = "report.json"
_AUDIT = "audit"
_ALL_SERVERS = ("git", "files", "notes")
_COLUMNS = (
    ("time", "time"),
    ("caller", "caller"),
    ("call", "call and what a refusal told"),
    ("decision", "decision"),
    ("rule", "rule"),
    ("number", "ms"),
    ("mark", ""),
)
_TOLD_CHARS = 160


def prepare_folder(folder: Path) -> None:
    """Make the folder, or take out of it what a former demo left there.

    Raises:
        ConfigError: There is something in it that is not of a former demo, or it can
            not be made.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        if not any(folder.iterdir()):
            return
        if not _is_former(folder):
            raise ConfigError(
                "holds other files; name a folder that is empty or does not exist", str(folder)
            )
        shutil.rmtree(folder / _AUDIT, ignore_errors=True)
        for name in (_PAGE, _FACTS, *(f"{server}.toml" for server in _ALL_SERVERS)):
            (folder / name).unlink(missing_ok=True)
    except OSError as error:
        raise ConfigError(
            f"can not be used: {error.strerror or type(error).__name__}", str(folder)
        ) from None


def write_report(performance: Performance, scenery: Scenery, folder: Path) -> Path:
    """Write page, facts, configurations and audit logs, and return the page."""
    configurations = {
        server: scenery.configuration(server).read_text(encoding="utf-8")
        for server in scenery.servers
    }
    page = folder / _PAGE
    page.write_text(render_page(performance, configurations), encoding="utf-8")
    facts = json.dumps(as_document(performance), indent=2)
    (folder / _FACTS).write_text(facts + "\n", encoding="utf-8")
    for server, text in configurations.items():
        (folder / f"{server}.toml").write_text(text, encoding="utf-8")
        if scenery.audit(server).is_dir():
            shutil.copytree(scenery.audit(server), folder / _AUDIT / server)
    return page


def render_page(performance: Performance, configurations: dict[str, str]) -> str:
    """Return the page as HTML."""
    package = __name__.rpartition(".")[0]
    template = resources.files(package).joinpath(_PAGE).read_text(encoding="utf-8")
    body = join(
        _head(performance),
        *(_act(act, performance) for act in Act),
        _proof(performance),
        _configurations(configurations),
        _foot(performance),
    )
    return Template(template).substitute(title="localmcp-harden: the demo", body=body)


def _is_former(folder: Path) -> bool:
    try:
        facts = json.loads((folder / _FACTS).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return False
    return isinstance(facts, dict) and facts.get("kind") == DOCUMENT_KIND


def _head(performance: Performance) -> Html:
    calls = performance.calls
    counts = {verdict: sum(call.seen.verdict is verdict for call in calls) for verdict in Verdict}
    checks = performance.proof.checks
    tiles = (
        (str(len(performance.results)), "steps of the story"),
        (str(len(calls)), "calls by real clients"),
        (str(counts[Verdict.ALLOWED]), "allowed"),
        (str(counts[Verdict.REFUSED]), "refused by a guard"),
        (str(counts[Verdict.FAILED]), "failed in the tool"),
        (f"{sum(check.passed for check in checks)} of {len(checks)}", "checks afterwards hold"),
        (f"{performance.duration_s:.1f} s", "in all"),
    )
    good = performance.passed
    return join(
        tag("h1", "A real MCP server behind its guards"),
        tag(
            "p",
            "What clients saw, what the servers recorded, and what the story had said beforehand.",
            class_="soft",
        ),
        tag(
            "div",
            "\u2713 Everything went as the story says"
            if good
            else "\u2717 Something went otherwise than the story says",
            class_=f"verdict {'good' if good else 'bad'}",
        ),
        tag(
            "div",
            *(
                tag("div", tag("b", value), tag("span", text), class_="tile")
                for value, text in tiles
            ),
            class_="tiles",
        ),
    )


def _act(act: Act, performance: Performance) -> Html:
    results = [result for result in performance.results if result.step.act is act]
    if not results:
        return Html()
    header = tag(
        "tr",
        *(tag("th", title, class_=name, scope="col") for name, title in _COLUMNS),
    )
    columns = tag("colgroup", *(tag("col", class_=name) for name, _ in _COLUMNS))
    body = (_step(result) for result in results)
    table = tag("table", columns, tag("thead", header), *body, class_="calls")
    return join(tag("h2", act.value), tag("div", table, class_="card"))


def _step(result: StepResult) -> Html:
    step = result.step
    extra: list[Content] = []
    if step.given.value:
        extra.append(tag("span", f" Given: {step.given.value}.", class_="soft"))
    if step.waits:
        extra.append(tag("span", f" Waited {result.waited_s:g} s, as told.", class_="soft"))
    rows = [tag("tr", tag("th", step.title, *extra, colspan="7", scope="rowgroup"), class_="title")]
    rows += [_call(result, call) for call in result.calls]
    for event in result.events:
        rows.append(_note(f"event: {event}", "event"))
    for problem in result.problems:
        rows.append(_note(f"not as expected: {problem}", "problem"))
    return tag("tbody", *rows)


def _call(result: StepResult, call: CallResult) -> Html:
    seen = call.seen
    kind = "bare" if result.step.caller is Caller.BARE else seen.verdict.value
    decision: list[Content] = [tag("span", seen.code or seen.verdict.value, class_=f"chip {kind}")]
    if seen.retry_after_s is not None:
        decision.append(tag("div", f"again in {seen.retry_after_s:g} s", class_="event"))
    if call.record is not None and call.record.attempts > 1:
        decision.append(tag("div", f"the tool ran {call.record.attempts}\u00d7", class_="event"))
    shown: list[Content] = [tag("code", call.shown)]
    if seen.tools is not None:
        shown.append(tag("div", ", ".join(seen.tools), class_="event"))
    if seen.verdict is not Verdict.ALLOWED and seen.text:
        told = seen.text if len(seen.text) <= _TOLD_CHARS else f"{seen.text[:_TOLD_CHARS]}\u2026"
        shown.append(tag("div", f"\u201c{told}\u201d", class_="event"))
    good = result.passed or call is not result.calls[-1]
    return tag(
        "tr",
        tag("td", clock_time(call.at), class_="time"),
        tag("td", result.step.caller.value),
        tag("td", *shown),
        tag("td", *decision),
        tag("td", tag("span", call.rules or "\u2013", class_="rule")),
        tag("td", f"{call.duration_s * 1e3:.1f}", class_="number"),
        tag("td", _mark(good=good)),
        class_="call",
    )


def _note(text: str, kind: str) -> Html:
    return tag(
        "tr", tag("td"), tag("td", tag("span", text, class_=kind), colspan="6"), class_="note"
    )


def _mark(*, good: bool) -> Html:
    text = "\u2713 as expected" if good else "\u2717 otherwise"
    return tag("span", text, class_=f"mark {'good' if good else 'bad'}")


def _proof(performance: Performance) -> Html:
    proof = performance.proof
    checks = (
        tag(
            "div",
            tag("dt", check.title),
            tag("dd", check.detail),
            tag("dd", _mark(good=check.passed)),
        )
        for check in proof.checks
    )
    heads = (
        tag(
            "tr",
            tag("td", head.server),
            tag("td", str(head.sequence), class_="number"),
            tag("td", tag("span", head.writer, class_="hash")),
            tag("td", tag("span", head.hash, class_="hash")),
        )
        for head in proof.heads
    )
    columns = tag(
        "tr",
        tag("th", "server", scope="col"),
        tag("th", "entries", class_="number", scope="col"),
        tag("th", "writer", scope="col"),
        tag("th", "head (SHA-256)", scope="col"),
    )
    return join(
        tag("h2", "Afterwards: what can be proved"),
        tag("div", tag("dl", *checks, class_="checks"), class_="card"),
        tag("h2", "Heads of the audit logs"),
        tag(
            "p",
            "Keep these elsewhere: whoever has them can tell whether entries were changed, "
            "or cut off at the end. To check again: ",
            tag("code", "localmcp-harden audit verify audit/git"),
            class_="soft",
        ),
        tag("div", tag("table", tag("thead", columns), tag("tbody", *heads)), class_="card"),
    )


def _configurations(configurations: dict[str, str]) -> Html:
    return join(
        tag("h2", "The configurations"),
        *(
            tag("details", tag("summary", f"{server}.toml"), tag("pre", text))
            for server, text in configurations.items()
        ),
    )


def _foot(performance: Performance) -> Html:
    document = as_document(performance)
    versions = ", ".join(f"{name} {text}" for name, text in document["versions"].items())
    at = datetime.fromtimestamp(performance.started_at, UTC).strftime("%Y-%m-%d %H:%M:%S UTC")
    return tag(
        "footer",
        f"Played {at} with {versions}. Times are the servers\u2019 own; those of the bare server "
        "are its client\u2019s. Paths are below the scratch folder, which is gone by now.",
    )
