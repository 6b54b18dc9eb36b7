"""Decides which endpoints of a pool do so much worse than the rest that they are left out.

The algorithm is Envoy's outlier detection ("Outlier detection" in its architecture
overview). An endpoint is ejected at once after so many errors in a row, and at the end
of an interval when its success rate is below mean - factor * standard deviation of the
pool's. Each further ejection lasts longer by the first one's time; each interval that
an endpoint is in the pool takes one away. No more than a share of the pool is out at a
time, though always one may be, and never the last one.

Synchronous and free of I/O. All times are seconds.
"""

from collections.abc import Iterable
from statistics import fmean, pstdev
from typing import NamedTuple, cast, final

from attrs import field, frozen
from attrs.validators import and_, ge, gt, instance_of, le, optional

from ..core.ports import Random

__all__ = ("EjectionChange", "EndpointSnapshot", "OutlierConfig", "OutlierMachine")

_MAX_ENDPOINTS = 10_000


@final
@frozen(kw_only=True)
class OutlierConfig:
    """When an endpoint is left out of its pool; the defaults are Envoy's.

    Args:
        consecutive_errors: How many errors in a row eject it (1 to 100,000; 5; None
            for no such rule).
        interval_s: How often success rates are compared (above 0; 10).
        minimum_calls: How many calls an endpoint must have had in the interval to be
            compared (1 to 1,000,000; 100).
        minimum_endpoints: How many endpoints with so many calls there must be
            (2 to 10,000; 5).
        deviation_factor: How many standard deviations below the mean is an outlier
            (above 0; 1.9).
        ejection_s: How long the first ejection lasts (above 0; 30).
        max_ejection_s: How long one lasts at most (at least `ejection_s`; 300).
        ejection_jitter: The share of the time that chance may take away (0 to 1; 0).
        max_ejected_share: The share of the pool that may be out at a time (0 to 1;
            0.1). One endpoint always may, the last one never.
    """

    consecutive_errors: int | None = field(
        default=cast("int | None", 5),  # without it mypy takes the field for an int
        validator=optional(and_(instance_of(int), ge(1), le(100_000))),
    )
    interval_s: float = field(default=10.0, validator=gt(0.0))
    minimum_calls: int = field(
        default=100, validator=[instance_of(int), and_(ge(1), le(1_000_000))]
    )
    minimum_endpoints: int = field(
        default=5, validator=[instance_of(int), and_(ge(2), le(_MAX_ENDPOINTS))]
    )
    deviation_factor: float = field(default=1.9, validator=gt(0.0))
    ejection_s: float = field(default=30.0, validator=gt(0.0))
    max_ejection_s: float = field(default=300.0, validator=gt(0.0))
    ejection_jitter: float = field(default=0.0, validator=and_(ge(0.0), le(1.0)))
    max_ejected_share: float = field(default=0.1, validator=and_(ge(0.0), le(1.0)))

    def __attrs_post_init__(self) -> None:
        """Refuse a longest ejection that is shorter than the first."""
        if self.max_ejection_s < self.ejection_s:
            raise ValueError(
                f"max_ejection_s ({self.max_ejection_s}) must not be below "
                f"ejection_s ({self.ejection_s})"
            )


@final
@frozen(kw_only=True)
class EndpointSnapshot:
    """One endpoint's numbers at one moment.

    Args:
        ejected: Whether it is left out.
        retry_after_s: Seconds until it is let in again, 0 when it is in.
        ejections: How long the next ejection will be, in steps of `ejection_s`, less one.
        calls: Calls in the present interval.
        failures: Failures among them.
        consecutive_errors: Failures since its last success.
    """

    ejected: bool
    retry_after_s: float
    ejections: int
    calls: int
    failures: int
    consecutive_errors: int


class EjectionChange(NamedTuple):
    """One ejection or return, not yet reported."""

    endpoint: str
    ejected: bool
    cause: str
    ejection_s: float


class _Endpoint:
    __slots__ = ("calls", "decays_at", "ejections", "era", "failures", "streak", "until")

    def __init__(self) -> None:
        self.calls = self.failures = self.streak = self.ejections = self.era = 0
        # When it is let in again; None while it is in.
        self.until: float | None = None
        # When one ejection is taken away for the time that it was in.
        self.decays_at = 0.0

    def decay(self, now: float, interval_s: float) -> None:
        """Take one ejection away for each interval that it was in."""
        if self.ejections and self.until is None and now >= self.decays_at:
            passed = 1 + int((now - self.decays_at) / interval_s)
            self.ejections = max(0, self.ejections - passed)
            self.decays_at += passed * interval_s


@final
class OutlierMachine:
    """The endpoints of one pool.

    Args:
        endpoints: Their names.
        config: When one is left out.
        random: Chance, for `ejection_jitter`.
        now: The time, on the clock of every later call.
    """

    def __init__(
        self, endpoints: Iterable[str], config: OutlierConfig, random: Random, now: float
    ) -> None:
        self.config: OutlierConfig = config
        self.changes: list[EjectionChange] = []
        """Ejections and returns since the caller last took them out."""
        self._random = random
        self._swept_at = now
        self._first_return = float("inf")
        self._ejected = 0
        self._endpoints: dict[str, _Endpoint] = {}
        self.set_endpoints(endpoints, now)

    @property
    def names(self) -> tuple[str, ...]:
        """Every endpoint, in order."""
        return tuple(self._endpoints)

    def knows(self, endpoint: str) -> bool:
        """Return whether an endpoint is in the pool."""
        return endpoint in self._endpoints

    def set_endpoints(self, endpoints: Iterable[str], now: float) -> None:
        """Have these endpoints in the pool; those that were there keep what is known of them.

        Where all that stay are left out, all are let in.
        """
        names = dict.fromkeys(endpoints)
        if not 1 <= len(names) <= _MAX_ENDPOINTS:
            raise ValueError(f"endpoints must be 1 to {_MAX_ENDPOINTS:,} names, not {len(names)}")
        before = self._endpoints
        self._endpoints = {name: before.get(name) or _Endpoint() for name in names}
        self._note_ejected()
        if self._ejected == len(names):
            self.reset(now)

    def wait_s(self, endpoint: str, now: float) -> float:
        """Return how long an endpoint is left out, 0 when it is in."""
        self._advance(now)
        until = self._endpoints[endpoint].until
        return 0.0 if until is None else until - now

    def era(self, endpoint: str) -> int:
        """Return the era that an outcome is to be handed in with: it ends with an ejection."""
        return self._endpoints[endpoint].era

    def count(self, endpoint: str, era: int, now: float, *, failed: bool) -> None:
        """Count an outcome, unless the endpoint is gone or was ejected since."""
        known = self._endpoints.get(endpoint)
        if known is None or known.era != era:
            return
        self._advance(now)
        known.calls += 1
        if not failed:
            known.streak = 0
            return
        known.failures += 1
        known.streak += 1
        limit = self.config.consecutive_errors
        if limit is not None and known.streak >= limit:
            self._eject(endpoint, known, "consecutive_errors", now)

    def available(self, now: float) -> tuple[str, ...]:
        """Return the endpoints that are in the pool, in order."""
        self._advance(now)
        return tuple(name for name, known in self._endpoints.items() if known.until is None)

    def snapshots(self, now: float) -> dict[str, EndpointSnapshot]:
        """Return every endpoint's numbers by name."""
        self._advance(now)
        return {
            name: EndpointSnapshot(
                ejected=known.until is not None,
                retry_after_s=0.0 if known.until is None else known.until - now,
                ejections=known.ejections,
                calls=known.calls,
                failures=known.failures,
                consecutive_errors=known.streak,
            )
            for name, known in self._endpoints.items()
        }

    def reset(self, now: float) -> None:
        """Let every endpoint in again and forget what was counted."""
        for name, known in self._endpoints.items():
            if known.until is not None:
                self.changes.append(
                    EjectionChange(name, ejected=False, cause="reset", ejection_s=0)
                )
            era = known.era + 1
            self._endpoints[name] = fresh = _Endpoint()
            fresh.era = era
        self._note_ejected()
        self._swept_at = now

    def _advance(self, now: float) -> None:
        if now >= self._first_return:
            for name, known in self._endpoints.items():
                if known.until is not None and now >= known.until:
                    known.decays_at = known.until + self.config.interval_s
                    known.until = None
                    self._let_in(name, "ejection_over")
            self._note_ejected()
        if now - self._swept_at >= self.config.interval_s:
            self._sweep(now)

    def _sweep(self, now: float) -> None:
        config = self.config
        self._swept_at = now
        compared = {
            name: 1.0 - known.failures / known.calls
            for name, known in self._endpoints.items()
            if known.until is None and known.calls >= config.minimum_calls
        }
        for known in self._endpoints.values():
            known.calls = known.failures = 0
            known.decay(now, config.interval_s)
        if len(compared) < config.minimum_endpoints:
            return
        rates = compared.values()
        threshold = fmean(rates) - config.deviation_factor * pstdev(rates)
        # The worst first, since not all may go.
        for name, rate in sorted(compared.items(), key=lambda item: item[1]):
            if rate < threshold:
                self._eject(name, self._endpoints[name], "success_rate", now)

    def _eject(self, name: str, known: _Endpoint, cause: str, now: float) -> None:
        total = len(self._endpoints)
        after = self._ejected + 1
        if after == total or (self._ejected and after / total > self.config.max_ejected_share):
            return
        config = self.config
        known.decay(now, config.interval_s)
        known.ejections += 1
        lasts = min(config.ejection_s * known.ejections, config.max_ejection_s)
        if config.ejection_jitter:
            lasts *= 1.0 - config.ejection_jitter * self._random.uniform(0.0, 1.0)
        known.until = now + lasts
        known.streak = known.calls = known.failures = 0
        known.era += 1
        self.changes.append(EjectionChange(name, ejected=True, cause=cause, ejection_s=lasts))
        self._note_ejected()

    def _let_in(self, name: str, cause: str) -> None:
        self.changes.append(EjectionChange(name, ejected=False, cause=cause, ejection_s=0.0))

    def _note_ejected(self) -> None:
        out = [known.until for known in self._endpoints.values() if known.until is not None]
        self._ejected = len(out)
        self._first_return = min(out, default=float("inf"))
