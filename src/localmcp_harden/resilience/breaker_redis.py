"""Shares one circuit between processes, through Redis.

All times are seconds, and Redis's own clock decides. Every decision is one Lua script
over one key, so it is atomic. While the circuit is closed no call waits for Redis:
outcomes are gathered here and sent as samples. Trials are leased for the whole circuit:
a process that dies with one gives it back by its time running out. Needs the extra
`redis`, and asyncio, since its client does.
"""

from collections.abc import Awaitable, Callable
from typing import Any, TypeVar, final

import anyio

from ..core.errors import CircuitOpenError
from ..core.events import EventSink, StoreFailed, discard
from ..core.ports import Clock, Random
from ..mechanisms.breaker_machine import BreakerMachine
from ..mechanisms.breaker_reports import BreakerReports, CallJudge
from ..mechanisms.chance import SystemRandom
from ..mechanisms.clock import SystemClock
from ..mechanisms.outcome_windows import FAILED, SLOW
from ..protocols.resilience import BreakerConfig, BreakerMode, BreakerSnapshot, BreakerState
from .breaker_redis_config import MAX_OPEN_S, RedisBreakerConfig, require_sharable
from .breaker_redis_modes import Lease, ModeControls, might_open
from .breaker_redis_script import Answer, SharedCircuit

__all__ = ("RedisBreakerConfig", "RedisCircuitBreaker")

T = TypeVar("T")

_REASON = "the target failed too often and is left in peace; try again later"
_CODES = (b"0", b"1", b"2", b"3")


@final
class RedisCircuitBreaker(ModeControls):
    """A `CircuitBreaker` that several processes share, with `BreakerControls` for this one.

    Belongs to one event loop of asyncio. A predicate or a sink that raises is reported as
    `GuardFailed`, and changes neither the call's result nor the state.

    Args:
        client: A `redis.asyncio.Redis`, of whatever version of its protocol. It is
            the host's: what it is connected to, and when it is closed.
        config: When to open and how to close; the same in every process. At most
            1,000 `window_calls`, and an `open_s` of at most a year.
        name: Which circuit it is, and how events call it.
        shared: How it is shared.
        clock: Times of one's own instead of Redis's: for tests. Every process must
            have the same.
        random: Chance, for leases and `open_jitter`.
        sink: Told of every transition that this process sees, and of outages.

    Raises:
        ValueError: `config` is out of the range above.
    """

    def __init__(
        self,
        client: Any,
        config: BreakerConfig | None = None,
        *,
        name: str = "breaker",
        shared: RedisBreakerConfig | None = None,
        clock: Clock | None = None,
        random: Random | None = None,
        sink: EventSink = discard,
    ) -> None:
        config = config or BreakerConfig()
        require_sharable(config)
        self.name: str = name
        self.shared: RedisBreakerConfig = shared or RedisBreakerConfig()
        """How it is shared."""
        self._clock: Clock = clock or SystemClock()
        self._monotonic = self._clock.monotonic
        self._random: Random = random or SystemRandom()
        self._reports = BreakerReports(name, self._clock, sink)
        # What is known here of the shared circuit; in an outage it goes on by itself.
        self._machine = BreakerMachine(config, self._monotonic, self._random)
        self._circuit = SharedCircuit(
            client,
            self.shared.prefix + name,
            keep_s=self.shared.keep_s,
            now=None if clock is None else clock.monotonic,
        )
        self._fallback: Callable[[], Awaitable[Any]] | None = None
        self._samples: list[bytes] = []
        # The shared era that the samples and this view belong to; None before the first.
        self._era: str | None = None
        self._stamp = (-1, 0)
        # Until when what is known here is good enough; in an outage, when Redis is asked next.
        self._fresh_until = float("-inf")
        self._asking: anyio.Event | None = None
        self._reset_due = False
        # The trials of this process and until when their leases are good.
        self._leases: dict[str, float] = {}
        self._busy_until = float("-inf")
        self._lost = False
        self._decisive: Exception | None = None
        self._settle()

    @property
    def config(self) -> BreakerConfig:
        """The settings in force."""
        return self._machine.config

    @property
    def is_shared(self) -> bool:
        """Whether Redis answered when it was asked last."""
        return not self._lost

    async def execute(self, operation: Callable[[], Awaitable[T]], /) -> T:
        """Run the operation unless the circuit is open.

        Raises:
            CircuitOpenError: The circuit is open, or its trials are all taken, and
                there is no fallback.
        """
        machine = self._machine
        if self._monotonic() >= self._fresh_until:
            await self.synchronize()
        if machine.closed:
            return await self._run(operation)
        wait_s = machine.wait_s()
        if not wait_s:
            trial = await self._lease()
            if trial is not None:
                return await self._try(operation, trial)
            if machine.closed:
                return await self._run(operation)
            wait_s = max(machine.wait_s(), self._busy_until - self._monotonic(), 0.001)
        machine.refused += 1
        self._report()
        if self._fallback is not None:
            answer: T = await self._fallback()
            return answer
        raise CircuitOpenError(_REASON, wait_s if wait_s < MAX_OPEN_S else None)

    def get_state(self) -> BreakerState:
        """Return where the breaker stands, as far as is known here."""
        self._machine.wait_s()
        self._report()
        return self._machine.state

    def snapshot(self) -> BreakerSnapshot:
        """Return the shared circuit's numbers as of the last sample; `refused` is of this one."""
        taken = self._machine.snapshot()
        self._report()
        return taken

    def reset(self) -> None:
        """Close the circuit and forget; the others hear of it with the next call or sample."""
        self._machine.reset()
        self._ask_next_time(reset=True)

    def configure(self, config: BreakerConfig, /) -> None:
        """Go on with other settings; configure every process alike.

        Raises:
            ValueError: `config` is out of the range that can be shared.
        """
        require_sharable(config)
        self._machine.configure(config)
        self._settle()
        self._report()

    def set_fallback(self, fallback: Callable[[], Awaitable[Any]] | None, /) -> None:
        """Answer with `fallback` instead of refusing; None takes it away."""
        self._fallback = fallback

    async def synchronize(self) -> None:
        """Send what was gathered, and learn where the shared circuit stands.

        Calls do this by themselves; call it before the process ends, or the last
        sample is lost. Never raises for Redis: an outage is reported.
        """
        if self._machine.mode is not BreakerMode.AUTOMATIC:
            return
        if self._asking is not None:
            # One asks for all; in an outage nobody waits for it.
            if not self._lost:
                await self._asking.wait()
            return
        self._asking = anyio.Event()
        try:
            while True:
                taken, self._samples = self._samples, []
                reset, self._reset_due = self._reset_due, False
                era = self._era
                answer = await self._ask(
                    "sample",
                    era=era or "",
                    given=b"".join(taken),
                    more="reset" if reset else "",
                )
                if answer is None:
                    self._reset_due = reset
                    return
                self._adopt(answer)
                if len(self._samples) < self.shared.sample_calls:
                    return
        finally:
            self._asking.set()
            self._asking = None

    async def _run(self, operation: Callable[[], Awaitable[T]]) -> T:
        era = self._machine.era
        began = 0.0 if self._slow_s is None else self._monotonic()
        try:
            result = await operation()
        except Exception as error:
            if self._note(era, self._judge.error(error), began, error):
                await self.synchronize()
            raise
        if self._note(era, self._judge.result(result), began, None):
            await self.synchronize()
        return result

    async def _try(self, operation: Callable[[], Awaitable[T]], trial: Lease) -> T:
        began = self._monotonic()
        failed: bool | None = None
        decisive: Exception | None = None
        try:
            self._report()
            try:
                result = await operation()
            except Exception as error:
                failed = self._judge.error(error)
                decisive = error
                raise
            failed = self._judge.result(result)
            return result
        finally:
            slow = self._slow_s is not None and self._monotonic() - began >= self._slow_s
            await self._finish(trial, failed, decisive, slow=slow)
            # The frame is in the error's traceback: it must not hold the error in turn.
            decisive = None

    def _note(
        self,
        era: int,
        failed: bool | None,  # noqa: FBT001
        began: float,
        error: Exception | None,
    ) -> bool:
        """Gather an outcome; return whether it is time to send what was gathered."""
        machine = self._machine
        if failed is None or machine.era != era:
            return False
        slow = self._slow_s is not None and self._monotonic() - began >= self._slow_s
        outcome = (FAILED if failed else 0) | (SLOW if slow else 0)
        if self._lost or machine.mode is not BreakerMode.AUTOMATIC:
            if not self._lost or self.shared.on_outage == "local":
                machine.count(outcome, error)
                self._report()
            return False
        self._decisive = error
        samples = self._samples
        samples.append(_CODES[outcome])
        return len(samples) >= self.shared.sample_calls or (
            outcome > 0 and might_open(machine.config, machine.window, samples)
        )

    async def _lease(self) -> Lease | None:
        """Take a permit of the whole circuit, or in an outage one of this process."""
        machine = self._machine
        now = self._monotonic()
        if self._lost:
            return Lease("", machine.begin())
        # In a crowd only as many ask as could be let through.
        running = [until for until in self._leases.values() if until > now]
        if len(running) >= machine.config.half_open_permits:
            self._busy_until = max(self._busy_until, min(running))
            return None
        if now < self._busy_until:
            return None
        token = self._random.token(8)
        self._leases[token] = now + machine.config.half_open_max_wait_s
        try:
            answer = await self._ask("lease", given=token)
        except BaseException:
            # It may have been granted: then nobody else would have it until its time is over.
            await self._give_back(token)
            raise
        if answer is not None:
            self._adopt(answer)
            if answer.granted:
                return Lease(token, None)
            if machine.state is BreakerState.HALF_OPEN:
                self._busy_until = self._monotonic() + min(answer.wait_s, self.shared.sample_s)
        del self._leases[token]
        if answer is None and not machine.closed and not machine.wait_s():
            return Lease("", machine.begin())
        return None

    async def _finish(
        self,
        lease: Lease,
        failed: bool | None,  # noqa: FBT001
        error: Exception | None,
        *,
        slow: bool,
    ) -> None:
        if lease.trial is not None:
            self._machine.finish(lease.trial, failed=failed, slow=slow, error=error)
            self._report()
            return
        outcome = "" if failed is None else str((FAILED if failed else 0) | (SLOW if slow else 0))
        self._decisive = error
        await self._give_back(lease.token, outcome)

    async def _give_back(self, token: str, outcome: str = "") -> None:
        # Shielded, or a cancelled trial would keep its permit from everybody.
        answer: Answer | None = None
        with anyio.CancelScope(shield=True):
            answer = await self._ask("finish", given=token, more=outcome)
        self._leases.pop(token, None)
        self._busy_until = float("-inf")
        if answer is not None:
            self._adopt(answer)

    async def _ask(
        self, what: str, *, era: str = "", given: str | bytes = "", more: str = ""
    ) -> Answer | None:
        """Ask Redis; None and a report when it does not answer."""
        if self._lost and self._monotonic() < self._fresh_until:
            return None
        answer: Answer | None = None
        error_type = "TimeoutError"
        draw = self._random.uniform(0.0, 1.0) if self._machine.config.open_jitter else 0.0
        try:
            with anyio.move_on_after(self.shared.timeout_s):
                answer = await self._circuit.ask(
                    self._machine.config, draw, what, era=era, given=given, more=more
                )
        except Exception as error:  # noqa: BLE001 - whatever the client raises is an outage
            error_type = type(error).__name__
        if answer is None:
            self._fresh_until = self._monotonic() + self.shared.retry_s
            self._lose(error_type)
        elif what == "sample":
            self._fresh_until = self._monotonic() + self.shared.sample_s
        return answer

    def _lose(self, error_type: str) -> None:
        if self._lost:
            return
        self._lost = True
        self._samples = []
        self._machine.note("shared_lost", error_type)
        self._reports.reporter.report(
            StoreFailed(
                at=self._clock.wall(),
                store="redis",
                error_type=error_type,
                detail=f"breaker {self.name}: {self.shared.on_outage} decisions",
            )
        )
        self._report()

    def _adopt(self, answer: Answer) -> None:
        """Take over where the shared circuit stands."""
        machine = self._machine
        if machine.mode is not BreakerMode.AUTOMATIC:
            return
        if self._lost:
            self._lost = False
            machine.note("shared_again", "")
        # Answers that ran beside each other may arrive in another order.
        stamp = (int(answer.era), answer.version)
        if stamp <= self._stamp:
            return
        self._stamp = stamp
        first, new_era = self._era is None, answer.era != self._era
        if new_era:
            self._samples = []
            self._era = answer.era
        error, self._decisive = self._decisive, None
        machine.adopt(answer.view, answer.causes, error, new_era=new_era, first=first)
        self._report()

    def _ask_next_time(self, *, reset: bool = False) -> None:
        self._samples = []
        self._reset_due = reset
        self._fresh_until = float("-inf")
        self._busy_until = float("-inf")
        self._report()

    def _settle(self) -> None:
        config = self._machine.config
        self._slow_s = config.slow_call_s
        self._judge = CallJudge.of(config, self._reports.reporter)

    def _set_mode(self, mode: BreakerMode) -> None:
        self._machine.set_mode(mode)
        self._ask_next_time()

    def _report(self) -> None:
        self._reports.report(self._machine)
