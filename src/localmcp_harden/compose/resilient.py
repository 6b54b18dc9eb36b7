"""Puts the blocks of resilience round a host's own upstream calls, in the right order.

Outermost first: deadline, fallback, bulkhead, throttle, hedge, retry, breaker, attempt
(the time of one attempt), chaos, and the call itself. `docs/blocks/resilient.md` says why.
"""

import inspect
from collections.abc import AsyncGenerator, Awaitable, Callable, Coroutine, Hashable
from contextlib import AbstractContextManager, asynccontextmanager
from functools import partial, wraps
from threading import get_ident
from typing import Any, ParamSpec, TypeVar, cast, final

import anyio.lowlevel
import anyio.to_thread

from ..core.errors import ConfigError
from ..core.events import EventSink, discard
from ..core.ports import Clock, Random
from ..mechanisms.chance import SystemRandom
from ..mechanisms.clock import SystemClock
from ..mechanisms.stepping import Halted, run_sync
from ..mechanisms.sync_clock import SyncClock
from ..protocols.chaos import Chaos, ChaosConfig
from ..protocols.degradation import Fallback, FallbackConfig
from ..protocols.load import Bulkhead, BulkheadConfig, Priority, Throttle, ThrottleConfig
from ..protocols.repeats import Hedge, HedgeConfig, RetryBudget
from ..protocols.resilience import BreakerConfig, CircuitBreaker, Deadline, Retry, never_fails
from ..resilience.deadline import DeadlineConfig
from ..resilience.retry import RetryConfig
from .pipeline_description import PartDescription, PipelineDescription
from .resilient_parts import Layer, Operation, Parts, Settings, around, attempt_layer, make_parts

__all__ = ("Resilient", "resilient")

P = ParamSpec("P")
T = TypeVar("T")

_WAITING_PARTS = ("deadline", "bulkhead", "hedge", "attempt")
_REPEATING_PARTS = ("fallback", "hedge", "retry")


def resilient(
    *,
    name: str = "operation",
    deadline: Deadline | DeadlineConfig | None = None,
    fallback: Fallback | FallbackConfig | None = None,
    bulkhead: Bulkhead | BulkheadConfig | None = None,
    throttle: Throttle | ThrottleConfig | None = None,
    hedge: Hedge | HedgeConfig | None = None,
    retry: Retry | RetryConfig | None = None,
    budget: RetryBudget | None = None,
    breaker: CircuitBreaker | BreakerConfig | None = None,
    attempt_timeout_s: float | None = None,
    chaos: Chaos | ChaosConfig | None = None,
    is_failure: Callable[[Any], bool] = never_fails,
    read_only: bool = False,
    key: Callable[..., Hashable] | None = None,
    priority: Priority = Priority.NORMAL,
    clock: Clock | None = None,
    random: Random | None = None,
    sink: EventSink = discard,
) -> "Resilient":
    """Return a pipeline for calls to one target; every part may be left out.

    A part is a block, or the settings of the default one. Whoever gives a retry says
    with it that the calls may be repeated.

    Args:
        name: How events call the target.
        deadline: How long a call may take with all its attempts and waits.
        fallback: What is answered instead of an error.
        bulkhead: How many calls run at once.
        throttle: How many calls are sent to a target that turns them away.
        hedge: When a slow call is begun once more beside itself; asks for `read_only`.
        retry: How often a call is repeated.
        budget: Bounds the repeats of retry and hedge made here; by default one
            `WindowRetryBudget` for both. A block that is brought has its own.
        breaker: When the target is left in peace.
        attempt_timeout_s: How long one attempt may take (above 0), None for no limit.
        chaos: What is disturbed on purpose, during an exercise.
        is_failure: Whether a returned result is a failure, for all parts that are
            made here and do not say otherwise.
        read_only: Whether the calls change nothing.
        key: Makes of a call's arguments what the fallback keeps its result under.
        priority: How important these calls are to the bulkhead.
        clock: Time; a `SyncClock` for synchronous functions.
        random: Chance.
        sink: Told of what happens.

    Raises:
        ConfigError: The parts do not fit together.
    """
    if attempt_timeout_s is not None and not attempt_timeout_s > 0.0:
        raise ConfigError("must be above 0 seconds, or None for no limit", "attempt_timeout_s")
    asked = Settings(
        name=name,
        deadline=deadline,
        fallback=fallback,
        bulkhead=bulkhead,
        throttle=throttle,
        hedge=hedge,
        retry=retry,
        budget=budget,
        breaker=breaker,
        attempt_timeout_s=attempt_timeout_s,
        chaos=chaos,
        is_failure=is_failure,
        read_only=read_only,
        priority=priority,
        clock=clock or SystemClock(),
        random=random or SystemRandom(),
        sink=sink,
    )
    return Resilient(asked, key)


@final
class Resilient:
    """A compiled pipeline: a decorator, a runner, and a context. Made by `resilient`.

    All functions it decorates share its blocks: one target, one pipeline.

    Args:
        settings: What it is made of.
        key: Makes of a call's arguments what the fallback keeps its result under.
    """

    __slots__ = ("_inside", "_key", "_once", "_parts", "_run", "_settings", "_thread")

    def __init__(self, settings: Settings, key: Callable[..., Hashable] | None = None) -> None:
        if key is not None and settings.fallback is None:
            raise ConfigError("is for a fallback, and there is none", "key")
        self._settings = settings
        self._key = key
        self._parts: Parts = make_parts(settings)
        fallback = self._parts.fallback
        self._inside = self._inner(once=False)
        self._run = self._outer(self._inside, None if fallback is None else fallback.execute)
        self._once = self._outer(self._inner(once=True), None)
        self._thread: int | None = None

    async def execute(self, operation: Callable[[], Awaitable[T]], /) -> T:
        """Run one operation through the pipeline.

        Raises:
            Exception: What the operation raises in the end, or what a part refuses with.
        """
        result: T = await self._run(operation)
        return result

    def __call__(self, function: Callable[P, T]) -> Callable[P, T]:
        """Decorate a function: every call of it goes through the pipeline.

        Raises:
            ConfigError: The pipeline has parts that this kind of function can not have.
        """
        if inspect.isasyncgenfunction(function) or inspect.isgeneratorfunction(function):
            raise ConfigError(
                "a generator can not be repeated once it has handed something on; "
                "decorate the function that makes one step"
            )
        if _is_async(function):
            return cast("Callable[P, T]", self._wrap_async(cast("Any", function)))
        return self._wrap_sync(function)

    def in_thread(
        self, function: Callable[P, T], *, abandon_on_cancel: bool = False
    ) -> Callable[P, Coroutine[Any, Any, T]]:
        """Make a coroutine function of a synchronous one, each attempt in a worker thread.

        Args:
            function: The synchronous function.
            abandon_on_cancel: Whether a call that is cut off is left behind: the caller
                goes on and the thread runs to its end. False: the caller waits for it.

        Raises:
            ConfigError: The function is not synchronous, or the clock is.
        """
        if _is_async(function):
            raise ConfigError("in_thread is for synchronous functions; decorate this one")

        @wraps(function)
        async def in_worker(*args: P.args, **kwargs: P.kwargs) -> T:
            bound = partial(function, *args, **kwargs)
            return await anyio.to_thread.run_sync(bound, abandon_on_cancel=abandon_on_cancel)

        return self._wrap_async(in_worker)

    @asynccontextmanager
    async def body(self) -> AsyncGenerator[None, None]:
        """Run the body of an `async with` once, behind all parts that need no second run.

        Raises:
            ConfigError: The pipeline has a part that runs an operation again, or answers
                in its place: a fallback, a hedge or a retry.
            Exception: What the body raises, or what a part refuses with.
        """
        self._refuse_parts(_REPEATING_PARTS, "the body of a context runs once")
        halted = Halted(cast("Any", self._once))
        await halted.begin()
        try:
            yield
        except BaseException as error:
            await halted.end(error)
            raise
        await halted.end(None)

    def limit(self, timeout_s: float | None = None) -> AbstractContextManager[None]:
        """Return a context: one deadline for all calls that its body makes.

        Args:
            timeout_s: Seconds for the body, the deadline's own when None.

        Raises:
            ConfigError: There is no deadline, or it can not limit a body.
            DeadlineExceededError: The time was up; the body has been cancelled.
        """
        begin = getattr(self._parts.deadline, "limit", None)
        if begin is None:
            raise ConfigError("needs a deadline that can limit a body (DeadlineScopes)", "deadline")
        limited: AbstractContextManager[None] = begin(timeout_s)
        return limited

    def describe(self) -> PipelineDescription:
        """Return the parts, outermost first, with the settings that are in force."""
        parts = self._parts
        found: list[PartDescription] = []
        blocks: list[tuple[str, Any]] = [
            (name, getattr(parts, name))
            for name in (
                "deadline",
                "fallback",
                "bulkhead",
                "throttle",
                "hedge",
                "retry",
                "breaker",
            )
        ]
        for name, block in [*blocks, ("attempt", self._attempt_limit()), ("chaos", parts.chaos)]:
            if block is None:
                continue
            is_limit = name == "attempt"
            found.append(
                PartDescription(
                    name=name,
                    kind="timeout" if is_limit else type(block).__name__,
                    settings=block if is_limit else getattr(block, "config", None),
                )
            )
        return PipelineDescription(name=self._settings.name, parts=tuple(found))

    def _attempt_limit(self) -> dict[str, Any] | None:
        parts = self._parts
        judged = parts.deadline is not None and (
            parts.breaker is not None or parts.throttle is not None
        )
        if parts.attempt_timeout_s is None and not judged:
            return None
        return {"timeout_s": parts.attempt_timeout_s, "before_deadline": judged}

    def _inner(self, *, once: bool) -> Layer | None:
        """Make one function of what is inside the fallback, from the innermost outwards."""
        asked, parts = self._settings, self._parts
        layer: Layer | None = None
        # A block that was made here knows the name already.
        chaos_name = {} if isinstance(asked.chaos, ChaosConfig) else {"name": asked.name}
        if parts.chaos is not None:
            layer = around(layer, parts.chaos.execute, **chaos_name)
        attempt = self._attempt_limit()
        if attempt is not None:
            remaining_s = (
                parts.deadline.remaining_s
                if parts.deadline is not None and attempt["before_deadline"]
                else None
            )
            layer = attempt_layer(layer, asked.clock, parts.attempt_timeout_s, remaining_s)
        if parts.breaker is not None:
            layer = around(layer, parts.breaker.execute)
        if not once and parts.retry is not None:
            told: dict[str, Any] = {}
            if not isinstance(asked.retry, RetryConfig):
                told["name"] = asked.name
            if asked.is_failure is not never_fails:
                told["is_failure"] = asked.is_failure
            layer = around(layer, parts.retry.execute, **told)
        if not once and parts.hedge is not None:
            layer = around(layer, parts.hedge.execute, read_only=True, is_failure=asked.is_failure)
        if parts.throttle is not None:
            layer = around(layer, parts.throttle.execute)
        if parts.bulkhead is not None:
            usual = asked.priority is Priority.NORMAL
            layer = around(
                layer, parts.bulkhead.execute, **({} if usual else {"priority": asked.priority})
            )
        return layer

    def _outer(self, layer: Layer | None, fallback: Callable[..., Awaitable[Any]] | None) -> Layer:
        """Put fallback and deadline round what is further in."""
        if fallback is not None:
            layer = around(layer, fallback)
        if self._parts.deadline is not None:
            layer = around(layer, self._parts.deadline.execute)
        return layer or _run_bare

    def _wrap_async(
        self, function: Callable[P, Awaitable[T]]
    ) -> Callable[P, Coroutine[Any, Any, T]]:
        if isinstance(self._settings.clock, SyncClock):
            raise ConfigError("a SyncClock would block the event loop; leave it out", "clock")
        run, key, run_keyed = self._run, self._key, self._run_keyed

        @wraps(function)
        async def through(*args: P.args, **kwargs: P.kwargs) -> T:
            operation = partial(function, *args, **kwargs) if args or kwargs else function
            result: T = await run(operation)
            return result

        @wraps(function)
        async def through_keyed(*args: P.args, **kwargs: P.kwargs) -> T:
            operation = partial(function, *args, **kwargs)
            result: T = await run_keyed(operation, cast("Any", key)(*args, **kwargs))
            return result

        return through if key is None else through_keyed

    def _wrap_sync(self, function: Callable[P, T]) -> Callable[P, T]:
        self._refuse_parts(_WAITING_PARTS, "a synchronous function can not be cut off or wait")
        if not isinstance(self._settings.clock, SyncClock):
            raise ConfigError(
                "a synchronous function waits by blocking its thread: say clock=SyncClock(), "
                "or make a coroutine function of it with in_thread",
                "clock",
            )
        settings: object = getattr(self._parts.retry, "config", None)
        for name in ("total_timeout_s", "attempt_timeout_s"):
            if getattr(settings, name, None) is not None:
                raise ConfigError("a synchronous function can not be cut off; leave it out", name)
        key = self._key

        @wraps(function)
        def through(*args: P.args, **kwargs: P.kwargs) -> T:
            async def operation() -> T:
                return function(*args, **kwargs)

            async def run() -> T:
                if key is None:
                    return cast("T", await self._run(operation))
                return cast("T", await self._run_keyed(operation, key(*args, **kwargs)))

            self._check_thread()
            return run_sync(run())

        return through

    def _run_keyed(self, operation: Operation, key: Hashable) -> Awaitable[Any]:
        fallback = cast("Fallback", self._parts.fallback)
        return self._outer(self._inside, partial(fallback.execute, key=key))(operation)

    def _check_thread(self) -> None:
        """Refuse a second thread, and an event loop that a wait would stop."""
        here = get_ident()
        if self._thread is None:
            self._thread = here
        if self._thread != here:
            raise ConfigError(
                "the parts of a pipeline belong to the thread that called it first; "
                "make one for each thread, or use in_thread"
            )
        if self._parts.retry is not None and _in_event_loop():
            raise ConfigError(
                "a synchronous retry would stop the event loop while it waits; use in_thread"
            )

    def _refuse_parts(self, names: tuple[str, ...], why: str) -> None:
        found = [name for name in self.describe().names if name in names]
        if found:
            raise ConfigError(f"{why}; leave out: {', '.join(found)}", found[0])


def _run_bare(operation: Operation) -> Awaitable[Any]:
    return operation()


def _in_event_loop() -> bool:
    try:
        anyio.lowlevel.current_token()
    except Exception:  # noqa: BLE001 - each version of anyio raises another
        return False
    return True


def _is_async(function: object) -> bool:
    while isinstance(function, partial):
        function = function.func  # pyright: ignore[reportUnknownMemberType, reportUnknownVariableType]
    return inspect.iscoroutinefunction(function) or inspect.iscoroutinefunction(
        getattr(type(function), "__call__", None)  # noqa: B004 - its kind, not whether it is there
    )
