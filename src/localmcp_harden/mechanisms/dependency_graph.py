"""Makes one status of many that depend on each other. Pure.

What something depends on counts as it does itself: a critical dependency pulls it down
to its own level, any other one to `degraded` at most. The worse of two is the smaller,
so that an aggregate never gets better when a part gets worse.
"""

from collections.abc import Iterable, Mapping
from typing import final

from ..protocols.health import HealthStatus

__all__ = ("DependencyGraph", "Verdict", "counted_as", "find_circle")


def counted_as(status: HealthStatus, *, critical: bool) -> HealthStatus:
    """Return what a status counts as for whatever stands on it."""
    if critical or status is HealthStatus.HEALTHY:
        return status
    return HealthStatus.DEGRADED


def find_circle(depends_on: Mapping[str, tuple[str, ...]], start: str) -> tuple[str, ...]:
    """Return the names of a circle through `start`, in order; empty when there is none."""
    trail: list[str] = [start]
    branches = [iter(depends_on.get(start, ()))]
    seen: set[str] = set()
    while branches:
        name = next(branches[-1], None)
        if name is None:
            branches.pop()
            trail.pop()
        elif name == start:
            return (*trail, start)
        elif name not in seen:
            seen.add(name)
            trail.append(name)
            branches.append(iter(depends_on.get(name, ())))
    return ()


@final
class Verdict:
    """What a node comes to: its status, and the names at the root of it."""

    __slots__ = ("causes", "missing", "status")

    def __init__(
        self, status: HealthStatus, causes: tuple[str, ...], missing: tuple[str, ...]
    ) -> None:
        self.status: HealthStatus = status
        self.causes: tuple[str, ...] = causes
        self.missing: tuple[str, ...] = missing


@final
class DependencyGraph:
    """Names, what they depend on, and whether each is critical. Free of circles.

    Args:
        depends_on: What each node depends on; a name that is no node counts as unhealthy.
        critical: The names of the critical nodes.
    """

    def __init__(self, depends_on: Mapping[str, tuple[str, ...]], critical: frozenset[str]) -> None:
        self._depends_on = depends_on
        self._critical = critical
        self._order = _in_order(depends_on)

    def reach(self, names: Iterable[str]) -> tuple[str, ...]:
        """Return `names` and all that they depend on, each after what it depends on."""
        wanted = set(names)
        for name in reversed(self._order):
            if name in wanted:
                wanted.update(self._depends_on[name])
        return tuple(name for name in self._order if name in wanted)

    def judge(self, own: Mapping[str, HealthStatus]) -> dict[str, Verdict]:
        """Return the verdict of each node in `own`, which holds all that they depend on."""
        verdicts: dict[str, Verdict] = {}
        for name in self._order:
            status = own.get(name)
            if status is not None:
                verdicts[name] = self._judge_one(name, status, verdicts)
        return verdicts

    def combine(
        self, names: Iterable[str], verdicts: Mapping[str, Verdict], empty: HealthStatus
    ) -> HealthStatus:
        """Return the status of several nodes together; `empty` when there are none."""
        return min(
            (counted_as(verdicts[name].status, critical=name in self._critical) for name in names),
            default=empty,
        )

    def _judge_one(self, name: str, own: HealthStatus, verdicts: Mapping[str, Verdict]) -> Verdict:
        needed = self._depends_on[name]
        if not needed:
            causes = () if own is HealthStatus.HEALTHY else (name,)
            return Verdict(own, causes, ())
        status = own
        roots: list[str] = []
        missing: list[str] = []
        for each in needed:
            verdict = verdicts.get(each)
            if verdict is None:
                missing.append(each)
                roots.append(each)
                status = HealthStatus.UNHEALTHY
            else:
                roots.extend(verdict.causes)
                counted = counted_as(verdict.status, critical=each in self._critical)
                status = min(status, counted)
        # What fails because of something else is not at the root of it.
        if own is not HealthStatus.HEALTHY and not roots:
            roots.append(name)
        return Verdict(status, tuple(dict.fromkeys(roots)), tuple(missing))


def _in_order(depends_on: Mapping[str, tuple[str, ...]]) -> tuple[str, ...]:
    """Return the nodes, each after what it depends on; without recursion, since chains grow."""
    order: dict[str, None] = {}
    for root in depends_on:
        pending = [root]
        while pending:
            name = pending[-1]
            waiting = [
                each for each in depends_on[name] if each in depends_on and each not in order
            ]
            if name in order or not waiting:
                order[name] = None
                pending.pop()
            else:
                pending.extend(waiting)
    return tuple(order)
