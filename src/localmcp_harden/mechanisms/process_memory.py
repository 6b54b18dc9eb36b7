"""How much memory this process has, and how much it may have: from the system's own files.

Linux only, without a further library; elsewhere the readings are None.
"""

import os
from pathlib import Path

__all__ = ("memory_limit_bytes", "memory_used_bytes")

_STATM = Path("/proc/self/statm")
_MEMINFO = Path("/proc/meminfo")
_LIMITS = (
    Path("/sys/fs/cgroup/memory.max"),
    Path("/sys/fs/cgroup/memory/memory.limit_in_bytes"),
)
_NO_LIMIT = 1 << 60


def memory_used_bytes(statm: Path = _STATM) -> int | None:
    """Return the resident memory of this process, None where the system does not tell."""
    try:
        return int(statm.read_text(encoding="ascii").split()[1]) * os.sysconf("SC_PAGE_SIZE")
    except (OSError, ValueError, IndexError):
        return None


def memory_limit_bytes(limits: tuple[Path, ...] = _LIMITS, meminfo: Path = _MEMINFO) -> int | None:
    """Return the smaller of the control group's limit and the machine's memory, if known."""
    found = [limit for limit in map(_number, limits) if limit is not None and limit < _NO_LIMIT]
    machine = _total(meminfo)
    if machine is not None:
        found.append(machine)
    return min(found, default=None)


def _number(path: Path) -> int | None:
    try:
        text = path.read_text(encoding="ascii").strip()
    except (OSError, ValueError):
        return None
    return int(text) if text.isdigit() else None


def _total(meminfo: Path) -> int | None:
    try:
        for line in meminfo.read_text(encoding="ascii").splitlines():
            name, _, rest = line.partition(":")
            if name == "MemTotal":
                return int(rest.split()[0]) * 1024
    except (OSError, ValueError, IndexError):
        pass
    return None
