"""What all tests share: both event loops, and the components that real tests need."""

import os
import shutil
from importlib.metadata import PackageNotFoundError, distribution

import pytest


@pytest.fixture(params=["asyncio", "trio"])
def anyio_backend(request: pytest.FixtureRequest) -> str:
    return request.param


def is_here(component: str) -> bool:
    """Return whether a program is on the path, or a distribution is installed."""
    if shutil.which(component):
        return True
    try:
        distribution(component)
    except PackageNotFoundError:
        return False
    return True


def pytest_runtest_setup(item: pytest.Item) -> None:
    """Skip a real test whose component is not here; fail it where LOCALMCP_REQUIRE names it."""
    required = os.environ.get("LOCALMCP_REQUIRE", "").replace(",", " ").split()
    for mark in item.iter_markers("real"):
        for component in mark.args:
            if is_here(component):
                continue
            if component in required or "all" in required:
                pytest.fail(f"{component} is required and not installed", pytrace=False)
            pytest.skip(f"{component} is not installed")
