"""What `wrap` changes of the guards: whose word counts, and that handlers know who calls."""

from collections.abc import Sequence
from functools import partial
from typing import Any, final

from attrs import evolve

from ...compose.hardening import Hardening
from ...core.errors import RefusedError
from ...core.model import Annotations, Call, Outcome, SecurityContext, ToolDeclaration
from ...protocols.chain import Declare, Handler
from .clients import CALLER

__all__ = ("WrapGuards",)


@final
class WrapGuards:
    """The guards of a wrapped server, in the place of the `Hardening` behind them.

    Args:
        hardening: The guards themselves.
        trust: Whether the server is believed what it says of its tools.
    """

    def __init__(self, hardening: Hardening, *, trust: bool) -> None:
        self._hardening = hardening
        self._trust = trust
        self._is_stale = False

    def __getattr__(self, name: str) -> Any:
        """Return everything else from the guards themselves."""
        return getattr(self._hardening, name)

    def tools_changed(self) -> None:
        """Have the tools listed anew before the next call: they may be others.

        What was learned holds until then, and is learned at most once a second.
        """
        self._is_stale = True

    def knows_tool(self, name: str) -> bool:
        """See `Hardening.knows_tool`; what is out of date is not known."""
        return not self._is_stale and self._hardening.knows_tool(name)

    def declare_tools(self, tools: Sequence[ToolDeclaration], *, complete: bool = False) -> None:
        """See `Hardening.declare_tools`."""
        if not self._trust:
            tools = [evolve(tool, annotations=Annotations()) for tool in tools]
        self._hardening.declare_tools(tools, complete=complete)
        if complete:
            self._is_stale = False

    async def run(
        self,
        call: Call,
        handler: Handler,
        /,
        *,
        credentials: object = None,
        declare: Declare | None = None,
        **more: Any,
    ) -> Outcome:
        """See `Hardening.run`; while the handler runs, `CALLER` says who calls."""

        async def known(judged: Call) -> Outcome:
            token = CALLER.set(judged.security)
            try:
                return await handler(judged)
            finally:
                CALLER.reset(token)

        learning = None
        if declare is not None:
            learning = partial(self._learn, declare, call.security, credentials)
        return await self._hardening.run(
            call, known, credentials=credentials, declare=learning, **more
        )

    async def _learn(
        self, learn: Declare, security: SecurityContext, credentials: object
    ) -> Annotations:
        """List the tools that the caller's own upstream has."""
        token = CALLER.set(await self._identified(security, credentials))
        try:
            return await learn()
        finally:
            CALLER.reset(token)

    async def _identified(self, security: SecurityContext, credentials: object) -> SecurityContext:
        """Return who calls; asked only where the chain has found out already."""
        if "authenticate" in self._hardening.config.disabled or credentials is None:
            return security
        authenticator: Any = self._hardening.blocks.authenticator
        try:
            return security.with_user(await authenticator.authenticate(credentials))
        except RefusedError:
            return security  # only in `observe` mode does the chain go on with such a one
