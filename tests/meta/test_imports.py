"""What an import loads, seen in fresh interpreters."""

import json
import pkgutil
import subprocess
import sys
from importlib.metadata import requires

import pytest

import localmcp_harden

HEAVY = {
    "aiobreaker",
    "anyio",
    "apsw",
    "cattrs",
    "cryptography",
    "docker",
    "fastmcp",
    "jsonschema_rs",
    "mcp",
    "opentelemetry",
    "pydantic",
    "stamina",
}
OURS = {"attr", "attrs", "localmcp_harden"}

PROGRAM = """
import importlib, json, sys
before = set(sys.modules)
for name in sys.argv[1:]:
    importlib.import_module(name)
print(json.dumps(sorted({name.partition(".")[0] for name in set(sys.modules) - before})))
"""


def loaded_by(*names):
    command = [sys.executable, "-W", "error", "-c", PROGRAM, *names]
    done = subprocess.run(command, check=True, capture_output=True, text=True, timeout=50)
    return set(json.loads(done.stdout))


def modules_below(*packages):
    found = []
    for package in packages:
        root = f"localmcp_harden.{package}"
        path = [f"{folder}/{package}" for folder in localmcp_harden.__path__]
        found += [root, *(made.name for made in pkgutil.walk_packages(path, f"{root}."))]
    return found


def test_the_package_loads_nothing_heavy():
    loaded = loaded_by("localmcp_harden")

    assert loaded & HEAVY == set()
    assert loaded - sys.stdlib_module_names - OURS == set()


@pytest.mark.parametrize("package", ["core", "protocols"])
def test_the_ground_loads_attrs_and_the_standard_library(package):
    names = modules_below(package)
    assert len(names) > 3

    assert loaded_by(*names) - sys.stdlib_module_names - OURS == set()


def test_what_is_heavy_would_be_noticed():
    assert "apsw" in loaded_by("apsw")
    assert "apsw" in HEAVY


def test_every_public_name_can_be_had():
    assert localmcp_harden.__all__
    for name in localmcp_harden.__all__:
        assert getattr(localmcp_harden, name) is not None
        assert name in dir(localmcp_harden)


def test_the_extra_all_holds_every_other_extra():
    extras = {}
    for line in requires("localmcp-harden") or []:
        requirement, _, marker = line.partition(";")
        if "extra ==" in marker:
            extra = marker.split("extra ==")[1].strip(" '\")")
            extras.setdefault(extra, set()).add(requirement.strip())

    everything = extras.pop("all")
    assert set.union(*extras.values()) == everything
