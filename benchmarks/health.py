"""Health: a kept status, a status made anew, a report of 50 checks; a dict and a loop beside.

The libraries for this have no aggregation with a cache that can be asked without a web
framework, so that the peers are what a host writes by hand: a dict, and a loop over the
checks. py-healthcheck is measured where it is installed: it caches too, for WSGI hosts.
"""

from benchmarks.harness import OURS, Bench
from localmcp_harden.protocols.health import (
    CheckResult,
    HealthCheckConfig,
    HealthKind,
    HealthStatus,
)
from localmcp_harden.resilience.health import CachedHealthRegistry

CHECKS = 50


async def _well() -> CheckResult:
    return CheckResult(status=HealthStatus.HEALTHY)


def _registry(**settings: object) -> CachedHealthRegistry:
    made = CachedHealthRegistry()
    for number in range(CHECKS):
        depends_on = (str(number - 1),) if number % 5 else ()
        config = HealthCheckConfig(depends_on=depends_on, **settings)
        made.register_health_check(str(number), _well, config)
    return made


def _peer() -> object:
    try:
        from healthcheck import HealthCheck
    except ImportError:
        return None
    made = HealthCheck(success_ttl=3_600)
    for number in range(CHECKS):

        def check() -> tuple[bool, str]:
            return True, "ok"

        check.__name__ = f"check_{number}"
        made.add_check(check)
    return made


def run(bench: Bench) -> None:
    kept = _registry(ttl_s=86_400.0)
    known = {HealthKind.READINESS.value: HealthStatus.HEALTHY}
    peer = _peer()

    async def floor() -> HealthStatus:
        return known["readiness"]

    async def cached() -> HealthStatus:
        return await kept.get_health_status()

    async def report() -> object:
        return await kept.get_detailed_health(HealthKind.READINESS)

    checks = dict.fromkeys(map(str, range(CHECKS)), _well)

    async def by_hand() -> HealthStatus:
        return min([(await check()).status for check in checks.values()])

    async def anew() -> HealthStatus:
        kept._forget_plans()
        return await kept.get_health_status()

    report_subjects = {"loop over the checks": by_hand, OURS: report}
    if peer is not None:

        async def other() -> object:
            return peer.run()

        report_subjects["py-healthcheck"] = other
    kept_subjects = {"dict look-up": floor, OURS: cached}
    medians = bench.compare_async("kept status", kept_subjects, base="dict look-up")
    ratio = medians[OURS] / medians["dict look-up"]
    bench.target("kept status", "at most 5 times a dict look-up", ratio, met=ratio <= 5.0)

    anew_subjects = {"loop over the checks": by_hand, OURS: anew}
    medians = bench.compare_async("made anew", anew_subjects, base="loop over the checks")
    ratio = medians[OURS] / medians["loop over the checks"]
    bench.target("made anew", "at most 10 times a plain loop", ratio, met=ratio <= 10.0)

    medians = bench.compare_async("report of 50", report_subjects, base="loop over the checks")
    ratio = medians[OURS] / medians["loop over the checks"]
    bench.target("report of 50", "at most a plain loop", ratio, met=ratio <= 1.0)
    if peer is not None:
        ratio = medians[OURS] / medians["py-healthcheck"]
        bench.target("report of 50", "no slower than py-healthcheck", ratio, met=ratio <= 1.0)
