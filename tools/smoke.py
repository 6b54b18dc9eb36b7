"""Use an installed package as a stranger would: `python -I tools/smoke.py [EXTRAS]`.

Without extras, every module that needs none imports, the rest name the extra
they need, and a block works. With `[all]`, everything imports.
"""

import importlib
import pkgutil
import sys

import localmcp_harden
from localmcp_harden.core.errors import MissingExtraError
from localmcp_harden.core.model import Call, CallKind
from localmcp_harden.security.access.limits import GcraRateLimiter, RateLimitConfig

MAY_NEED_EXTRAS = (
    "localmcp_harden.integrations.",
    "localmcp_harden.cli.",
    "localmcp_harden.resilience.aiobreaker_states",
    "localmcp_harden.resilience.breaker_aiobreaker",
)


def main(extras: str) -> int:
    """Import every module, then run one block."""
    for public in getattr(localmcp_harden, "__all__", ()):
        getattr(localmcp_harden, public)
    imported = lacking = 0
    for module in pkgutil.walk_packages(localmcp_harden.__path__, "localmcp_harden."):
        if module.name.endswith("__main__"):
            continue
        try:
            importlib.import_module(module.name)
        except MissingExtraError:
            if extras or not module.name.startswith(MAY_NEED_EXTRAS):
                raise
            lacking += 1
        else:
            imported += 1
    limiter = GcraRateLimiter(RateLimitConfig(rate_per_s=1, burst=2))
    call = Call(id="1", kind=CallKind.TOOL, method="tools/call", name="search")
    if [limiter.limit(call).allowed for _ in range(3)] != [True, True, False]:
        sys.exit("smoke: the rate limiter does not limit")
    where = localmcp_harden.__file__
    if "site-packages" not in str(where):
        sys.exit("smoke: this is not the installed package")
    print(f"smoke{extras}: {imported} modules imported, {lacking} name the extra they need")
    return 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:] or [""]))
