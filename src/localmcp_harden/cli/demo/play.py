"""Plays a story: every step by real clients against real servers, each one judged."""

import os
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeAlias, final

import anyio

from ...compose.hardening import Hardening
from ...compose.loading import load_config
from ..quiet import silence_retry_hooks
from .actors import Actors, Seen
from .judge import CallResult, StepResult, judge
from .notes import Archive, make_server, serve_on_loopback
from .records import Record, RecordReader
from .scenery import Scenery, git_environment
from .sdk import StdioServerParameters
from .story import Caller, Given, Step, Verdict

__all__ = ("Watcher", "play")

Watcher: TypeAlias = Callable[[StepResult], None]
"""Told of every step as it is done."""

_LONGEST_WAIT_S = 30.0
_SHOWN_CHARS = 40
_HIDDEN = "(a secret)"
_SHORT = {
    "repository": "workspace/project",
    "private": "private",
    "link": "workspace/shortcut",
    "plan": "workspace/project/docs/plan.md",
    "salaries": "private/salaries.txt",
    "oversized": "xxxx\u2026 (200,000)",
    "password": _HIDDEN,
}


async def play(
    story: Sequence[Step], scenery: Scenery, archive: Archive, watch: Watcher
) -> tuple[StepResult, ...]:
    """Play a story and return what came of each step. Needs asyncio.

    Args:
        story: The steps, in order.
        scenery: Where it plays.
        archive: What stands behind one of the tools.
        watch: Told of every step as it is done.

    Raises:
        HardenError: A server did not start or went away.
    """
    silence_retry_hooks()
    loaded = load_config(scenery.configuration("notes"), environ={})
    results: list[StepResult] = []
    with scenery.errors("git").open("w", encoding="utf-8") as errors:
        async with (
            Hardening(loaded) as hardening,
            serve_on_loopback(make_server(hardening, archive)) as address,
            Actors(
                commands=_commands(scenery),
                address=address,
                tokens=scenery.tokens,
                errors=errors,
            ) as actors,
        ):
            stage = _Stage(scenery, actors, archive)
            for step in story:
                result = await stage.perform(step)
                results.append(result)
                watch(result)
    return tuple(results)


def _commands(scenery: Scenery) -> Mapping[Caller, StdioServerParameters]:
    environment = git_environment(scenery.root)
    handed_on = [part for name in environment for part in ("--env", f"{name}={environment[name]}")]
    wrap = ["-m", "localmcp_harden", "wrap"]

    def configuration(server: str) -> str:
        return str(scenery.configuration(server))

    commands = {
        Caller.BARE: StdioServerParameters(
            command=str(scenery.git_server), env=environment, cwd=scenery.root
        ),
        Caller.AGENT: StdioServerParameters(
            command=sys.executable,
            args=[
                *wrap,
                "--config",
                configuration("git"),
                *handed_on,
                "--",
                str(scenery.git_server),
            ],
            cwd=scenery.root,
        ),
    }
    if scenery.file_server is not None:
        server = [str(scenery.file_server), str(scenery.root)]
        commands[Caller.EDITOR] = StdioServerParameters(
            command=sys.executable,
            args=[*wrap, "--config", configuration("files"), "--", *server],
            env={"PATH": os.environ.get("PATH", os.defpath)},
            cwd=scenery.root,
        )
    return commands


@final
class _Stage:
    """Performs steps one after another."""

    def __init__(self, scenery: Scenery, actors: Actors, archive: Archive) -> None:
        self._names = scenery.names()
        self._actors = actors
        self._archive = archive
        self._records = {
            server: RecordReader(scenery.records(server)) for server in scenery.servers
        }
        self._told_wait_s: dict[Caller, float] = {}

    async def perform(self, step: Step) -> StepResult:
        """Arrange, wait, call, read the record, and judge."""
        if step.given is not Given.NOTHING:
            self._archive.arrange(step.given)
        waited_s = 0.0
        if step.waits:
            waited_s = min(self._told_wait_s.get(step.caller, 0.0), _LONGEST_WAIT_S)
            await anyio.sleep(waited_s)
        calls: list[CallResult] = []
        if step.together > 1:
            calls = await self._call_together(step)
        else:
            for _ in range(step.burst):
                calls.append(await self._call(step))
                if calls[-1].seen.verdict is not Verdict.ALLOWED:
                    break
        reader = self._records[step.caller.server]
        if step.expect.event:
            await reader.find_event(step.expect.event)
        events = reader.take_events()
        return StepResult(
            step=step,
            calls=tuple(calls),
            events=events,
            waited_s=waited_s,
            problems=judge(step, calls, events, recorded=step.is_recorded),
        )

    async def _call_together(self, step: Step) -> list[CallResult]:
        """Call several times at once, and return those first that were allowed."""
        made: list[tuple[float, Seen]] = []

        async def call() -> None:
            at = time.time()
            made.append((at, await self._act(step)))

        async with anyio.create_task_group() as tasks:
            for _ in range(step.together):
                tasks.start_soon(call)
        # A refusal names its record; what is left then belongs to the others.
        made.sort(key=lambda each: each[1].verdict is Verdict.ALLOWED)
        calls = [await self._told(step, at, seen) for at, seen in made]
        return sorted(calls, key=lambda each: each.seen.verdict is not Verdict.ALLOWED)

    async def _call(self, step: Step) -> CallResult:
        at = time.time()
        return await self._told(step, at, await self._act(step))

    async def _told(self, step: Step, at: float, seen: Seen) -> CallResult:
        if seen.retry_after_s is not None:
            self._told_wait_s[step.caller] = seen.retry_after_s
        record = None
        if step.is_recorded:
            record = await self._records[step.caller.server].find(_is_record_of(step, seen))
        return CallResult(at=at, shown=_in_words(step), seen=seen, record=record)

    async def _act(self, step: Step) -> Seen:
        if step.method == "connect":
            return await self._actors.connect(step.caller)
        if step.method == "health":
            return await self._actors.ask_health()
        if step.method == "tools/list":
            return await self._actors.list_tools(step.caller)
        return await self._actors.call(step.caller, step.tool, self._filled(step.arguments))

    def _filled(self, arguments: Mapping[str, Any]) -> dict[str, Any]:
        return {
            name: value.format_map(self._names) if isinstance(value, str) else value
            for name, value in arguments.items()
        }


def _is_record_of(step: Step, seen: Seen) -> Callable[[Record], bool]:
    if seen.call_id:
        return lambda record: record.call_id == seen.call_id
    if step.method == "tools/call":
        return lambda record: record.method == step.method and record.name == step.tool
    if step.method == "connect":
        return lambda record: record.method in {"server/discover", "initialize"}
    return lambda record: record.method == step.method


def _in_words(step: Step) -> str:
    """Return a call as a person reads it: places by their short names, no secret."""
    if step.method != "tools/call":
        return step.method
    parts = []
    for name, value in step.arguments.items():
        text = value.format_map(_SHORT) if isinstance(value, str) else repr(value)
        parts.append(f"{name}={text[:_SHOWN_CHARS]}")
    return f"{step.tool}({', '.join(parts)})"
