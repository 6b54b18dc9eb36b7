"""The documentation says what the code says: examples run, nothing is left out."""

import ast
import re
from pathlib import Path

import pytest
from sybil import Sybil
from sybil.parsers.markdown import CodeBlockParser, PythonCodeBlockParser, SkipParser

from localmcp_harden.core import errors

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"
PAGES = sorted(
    page for page in [ROOT / "README.md", *DOCS.rglob("*.md")] if "_build" not in page.parts
)
BLOCK_HEADINGS = [
    "What it does",
    "Six lines that work",
    "Options",
    "On the wire",
    "What it guarantees, and what not",
    "When not to use it",
    "Testing it",
]


def write_file(example):
    """Write a TOML block whose first line names a file, for the blocks that follow."""
    named = re.match(r"# (\S+\.toml)\n", example.parsed)
    if named:
        Path(named[1]).write_text(example.parsed, encoding="utf-8")


def name(path):
    return path.relative_to(ROOT).as_posix()


@pytest.mark.parametrize("page", PAGES, ids=name)
def test_the_examples_of_a_page_run(page, tmp_path, monkeypatch):
    # One test a page: its examples share a namespace and run in their order.
    monkeypatch.chdir(tmp_path)
    parsers = [PythonCodeBlockParser(), CodeBlockParser("toml", write_file), SkipParser()]
    sybil = Sybil(parsers=parsers, path=str(page.parent))
    for example in sybil.parse(page):
        example.evaluate()


@pytest.mark.parametrize(
    "page", [page for page in sorted(DOCS.glob("blocks/*.md")) if page.stem != "index"], ids=name
)
def test_every_block_has_the_same_headings(page):
    text = page.read_text(encoding="utf-8")
    assert re.findall(r"^## (.+)$", text, re.MULTILINE) == BLOCK_HEADINGS


def configs():
    """Yield every field of every class named `...Config`, from the sources."""
    for path in sorted((ROOT / "src").rglob("*.py")):
        for node in ast.parse(path.read_text(encoding="utf-8")).body:
            if not isinstance(node, ast.ClassDef) or not node.name.endswith("Config"):
                continue
            for field in node.body:
                if isinstance(field, ast.AnnAssign) and isinstance(field.target, ast.Name):
                    yield node.name, field.target.id


def documented():
    """Return what stands in code spans and code blocks of the documentation."""
    text = "\n".join(page.read_text(encoding="utf-8") for page in DOCS.rglob("*.md"))
    blocks = re.findall(r"^```.*?^```", text, re.MULTILINE | re.DOTALL)
    spans = re.findall(
        r"`[^`\n]+`", re.sub(r"^```.*?^```", "", text, flags=re.MULTILINE | re.DOTALL)
    )
    return set(re.findall(r"\w+", "\n".join(blocks + spans)))


def test_every_option_is_documented():
    fields = list(configs())
    known = documented()

    assert ("RateLimitConfig", "rate_per_s") in fields
    assert [f"{owner}.{field}" for owner, field in fields if field not in known] == []


def test_every_error_code_is_documented():
    codes = {getattr(errors, each).code for each in errors.__all__}
    known = documented()

    assert len(codes) == len(errors.__all__)
    assert sorted(code for code in codes if code not in known) == []
