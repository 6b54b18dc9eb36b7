"""What of a shared breaker has nothing to do with sharing: modes, and two small things.

Part of `breaker_redis`.
"""

from typing import NamedTuple

from ..mechanisms.breaker_machine import BreakerMachine
from ..mechanisms.breaker_records import Trial
from ..mechanisms.outcome_windows import OutcomeWindow
from ..protocols.resilience import BreakerConfig, BreakerMode

__all__ = ("Lease", "ModeControls", "might_open")


class Lease(NamedTuple):
    """The permit of a trial: of the whole circuit by its token, or of this process."""

    token: str
    trial: Trial | None


class ModeControls:
    """`BreakerControls` for one process of a shared circuit."""

    _machine: BreakerMachine

    def force_open(self) -> None:
        """Refuse every call of this process until released."""
        self._set_mode(BreakerMode.FORCED_OPEN)

    def disable(self) -> None:
        """Let every call of this process pass, counting none."""
        self._set_mode(BreakerMode.DISABLED)

    def metrics_only(self) -> None:
        """Let every call of this process pass, counting it here and not for the others."""
        self._set_mode(BreakerMode.METRICS_ONLY)

    def release(self) -> None:
        """Let the shared circuit decide again, as it stands at the next call."""
        self._set_mode(BreakerMode.AUTOMATIC)

    def get_mode(self) -> BreakerMode:
        """Return who decides where the breaker stands."""
        return self._machine.mode

    def _set_mode(self, mode: BreakerMode) -> None:
        raise NotImplementedError


def might_open(config: BreakerConfig, window: OutcomeWindow, samples: list[bytes]) -> bool:
    """Return whether what was gathered might open the circuit, were it sent."""
    if config.consecutive_failures is not None:
        return True
    calls = window.calls + len(samples)
    both = samples.count(b"3")
    failed, slow = samples.count(b"1") + both, samples.count(b"2") + both
    return calls >= config.minimum_calls and (
        (window.failures + failed) / calls >= config.failure_rate
        or (slow > 0 and (window.slow + slow) / calls >= config.slow_call_rate)
    )
