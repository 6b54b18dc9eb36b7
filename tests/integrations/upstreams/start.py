"""Processes that are no servers. Usage: start.py WHAT TOKEN."""

import os
import signal
import subprocess
import sys


def main(what):  # noqa: PLR0912 - a list of misdeeds
    if what == "dies":
        for number in range(50):
            sys.stderr.write(f"line {number}\n")
        sys.stderr.write("api_key=sk-0123456789abcdef0123456789abcdef \x1b[31mred\n")
        sys.exit(3)
    if what == "killed":
        os.kill(os.getpid(), signal.SIGKILL)
    if what == "garbage":
        while True:
            sys.stdout.write("garbage\n")
    if what == "blank":
        while True:
            sys.stdout.write("\n")
    if what == "endless":
        while True:
            sys.stdout.write("x" * 65_536)
    if what == "noise":
        # On standard error only, and without an end of line.
        while True:
            sys.stderr.write("x" * 65_536)
    if what == "silent":
        sys.stdin.read()
    if what == "stubborn":
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        while True:
            signal.pause()
    if what == "closes":
        os.close(1)
        signal.pause()
    if what == "leaves_child":
        # The grandchild holds the pipes; the server itself is gone.
        subprocess.Popen(
            [sys.executable, "-c", "import signal; signal.pause()", sys.argv[2]],
        )
        os._exit(4)


main(sys.argv[1])
