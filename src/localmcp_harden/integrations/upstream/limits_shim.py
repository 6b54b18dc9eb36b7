"""Sets limits on its own process and becomes another program; run as a file.

Usage: limits_shim.py ORDER PROGRAM NAME [ARGS]..., where ORDER is JSON. It stands alone and
imports little: every start of a limited child waits for it.
"""

import json
import os
import resource
import signal
import sys

__all__ = ("main",)

_FAILED = 125
_PR_SET_PDEATHSIG = 1


def main(order_text: str, program: str, *argv: str) -> None:
    """Set the limits and run the program; returns only by an exit code."""
    order = json.loads(order_text)
    try:
        if order["parent"]:
            _end_with(order["parent"])
        if order["nice"]:
            os.nice(order["nice"])
        for name, value in order["resources"].items():
            _limit(getattr(resource, name), value)
    except (OSError, ValueError, AttributeError) as error:
        _fail(f"the limits could not be set: {error}")
    for name in order["drop"]:
        os.environ.pop(name, None)
    # Python ignores these two, and what is ignored stays so in the program.
    signal.signal(signal.SIGPIPE, signal.SIG_DFL)
    signal.signal(signal.SIGXFSZ, signal.SIG_DFL)
    try:
        os.execv(program, argv)  # noqa: S606  # nosec B606 - what the configuration names
    except OSError as error:
        _fail(f"the program could not be run: {error.strerror}")


def _limit(kind: int, value: int) -> None:
    _, hard = resource.getrlimit(kind)
    if hard != resource.RLIM_INFINITY:
        value = min(value, hard)
    # Room for the handler of SIGXCPU; all else is as hard as it is soft.
    above = value + 1 if kind == resource.RLIMIT_CPU and hard != value else value
    resource.setrlimit(kind, (value, above))
    if resource.getrlimit(kind)[0] != value:
        raise OSError("a limit was not taken")


def _end_with(parent: int) -> None:
    # Imported here: few ask for it.
    import ctypes  # noqa: PLC0415

    libc = ctypes.CDLL(None, use_errno=True)
    if libc.prctl(_PR_SET_PDEATHSIG, int(signal.SIGKILL), 0, 0, 0) != 0:
        raise OSError(ctypes.get_errno(), "prctl failed")
    if os.getppid() != parent:
        # It ended before we could ask.
        os.kill(os.getpid(), signal.SIGKILL)


def _fail(reason: str) -> None:
    sys.stderr.write(f"{reason}\n")
    sys.stderr.flush()
    os._exit(_FAILED)


if __name__ == "__main__":
    main(*sys.argv[1:])
