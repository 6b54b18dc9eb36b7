"""How the documentation is built: `nox -s docs`."""

from importlib.metadata import version as installed

from sphinx.application import Sphinx

project = "localmcp-harden"
author = "The localmcp-harden maintainers"
project_copyright = "The localmcp-harden maintainers"
version = release = installed("localmcp-harden")

extensions = [
    "myst_parser",
    "sphinx.ext.apidoc",
    "sphinx.ext.autodoc",
    "sphinx.ext.napoleon",
]
exclude_patterns = ["_build"]
html_theme = "furo"
html_title = "localmcp-harden"

# Markdown: links to headings of other pages, tables, `:::` for admonitions.
myst_enable_extensions = ["colon_fence", "deflist"]
myst_heading_anchors = 3

# Reference pages for every module are written at build time, so that a new module
# needs no page made by hand. The command line is documented as commands.
apidoc_modules = [
    {
        "path": "../src/localmcp_harden",
        "destination": "reference/api",
        "exclude_patterns": ["**/cli/**", "**/__main__.py"],
        "separate_modules": True,
        "module_first": True,
        "automodule_options": {"members", "show-inheritance"},
        "max_depth": 2,
    }
]
autodoc_member_order = "bysource"
autodoc_typehints = "signature"
autodoc_preserve_defaults = True
napoleon_numpy_docstring = False

# Every reference must have a target, but for what has no page here: the standard
# library, dependencies, type variables, and what is private.
nitpicky = True
nitpick_ignore_regex = [
    (
        "py:.*",
        (
            r"(abc|anyio|asyncio|attrs?|collections|contextlib|contextvars|datetime|enum|fastmcp"
            r"|httpx2|mcp|mcp_types|msgspec|pathlib|starlette|typer|typing|uvicorn)\..*"
        ),
    ),
    (
        "py:exc",
        (
            r"MCPError|CircuitBreakerError|AuthorizationError|ValidationError"
            r"|EndOfStream|ClosedResourceError|BrokenResourceError"
        ),
    ),
    ("py:.*", r"localmcp_harden\..*\.(?:[A-Z]|[A-Z]\w*T|[A-Z]_(?:co|contra))"),
    # A parameter specification, and what pydantic and attrs write into signatures.
    ("py:class", r"P|Attribute|FieldInfo|NoneType|Strict"),
    ("py:.*", r"(.*\.)?_\w+"),
]


def start_below(
    _app: object, what: str, _name: str, _obj: object, _options: object, lines: list[str]
) -> None:
    """Keep napoleon from reading `A list: of things` below an attribute as type and text."""
    if what in {"attribute", "data", "property"}:
        lines[:0] = ["..", ""]  # an empty comment


def is_elsewhere(
    app: Sphinx, _what: str, _name: str, _obj: object, _skip: object, _options: object
) -> bool | None:
    """Leave out what the package itself hands on: each name has one page, its home's."""
    return True if app.env.docname == "reference/api/localmcp_harden" else None


def setup(app: Sphinx) -> None:
    """Come before napoleon, whose priority is 500."""
    app.connect("autodoc-process-docstring", start_below, priority=400)
    app.connect("autodoc-skip-member", is_elsewhere)
