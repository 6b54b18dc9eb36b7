"""A throttle whose rejections a test scripts, and which otherwise works."""

from collections.abc import Awaitable, Callable
from typing import TypeVar, final

from ...core.errors import ThrottledError
from ...core.ports import Clock, Random
from ...protocols.load import ThrottleConfig, ThrottleSnapshot
from ...resilience.throttle import AdaptiveThrottle
from ..chance import FakeRandom
from ..clock import FakeClock

__all__ = ("FakeThrottle",)

T = TypeVar("T")


@final
class FakeThrottle:
    """A `Throttle` on a clock that stands still and without surprise.

    Args:
        config: The window and how hard it throttles.
        clock: The clock; a fake one of its own by default.
        random: Chance; the middle of every range by default.
    """

    def __init__(
        self,
        config: ThrottleConfig | None = None,
        /,
        *,
        clock: Clock | None = None,
        random: Random | None = None,
    ) -> None:
        self.outcomes: list[str] = []
        """How each call ended: `ok`, `throttled`, `cancelled`, or the error's type."""
        self.throttling: bool = False
        """When True, every call is turned away."""
        self._real = AdaptiveThrottle(
            config, name="fake", clock=clock or FakeClock(), random=random or FakeRandom()
        )

    async def execute(self, operation: Callable[[], Awaitable[T]], /) -> T:
        """Turn the call away when told to, or as a real throttle would.

        Raises:
            ThrottledError: The call was not sent.
        """
        self.outcomes.append("cancelled")
        place = len(self.outcomes) - 1
        try:
            result = await self._run(operation)
        except ThrottledError:
            self.outcomes[place] = "throttled"
            raise
        except Exception as error:
            self.outcomes[place] = type(error).__name__
            raise
        self.outcomes[place] = "ok"
        return result

    def snapshot(self) -> ThrottleSnapshot:
        """Return the throttle's numbers."""
        return self._real.snapshot()

    def configure(self, config: ThrottleConfig, /) -> None:
        """Go on with other settings."""
        self._real.configure(config)

    async def _run(self, operation: Callable[[], Awaitable[T]]) -> T:
        if self.throttling:
            raise ThrottledError("scripted refusal")
        return await self._real.execute(operation)
