"""Starts a child process for a wrapped server and sees to its end, whatever happens.

The child gets its own session, so that signals reach everything it started and nothing
else; only what leaves that session on purpose escapes. Times are seconds.
"""

import os
import signal
from collections.abc import Iterable, Mapping
from contextlib import suppress
from pathlib import Path, PurePath
from subprocess import PIPE  # nosec B404 - a constant; anyio starts the child
from typing import final

import anyio
from anyio.abc import AsyncResource, Process
from attrs import field, frozen
from attrs.validators import and_, deep_iterable, deep_mapping, ge, gt, instance_of, le, optional

from ...core.errors import UpstreamError
from ..wire.streams import FdReader, FdWriter
from .limits import ChildLimits, limited_command
from .settings import UpstreamSettings, is_text

__all__ = (
    "INHERITED_ENV",
    "ChildPipes",
    "UpstreamConfig",
    "child_environment",
    "exit_text",
    "start_child",
    "stop_child",
    "wait_for_exit",
)

INHERITED_ENV: tuple[str, ...] = (
    "HOME",
    "LANG",
    "LANGUAGE",
    "LC_*",
    "LOGNAME",
    "PATH",
    "SHELL",
    "TERM",
    "TMPDIR",
    "TZ",
    "USER",
    "VIRTUAL_ENV",
)
"""What a child sees of our environment: where things are and how to write, no credentials."""

_TERM_WAIT_S = 2.0
_KILL_WAIT_S = 2.0


def _without_nul(_owner: object, attribute: object, value: str) -> None:
    if "\x00" in value:
        raise ValueError(f"'{getattr(attribute, 'name', '')}' must not contain NUL characters")


def _named(_owner: object, _attribute: object, value: str) -> None:
    if not value.strip():
        raise ValueError("'command' must name a program")


def _are_variables(_owner: object, _attribute: object, value: Mapping[str, str]) -> None:
    if any(not name or "=" in name or "\x00" in name + text for name, text in value.items()):
        raise ValueError("'env' must hold names without '=' and nothing with NUL characters")


def _path(value: str | Path | None) -> Path | None:
    return None if value is None else Path(value)


def _as_tuple(values: Iterable[str]) -> tuple[str, ...]:
    if isinstance(values, str):
        # Else each of its characters would be one.
        raise TypeError("arguments and names of variables are given as a list of texts")
    # Not `tuple` itself: of a class, mypy's plugin makes a parameter that takes nothing.
    return tuple(values)


def _count(values: object) -> str:
    # Arguments and variables may be secrets: a repr says how many there are.
    return f"<{len(values)}>" if isinstance(values, (tuple, Mapping)) else "<?>"


@final
@frozen(kw_only=True)
class UpstreamConfig(UpstreamSettings):
    """How a wrapped server is started as a child process, and what it may do to us.

    Args beside those of `UpstreamSettings`, all of which it takes:

    Args:
        command: The program, by path or by name on the child's own `PATH`.
        args: Its arguments. They may hold secrets: no message and no repr shows them.
        env: Variables the child gets (none).
        inherit_env: Variables the child gets from our own environment, where they are
            set; a `*` at the end stands for any ending (`INHERITED_ENV`).
        cwd: Its working folder (ours).
        max_garbage_lines: How many lines in a row may be no message (1 to 10,000;
            100). One more ends the connection.
        stall_timeout_s: How long it may leave a request unread (above 0, up to 3,600; 30).
        stop_grace_s: How long it may take to end by itself when its input ends (0 to
            60; 2). Then come SIGTERM, and two seconds later SIGKILL.
        limits: What it may use of the machine (no limits).
    """

    command: str = field(validator=[instance_of(str), _named, _without_nul])
    args: tuple[str, ...] = field(
        default=(),
        converter=_as_tuple,
        validator=deep_iterable(and_(is_text, _without_nul), instance_of(tuple)),
        repr=_count,
    )
    env: Mapping[str, str] = field(
        factory=dict[str, str],
        validator=[deep_mapping(is_text, is_text), _are_variables],
        repr=_count,
    )
    inherit_env: tuple[str, ...] = field(
        default=INHERITED_ENV,
        converter=_as_tuple,
        validator=deep_iterable(instance_of(str), instance_of(tuple)),
    )
    cwd: Path | None = field(default=None, converter=_path)
    max_garbage_lines: int = field(
        default=100, validator=[instance_of(int), and_(ge(1), le(10_000))]
    )
    stall_timeout_s: float = field(default=30.0, validator=and_(gt(0.0), le(3_600.0)))
    stop_grace_s: float = field(default=2.0, validator=and_(ge(0.0), le(60.0)))
    limits: ChildLimits | None = field(default=None, validator=optional(instance_of(ChildLimits)))

    @property
    def label(self) -> str:
        """Return the name of the program, without its folder."""
        return PurePath(self.command).name or self.command


def child_environment(config: UpstreamConfig, environ: Mapping[str, str]) -> dict[str, str]:
    """Return the variables the child gets: those allowed from `environ`, then its own."""
    allowed = config.inherit_env
    inherited = {
        name: value
        for name, value in environ.items()
        if any(
            name.startswith(entry[:-1]) if entry.endswith("*") else name == entry
            for entry in allowed
        )
        # An exported shell function is code.
        and not value.startswith("()")
    }
    return {**inherited, **config.env}


@final
class ChildPipes:
    """The pipes to a child's standard input and from its standard output.

    Ours alone, at our ends, so that they can be read and written without a task between.
    The child's ends are closed once it has them.

    Raises:
        OSError: There are no descriptors left.
    """

    def __init__(self) -> None:
        self.child_input: int
        self.child_output: int
        self.from_child: int
        self.child_input, to_child = os.pipe()
        try:
            self.from_child, self.child_output = os.pipe()
        except OSError:
            os.close(self.child_input)
            os.close(to_child)
            raise
        self.writer: FdWriter = FdWriter(to_child, owned=True)
        self.reader: FdReader = FdReader(self.from_child)
        self._open = [self.child_input, self.child_output, self.from_child]

    def hand_over(self) -> None:
        """Close the child's ends: it has its own copies."""
        self._close(self.child_input, self.child_output)

    def end_input(self) -> None:
        """End the child's input."""
        self.writer.end()

    def close(self) -> None:
        """Close whatever is open still."""
        self.reader.end()
        self.end_input()
        self._close(*self._open)

    def _close(self, *descriptors: int) -> None:
        for fd in descriptors:
            if fd in self._open:
                self._open.remove(fd)
                os.close(fd)


async def start_child(config: UpstreamConfig, pipes: ChildPipes | None = None) -> Process:
    """Start the child in a session of its own.

    Args:
        config: What to start.
        pipes: The pipes it speaks through; those of the process itself when None.

    Raises:
        UpstreamError: It can not be started; the message names the program and why.
    """
    # Shielded: a cancellation between fork and return would leave a process that nobody
    # knows. What is waited for here is the kernel alone.
    with anyio.CancelScope(shield=True):
        try:
            environ = child_environment(config, os.environ)
            line = [config.command, *config.args]
            if config.limits is not None:
                line = limited_command(
                    config.command, config.args, config.limits, environ, cwd=config.cwd
                )
            return await anyio.open_process(
                line,
                stdin=PIPE if pipes is None else pipes.child_input,
                stdout=PIPE if pipes is None else pipes.child_output,
                stderr=PIPE,
                cwd=config.cwd,
                env=environ,
                start_new_session=True,
            )
        except OSError as error:
            raise UpstreamError(_why_not_started(config, error)) from None
        except ValueError:
            # Half a surrogate pair in an argument or a variable.
            raise UpstreamError(
                f"{config.program!r} did not start: its arguments are no text"
            ) from None
    raise RuntimeError  # pragma: no cover - a shield swallows nothing


def _why_not_started(config: UpstreamConfig, error: OSError) -> str:
    name = config.program
    if config.cwd is not None and not config.cwd.is_dir():
        return f"{name!r} did not start: its working folder does not exist"
    if isinstance(error, FileNotFoundError):
        return f"{name!r} did not start: there is no such command; install it or give its path"
    if isinstance(error, PermissionError):
        return f"{name!r} did not start: it is not executable"
    return f"{name!r} did not start: {error.strerror or type(error).__name__}"


async def stop_child(process: Process, grace_s: float) -> bool:
    """End the child: close its input, wait, SIGTERM, SIGKILL; then whatever it left behind.

    Every wait is bounded. Call it shielded. A child with `ChildPipes` has its input ended
    by the caller.

    Args:
        process: The child.
        grace_s: How long it may take after its input has ended.

    Returns:
        Whether it ended by itself.
    """
    if process.stdin is not None:
        await _close(process.stdin)
    by_itself = await wait_for_exit(process, grace_s)
    if not by_itself:
        _signal_group(process, signal.SIGTERM)
        if not await wait_for_exit(process, _TERM_WAIT_S):
            _signal_group(process, signal.SIGKILL)
            await wait_for_exit(process, _KILL_WAIT_S)
    # What it started may still be there, and may hold the pipes open.
    _signal_group(process, signal.SIGKILL)
    for stream in (process.stdout, process.stderr):
        if stream is not None:
            await _close(stream)
    # On asyncio the transport keeps the pipes until it is closed, and says so at
    # garbage collection; nothing public reaches it.
    transport = getattr(getattr(process, "_process", None), "_transport", None)
    if transport is not None:
        with suppress(OSError):
            transport.close()
    return by_itself


async def wait_for_exit(process: Process, timeout_s: float, *, every_s: float = 0.01) -> bool:
    """Return whether the process ended in time.

    Asks every `every_s`: on asyncio `wait` also waits for the pipes, which a grandchild may hold.
    """
    until = anyio.current_time() + timeout_s
    while process.returncode is None:
        if anyio.current_time() >= until:
            return False
        await anyio.sleep(every_s)
    return True


def exit_text(returncode: int | None) -> str:
    """Return how a process ended, in words."""
    if returncode is None:
        return "is still running"
    if returncode >= 0:
        return f"ended with exit code {returncode}"
    with suppress(ValueError):
        return f"was ended by {signal.Signals(-returncode).name}"
    return f"was ended by signal {-returncode}"


def _signal_group(process: Process, number: signal.Signals) -> None:
    # PermissionError: macOS says so of a group that only zombies are left of.
    with suppress(ProcessLookupError, PermissionError):
        os.killpg(process.pid, number)


async def _close(stream: AsyncResource) -> None:
    with suppress(OSError, anyio.BrokenResourceError, anyio.ClosedResourceError):
        await stream.aclose()
