"""Check what is in the wheel and the sdist: `python tools/check_package.py WHEEL SDIST`."""

import sys
import tarfile
import zipfile
from pathlib import Path

ROOT = Path(__file__).parents[1]
SOURCE = ROOT / "src"
IN_SDIST = (
    "src/localmcp_harden/py.typed",
    "tests/conftest.py",
    "docs/conf.py",
    "benchmarks/harness.py",
    "tools/api_ledger.py",
    "typings/aiobreaker/__init__.pyi",
    "constraints.txt",
    "noxfile.py",
    "SECURITY.md",
    "CONTRIBUTING.md",
    "pyproject.toml",
    "CHANGELOG.md",
    "LICENSE",
    "README.md",
)


def wheel_faults(path: Path) -> list[str]:
    """Return what the wheel lacks or should not carry."""
    with zipfile.ZipFile(path) as wheel:
        names = {name for name in wheel.namelist() if not name.endswith("/")}
    info = {name for name in names if ".dist-info/" in name}
    files = (
        file for file in SOURCE.rglob("*") if file.is_file() and "__pycache__" not in file.parts
    )
    expected = {file.relative_to(SOURCE).as_posix() for file in files}
    faults = [f"wheel lacks {name}" for name in sorted(expected - names)]
    faults += [f"wheel should not carry {name}" for name in sorted(names - info - expected)]
    ends = ("METADATA", "licenses/LICENSE", "entry_points.txt")
    return faults + [f"wheel lacks {end}" for end in ends if not any(n.endswith(end) for n in info)]


def sdist_faults(path: Path) -> list[str]:
    """Return what the sdist lacks: it must be enough to build, test and document."""
    with tarfile.open(path) as sdist:
        names = {name.partition("/")[2] for name in sdist.getnames()}
    faults = [f"sdist lacks {name}" for name in IN_SDIST if name not in names]
    caches = sorted(name for name in names if "__pycache__" in name or "/_build/" in name)
    return faults + [f"sdist should not carry {name}" for name in caches]


def main(wheel: str, sdist: str) -> int:
    """Print every fault."""
    faults = wheel_faults(Path(wheel)) + sdist_faults(Path(sdist))
    print("\n".join(faults) or "package: contents as expected")
    return 1 if faults else 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
