"""Serves users of aiobreaker 1.2 with a circuit that has none of its defects.

The same names, listeners and decorators, and the same `except CircuitBreakerError`;
the states are decided by `mechanisms.breaker_machine` instead. Needs the extra
`aiobreaker`. No name here mentions one of its types, which are not typed.
"""

import functools
import inspect
from collections.abc import Awaitable, Callable, Iterable
from datetime import datetime, timedelta
from enum import Enum
from types import GeneratorType
from typing import Any, ParamSpec, TypeVar, cast, final, overload

from attrs import evolve

from ..core.events import EventSink, discard
from ..core.ports import Clock, Random
from ..mechanisms.breaker_machine import BreakerMachine
from ..mechanisms.breaker_reports import BreakerReports, CallJudge
from ..mechanisms.chance import SystemRandom
from ..mechanisms.clock import SystemClock
from ..mechanisms.outcome_windows import FAILED, SLOW
from ..protocols.resilience import BreakerConfig, BreakerSnapshot, BreakerState, never_fails
from . import aiobreaker_states as _theirs
from .aiobreaker_base import AiobreakerBase, Call, Exclusion

__all__ = ("AiobreakerCircuitBreaker",)

P = ParamSpec("P")
T = TypeVar("T")
F = TypeVar("F", bound=Callable[..., Any])

_STILL_OPEN = "the circuit is open: the target failed too often and is left in peace"
_TRIPPED = "the circuit has opened: the target failed too often"
_TRIAL_FAILED = "the circuit has opened again: its trial failed"
_OWNER = "_localmcp_harden_breaker"


@final
class AiobreakerCircuitBreaker(AiobreakerBase):
    """A circuit breaker with the interface of `aiobreaker.CircuitBreaker`.

    Belongs to one event loop; works on asyncio and trio. A listener that raises is
    reported as `GuardFailed`, and changes neither the call's result nor the state.

    Args:
        fail_max: How many failures in a row open it (1 to 100,000; 5).
        timeout_duration: How long it stays open (above 0; 60 seconds).
        exclude: Types of exceptions, and predicates over one, that say nothing about
            the target: neither failures nor, as in aiobreaker, successes.
        listeners: Objects with aiobreaker's four hooks.
        state_storage: Not supported: None. `RedisCircuitBreaker` shares a circuit.
        name: How events and users call it.
        config: Settings of our own instead of `fail_max` and `timeout_duration`, for
            windows, slow calls, trials, a growing open time.
        legacy_errors: Whether the call that opens the circuit raises
            `CircuitBreakerError` from its own error, as in aiobreaker.
        clock: Time.
        random: Chance, for `open_jitter`.
        sink: Told of every transition.

    Raises:
        ValueError: A number is out of range, or `state_storage` is given.
    """

    def __init__(  # noqa: PLR0917 - aiobreaker's own order
        self,
        fail_max: int = 5,
        timeout_duration: timedelta | None = None,
        exclude: Iterable[Exclusion] | None = None,
        listeners: Iterable[object] | None = None,
        state_storage: None = None,
        name: str | None = None,
        *,
        config: BreakerConfig | None = None,
        legacy_errors: bool = False,
        clock: Clock | None = None,
        random: Random | None = None,
        sink: EventSink = discard,
    ) -> None:
        if state_storage is not None:
            raise ValueError(
                f"state_storage must be None, not a {type(state_storage).__name__}; "
                "use RedisCircuitBreaker to share a circuit"
            )
        self.name: str | None = name
        """How users call it."""
        self.legacy_errors: bool = legacy_errors
        """Whether the tripping call raises `CircuitBreakerError`."""
        if config is None:
            open_s = 60.0 if timeout_duration is None else _seconds(timeout_duration)
            config = BreakerConfig(consecutive_failures=fail_max, open_s=open_s)
        self._exclude = list(exclude or ())
        self._listeners = list(listeners or ())
        self._clock: Clock = clock or SystemClock()
        self._reports = BreakerReports(name or "aiobreaker", self._clock, sink)
        self._machine = BreakerMachine(config, self._clock.monotonic, random or SystemRandom())
        self._fail_counter = 0
        self._state = _theirs.state_object(self, BreakerState.CLOSED)
        self._settle()

    def call(self, func: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> T:
        """Call a plain function unless the circuit is open.

        What is returned may be awaitable or a generator: it counts when it has ended.

        Raises:
            CircuitBreakerError: aiobreaker's, and a `CircuitOpenError`: the circuit is open.
        """
        if getattr(func, _OWNER, None) is self:
            return func(*args, **kwargs)
        call = self._enter()
        try:
            if self._listeners:
                self._tell("before_call", func, *args, **kwargs)
            result = func(*args, **kwargs)
        except Exception as error:
            self._failed(call, error)
            raise
        except BaseException:
            self._give_back(call)
            raise
        if isinstance(result, GeneratorType):
            return cast("T", self._through_generator(call, result))
        if inspect.isawaitable(result):
            return cast("T", self._through_awaitable(call, result))
        self._ended(call, result)
        return result

    async def call_async(
        self, func: Callable[P, Awaitable[T]], /, *args: P.args, **kwargs: P.kwargs
    ) -> T:
        """Call a coroutine function unless the circuit is open.

        Raises:
            CircuitBreakerError: aiobreaker's, and a `CircuitOpenError`: the circuit is open.
        """
        if getattr(func, _OWNER, None) is self:
            return await func(*args, **kwargs)
        call = self._enter()
        try:
            if self._listeners:
                self._tell("before_call", func, *args, **kwargs)
            result = await func(*args, **kwargs)
        except Exception as error:
            self._failed(call, error)
            raise
        except BaseException:
            self._give_back(call)
            raise
        self._ended(call, result)
        return result

    @overload
    def __call__(self, func: F, /, *, ignore_on_call: bool = True) -> F: ...
    @overload
    def __call__(self, *, ignore_on_call: bool = True) -> Callable[[F], F]: ...
    def __call__(self, *funcs: Callable[..., Any], ignore_on_call: bool = True) -> Any:
        """Decorate a function, coroutine function or generator function.

        Args:
            funcs: What to decorate, one that can be called; none for a decorator.
            ignore_on_call: Whether `call` of this same breaker leaves the decorated
                function alone, so that it is not counted twice.
        """
        if not funcs:
            return functools.partial(self._decorate, ignore_on_call)
        func, *others = cast("tuple[Any, ...]", funcs)
        if others or not callable(func):
            raise TypeError("a breaker decorates one function and takes no other arguments")
        return self._decorate(ignore_on_call, func)

    @property
    def config(self) -> BreakerConfig:
        """The settings in force."""
        return self._machine.config

    @property
    def fail_counter(self) -> int:
        """Failures since the last success."""
        return self._fail_counter

    @property
    def fail_max(self) -> int:
        """How many failures in a row open it; with a window, how many calls it needs."""
        config = self._machine.config
        return config.consecutive_failures or config.minimum_calls

    @fail_max.setter
    def fail_max(self, number: int) -> None:
        self.configure(evolve(self._machine.config, consecutive_failures=number))

    @property
    def timeout_duration(self) -> timedelta:
        """How long it stays open the first time."""
        return timedelta(seconds=self._machine.config.open_s)

    @timeout_duration.setter
    def timeout_duration(self, timeout: timedelta) -> None:
        self.configure(evolve(self._machine.config, open_s=_seconds(timeout)))

    @property
    def opens_at(self) -> datetime | None:
        """When the next trial may run, in local time as aiobreaker has it; None when one may."""
        left = self.time_until_open
        return None if left is None else _theirs.local_time(self._clock.wall()) + left

    @property
    def time_until_open(self) -> timedelta | None:
        """How long until the next trial may run; None when one may, or the circuit is closed."""
        return _theirs.as_timedelta(self._wait_s())

    async def sleep_until_open(self) -> None:
        """Wait until the next trial may run."""
        await self._clock.sleep(self._wait_s())

    @property
    def state(self) -> Any:
        """The present state, an object of one of aiobreaker's three classes."""
        return self._state

    @state.setter
    def state(self, state: Enum) -> None:
        {"OPEN": self.open, "HALF_OPEN": self.half_open, "CLOSED": self.close}[state.name]()

    @property
    def current_state(self) -> Enum:
        """The present state, a member of aiobreaker's `CircuitBreakerState`.

        As there, an open circuit is half-open from the first call after its time.
        """
        return _theirs.member(self._machine.state)

    def open(self) -> None:
        """Open the circuit for as long as if its calls had failed."""
        self._machine.trip("manual")
        self._report()

    def half_open(self) -> None:
        """Begin a round of trials."""
        self._machine.half_open("manual")
        self._report()

    def close(self) -> None:
        """Close the circuit and forget what was counted."""
        self._fail_counter = 0
        self._machine.reset("manual")
        self._report()

    def snapshot(self) -> BreakerSnapshot:
        """Return the breaker's numbers."""
        taken = self._machine.snapshot()
        self._report()
        return taken

    def configure(self, config: BreakerConfig, /) -> None:
        """Go on with other settings, keeping the state and what of the window still fits."""
        self._machine.configure(config)
        self._settle()
        self._report()

    def _decorate(self, ignore_on_call: bool, func: Callable[..., Any]) -> Any:  # noqa: FBT001
        def plain(*args: Any, **kwargs: Any) -> Any:
            return self.call(func, *args, **kwargs)

        async def coroutine(*args: Any, **kwargs: Any) -> Any:
            return await self.call_async(func, *args, **kwargs)

        def asynchronous_generator(*args: Any, **kwargs: Any) -> Any:
            return self._through_async_generator(func, args, kwargs)

        chosen: Callable[..., Any] = plain
        if inspect.isasyncgenfunction(func):
            chosen = asynchronous_generator
        elif inspect.iscoroutinefunction(func):
            chosen = coroutine
        wrapper = functools.wraps(func)(chosen)
        if ignore_on_call:
            setattr(wrapper, _OWNER, self)
        return wrapper

    def _enter(self) -> Call:
        machine = self._machine
        slow_s = machine.config.slow_call_s
        began = 0.0 if slow_s is None else self._clock.monotonic()
        if machine.closed:
            return Call(machine.era, None, began)
        wait_s = machine.wait_s()
        self._report()
        if wait_s:
            machine.refused += 1
            raise self._refusal(_STILL_OPEN, wait_s)
        trial = machine.begin() if machine.state is BreakerState.HALF_OPEN else None
        return Call(machine.era, trial, began)

    def _ended(self, call: Call, result: object) -> None:
        failed = self._judge.result(result)
        if failed is None:
            self._give_back(call)
            return
        self._fail_counter = self._fail_counter + 1 if failed else 0
        self._finish(call, failed=failed, error=None)
        if not failed and self._listeners:
            self._tell("success")

    def _failed(self, call: Call, error: Exception) -> None:
        """Count an error; raise another in its place where legacy errors are wanted."""
        if not self._judge.error(error):
            self._give_back(call)
            return
        self._fail_counter += 1
        self._tell("failure", error)
        era = self._machine.era
        self._finish(call, failed=True, error=error)
        opened = self._machine.era != era and self._machine.state is BreakerState.OPEN
        if self.legacy_errors and opened:
            message = _TRIPPED if call.trial is None else _TRIAL_FAILED
            raise self._refusal(message, self._machine.wait_s()) from error

    def _finish(self, call: Call, *, failed: bool, error: Exception | None) -> None:
        machine = self._machine
        slow_s = machine.config.slow_call_s
        slow = slow_s is not None and self._clock.monotonic() - call.began >= slow_s
        if call.trial is not None:
            machine.finish(call.trial, failed=failed, slow=slow, error=error)
        elif machine.era == call.era:
            machine.count((FAILED if failed else 0) | (SLOW if slow else 0), error)
        if machine.changes:
            self._report()

    def _give_back(self, call: Call) -> None:
        if call.trial is not None:
            self._machine.finish(call.trial, failed=None)
            self._report()

    def _refusal(self, message: str, wait_s: float) -> Exception:
        left = _theirs.as_timedelta(wait_s)
        at = None if left is None else _theirs.local_time(self._clock.wall()) + left
        return _theirs.open_error(message, None if left is None else wait_s, at)

    def _wait_s(self) -> float:
        # A peek: as in aiobreaker, asking changes no state.
        return self._machine.peek_s()

    def _settle(self) -> None:
        config = self._machine.config
        self._judge = CallJudge(
            self._reports.reporter,
            is_failure=config.is_failure,
            ignore=config.ignore,
            is_ignored=self._says_nothing,
        )

    def _says_nothing(self, error: Exception) -> bool:
        if not self.is_system_error(error):
            return True
        is_ignored = self._machine.config.is_ignored
        return is_ignored is not never_fails and is_ignored(error)

    def _report(self) -> None:
        changes = self._machine.changes
        if not changes:
            return
        self._reports.report(self._machine)
        for change in changes:
            if change.previous is not change.current:
                old, self._state = self._state, _theirs.state_object(self, change.current)
                self._tell("state_change", old, self._state)


def _seconds(duration: timedelta) -> float:
    seconds = duration.total_seconds()
    if seconds <= 0:
        raise ValueError(f"timeout_duration must be above 0, not {seconds} seconds")
    return seconds
