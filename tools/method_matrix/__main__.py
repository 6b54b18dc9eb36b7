"""Write the table, or say where it differs: `python -m method_matrix [--write]`."""

import sys
from difflib import unified_diff
from pathlib import Path

import anyio

from .table import PAGE, render

HINT = "run: cd tools && python -m method_matrix --write"


def main(options: list[str]) -> int:
    """Render the page; write it, or compare it with the one that is there."""
    text = anyio.run(render)
    if "--write" in options:
        PAGE.write_text(text, encoding="utf-8")
        print(f"wrote {PAGE.relative_to(Path.cwd().parent)}")
        return 0
    if PAGE.read_text(encoding="utf-8") == text:
        return 0
    written = PAGE.read_text(encoding="utf-8").splitlines()
    print(
        *unified_diff(written, text.splitlines(), "the page", "what holds", lineterm=""), sep="\n"
    )
    print(f"{PAGE.name} does not say what holds; {HINT}")
    return 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
