"""What a child process may use of the machine, and how it is made to keep to it.

A small program (`limits_shim.py`) takes the place of the child, sets the limits on itself
and becomes the command: they hold from its first instruction on and for all that it
starts. Nothing runs between fork and exec in our own process.
"""

import json
import os
import shutil
import sys
from collections.abc import Mapping
from importlib.util import find_spec
from pathlib import Path
from typing import Any, final

from attrs import field, frozen
from attrs.validators import and_, ge, instance_of, le, optional

from ...core.errors import UpstreamError

__all__ = ("ChildLimits", "limited_command")

_SHIM = str(Path(__file__).with_name("limits_shim.py"))
_MIB = 1024 * 1024


def _between(low: int, high: int) -> Any:
    return optional([instance_of(int), and_(ge(low), le(high))])


@final
@frozen(kw_only=True)
class ChildLimits:
    """What a child process may use; of the whole, None means that nothing is limited.

    The limits are those of POSIX `setrlimit`. Each process that the child starts gets
    them too, and counts for itself, except for `processes`.

    Args:
        memory_bytes: Address space (16 MiB to 1 PiB), not memory in use: a limit for
            programs in C, Python and the like. Node (V8), Java and others reserve far more
            than they use, and fail to start or die under it: limit those by a container
            or a control group.
        cpu_s: Processor time of a life, whole seconds (1 to 31,536,000). At the limit
            comes SIGXCPU, a second later SIGKILL. A server that lives long uses it up.
        open_files: Descriptors open at once (8 to 1,048,576).
        processes: Processes and threads of the **user**, not of the child (1 to
            1,048,576): everything that runs under the same user counts. The kernel
            exempts root, so root is refused.
        file_bytes: The size of a file that it writes (0 to 1 PiB).
        nice: How much it steps back behind others (0 to 19; 0).
        end_with_parent: Whether it is killed when our own process is, even by SIGKILL.
            Linux only, and only the child itself: what it started is on its own then.
        core_dumps: Whether a crash may write its memory, secrets included, to a file.
    """

    memory_bytes: int | None = field(default=None, validator=_between(16 * _MIB, 1 << 50))
    cpu_s: int | None = field(default=None, validator=_between(1, 31_536_000))
    open_files: int | None = field(default=None, validator=_between(8, 1 << 20))
    processes: int | None = field(default=None, validator=_between(1, 1 << 20))
    file_bytes: int | None = field(default=None, validator=_between(0, 1 << 50))
    nice: int = field(default=0, validator=[instance_of(int), and_(ge(0), le(19))])
    end_with_parent: bool = field(default=False, validator=instance_of(bool))
    core_dumps: bool = field(default=False, validator=instance_of(bool))

    def resources(self) -> dict[str, int]:
        """Return the limits by the names that the `resource` module has for them."""
        named = {
            "RLIMIT_AS": self.memory_bytes,
            "RLIMIT_CPU": self.cpu_s,
            "RLIMIT_NOFILE": self.open_files,
            "RLIMIT_NPROC": self.processes,
            "RLIMIT_FSIZE": self.file_bytes,
            "RLIMIT_CORE": None if self.core_dumps else 0,
        }
        return {name: value for name, value in named.items() if value is not None}


def limited_command(
    command: str,
    args: tuple[str, ...],
    limits: ChildLimits,
    environ: Mapping[str, str],
    *,
    cwd: Path | None = None,
) -> list[str]:
    """Return the command line that sets the limits and then becomes the command.

    Args:
        command: The program.
        args: Its arguments.
        limits: What it may use.
        environ: The variables that it gets.
        cwd: The folder that it starts in (ours).

    Raises:
        UpstreamError: This platform can not limit so; running without would be weaker
            than what was asked for.
        OSError: There is no such command, or it is not executable.
    """
    _require_possible(limits)
    program = _find(command, environ, cwd or Path())
    order = {
        "resources": limits.resources(),
        "nice": limits.nice,
        "parent": os.getpid() if limits.end_with_parent else 0,
        # Python sets this one where it starts in the C locale; it is not the child's.
        "drop": [] if "LC_CTYPE" in environ else ["LC_CTYPE"],
    }
    # Isolated and without site: quick, and deaf to the child's PYTHON* variables.
    return [sys.executable, "-I", "-S", _SHIM, json.dumps(order), program, command, *args]


def _find(command: str, environ: Mapping[str, str], cwd: Path) -> str:
    # Looked for here, so that a missing command is told from a shim that failed.
    if Path(command).name != command:
        program = str(cwd / command)
        if not Path(program).exists():
            raise FileNotFoundError
        if shutil.which(program) is None:
            raise PermissionError
    else:
        found = shutil.which(command, path=environ.get("PATH", os.defpath))
        if found is None:
            raise FileNotFoundError
        program = found
    return str(Path(program).absolute())


def _require_possible(limits: ChildLimits) -> None:
    if find_spec("resource") is None or not hasattr(os, "fork"):
        raise UpstreamError("resource limits need a POSIX system; leave 'limits' out here")
    import resource  # noqa: PLC0415 - POSIX only

    for name in limits.resources():
        if not hasattr(resource, name):
            raise UpstreamError(f"this system has no {name}; leave that limit out here")
    if limits.processes is not None and os.geteuid() == 0:
        raise UpstreamError(
            "the kernel does not limit the processes of root; run as another user, or leave "
            "'processes' out"
        )
    if limits.end_with_parent and sys.platform != "linux":
        raise UpstreamError("'end_with_parent' needs Linux; leave it out here")
