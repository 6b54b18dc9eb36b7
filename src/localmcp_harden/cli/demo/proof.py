"""What holds after the play: the audit logs verify, agree with clients, and tell on a forger."""

import hashlib
import shutil
import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import closing
from pathlib import Path
from typing import final

from attrs import frozen

from ...protocols.security import AuditHead
from ...security.audit.verify import StoredEntry, read_entries, verify_folder
from .judge import CallResult, StepResult
from .notes import Archive
from .scenery import Scenery
from .story import Verdict

__all__ = ("Check", "Head", "Proof", "gather_proof")

_OUTCOMES = {Verdict.ALLOWED: "ok", Verdict.REFUSED: "refused", Verdict.FAILED: "error"}


@final
@frozen(kw_only=True)
class Check:
    """Something that must hold after the play.

    Args:
        id: Stable.
        title: What must hold, one sentence.
        passed: Whether it does.
        detail: What was found.
    """

    id: str
    title: str
    passed: bool
    detail: str


@final
@frozen(kw_only=True)
class Head:
    """The newest audit entry of one writer of a server."""

    server: str
    writer: str
    sequence: int
    hash: str

    def __str__(self) -> str:
        """Return it as `audit verify --expect` takes it."""
        return f"{self.writer}:{self.sequence}:{self.hash}"


@final
@frozen(kw_only=True)
class Proof:
    """All checks, and the heads of the audit logs."""

    checks: tuple[Check, ...]
    heads: tuple[Head, ...]

    @property
    def passed(self) -> bool:
        """Return whether every check holds."""
        return all(check.passed for check in self.checks)


def gather_proof(results: Sequence[StepResult], scenery: Scenery, archive: Archive) -> Proof:
    """Check everything; the servers must have ended before.

    Args:
        results: What came of the story.
        scenery: Where the servers wrote.
        archive: What stood behind one of the tools.
    """
    heads = tuple(_heads(scenery))
    checks = [_verifies(server, scenery) for server in scenery.servers]
    checks += [_agrees(server, results, scenery) for server in scenery.servers]
    checks += [
        _detects_edit(scenery),
        _detects_cut(scenery, heads),
        _keeps_secrets(scenery),
        _left_in_peace(results, archive),
        _was_cut(results, archive),
    ]
    return Proof(checks=tuple(checks), heads=heads)


def _heads(scenery: Scenery) -> Iterator[Head]:
    for server in scenery.servers:
        for writer in verify_folder(scenery.audit(server)).writers:
            if writer.head is not None:
                yield Head(
                    server=server,
                    writer=writer.writer,
                    sequence=writer.head.sequence,
                    hash=writer.head.hash,
                )


def _verifies(server: str, scenery: Scenery) -> Check:
    report = verify_folder(scenery.audit(server))
    return Check(
        id=f"audit.{server}.verifies",
        title=f"The audit log of the {server} server verifies.",
        passed=report.ok and report.entries > 0,
        detail=f"{report.entries} entries, each chained to the one before",
    )


def _agrees(server: str, results: Sequence[StepResult], scenery: Scenery) -> Check:
    """Compare what clients saw with the audit log, call by call."""
    kept = {
        entry.call_id: entry
        for entry in read_entries(scenery.audit(server))
        if entry.kind == "outcome"
    }
    calls = [
        call
        for result in results
        if result.step.caller.server == server and result.step.method == "tools/call"
        for call in result.calls
        if call.record is not None
    ]
    differing = [call for call in calls if not _is_kept(call, kept.get(_id(call)))]
    return Check(
        id=f"audit.{server}.agrees",
        title=f"It holds every tool call that clients of the {server} server made, as they saw it.",
        passed=bool(calls) and not differing,
        detail=f"{len(calls) - len(differing)} of {len(calls)} calls",
    )


def _id(call: CallResult) -> str:
    return "" if call.record is None else call.record.call_id


def _is_kept(call: CallResult, entry: StoredEntry | None) -> bool:
    if entry is None:
        return False
    told, kept = _OUTCOMES[call.seen.verdict], entry.data
    return kept.get("outcome") == told and (
        not call.seen.code or kept.get("code") == call.seen.code
    )


def _detects_edit(scenery: Scenery) -> Check:
    """Turn a refusal into a success in a copy, with a fitting hash, as a forger would."""
    title = "A copy in which a refusal was made a success does not verify."
    copy = _copy(scenery, "edited")
    refusals = [
        entry
        for entry in read_entries(copy)
        if entry.kind == "outcome" and entry.data.get("outcome") == "refused"
    ]
    if len(refusals) < 2:  # noqa: PLR2004 - the last entry of a chain has no successor
        return Check(id="audit.edit", title=title, passed=False, detail="no refusal to forge")
    forged = refusals[0]
    with closing(sqlite3.connect(_file(copy, forged.writer))) as database, database:
        (body,) = database.execute(
            "SELECT body FROM entries WHERE sequence = ?", (forged.sequence,)
        ).fetchone()
        body = body.replace(b'"outcome":"refused"', b'"outcome":"ok"')
        database.execute(
            "UPDATE entries SET body = ?, hash = ? WHERE sequence = ?",
            (body, hashlib.sha256(body).digest(), forged.sequence),
        )
    report = verify_folder(copy)
    problem = next((writer.problem for writer in report.writers if writer.problem), None)
    return Check(
        id="audit.edit",
        title=title,
        passed=problem is not None and problem.sequence == forged.sequence,
        detail="it was not noticed"
        if problem is None
        else f"entry {problem.sequence} is {problem.kind.value}: {problem.detail}",
    )


def _detects_cut(scenery: Scenery, heads: Sequence[Head]) -> Check:
    """Cut the newest entries off a copy; only a head that was kept elsewhere tells."""
    title = "A copy whose newest entries were cut off does not match the head kept before."
    copy = _copy(scenery, "cut")
    head = next((each for each in heads if each.server == "git"), None)
    if head is None:
        return Check(id="audit.cut", title=title, passed=False, detail="there is no head")
    with closing(sqlite3.connect(_file(copy, head.writer))) as database, database:
        database.execute("DELETE FROM entries WHERE sequence > ?", (head.sequence - 3,))
    expected = AuditHead(writer=head.writer, sequence=head.sequence, hash=head.hash)
    report = verify_folder(copy, expected_heads=[expected])
    problem = next((writer.problem for writer in report.writers if writer.problem), None)
    return Check(
        id="audit.cut",
        title=title,
        passed=problem is not None and problem.sequence == head.sequence - 2,
        detail="it was not noticed"
        if problem is None
        else f"entry {problem.sequence} is {problem.kind.value}: {problem.detail}",
    )


def _copy(scenery: Scenery, name: str) -> Path:
    return Path(shutil.copytree(scenery.audit("git"), scenery.root / "copies" / name))


def _file(folder: Path, writer: str) -> Path:
    return next(file for file in folder.glob("*.db") if writer in file.stem)


def _keeps_secrets(scenery: Scenery) -> Check:
    files = [
        file
        for folder in ("logs", "audit")
        for file in (scenery.root / folder).rglob("*")
        if file.is_file()
    ]
    secrets = [secret.encode() for secret in scenery.secrets()]
    leaking = [file.name for file in files if any(s in file.read_bytes() for s in secrets)]
    return Check(
        id="secrets",
        title="No token and no password is in any log or audit file.",
        passed=bool(files) and not leaking,
        detail=f"found in {', '.join(leaking)}"
        if leaking
        else f"{len(secrets)} secrets looked for in {len(files)} files",
    )


def _left_in_peace(results: Sequence[StepResult], archive: Archive) -> Check:
    attempts = sum(
        call.record.attempts
        for result in results
        if result.step.tool == "sync_archive"
        for call in result.calls
        if call.record is not None
    )
    return Check(
        id="archive.calls",
        title="The archive was called as often as the records say: not while its circuit was open.",
        passed=attempts == archive.calls and archive.calls > 0,
        detail=f"{archive.calls} calls, {attempts} in the records",
    )


def _was_cut(results: Sequence[StepResult], archive: Archive) -> Check:
    wanted = sum(
        call.seen.code == "deadline_exceeded" for result in results for call in result.calls
    )
    return Check(
        id="deadline.cancelled",
        title="The tool that ran past its deadline was stopped, and does not run on.",
        passed=wanted == archive.exports_cut and wanted > 0,
        detail=f"{archive.exports_cut} of {wanted} stopped",
    )
