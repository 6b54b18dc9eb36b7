"""Who wants to hear of what: subscriptions of both eras, before servers of both."""

import math
from collections.abc import Callable, Mapping
from contextlib import suppress
from typing import Any, final

import anyio

try:
    from mcp.shared.exceptions import MCPError
    from mcp.shared.subscriptions import SUBSCRIPTION_ID_META_KEY
    from mcp_types import INTERNAL_ERROR, INVALID_PARAMS, INVALID_REQUEST
except ImportError as _missing:  # pragma: no cover - needs an environment without the extra
    from ...core.errors import MissingExtraError

    raise MissingExtraError("mcp", "wrapping a server") from _missing

from ...core.errors import UpstreamError
from ...core.model import SecurityContext
from . import bridge
from .about import About, Introduction, Json
from .clients import CALLER, Context, LegacyClient, Reach
from .downstream import LIST_CHANGES, Listener, stamped
from .link import UpstreamLink
from .mailbox import size_of
from .wrap_config import WrapConfig

__all__ = ("Subscriptions",)

_ACKNOWLEDGED = "notifications/subscriptions/acknowledged"
_UPDATED = "notifications/resources/updated"
_GOODBYE_S = 1.0


@final
class Subscriptions:
    """The subscriptions at one upstream.

    Args:
        link: The connection.
        config: The bounds.
    """

    def __init__(self, link: UpstreamLink, config: WrapConfig) -> None:
        self._link = link
        self._config = config
        self._open = 0
        self._count = 0
        self._uses: dict[str, int] = {}
        self._follows: dict[tuple[int, str], anyio.CancelScope] = {}

    async def listen(self, ctx: Context, introduction: Introduction) -> Json:
        """Serve `subscriptions/listen` until the client, or the server, ends it.

        Raises:
            UpstreamError: The server went away.
            MCPError: It refused, or there are too many.
        """
        if ctx.request_id is None:
            raise MCPError(INVALID_REQUEST, "subscriptions/listen needs a request id")
        about = await self._link.about()
        # One may name any number of resources, and each of them is kept.
        count = max(1, len(_uris(ctx.params)))
        self._admit(count)
        try:
            if about.modern:
                return await self._relay(ctx, introduction, about)
            return await self._serve(ctx, about)
        finally:
            self._open -= count

    def _admit(self, count: int = 1) -> None:
        if self._open + count > self._config.max_subscriptions:
            raise MCPError(INTERNAL_ERROR, "there are too many subscriptions; end one first")
        self._open += count

    async def _relay(self, ctx: Context, introduction: Introduction, about: About) -> Json:
        """Pass on a subscription of a 2026 server to a 2026 client."""
        request_id = ctx.request_id or ""
        mailbox = self._link.downstream.mailbox()
        reach = Reach(ctx.session, request_id)
        security = CALLER.get()
        uris = _uris(ctx.params)

        def take(method: str, params: Json) -> None:
            if method == "notifications/tools/list_changed":
                self._link.downstream.tools_changed()
            said = stamped(params, request_id)

            async def send() -> None:
                uri = said.get("uri")
                if method != _UPDATED or await self._may_hear(security, uris, uri):
                    await reach.notify(method, said)

            key = f"{method} {said['uri']}" if method == _UPDATED else method
            mailbox.put_level(key, send, size_of(params))

        sent = bridge.outgoing(ctx.params, about, introduction, progress_token=None, log_level=None)
        try:
            result = await self._request(sent, take)
        finally:
            await mailbox.flush()
        return stamped(result, request_id)

    async def _request(
        self, params: Json, take: Callable[[str, Json], None], timeout_s: float = math.inf
    ) -> Json:
        """Subscribe at a 2026 server; `take` gets what comes until that ends."""
        self._count += 1
        # Our own, and no number: those are the dispatcher's.
        name = f"listen-{self._count}"
        relays = self._link.downstream.relays
        relays[name] = lambda method, said: _known(method, said, take)
        try:
            return await self._link.request(
                "subscriptions/listen", params, options={"request_id": name}, timeout_s=timeout_s
            )
        finally:
            del relays[name]

    async def _may_hear(
        self, security: SecurityContext | None, uris: frozenset[str], uri: object
    ) -> bool:
        if not isinstance(uri, str):
            return False
        if not any(uri == each or uri.startswith(f"{each.rstrip('/')}/") for each in uris):
            return False
        return security is None or uri in await self._link.downstream.permitted(
            security, "resources/subscribe", (uri,)
        )

    async def _serve(self, ctx: Context, about: About) -> Json:
        """Serve a 2026 client's subscription from the notifications of a 2025 server."""
        request_id = ctx.request_id or ""
        downstream = self._link.downstream
        wanted = _wanted(ctx.params)
        honored: Json = {}
        lists: set[str] = set()
        for method, (capability, name) in LIST_CHANGES.items():
            if wanted.get(name) is True and about.offers(capability, "listChanged"):
                honored[name] = True
                lists.add(method)
        uris = _uris(ctx.params) if about.offers("resources", "subscribe") else frozenset[str]()
        if uris:
            honored["resourceSubscriptions"] = sorted(uris)
        listener = Listener(
            reach=Reach(ctx.session, request_id),
            request_id=request_id,
            mailbox=downstream.mailbox(),
            lists=frozenset(lists),
            uris=uris,
            security=CALLER.get(),
        )
        held: list[str] = []
        try:
            for uri in uris:
                await self._hold(uri)
                held.append(uri)
            acknowledgement = stamped({"notifications": honored}, request_id)

            async def acknowledge() -> None:
                await listener.reach.notify(_ACKNOWLEDGED, acknowledgement)

            listener.mailbox.put_level(_ACKNOWLEDGED, acknowledge)
            downstream.listeners.append(listener)
            await anyio.sleep_forever()
        finally:
            if listener in downstream.listeners:
                downstream.listeners.remove(listener)
            with anyio.move_on_after(_GOODBYE_S, shield=True):
                for uri in held:
                    await self._release(uri)
        return {"_meta": {SUBSCRIPTION_ID_META_KEY: request_id}}

    async def _hold(self, uri: str) -> None:
        """Subscribe to a resource at a 2025 server, once for all who want it."""
        self._uses[uri] = self._uses.get(uri, 0) + 1
        if self._uses[uri] > 1:
            return
        try:
            await self._link.request("resources/subscribe", {"uri": uri})
        except BaseException:
            self._forget(uri)
            raise

    async def _release(self, uri: str) -> None:
        if self._forget(uri):
            with suppress(MCPError, UpstreamError):
                await self._link.unsubscribe(uri)

    def _forget(self, uri: str) -> bool:
        """Count one use less; return whether it was the last."""
        left = self._uses.get(uri, 0) - 1
        if left > 0:
            self._uses[uri] = left
            return False
        return self._uses.pop(uri, None) is not None

    async def subscribe(
        self, ctx: Context, introduction: Introduction, client: LegacyClient
    ) -> Json:
        """Serve `resources/subscribe` of a 2025 client.

        Raises:
            UpstreamError, MCPError: The server can not be reached, or refused.
        """
        uri = _uri(ctx.params)
        about = await self._link.about()
        if uri in client.subscribed:
            return {}
        self._admit()
        # Before the server is asked: its first news may come before its answer.
        client.subscribed[uri] = CALLER.get() or SecurityContext()
        try:
            if about.modern:
                wanted = {"resourceSubscriptions": [uri]}
                await self._follow(client, uri, wanted, introduction, wait=True)
            else:
                await self._hold(uri)
        except BaseException:
            # Unless it was taken back meanwhile, or the client has gone: then it was counted.
            if client.subscribed.pop(uri, None) is not None:
                self._open -= 1
            raise
        return {}

    async def unsubscribe(self, ctx: Context, client: LegacyClient) -> Json:
        """Serve `resources/unsubscribe` of a 2025 client."""
        uri = _uri(ctx.params)
        if client.subscribed.pop(uri, None) is not None:
            self._open -= 1
            await self._end(client, uri)
        return {}

    async def attach(self, client: LegacyClient, introduction: Introduction) -> None:
        """Begin to pass on to a 2025 client what it hears of without asking."""
        downstream = self._link.downstream
        downstream.clients.append(client)
        about = await self._link.about()
        if about.modern:
            wanted: Json = {
                name: True
                for capability, name in LIST_CHANGES.values()
                if about.offers(capability, "listChanged")
            }
            if wanted:
                await self._follow(client, "", wanted, introduction, wait=False)

    async def detach(self, client: LegacyClient) -> None:
        """Forget a client that has gone."""
        downstream = self._link.downstream
        if client in downstream.clients:
            downstream.clients.remove(client)
        uris, client.subscribed = list(client.subscribed), {}
        self._open -= len(uris)
        if (scope := self._follows.pop((id(client), ""), None)) is not None:
            scope.cancel()
        with anyio.move_on_after(_GOODBYE_S, shield=True):
            for uri in uris:
                await self._end(client, uri)

    async def _end(self, client: LegacyClient, uri: str) -> None:
        scope = self._follows.pop((id(client), uri), None)
        if scope is not None:
            scope.cancel()
        else:
            await self._release(uri)

    def _tell(self, client: LegacyClient, method: str, params: Json) -> None:
        """Tell a 2025 client what a subscription of a 2026 server brought."""
        downstream = self._link.downstream
        said = {name: value for name, value in params.items() if name != "_meta"}
        if method == _UPDATED:
            downstream.updated_for(client, said)
            return
        if method == "notifications/tools/list_changed":
            downstream.tools_changed()

        async def send() -> None:
            await client.reach.notify(method, said or None)

        client.mailbox.put_level(method, send, size_of(params))

    async def _follow(  # noqa: C901 - a subscription and its whole life
        self,
        client: LegacyClient,
        key: str,
        wanted: Json,
        introduction: Introduction,
        *,
        wait: bool,
    ) -> None:
        """Subscribe at a 2026 server for a 2025 client, again after every start."""
        link = self._link
        scope = anyio.CancelScope()
        settled = anyio.Event()
        refused: list[MCPError | UpstreamError] = []

        def take(method: str, params: Json) -> None:
            if method == _ACKNOWLEDGED:
                settled.set()
            else:
                self._tell(client, method, params)

        async def follow() -> None:
            about = await link.about()
            sent = bridge.outgoing(
                {"notifications": wanted},
                about,
                introduction,
                progress_token=None,
                log_level=None,
            )
            await self._request(sent, take)

        async def task() -> None:
            with scope:
                while True:
                    try:
                        await follow()
                    except (MCPError, UpstreamError) as error:
                        if not settled.is_set() or isinstance(error, MCPError):
                            refused.append(error)
                            settled.set()
                            return
                    await link.renewed()

        self._follows[id(client), key] = scope
        link.spawn(task)
        if wait:
            with anyio.move_on_after(link.upstream.call_timeout_s):
                await settled.wait()
            if not settled.is_set():
                scope.cancel()
                refused.append(UpstreamError("the server did not acknowledge the subscription"))
            if refused:
                self._follows.pop((id(client), key), None)
                raise refused[0]


def _known(method: str, params: Json, take: Callable[[str, Json], None]) -> None:
    if method == _UPDATED and not isinstance(params.get("uri"), str):
        return
    if method in LIST_CHANGES or method in {_UPDATED, _ACKNOWLEDGED}:
        take(method, params)


def _wanted(params: Mapping[str, Any] | None) -> Mapping[str, Any]:
    wanted = (params or {}).get("notifications")
    return wanted if isinstance(wanted, Mapping) else {}


def _uris(params: Mapping[str, Any] | None) -> frozenset[str]:
    uris = _wanted(params).get("resourceSubscriptions")
    return frozenset(uri for uri in uris if isinstance(uri, str)) if uris else frozenset()


def _uri(params: Mapping[str, Any] | None) -> str:
    uri = (params or {}).get("uri")
    if not isinstance(uri, str):
        raise MCPError(INVALID_PARAMS, "'uri' must be a string")
    return uri
