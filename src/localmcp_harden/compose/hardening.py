"""The facade a host holds: blocks, chain, configuration and life cycle in one object.

It builds and holds; it decides nothing itself.
"""

import weakref
from collections.abc import Callable, Collection, Coroutine, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from pathlib import Path
from typing import Any, Self, TypeVar, final

from ..core.errors import ConfigError
from ..core.events import ConfigurationReloaded, EventSink
from ..core.model import (
    ANONYMOUS,
    Annotations,
    Call,
    CallKind,
    Outcome,
    SecurityContext,
    ToolDeclaration,
    filled,
)
from ..core.ports import Clock, Random, Redactor
from ..mechanisms.chance import SystemRandom
from ..mechanisms.clock import SystemClock
from ..observability.readers import CallLogger, CallMeter
from ..protocols.chain import Declare, Handler, Probe, Stage
from ..protocols.degradation import Degradation
from ..protocols.health import HealthRegistry
from ..protocols.load import Bulkhead
from ..protocols.observability import LoggingService, MetricsService
from ..protocols.resilience import CircuitBreaker, Deadline, Retry
from ..protocols.security import (
    ArgumentValidator,
    AuditLog,
    Authenticator,
    InputBounds,
    PolicyGate,
    RateLimiter,
)
from .assemble import make_chain
from .blocks import BlockOverrides, Blocks, BreakerFactory, Ports, build_blocks
from .catalog import ToolCatalog
from .chain import Mode
from .config import HardenConfig
from .describe import Description, describe
from .health import standard_health
from .loading import LoadedConfig, load_config
from .opened import OpenedRequest
from .resources import permitted_names
from .shared_use import SharedUse, lifespan_around
from .sinks import FanOut

__all__ = ("Hardening",)

ServerT = TypeVar("ServerT")
StateT = TypeVar("StateT")


@final
class Hardening:
    """A hardened server's guards, ready to be put in front of its handlers.

    Every block is a keyword typed by its protocol; what is not given is built from
    the configuration. It is a `GuardedRunner`: integrations, and a host's own code,
    take calls through `run`.

    Args:
        config: The settings; the defaults when None. The default policy has no
            rules, so it allows nothing: say what is allowed.
        authenticator: Tells who calls.
        policy: Decides what they may do.
        rate_limiter: Decides how often.
        bounds: Refuses arguments that are too large.
        validator: Refuses arguments that do not fit the schema.
        deadline: Cuts off what takes too long.
        retry: Repeats what failed and may be repeated.
        breaker: One circuit for all targets, or a function that returns one for each.
        bulkhead: Bounds how many calls run at once over all.
        degradation: Says which tools are switched off.
        health: Knows how the server is; the guards' own checks are in the default one.
        redactor: Takes secrets out of records.
        logs: Writes lines.
        metrics: Counts.
        audit: Keeps outcomes for good.
        clock: Time.
        random: Chance.
        sinks: Further readers of events.
        stages: A host's own stages; each goes behind the package's own of its slot.
        probe: A debugger's hook between the stages.

    Raises:
        UnsafeOrderError: One of `stages` stands where it could do harm.
    """

    def __init__(
        self,
        config: HardenConfig | LoadedConfig | None = None,
        *,
        authenticator: Authenticator | None = None,
        policy: PolicyGate | None = None,
        rate_limiter: RateLimiter | None = None,
        bounds: InputBounds | None = None,
        validator: ArgumentValidator | None = None,
        deadline: Deadline | None = None,
        retry: Retry | None = None,
        breaker: CircuitBreaker | BreakerFactory | None = None,
        bulkhead: Bulkhead | None = None,
        degradation: Degradation | None = None,
        health: HealthRegistry | None = None,
        redactor: Redactor | None = None,
        logs: LoggingService | None = None,
        metrics: MetricsService | None = None,
        audit: AuditLog | None = None,
        clock: Clock | None = None,
        random: Random | None = None,
        sinks: Sequence[EventSink] = (),
        stages: Sequence[Stage] = (),
        probe: Probe | None = None,
    ) -> None:
        self._own = BlockOverrides(
            authenticator=authenticator,
            policy=policy,
            rate_limiter=rate_limiter,
            bounds=bounds,
            validator=validator,
            deadline=deadline,
            retry=retry,
            breaker=breaker,
            bulkhead=bulkhead,
            degradation=degradation,
            redactor=redactor,
            logs=logs,
            metrics=metrics,
            audit=audit,
        )
        self._clock: Clock = clock or SystemClock()
        self.monotonic: Callable[[], float] = self._clock.monotonic
        """Return the time of this hardening's clock."""
        self._random: Random = random or SystemRandom()
        self._sinks = tuple(sinks)
        self._stages = tuple(stages)
        self._probe = probe
        self._fan_out = FanOut(self._clock)
        self._ports = Ports(clock=self._clock, random=self._random, sink=self._fan_out)
        self._catalog = ToolCatalog()
        self._version = 0
        self._stores = SharedUse(self._open, self._close)
        self._server: weakref.ref[object] | None = None
        self._call_prefix = self._random.token(6)
        self._call_count = 0
        loaded = (
            config
            if isinstance(config, LoadedConfig)
            else LoadedConfig(config=config or HardenConfig())
        )
        self._use(loaded, build_blocks(loaded.config, self._own, self._ports))
        self.health: HealthRegistry = health or standard_health(
            self, loaded.config.health, self._ports
        )
        """How the server is. Add what it depends on; see the block's page."""

    @classmethod
    def from_file(
        cls,
        file: str | Path,
        *,
        environ: Mapping[str, str] | None = None,
        settings: Mapping[str, Any] | None = None,
        **blocks: Any,
    ) -> Self:
        """Return a hardening configured by a TOML file.

        Args:
            file: The file.
            environ: The environment that wins over the file; the process's own when None.
            settings: Nested settings that win over both.
            **blocks: The keywords of the constructor.

        Raises:
            ConfigError: The file can not be read, or a value is wrong.
        """
        return cls(load_config(file, environ=environ, settings=settings), **blocks)

    @property
    def config(self) -> HardenConfig:
        """The settings in force."""
        return self._loaded.config

    @property
    def blocks(self) -> Blocks:
        """The blocks in force."""
        return self._blocks

    def new_call(
        self,
        kind: CallKind,
        method: str,
        name: str = "",
        arguments: Mapping[str, Any] | None = None,
        *,
        meta: Mapping[str, Any] | None = None,
        session_id: str | None = None,
        ip_address: str | None = None,
        user_agent: str | None = None,
    ) -> Call:
        """Return a call with an id, the time, and what is known of its target.

        The caller is not filled in: that is the authenticator's part of the chain.
        """
        self._call_count += 1
        annotations = self._catalog.get_annotations(name) if kind is _TOOL else _PLAIN
        security = {
            "user": ANONYMOUS,
            "project": self._loaded.config.project,
            "action": method,
            "resource": "",
            "timestamp": self._clock.wall(),
            "session_id": session_id,
            "ip_address": ip_address,
            "user_agent": user_agent,
        }
        fields = {
            "id": f"{self._call_prefix}-{self._call_count:x}",
            "kind": kind,
            "method": method,
            "name": name,
            "arguments": arguments or {},
            "annotations": annotations,
            "meta": meta or {},
            "security": filled(SecurityContext, security),
            "parent_id": self._blocks.logs.get_correlation_id(),
        }
        return filled(Call, fields)

    def run(
        self,
        call: Call,
        handler: Handler,
        /,
        *,
        credentials: object = None,
        declare: Declare | None = None,
        opened: OpenedRequest | None = None,
    ) -> Coroutine[Any, Any, Outcome]:
        """Run a handler; see `GuardedRunner.run`. `opened` is the request the call adopted."""
        # The chain's own coroutine: one around it would be resumed with it.
        return self._chain.run(
            call, handler, credentials=credentials, declare=declare, opened=opened
        )

    def open_request(self, method: str, **facts: Any) -> OpenedRequest:
        """Open a transport's record, with facts as for `new_call`; a call may adopt it."""
        call = self.new_call(CallKind.PROTOCOL, method, **facts)
        return OpenedRequest(call, self._door, self._clock)

    def attach(self, server: object) -> None:
        """Say which server is guarded: what it declares of its tools is kept here.

        Raises:
            ConfigError: It is another one than before, whose tools would be taken for
                this one's. Make a second hardening from the same configuration.
        """
        guarded = None if self._server is None else self._server()
        if guarded is not None and guarded is not server:
            raise ConfigError(
                "this hardening guards another server already; make one for each server"
            )
        self._server = weakref.ref(server)

    def declare_tools(self, tools: Sequence[ToolDeclaration], *, complete: bool = False) -> None:
        """Take over what the server declares: schemas and annotations of its tools.

        The first 10,000 are kept; a further one stays unknown.

        Args:
            tools: The declarations.
            complete: Whether these are all there are, so that others are forgotten.
        """
        self._catalog.declare(tools, self._blocks.validator, complete=complete)

    def annotations_of(self, tool: str) -> Annotations:
        """Return what is known of a tool, and whose word counts."""
        return self._catalog.get_annotations(tool)

    def knows_tool(self, name: str) -> bool:
        """Return whether a tool of this name was declared."""
        return self._catalog.get_annotations(name).known

    async def permitted(
        self, security: SecurityContext, action: str, names: Collection[str]
    ) -> frozenset[str]:
        """Return those of `names` that may be shown to this caller.

        Resource URIs are judged in their canonical form. In `observe` mode, and where
        the policy stage is disabled, everything may be shown.
        """
        config = self._loaded.config
        if config.mode is Mode.OBSERVE or "policy" in config.disabled:
            return frozenset(names)
        return await permitted_names(self._blocks.policy, security, action, names)

    def describe(self) -> Description:
        """Return the chain as it is now: stages, blocks, settings and their sources."""
        return describe(self._chain.stages, self._loaded, self._version)

    def reload(self, config: HardenConfig | LoadedConfig | None = None) -> None:
        """Go on with other settings; windows, tables and open circuits stay.

        Calls that are on their way end under the settings they began with.

        Args:
            config: The new settings; when None, file, environment and keywords are
                read again.

        Raises:
            ConfigError: The settings are wrong, or one can not change while the
                server runs. Nothing has changed then.
        """
        if config is None:
            if self._loaded.load_again is None:
                raise ConfigError("there is nothing to read again; pass the settings")
            config = self._loaded.load_again()
        loaded = config if isinstance(config, LoadedConfig) else LoadedConfig(config=config)
        previous = (self._loaded.config, self._blocks)
        self._use(loaded, build_blocks(loaded.config, self._own, self._ports, previous))
        self._fan_out(
            ConfigurationReloaded(
                at=self._clock.wall(),
                version=self._version,
                source=str(loaded.file) if loaded.file else "keyword",
            )
        )

    def lifespan(
        self, host: Callable[[ServerT], AbstractAsyncContextManager[StateT]] | None = None
    ) -> Callable[[ServerT], AbstractAsyncContextManager[StateT | dict[str, Any]]]:
        """Return a lifespan that opens the stores, runs the host's own, and closes them.

        Args:
            host: The host's own lifespan; what it yields is what handlers see.
        """
        return lifespan_around(self, host)

    async def __aenter__(self) -> Self:
        """Open the stores; counted, since a server enters its lifespan for every connection.

        Raises:
            StoreError: The audit log can not be opened.
        """
        await self._stores.join()
        return self

    async def __aexit__(self, *exc_info: object) -> None:
        """Close the stores when nobody uses them any more."""
        await self._stores.leave()

    @property
    def is_open(self) -> bool:
        """Whether the stores are open."""
        return self._stores.is_open

    async def ensure_open(self) -> None:
        """Open the stores unless they are: for a host that does not use the lifespan.

        They then stay open until `aclose`.

        Raises:
            StoreError: The audit log can not be opened.
        """
        if not self._stores.is_open:
            await self._stores.join()

    async def aclose(self) -> None:
        """Close the stores, whoever opened them."""
        await self._stores.leave(everybody=True)

    def _use(self, loaded: LoadedConfig, blocks: Blocks) -> None:
        """Put settings and blocks in force: everything is made first, then swapped."""
        config = loaded.config
        chain, door = make_chain(config, blocks, self._ports, self._stages, self._probe)
        self._catalog.configure(config.tools, trust=config.trust_annotations)
        self._catalog.redeclare(blocks.validator)
        self._loaded, self._blocks, self._chain, self._door = loaded, blocks, chain, door
        self._fan_out.clear()
        self._fan_out.subscribe(CallLogger(blocks.logs), CallMeter(blocks.metrics), *self._sinks)
        self._version += 1

    async def _open(self) -> None:
        await self._blocks.audit.__aenter__()

    async def _close(self) -> None:
        await self._blocks.audit.__aexit__(None, None, None)
        close = getattr(self._blocks.logs, "close", None)
        if callable(close):
            close()


_PLAIN, _TOOL = Annotations(), CallKind.TOOL
