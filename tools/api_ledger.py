"""The ledger of public names: `python tools/api_ledger.py [--write]`.

Every name of every `__all__`, with bases, fields and signatures, one a line,
sorted. A change of the ledger is a change of the interface, to be made on
purpose and read in review. It is read from the sources, not from live objects, so
that it is the same on every Python and needs no extra installed.
"""

import difflib
import sys
from collections.abc import Iterator
from pathlib import Path

import griffe

ROOT = Path(__file__).parents[1]
PACKAGE = "localmcp_harden"
LEDGER = ROOT / "docs" / "reference" / "api-ledger.txt"
HEADER = (
    "# Every public name with its signature. `nox -s ledger` rewrites this file;\n"
    "# read its diff as a change of the interface.\n"
)


def modules(module: griffe.Module) -> Iterator[griffe.Module]:
    """Yield a module and those below it."""
    yield module
    for member in module.members.values():
        if isinstance(member, griffe.Module):
            yield from modules(member)


def is_public(name: str) -> bool:
    """Return whether a member's name is for others to use."""
    return not name.startswith("_") or (name.startswith("__") and name.endswith("__"))


def shown(value: object) -> str:
    """Return an expression on one line."""
    return " ".join(str(value).split())


def attribute(member: griffe.Attribute) -> str:
    """Return what is to be known of a field, a constant or a property."""
    text = "" if member.annotation is None else f": {shown(member.annotation)}"
    constructed = "instance-attribute" in member.labels and "class-attribute" not in member.labels
    return text if member.value is None or constructed else f"{text} = {shown(member.value)}"


def function(member: griffe.Function) -> str:
    """Return the signature of a function or a method, with what kind it is."""
    kinds = sorted({"async", "classmethod", "staticmethod"} & member.labels)
    signature = shown(member.signature(return_type=True)).removeprefix(member.name)
    return " ".join(["", *kinds, "def", signature])


def lines_of(path: str, member: griffe.Object | griffe.Alias) -> Iterator[str]:
    """Yield the lines of one public object."""
    if isinstance(member, griffe.Alias):
        yield f"{path} = {member.target_path}"
    elif isinstance(member, griffe.Class):
        bases = ", ".join(shown(base) for base in member.bases)
        decorators = [f" @{shown(made.value)}" for made in member.decorators]
        yield f"{path} class ({bases}){''.join(decorators)}"
        for name, inner in member.members.items():
            if is_public(name) and name not in {"__slots__", "__module__", "__qualname__"}:
                yield from lines_of(f"{path}.{name}", inner)
    elif isinstance(member, griffe.Function):
        yield f"{path}{function(member)}"
    elif isinstance(member, griffe.Attribute):
        yield f"{path}{attribute(member)}"


def render() -> str:
    """Return the ledger as it should be."""
    root = griffe.load(PACKAGE, search_paths=[str(ROOT / "src")], resolve_aliases=False)
    assert isinstance(root, griffe.Module)  # noqa: S101 - tells the type checker
    lines: set[str] = set()
    for module in modules(root):
        for name in map(str, module.exports or ()):
            member = module.members.get(name)
            path = f"{module.path}.{name}"
            # A name that `__getattr__` hands on lazily has no member; it still counts.
            lines.update([path] if member is None else lines_of(path, member))
    return HEADER + "\n".join(sorted(lines)) + "\n"


def main(options: list[str]) -> int:
    """Write the ledger, or compare it and print the difference."""
    wanted = render()
    if "--write" in options:
        LEDGER.write_text(wanted, encoding="utf-8")
        print(f"{LEDGER.name}: {wanted.count(chr(10)) - 2} names")
        return 0
    current = LEDGER.read_text(encoding="utf-8") if LEDGER.exists() else ""
    names = (LEDGER.name, "the sources")
    diff = difflib.unified_diff(current.splitlines(), wanted.splitlines(), *names, lineterm="", n=0)
    text = "\n".join(diff)
    if text:
        print(f"{text}\n\nIf the interface is meant to change, run `nox -s ledger` and commit.")
    return 1 if text else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
