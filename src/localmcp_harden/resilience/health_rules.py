"""What may depend on what among health checks. Part of the health registry."""

import math
from collections.abc import Mapping
from typing import final

from ..mechanisms.dependency_graph import DependencyGraph, Verdict, find_circle
from ..protocols.health import HealthCheckConfig, HealthKind, HealthStatus

__all__ = ("Plan", "graph_of")


@final
class Plan:
    """What one question comes to, as long as no status changes and nothing is registered.

    Args:
        names: The checks in question.
        reached: These and all that they depend on, each after what it depends on.
        verdicts: What each of those comes to.
        status: What they come to together.
    """

    __slots__ = ("names", "reached", "since", "status", "until", "verdicts")

    def __init__(
        self,
        names: tuple[str, ...],
        reached: tuple[str, ...],
        verdicts: Mapping[str, Verdict],
        status: HealthStatus,
    ) -> None:
        self.names: tuple[str, ...] = names
        self.reached: tuple[str, ...] = reached
        self.verdicts: Mapping[str, Verdict] = verdicts
        self.status: HealthStatus = status
        # Until the results have been looked at, none of them is known to be good.
        self.since: float = math.inf
        self.until: float = -math.inf


def graph_of(configs: Mapping[str, HealthCheckConfig], added: str = "") -> DependencyGraph:
    """Return the graph of all checks.

    Args:
        configs: The checks' settings, by name.
        added: The name that was not among them before, `""` for none.

    Raises:
        ValueError: The dependencies form a circle, or a liveness check would depend on
            one that is not.
    """
    depends_on = {name: config.depends_on for name, config in configs.items()}
    circle = find_circle(depends_on, added) if added else ()
    if circle:
        raise ValueError(f"depends_on forms a circle: {' > '.join(circle)}")
    for name, config in configs.items():
        if HealthKind.LIVENESS not in config.kinds:
            continue
        for needed in config.depends_on:
            other = configs.get(needed)
            if other is not None and HealthKind.LIVENESS not in other.kinds:
                raise ValueError(
                    f"depends_on: the liveness check {name!r} can not depend on {needed!r}, "
                    "which is no liveness check: a restart would not mend it"
                )
    return DependencyGraph(
        depends_on, frozenset(name for name, config in configs.items() if config.critical)
    )
