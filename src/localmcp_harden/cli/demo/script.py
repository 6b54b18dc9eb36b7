"""What happens in the demo, step by step, and what must come of each step."""

from typing import Any

from .story import Act, Caller, Expectation, Given, Step, Verdict

__all__ = ("GIT_READING_TOOLS", "STORY")

GIT_READING_TOOLS: tuple[str, ...] = (
    "git_branch",
    "git_diff",
    "git_diff_staged",
    "git_diff_unstaged",
    "git_log",
    "git_show",
    "git_status",
)
"""What the agent may use of the git server's twelve tools."""

_FILLED_IN = "{password}"
_REPOSITORY = {"repo_path": "{repository}"}
_READERS_TOOLS = ("export_notes", "find_notes", "print_notes", "sync_archive")
_ALLOWED = Expectation(verdict=Verdict.ALLOWED)


def _refused(code: str, **more: Any) -> Expectation:
    return Expectation(verdict=Verdict.REFUSED, code=code, **more)


_ALONE = (
    Step(
        id="bare-private",
        act=Act.ALONE,
        title="Without guards the server hands out any repository on this disk.",
        caller=Caller.BARE,
        tool="git_log",
        arguments={"repo_path": "{private}"},
        expect=Expectation(verdict=Verdict.ALLOWED, text="salaries"),
    ),
)

_WRAPPED = (
    Step(
        id="git-list",
        act=Act.WRAPPED,
        title="A list shows only what its reader may call.",
        caller=Caller.AGENT,
        method="tools/list",
        expect=Expectation(verdict=Verdict.ALLOWED, tools=GIT_READING_TOOLS),
    ),
    Step(
        id="git-status",
        act=Act.WRAPPED,
        title="An allowed call passes.",
        caller=Caller.AGENT,
        tool="git_status",
        arguments=_REPOSITORY,
        expect=Expectation(
            verdict=Verdict.ALLOWED, rules=("read-the-workspace",), text="On branch main"
        ),
    ),
    Step(
        id="git-log",
        act=Act.WRAPPED,
        title="Another allowed call, with a bounded number of commits.",
        caller=Caller.AGENT,
        tool="git_log",
        arguments={**_REPOSITORY, "max_count": 2},
        expect=Expectation(
            verdict=Verdict.ALLOWED, rules=("read-the-workspace",), text="Add the plan"
        ),
    ),
    Step(
        id="git-roundabout",
        act=Act.WRAPPED,
        title="A roundabout path that stays inside is judged by where it leads.",
        caller=Caller.AGENT,
        tool="git_status",
        arguments={"repo_path": "{repository}/docs/../"},
        expect=Expectation(verdict=Verdict.ALLOWED, rules=("read-the-workspace",)),
    ),
    Step(
        id="git-outside-role",
        act=Act.WRAPPED,
        title="A tool that the caller's role does not have is refused.",
        caller=Caller.AGENT,
        tool="git_commit",
        arguments={**_REPOSITORY, "message": "nobody asked for this"},
        expect=_refused("policy_denied", rules=("agents-do-not-write",), attempts=0),
    ),
    Step(
        id="git-invented",
        act=Act.WRAPPED,
        title="A tool that does not exist is refused, and its name fills no record.",
        caller=Caller.AGENT,
        tool="git_push_force",
        arguments=_REPOSITORY,
        expect=_refused("policy_denied", attempts=0),
    ),
    Step(
        id="escape-absolute",
        act=Act.WRAPPED,
        title="The repository that the bare server handed out is out of reach now.",
        caller=Caller.AGENT,
        tool="git_log",
        arguments={"repo_path": "{private}"},
        expect=_refused("policy_denied", attempts=0),
    ),
    Step(
        id="escape-dots",
        act=Act.WRAPPED,
        title="Nor does a way round by .. lead there.",
        caller=Caller.AGENT,
        tool="git_log",
        arguments={"repo_path": "{repository}/../../private"},
        expect=_refused("policy_denied", attempts=0),
    ),
    Step(
        id="escape-link",
        act=Act.WRAPPED,
        title="Nor does a symbolic link inside the granted folder.",
        caller=Caller.AGENT,
        tool="git_log",
        arguments={"repo_path": "{link}"},
        expect=_refused("policy_denied", attempts=0),
    ),
    Step(
        id="git-malformed",
        act=Act.WRAPPED,
        title="An argument that does not fit the tool's schema is refused.",
        caller=Caller.AGENT,
        tool="git_log",
        arguments={**_REPOSITORY, "max_count": "many"},
        expect=_refused("invalid_arguments", attempts=0),
    ),
    Step(
        id="git-oversized",
        act=Act.WRAPPED,
        title="An argument of 200,000 characters is refused before anything looks at it.",
        caller=Caller.AGENT,
        tool="git_show",
        arguments={**_REPOSITORY, "revision": "{oversized}"},
        expect=_refused("input_too_large", attempts=0),
    ),
    Step(
        id="git-burst",
        act=Act.WRAPPED,
        title="A loop that runs away meets the limit, and is told when to come again.",
        caller=Caller.AGENT,
        tool="git_branch",
        arguments={**_REPOSITORY, "branch_type": "local"},
        burst=30,
        expect=_refused("rate_limited", retry_after=True, passes_first=4, attempts=0),
    ),
    Step(
        id="git-after-burst",
        act=Act.WRAPPED,
        title="Waiting exactly that long is enough.",
        caller=Caller.AGENT,
        tool="git_branch",
        arguments={**_REPOSITORY, "branch_type": "local"},
        waits=True,
        expect=_ALLOWED,
    ),
)

_FILES = (
    Step(
        id="files-list",
        act=Act.FILES,
        title="Of fourteen tools the editor is shown two.",
        caller=Caller.EDITOR,
        method="tools/list",
        expect=Expectation(verdict=Verdict.ALLOWED, tools=("read_text_file", "write_file")),
    ),
    Step(
        id="files-write",
        act=Act.FILES,
        title="A file of the project may be written.",
        caller=Caller.EDITOR,
        tool="write_file",
        arguments={"path": "{plan}", "content": "Ship it with guards, tested.\n"},
        expect=Expectation(verdict=Verdict.ALLOWED, rules=("read-and-write-the-project",)),
    ),
    Step(
        id="files-read",
        act=Act.FILES,
        title="And read again: the call went through, unchanged.",
        caller=Caller.EDITOR,
        tool="read_text_file",
        arguments={"path": "{plan}"},
        expect=Expectation(verdict=Verdict.ALLOWED, text="with guards, tested"),
    ),
    Step(
        id="files-hooks",
        act=Act.FILES,
        title="A hook that git would run may not be: the folder is protected.",
        caller=Caller.EDITOR,
        tool="write_file",
        arguments={"path": "{repository}/.git/hooks/pre-commit", "content": "#!/bin/sh\n"},
        expect=_refused("policy_denied", rules=("git-keeps-its-own-files",), attempts=0),
    ),
    Step(
        id="files-private",
        act=Act.FILES,
        title="The server would open this file; the guards do not let it be asked.",
        caller=Caller.EDITOR,
        tool="read_text_file",
        arguments={"path": "{salaries}"},
        expect=_refused("policy_denied", attempts=0),
    ),
    Step(
        id="files-move",
        act=Act.FILES,
        title="A tool that no rule names is refused, wherever it points.",
        caller=Caller.EDITOR,
        tool="move_file",
        arguments={"source": "{plan}", "destination": "{plan}.old"},
        expect=_refused("policy_denied", attempts=0),
    ),
)

_OWN = (
    Step(
        id="nobody",
        act=Act.OWN,
        title="Without a token nobody gets as far as a list.",
        caller=Caller.NOBODY,
        method="connect",
        expect=_refused("unauthenticated"),
    ),
    Step(
        id="stranger",
        act=Act.OWN,
        title="A token that was never given out is refused, whatever it looks like.",
        caller=Caller.STRANGER,
        method="connect",
        expect=_refused("unauthenticated"),
    ),
    Step(
        id="reader-list",
        act=Act.OWN,
        title="The reader is shown four tools.",
        caller=Caller.READER,
        method="tools/list",
        expect=Expectation(verdict=Verdict.ALLOWED, tools=_READERS_TOOLS),
    ),
    Step(
        id="writer-list",
        act=Act.OWN,
        title="The writer is shown five.",
        caller=Caller.WRITER,
        method="tools/list",
        expect=Expectation(verdict=Verdict.ALLOWED, tools=("add_note", *_READERS_TOOLS)),
    ),
    Step(
        id="reader-reads",
        act=Act.OWN,
        title="The reader may read.",
        caller=Caller.READER,
        tool="find_notes",
        arguments={"word": "plan"},
        expect=Expectation(
            verdict=Verdict.ALLOWED, rules=("readers-read",), text="the plan is to ship"
        ),
    ),
    Step(
        id="reader-writes",
        act=Act.OWN,
        title="The reader may not write.",
        caller=Caller.READER,
        tool="add_note",
        arguments={"text": "let me in"},
        expect=_refused("policy_denied", attempts=0),
    ),
    Step(
        id="writer-writes",
        act=Act.OWN,
        title="The writer may; the password in the arguments reaches no record.",
        caller=Caller.WRITER,
        tool="add_note",
        arguments={"text": "guards are up", "password": _FILLED_IN},
        expect=Expectation(verdict=Verdict.ALLOWED, rules=("writers-write",), attempts=1),
    ),
    Step(
        id="retry",
        act=Act.OWN,
        title="A passing fault behind a tool is ridden out: the caller sees only success.",
        caller=Caller.READER,
        tool="sync_archive",
        given=Given.ARCHIVE_STUMBLES,
        expect=Expectation(verdict=Verdict.ALLOWED, attempts=3, text="archived"),
    ),
    Step(
        id="breaker-opens",
        act=Act.OWN,
        title="A lasting fault reaches the caller, and the tool's circuit opens.",
        caller=Caller.READER,
        tool="sync_archive",
        given=Given.ARCHIVE_IS_DOWN,
        expect=Expectation(
            verdict=Verdict.FAILED,
            attempts=3,
            event="breaker sync_archive: closed to open",
        ),
    ),
    Step(
        id="breaker-refuses",
        act=Act.OWN,
        title="While it is open the archive is left in peace.",
        caller=Caller.READER,
        tool="sync_archive",
        expect=_refused("circuit_open", attempts=0, retry_after=True),
    ),
    Step(
        id="health-degraded",
        act=Act.OWN,
        title="A service manager's probe is told that the server is degraded, not that it is down.",
        caller=Caller.NOBODY,
        method="health",
        expect=Expectation(verdict=Verdict.ALLOWED, text="degraded"),
    ),
    Step(
        id="breaker-others",
        act=Act.OWN,
        title="Other tools go on: each has a circuit of its own.",
        caller=Caller.READER,
        tool="find_notes",
        arguments={"word": "guards"},
        expect=Expectation(verdict=Verdict.ALLOWED, text="guards are up"),
    ),
    Step(
        id="breaker-still-open",
        act=Act.OWN,
        title="The archive is mended, and the circuit still waits for its time.",
        caller=Caller.READER,
        tool="sync_archive",
        given=Given.ARCHIVE_IS_BACK,
        expect=_refused("circuit_open", attempts=0, retry_after=True),
    ),
    Step(
        id="breaker-closes",
        act=Act.OWN,
        title="After exactly that time a trial call succeeds and the circuit closes.",
        caller=Caller.READER,
        tool="sync_archive",
        waits=True,
        expect=Expectation(
            verdict=Verdict.ALLOWED,
            attempts=1,
            text="archived",
            event="breaker sync_archive: half_open to closed",
        ),
    ),
    Step(
        id="health-well",
        act=Act.OWN,
        title="And the probe is told that all is well again.",
        caller=Caller.NOBODY,
        method="health",
        expect=Expectation(verdict=Verdict.ALLOWED, text="healthy"),
    ),
    Step(
        id="bulkhead",
        act=Act.OWN,
        title="Of three who print at once one waits for its turn, and one is too many.",
        caller=Caller.READER,
        tool="print_notes",
        together=3,
        expect=_refused("bulkhead_full", passes_first=2, attempts=0),
    ),
    Step(
        id="deadline",
        act=Act.OWN,
        title="A tool that would take a minute is cut off at its deadline.",
        caller=Caller.READER,
        tool="export_notes",
        expect=_refused("deadline_exceeded", within_s=5.0),
    ),
    Step(
        id="after-deadline",
        act=Act.OWN,
        title="The server is as quick as before.",
        caller=Caller.READER,
        tool="find_notes",
        arguments={"word": "plan"},
        expect=_ALLOWED,
    ),
)

STORY: tuple[Step, ...] = (*_ALONE, *_WRAPPED, *_FILES, *_OWN)
"""The whole story, in order."""
