"""The story as data: who calls what, what is arranged before, and what must come of it.

Arguments and texts may hold `{names}`, which the scenery fills in when the play runs.
"""

from collections.abc import Collection, Mapping
from enum import StrEnum
from types import MappingProxyType
from typing import Any, final

from attrs import field, frozen

__all__ = (
    "Act",
    "Caller",
    "Expectation",
    "Given",
    "Step",
    "Verdict",
    "is_playable",
)


class Caller(StrEnum):
    """Who calls."""

    BARE = "unguarded"
    """A client of the same git server with nothing in front of it."""
    AGENT = "agent"
    """The client of the wrapped git server, over stdio."""
    EDITOR = "editor"
    """The client of the wrapped file server, over stdio."""
    READER = "reader"
    WRITER = "writer"
    STRANGER = "stranger"
    """Somebody with a token that the server never gave out."""
    NOBODY = "nobody"
    """Somebody without a token."""

    @property
    def server(self) -> str:
        """Return the server this caller talks to."""
        if self is Caller.EDITOR:
            return "files"
        return "git" if self in {Caller.BARE, Caller.AGENT} else "notes"


class Verdict(StrEnum):
    """What came of a call."""

    ALLOWED = "allowed"
    REFUSED = "refused"
    FAILED = "failed"
    """The guards let it pass and the tool itself reported an error."""


class Given(StrEnum):
    """What is arranged before a step."""

    NOTHING = ""
    ARCHIVE_STUMBLES = "the archive fails twice, then works"
    ARCHIVE_IS_DOWN = "the archive is down"
    ARCHIVE_IS_BACK = "the archive is mended"


class Act(StrEnum):
    """The parts of the story."""

    ALONE = "The git server alone"
    WRAPPED = "The same server behind wrap, over stdio"
    FILES = "A server for Node.js behind wrap, with nothing of it changed either"
    OWN = "A hardened server of our own, over HTTP"


@final
@frozen(kw_only=True)
class Expectation:
    """What must come of a step; what is left out is not looked at.

    Args:
        verdict: What the client must see.
        code: The code of the refusal, for the client and in the record.
        rules: Rules that must be among those the record names.
        attempts: How often the tool must have run.
        text: What the client must be able to read in the answer.
        tools: Exactly the tools that a list must show.
        retry_after: Whether the refusal must say when to come again.
        passes_first: How many calls of a burst must pass before one is refused.
        within_s: How long the call may take.
        event: A line that must be among the server's events.
    """

    verdict: Verdict
    code: str = ""
    rules: tuple[str, ...] = ()
    attempts: int | None = None
    text: str = ""
    tools: tuple[str, ...] | None = None
    retry_after: bool = False
    passes_first: int = 0
    within_s: float | None = None
    event: str = ""

    def __str__(self) -> str:
        """Return it in a few words."""
        words = [self.verdict.value]
        if self.code:
            words.append(self.code)
        if self.attempts is not None:
            words.append(f"tool ran {self.attempts}\u00d7")
        if self.tools is not None:
            words.append(f"{len(self.tools)} tools shown")
        if self.passes_first:
            words.append(f"after {self.passes_first} passed")
        return ", ".join(words)


@final
@frozen(kw_only=True)
class Step:
    """One thing that somebody does.

    Args:
        id: Unique in the story.
        act: The part it belongs to.
        title: What it shows, one sentence.
        caller: Who does it.
        method: `tools/call`, `tools/list`, `connect`, or `health` for a probe.
        tool: The tool that is called.
        arguments: Its arguments.
        given: What is arranged before.
        waits: Whether to wait first for as long as the last refusal said, and no longer.
        burst: How often to call at most, until one call is refused.
        together: How many calls to make at once; the last of them is the one refused.
        expect: What must come of it.
    """

    id: str
    act: Act
    title: str
    caller: Caller
    method: str = "tools/call"
    tool: str = ""
    arguments: Mapping[str, Any] = field(default=MappingProxyType({}))
    given: Given = Given.NOTHING
    waits: bool = False
    burst: int = 1
    together: int = 1
    expect: Expectation

    @property
    def is_recorded(self) -> bool:
        """Return whether the server leaves a record: there are guards, and it is a call."""
        return self.caller is not Caller.BARE and self.method != "health"


def is_playable(step: Step, servers: Collection[str]) -> bool:
    """Return whether the server that a step calls is here."""
    return step.caller.server in servers
