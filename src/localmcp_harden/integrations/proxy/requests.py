"""Takes one request of a client to its upstream, and the answer back.

Progress, log lines and questions that belong to the request find their client while it
runs. Where client and server are of different eras, each gets what its own era expects.
"""

from collections.abc import Mapping
from typing import Any, final

import anyio

try:
    from mcp.shared.exceptions import MCPError
    from mcp_types import INVALID_REQUEST
    from pydantic import ValidationError
except ImportError as _missing:  # pragma: no cover - needs an environment without the extra
    from ...core.errors import MissingExtraError

    raise MissingExtraError("mcp", "wrapping a server") from _missing

from . import bridge
from .about import About, Introduction, Json
from .clients import (
    LOG_LEVELS,
    Context,
    LegacyClient,
    Reach,
    is_modern,
    log_level_of,
    wants_progress,
)
from .downstream import Running
from .link import UpstreamLink
from .parked import ParkedCall, ParkingLot
from .wrap_config import WrapConfig

__all__ = ("Requests",)

_FIRST_PAUSE_S = 0.05
_LONGEST_PAUSE_S = 0.25


@final
class Requests:
    """The requests that clients make of one upstream.

    Args:
        link: The connection.
        config: The bounds.
    """

    def __init__(self, link: UpstreamLink, config: WrapConfig) -> None:
        self._link = link
        self._config = config
        self._lot = ParkingLot(config)
        self._runnings: dict[ParkedCall, Running] = {}
        self._count = 0

    @property
    def are_parked(self) -> bool:
        """Return whether a call waits for its client's next request."""
        return self._lot.is_used()

    async def forward(
        self, ctx: Context, introduction: Introduction, client: LegacyClient | None
    ) -> Json:
        """Do a request and return its result as the server sent it, or what it asks for.

        Args:
            ctx: The request, as the guards let it through.
            introduction: What its client says of itself.
            client: The client, where it is of the handshake era.

        Raises:
            UpstreamError: The server can not be reached, or its answer not be used.
            MCPError: The server answered with an error, or the client refused its input.
        """
        link = self._link
        about = await link.about()
        running = Running(
            reach=Reach(ctx.session, ctx.request_id),
            capabilities=introduction.capabilities,
            mailbox=link.downstream.mailbox(),
            wants_progress=wants_progress(ctx),
            log_level=await self._log_level(ctx, about, client),
            client=client,
        )
        if bridge.may_need_input(ctx.method) and is_modern(ctx) != about.modern:
            if about.modern:
                return await self._asking(ctx, introduction, running, about)
            return await self._parking(ctx, introduction, running, about)
        return await self._send(ctx.method, ctx.params, introduction, running, about)

    async def _log_level(
        self, ctx: Context, about: About, client: LegacyClient | None
    ) -> str | None:
        """Return the level of the log lines that a request wants; make the server send them."""
        link = self._link
        if not link.downstream.exclusive:
            return None
        level = client.log_level if client is not None else log_level_of(ctx)
        if level is not None and not about.modern and about.offers("logging"):
            set_to = link.log_level
            if set_to is None or LOG_LEVELS[level] < LOG_LEVELS[set_to]:
                await link.set_log_level(level)
        return level

    async def _send(
        self,
        method: str,
        params: Mapping[str, Any] | None,
        introduction: Introduction,
        running: Running,
        about: About,
    ) -> Json:
        link = self._link
        self._count += 1
        # A token of our own for each attempt: what an earlier one still sends is nobody's.
        token = f"call-{self._count}"
        sent = bridge.outgoing(
            params,
            about,
            introduction,
            progress_token=token if running.wants_progress else None,
            log_level=running.log_level,
        )
        link.downstream.begin(token, running)
        try:
            return await link.request(method, sent)
        finally:
            await link.downstream.end(token)

    async def _asking(
        self, ctx: Context, introduction: Introduction, running: Running, about: About
    ) -> Json:
        """Put what a server of 2026 needs to a client of 2025, until it needs no more."""
        params = dict(ctx.params or {})
        pause_s = _FIRST_PAUSE_S
        for _ in range(self._config.max_rounds + 1):
            result = await self._send(ctx.method, params, introduction, running, about)
            if result.get("resultType") != "input_required":
                return result
            asked = result.get("inputRequests")
            params.pop("inputResponses", None)
            if isinstance(asked, Mapping) and asked:
                params["inputResponses"] = {
                    key: await self._ask(running, request) for key, request in asked.items()
                }
                pause_s = _FIRST_PAUSE_S
            else:
                await anyio.sleep(pause_s)
                pause_s = min(pause_s * 2, _LONGEST_PAUSE_S)
            params["requestState"] = result.get("requestState")
            if params["requestState"] is None:
                del params["requestState"]
        raise MCPError(
            INVALID_REQUEST,
            f"the server asked for input more than {self._config.max_rounds} times in one call",
        )

    async def _ask(self, running: Running, request: Mapping[str, Any]) -> Json:
        method, params = str(request.get("method")), request.get("params")
        capability = method.partition("/")[0]
        if running.capabilities.get(capability) is None:
            raise MCPError(
                INVALID_REQUEST, f"the server needs {capability}, which this client does not offer"
            )
        said = params if isinstance(params, Mapping) else None
        if method == "elicitation/create" and said is not None and said.get("mode") == "url":
            # The older era names them, so that their end can be told.
            said = {"elicitationId": f"call-{self._count}", **said}
        try:
            return await running.reach.ask(
                method, said, timeout_s=self._link.upstream.call_timeout_s
            )
        except ValidationError:
            raise MCPError(
                INVALID_REQUEST, "the client's answer does not fit the protocol"
            ) from None

    async def _parking(
        self, ctx: Context, introduction: Introduction, running: Running, about: About
    ) -> Json:
        """Let a server of 2025 ask in the middle of a call, and a client of 2026 repeat it."""
        params = dict(ctx.params or {})
        state = params.get("requestState")
        if state is not None:
            call = self._lot.resume(state, params.get("inputResponses"))
            # Its answer is awaited by another request now, which hears of its progress.
            before = self._runnings.get(call)
            if before is not None:
                before.reach, before.mailbox = running.reach, running.mailbox
                before.wants_progress = running.wants_progress
        else:
            plain = bridge.without_input(params)

            async def work() -> Json:
                return await self._send(ctx.method, plain, introduction, running, about)

            call = self._lot.begin(work, about.version, self._link.spawn)
            running.ask = call.ask
            self._runnings[call] = running
        try:
            result = await call.outcome()
            if result is not None:
                return result
            return {
                "resultType": "input_required",
                "inputRequests": call.questions(),
                "requestState": self._lot.park(call),
            }
        except anyio.get_cancelled_exc_class():
            call.cancel()
            raise
        finally:
            for each in [each for each in self._runnings if each.is_done]:
                del self._runnings[each]
