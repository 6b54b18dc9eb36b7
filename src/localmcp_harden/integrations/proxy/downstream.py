"""Takes what a wrapped server sends by itself to the client that it is for.

Every message is looked at in the order it came, without waiting: what can wait goes into
a bounded mailbox, and a flood costs neither memory nor tasks.
"""

from collections.abc import Awaitable, Callable, Collection, Mapping
from math import inf
from typing import Any, Protocol, TypeAlias, TypeGuard, final
from weakref import WeakKeyDictionary

from attrs import define

try:
    from mcp.server.session import ServerSession
    from mcp.shared.exceptions import MCPError
    from mcp.shared.subscriptions import SUBSCRIPTION_ID_META_KEY
    from mcp_types import (
        INTERNAL_ERROR,
        INVALID_REQUEST,
        METHOD_NOT_FOUND,
        RequestId,
        methods,
    )
    from pydantic import ValidationError
except ImportError as _missing:  # pragma: no cover - needs an environment without the extra
    from ...core.errors import MissingExtraError

    raise MissingExtraError("mcp", "wrapping a server") from _missing

from ...core.model import SecurityContext
from .about import Json
from .clients import LOG_LEVELS, LegacyClient, Reach
from .mailbox import Mailbox, Spawn, size_of
from .wrap_config import WrapConfig

__all__ = ("LIST_CHANGES", "Ask", "Downstream", "Listener", "Permitted", "Running", "stamped")

Ask: TypeAlias = Callable[[str, Mapping[str, Any]], Awaitable[Json]]
"""Puts a request of the server's to a client."""

LIST_CHANGES: Mapping[str, tuple[str, str]] = {
    "notifications/tools/list_changed": ("tools", "toolsListChanged"),
    "notifications/prompts/list_changed": ("prompts", "promptsListChanged"),
    "notifications/resources/list_changed": ("resources", "resourcesListChanged"),
}
"""The notifications of changed lists: the capability, and the name in a subscription."""

_UPDATED = "notifications/resources/updated"
_CAPABILITY_FOR: Mapping[str, tuple[str, str]] = {
    "elicitation/create": ("elicitation", "Elicitation"),
    "sampling/createMessage": ("sampling", "Sampling"),
    "roots/list": ("roots", "List roots"),
}
_RULED = frozenset({"notifications/cancelled", "notifications/subscriptions/acknowledged"})


class Permitted(Protocol):
    """Asks policy what a caller may see."""

    async def __call__(
        self, security: SecurityContext, action: str, names: Collection[str]
    ) -> frozenset[str]:
        """Return those of the names that it may."""
        ...


@final
@define(eq=False)
class Running:
    """A request of a client that the server is working on."""

    reach: Reach
    capabilities: Json
    mailbox: Mailbox
    wants_progress: bool = False
    log_level: str | None = None
    """From which level on it gets log lines; of the 2026 era."""
    client: LegacyClient | None = None
    ask: Ask | None = None
    """How to ask the client for input in the middle of it; None where there is no way."""
    floor: float | None = None
    """The progress that an earlier attempt has reported already."""


@final
@define(eq=False)
class Listener:
    """A subscription of a 2026 client."""

    reach: Reach
    request_id: RequestId
    mailbox: Mailbox
    lists: frozenset[str]
    uris: frozenset[str]
    security: SecurityContext | None = None


@final
class Downstream:
    """The way from one upstream to its clients.

    Args:
        config: The bounds.
        exclusive: Whether one client alone stands before the upstream.
        spawn: Starts a task that ends with the connection.
        permitted: Asks policy.
        tools_changed: Is told that the server's tools are others.
        dropped: Is told how many notifications were lost.
        ask_timeout_s: How long a client may take over a request of the server's.
    """

    def __init__(
        self,
        config: WrapConfig,
        *,
        exclusive: bool,
        spawn: Spawn,
        permitted: Permitted,
        tools_changed: Callable[[], None],
        dropped: Callable[[int], None],
        ask_timeout_s: float,
    ) -> None:
        self.config = config
        self.exclusive = exclusive
        self.running: dict[str, Running] = {}
        self.clients: list[LegacyClient] = []
        self.listeners: list[Listener] = []
        self.relays: dict[str, Callable[[str, Json], None]] = {}
        """Subscriptions of our own at the server, by the id of their request."""
        self.version = ""
        self._spawn = spawn
        self.permitted: Permitted = permitted
        self.tools_changed: Callable[[], None] = tools_changed
        self._dropped = dropped
        self._ask_timeout_s = ask_timeout_s
        self._last_progress: WeakKeyDictionary[ServerSession, float] = WeakKeyDictionary()

    def mailbox(self) -> Mailbox:
        """Return a mailbox whose task ends with the connection."""
        return Mailbox(self.config, spawn=self._spawn, dropped=self._dropped)

    def subscribed(self) -> set[str]:
        """Return the resources that anybody wants to hear of."""
        wanted = {uri for client in self.clients for uri in client.subscribed}
        return wanted.union(*(each.uris for each in self.listeners))

    def begin(self, token: str, running: Running) -> None:
        """Note a request that is being worked on."""
        running.floor = self._last_progress.get(running.reach.session)
        self.running[token] = running

    async def end(self, token: str) -> None:
        """Forget a request, once what was sent for it before its answer has gone out."""
        running = self.running.pop(token, None)
        if running is not None:
            await running.mailbox.flush()

    def take(self, method: str, params: Mapping[str, Any] | None) -> bool:
        """Take a notification; always True, since nobody else is to handle it."""
        said = dict(params or {})
        if method == "notifications/progress":
            self._progress(said)
        elif (relay := self._relay_of(said)) is not None:
            relay(method, said)
        elif method in LIST_CHANGES:
            self.list_changed(method, said)
        elif method == _UPDATED:
            self._updated(said)
        elif method == "notifications/message":
            self._log_line(said)
        elif method not in _RULED and self.exclusive:
            self._other(method, said)
        return True

    def list_changed(self, method: str, params: Json) -> None:
        """Tell everyone who wants to know that a list is another."""
        if method == "notifications/tools/list_changed":
            self.tools_changed()
        for client in self.clients:
            send = _bound(client.reach, method, params)
            client.mailbox.put_level(method, send, size_of(params))
        for listener in self.listeners:
            if method in listener.lists:
                self._tell_listener(listener, method, params)

    def _relay_of(self, params: Json) -> Callable[[str, Json], None] | None:
        if not self.relays:
            return None
        meta = params.get("_meta")
        said = meta.get(SUBSCRIPTION_ID_META_KEY) if isinstance(meta, Mapping) else None
        return self.relays.get(said) if isinstance(said, str) else None

    def _progress(self, params: Json) -> None:
        running = self.running.get(str(params.get("progressToken")))
        amount = params.get("progress")
        if running is None or not running.wants_progress:
            return
        if not _is_number(amount):
            return
        if running.floor is not None and amount <= running.floor:
            # An attempt of ours that is repeated begins anew; the client must not see that.
            return
        self._last_progress[running.reach.session] = max(
            amount, self._last_progress.get(running.reach.session, amount)
        )
        total, message = params.get("total"), params.get("message")
        report = running.reach.session.report_progress
        known_total = total if _is_number(total) else None
        text = message if isinstance(message, str) else None

        async def send() -> None:
            await report(amount, known_total, text)

        running.mailbox.put(send, len(text or ""))

    def _updated(self, params: Json) -> None:
        uri = params.get("uri")
        if not isinstance(uri, str):
            return
        for client in self.clients:
            self.updated_for(client, params)
        for listener in self.listeners:
            if _covering(listener.uris, uri) is not None:
                self._tell_listener(listener, _UPDATED, params, uri)

    def updated_for(self, client: LegacyClient, params: Json) -> None:
        """Tell one client that a resource changed, where it has subscribed to it."""
        uri = str(params.get("uri"))
        if (base := _covering(client.subscribed, uri)) is not None:
            send = _bound(client.reach, _UPDATED, params)
            guarded = self._if_allowed(client.subscribed[base], uri, send)
            client.mailbox.put_level(f"{_UPDATED} {uri}", guarded, size_of(params))

    def _tell_listener(
        self, listener: Listener, method: str, params: Json, uri: str | None = None
    ) -> None:
        send = _bound(listener.reach, method, stamped(params, listener.request_id))
        if uri is not None:
            send = self._if_allowed(listener.security, uri, send)
        key = method if uri is None else f"{method} {uri}"
        listener.mailbox.put_level(key, send, size_of(params))

    def _if_allowed(
        self, security: SecurityContext | None, uri: str, send: Callable[[], Awaitable[None]]
    ) -> Callable[[], Awaitable[None]]:
        """Ask policy once more: what was subscribed to may be forbidden by now."""
        if security is None:
            return send

        async def guarded() -> None:
            if uri in await self.permitted(security, "resources/subscribe", (uri,)):
                await send()

        return guarded

    def _log_line(self, params: Json) -> None:
        level = params.get("level")
        # Of a shared server nobody can tell whose line it is.
        if not self.exclusive or not isinstance(level, str) or level not in LOG_LEVELS:
            return
        rank = LOG_LEVELS[level]
        for running in reversed(self.running.values()):
            if running.client is not None:
                break
            if running.log_level is not None and rank >= LOG_LEVELS[running.log_level]:
                send = _bound(running.reach, "notifications/message", params)
                running.mailbox.put(send, size_of(params))
                return
        for client in self.clients:
            if client.log_level is None or rank >= LOG_LEVELS[client.log_level]:
                self._to_client(client, "notifications/message", params)

    def _other(self, method: str, params: Json) -> None:
        for client in self.clients:
            self._to_client(client, method, params)

    def _to_client(self, client: LegacyClient, method: str, params: Json) -> None:
        """Send by the request that the client waits for where there is one, in order."""
        for running in reversed(self.running.values()):
            if running.client is client:
                running.mailbox.put(_bound(running.reach, method, params), size_of(params))
                return
        client.mailbox.put(_bound(client.reach, method, params), size_of(params))

    async def answer(self, method: str, params: Mapping[str, Any] | None) -> Json:
        """Answer a request of the server's, which is of the handshake era.

        Raises:
            MCPError: The client can not, will not, or can not be told.
        """
        if method == "ping":
            return {}
        if (method, self.version) not in methods.SERVER_REQUESTS or method not in _CAPABILITY_FOR:
            raise MCPError(METHOD_NOT_FOUND, "Method not found", method)
        capability, what = _CAPABILITY_FOR[method]
        said = dict(params or {})
        if not self.exclusive:
            raise MCPError(
                INVALID_REQUEST,
                f"{what} not supported: several clients share this server, and nobody can tell "
                "which of them is meant",
            )
        running = next(reversed(self.running.values()), None) if self.running else None
        client = self.clients[-1] if self.clients else None
        if client is not None:
            if client.capabilities.get(capability) is None:
                raise MCPError(INVALID_REQUEST, f"{what} not supported")
            reach = client.reach
            if not client.is_stream and running is not None:
                reach = running.reach
            return await _asked(reach, method, said, self._ask_timeout_s)
        # Not the newest of all: a list that is read meanwhile asks nobody anything.
        running = next((each for each in reversed(self.running.values()) if each.ask), None)
        if running is None or running.ask is None:
            raise MCPError(
                INVALID_REQUEST,
                f"{what} not supported: no call is running that could ask the client for input",
            )
        if running.capabilities.get(capability) is None:
            raise MCPError(INVALID_REQUEST, f"{what} not supported")
        return await running.ask(method, said)


def stamped(params: Json, request_id: RequestId) -> Json:
    """Return the parameters as a part of the subscription that the request opened."""
    meta = params.get("_meta")
    own = dict(meta) if isinstance(meta, Mapping) else {}
    return {**params, "_meta": {**own, SUBSCRIPTION_ID_META_KEY: request_id}}


def _is_number(value: object) -> TypeGuard[float]:
    # What is none on paper, `NaN`, has no form that a client could read.
    return isinstance(value, int | float) and not isinstance(value, bool) and -inf < value < inf


def _covering(bases: Collection[str], uri: str) -> str | None:
    """Return the URI subscribed to that an update is about: itself, or what it is below."""
    if uri in bases:
        return uri
    return next((base for base in bases if uri.startswith(f"{base.rstrip('/')}/")), None)


def _bound(reach: Reach, method: str, params: Json) -> Callable[[], Awaitable[None]]:
    async def send() -> None:
        await reach.notify(method, params or None)

    return send


async def _asked(reach: Reach, method: str, params: Json, timeout_s: float) -> Json:
    try:
        return await reach.ask(method, params or None, timeout_s=timeout_s)
    except ValidationError:
        raise MCPError(INTERNAL_ERROR, "the client's answer does not fit the protocol") from None
