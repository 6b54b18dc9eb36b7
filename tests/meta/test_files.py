"""What holds for every file, and no linter knows."""

import ast
import re
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
SOURCES = sorted((ROOT / "src").rglob("*.py"))
TESTS = sorted((ROOT / "tests").rglob("*.py"))
MOST_LINES = 400


def name(path):
    return path.relative_to(ROOT).as_posix()


def tree(path):
    return ast.parse(path.read_text(encoding="utf-8"))


def tracked():
    command = ["git", "ls-files", "--cached", "--others", "--exclude-standard", "-z"]
    done = subprocess.run(command, cwd=ROOT, check=False, capture_output=True, text=True)
    if done.returncode == 0:
        found = [ROOT / each for each in done.stdout.split("\0") if each]
    else:  # unpacked from the sdist
        found = [path for path in ROOT.rglob("*") if not path.name.endswith(".pyc")]
    return [path for path in found if path.is_file()]


def exported(module):
    """Return the value of `__all__`, or None."""
    for node in module.body:
        targets = node.targets if isinstance(node, ast.Assign) else []
        if isinstance(node, ast.AnnAssign):
            targets = [node.target]
        if any(isinstance(target, ast.Name) and target.id == "__all__" for target in targets):
            return node.value
    return None


@pytest.mark.parametrize("path", SOURCES, ids=name)
def test_a_source_file_is_one_thing(path):
    module = tree(path)

    assert len(path.read_text(encoding="utf-8").splitlines()) <= MOST_LINES
    assert ast.get_docstring(module)
    if path.name not in {"__init__.py", "__main__.py"}:
        names = exported(module)
        assert isinstance(names, ast.Tuple), "__all__ must be a tuple"
        assert all(isinstance(each, ast.Constant) for each in names.elts)


@pytest.mark.parametrize("path", TESTS, ids=name)
def test_no_test_waits_for_real_time(path):
    sleeps = [
        node.lineno
        for node in ast.walk(tree(path))
        if isinstance(node, ast.Call) and ast.unparse(node.func) in {"time.sleep", "asyncio.sleep"}
    ]
    assert sleeps == []


def test_test_folders_are_those_of_the_package():
    own = {"conformance", "contracts", "docs", "end_to_end", "meta", "real", "typing"}
    folders = {path.name for path in (ROOT / "tests").iterdir() if path.is_dir()} - {"__pycache__"}
    package = {path.name for path in (ROOT / "src" / "localmcp_harden").iterdir() if path.is_dir()}

    assert folders - own - package == set()


def places():
    """Return what must not be written down: this machine's folders, package indexes."""
    folders = {str(ROOT), str(Path.home())} - {"/"}
    indexes = r"https?://[^\s\"']*(?:/simple\b|/packages/)|https?://registry\."
    folder = "|".join(re.escape(f"{each}/") for each in sorted(folders))
    return re.compile(f"{folder}|{indexes}")


def test_no_tracked_file_names_a_machine_or_an_index():
    pattern = places()
    files = tracked()
    found = []
    for path in files:
        try:
            text = path.read_text(encoding="utf-8")
        except UnicodeDecodeError:
            continue
        lines = enumerate(text.splitlines(), 1)
        found += [f"{name(path)}:{number}" for number, line in lines if pattern.search(line)]

    assert len(files) > 50
    assert found == []


@pytest.mark.parametrize("host", ["pypi.example", "registry.example"])
def test_an_index_would_be_found(host):
    folder = "simple" if host.startswith("pypi") else "left-pad"
    assert places().search(f"see https://{host}/{folder}/ for more")


def test_every_dependency_is_pinned_by_name_and_version():
    lines = (ROOT / "constraints.txt").read_text(encoding="utf-8").splitlines()
    pins = [line for line in lines if not line.startswith("#")]

    assert len(pins) > 50
    pin = re.compile(r"[a-z0-9][a-z0-9-]*==[0-9][\w.!+]*(?: ; .+)?")
    assert [line for line in pins if not pin.fullmatch(line)] == []
