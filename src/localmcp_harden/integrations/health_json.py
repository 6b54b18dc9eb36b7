"""A health report as plain data, for whoever writes it as JSON."""

import math
from typing import Any

from ..protocols.health import CheckReport, HealthReport

__all__ = ("health_to_plain",)


def health_to_plain(report: HealthReport) -> dict[str, Any]:
    """Return a report as dicts, lists, strings and finite numbers."""
    return {
        "status": report.status.label,
        "kind": None if report.kind is None else report.kind.value,
        "at": report.at,
        "draining": report.draining,
        "checks": {check.name: _check(check) for check in report.checks},
    }


def _check(check: CheckReport) -> dict[str, Any]:
    plain: dict[str, Any] = {
        "status": check.status.label,
        "critical": check.critical,
        "kinds": sorted(check.kinds),
        "checked_at": check.checked_at,
        "duration_s": check.duration_s,
    }
    if check.reason:
        plain["reason"] = check.reason
    if check.data:
        plain["data"] = {key: _number(value) for key, value in check.data.items()}
    if check.causes:
        plain["causes"] = list(check.causes)
    if check.tags:
        plain["tags"] = sorted(check.tags)
    if check.depends_on:
        plain["depends_on"] = list(check.depends_on)
    if check.heal is not None:
        plain["heal"] = {
            "attempts": check.heal.attempts,
            "last": None if check.heal.last is None else check.heal.last.value,
            "gave_up": check.heal.gave_up,
        }
    return plain


def _number(value: float | str) -> float | str | None:
    # JSON has no infinities, and json.dumps writes what no parser has to take.
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value
