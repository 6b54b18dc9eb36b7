"""Tells the service manager that this process is ready, or ending: systemd's `Type=notify`.

The datagrams are those of `sd_notify(3)`, sent to the socket that NOTIFY_SOCKET names.
Without that variable, nothing happens; and whatever goes wrong, the host goes on.
"""

import os
import socket
from collections.abc import Mapping

__all__ = ("notify", "notify_ready", "notify_status", "notify_stopping")

_MAX_STATUS_BYTES = 500
_TIMEOUT_S = 1.0


def notify_ready(status: str = "", *, environ: Mapping[str, str] | None = None) -> bool:
    """Say that requests are taken from now on.

    Args:
        status: One line for people, shown by `systemctl status`; cut at 500 bytes.
        environ: Where to look for NOTIFY_SOCKET; the process's own when None.

    Returns:
        Whether somebody was told.
    """
    return _send(("READY=1",), status, environ)


def notify(*fields: str, environ: Mapping[str, str] | None = None) -> bool:
    """Send fields as they are, for example `WATCHDOG=1`; otherwise as `notify_ready`."""
    return _send(fields, "", environ)


def notify_status(status: str, *, environ: Mapping[str, str] | None = None) -> bool:
    """Say how things are, in one line for people; arguments as for `notify_ready`."""
    return _send((), status, environ)


def notify_stopping(status: str = "", *, environ: Mapping[str, str] | None = None) -> bool:
    """Say that the end has begun; arguments as for `notify_ready`."""
    return _send(("STOPPING=1",), status, environ)


def _send(fields: tuple[str, ...], status: str, environ: Mapping[str, str] | None) -> bool:
    address = (os.environ if environ is None else environ).get("NOTIFY_SOCKET", "")
    family = getattr(socket, "AF_UNIX", None)
    # systemd writes "@" for the zero byte that an abstract address begins with.
    if family is None or address[:1] not in ("/", "@"):
        return False
    lines = (*fields, f"STATUS={_one_line(status)}") if status else fields
    try:
        with socket.socket(family, socket.SOCK_DGRAM) as sender:
            # A manager that does not read must not hold the host up.
            sender.settimeout(_TIMEOUT_S)
            target = "\0" + address[1:] if address[0] == "@" else address
            sender.sendto("\n".join(lines).encode(), target)
    except (OSError, ValueError):
        return False
    return True


def _one_line(status: str) -> str:
    # A line of its own would be read as a further field.
    text = " ".join(status.split())
    return text.encode(errors="replace")[:_MAX_STATUS_BYTES].decode(errors="ignore")
