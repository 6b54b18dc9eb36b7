"""The command line: one module a command group. Needs the extra `cli`."""

import sys

from ..core.errors import MissingExtraError


def main() -> None:
    """Run the command line and exit with its code; see `docs/reference/cli.md`."""
    try:
        from .app import run  # noqa: PLC0415 - importing the package must not need the extra
    except MissingExtraError as error:
        sys.stderr.write(f"localmcp-harden: {error.code}: {error}\n")
        sys.exit(3)
    sys.exit(run())
