"""One HTTP request and its bounded answer: no redirects, cookies, proxies or compression.

It speaks to the transport of the HTTP library, below its client: what the client would
add of its own accord (following, remembering, reading the environment) is not there.
"""

import ssl
from collections.abc import AsyncGenerator, AsyncIterator, Mapping
from contextlib import asynccontextmanager, suppress
from types import TracebackType
from typing import final

import anyio

try:
    import httpx2
except ImportError as _missing:  # pragma: no cover - needs an environment without the extra
    from ...core.errors import MissingExtraError

    raise MissingExtraError("mcp", "wrapping a server") from _missing

from ...core.errors import UpstreamError
from .http_config import HttpUpstreamConfig

__all__ = ("HttpWire", "Reply", "SeveredError", "UnreachableError")

_CLOSE_S = 2.0


@final
class UnreachableError(UpstreamError):
    """No connection could be made: nothing of the request was sent."""


@final
class SeveredError(UpstreamError):
    """The connection broke while the answer was being read."""


@final
class Reply:
    """An answer whose body is still to come.

    Args:
        response: What the library made of the head.
        max_bytes: The greatest size of a whole body.
    """

    def __init__(self, response: httpx2.Response, max_bytes: int) -> None:
        self._response = response
        self._max_bytes = max_bytes
        self._chunks: AsyncIterator[bytes] | None = None
        self.status: int = response.status_code
        kind, _, _ = response.headers.get("content-type", "").partition(";")
        self.content_type: str = kind.strip().lower()

    def header(self, name: str) -> str | None:
        """Return the value of a header."""
        value: str | None = self._response.headers.get(name)
        return value

    def retry_after_s(self) -> int | None:
        """Return how long the server asks to be left alone, where it says so in seconds."""
        text = (self.header("retry-after") or "").strip()
        return int(text) if text.isascii() and text.isdigit() and len(text) <= 5 else None  # noqa: PLR2004 - a day has five digits

    async def body(self) -> bytes:
        """Return the whole body.

        Raises:
            UpstreamError: It is too large, compressed, or breaks off.
        """
        parts: list[bytes] = []
        size = 0
        while chunk := await self.read():
            size += len(chunk)
            if size > self._max_bytes:
                raise UpstreamError(f"the answer has more than {self._max_bytes} bytes")
            parts.append(chunk)
        return b"".join(parts)

    async def read(self) -> bytes:
        """Return what has come of the body; nothing at its end.

        Raises:
            SeveredError: It breaks off.
            UpstreamError: It is compressed.
        """
        if (self.header("content-encoding") or "identity").strip().lower() != "identity":
            raise UpstreamError("the answer is compressed, which was not asked for")
        if self._chunks is None:
            self._chunks = self._response.aiter_raw()
        try:
            async for chunk in self._chunks:
                if chunk:
                    return chunk
        except httpx2.ReadTimeout:
            raise SeveredError("the server fell silent in the middle of its answer") from None
        except (httpx2.HTTPError, httpx2.StreamError, OSError):
            raise SeveredError("the connection broke in the middle of the answer") from None
        return b""

    async def aclose(self) -> None:
        """Close the connection, or give it back where the body was read to its end."""
        with anyio.move_on_after(_CLOSE_S, shield=True):
            with suppress(httpx2.HTTPError, OSError):
                await self._response.aclose()
            # The generators below us can only end by themselves, and now they must: trio
            # complains of those that are left half way.
            with suppress(UpstreamError):
                while self._chunks is not None and await self.read():
                    pass


@final
class HttpWire:
    """The connections to one endpoint, as an async context manager.

    Args:
        config: Where it is, and the bounds.

    Raises:
        UpstreamError: The file of authorities can not be read.
    """

    def __init__(self, config: HttpUpstreamConfig) -> None:
        self._config = config
        self._url = httpx2.URL(config.url)
        self._host = self._url.netloc.decode("ascii")
        self._transport = httpx2.AsyncHTTPTransport(
            verify=_authorities(config),
            trust_env=False,
            limits=httpx2.Limits(
                max_connections=config.max_connections,
                max_keepalive_connections=min(20, config.max_connections),
                keepalive_expiry=5.0,
            ),
        )

    async def __aenter__(self) -> "HttpWire":
        """Return the wire; nothing is opened before it is used."""
        await self._transport.__aenter__()
        return self

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Close every connection."""
        with anyio.move_on_after(_CLOSE_S, shield=True), suppress(httpx2.HTTPError, OSError):
            await self._transport.__aexit__(exc_type, exc, traceback)

    @asynccontextmanager
    async def send(
        self,
        method: str,
        headers: Mapping[str, str],
        body: bytes | None = None,
        *,
        patient: bool = False,
    ) -> AsyncGenerator[Reply]:
        """Send a request and give its answer, as soon as the head of it is there.

        Args:
            method: The HTTP method.
            headers: All of its headers, but for host and length.
            body: What it carries.
            patient: Whether the server may be silent for as long as it likes.

        Raises:
            UnreachableError: There is no connection.
            UpstreamError: The server closed the connection or was silent for too long.
        """
        config = self._config
        timeout = {
            "connect": config.connect_timeout_s,
            "pool": config.connect_timeout_s,
            "write": config.read_timeout_s,
            "read": None if patient else config.read_timeout_s,
        }
        request = httpx2.Request(
            method, self._url, headers=dict(headers), content=body, extensions={"timeout": timeout}
        )
        try:
            response = await self._transport.handle_async_request(request)
        except (httpx2.HTTPError, OSError) as error:
            raise _named(error, config) from None
        reply = Reply(response, config.max_message_bytes)
        try:
            yield reply
        finally:
            await reply.aclose()


def _authorities(config: HttpUpstreamConfig) -> ssl.SSLContext | bool:
    if config.ca_file is None:
        return True
    try:
        return ssl.create_default_context(cafile=str(config.ca_file))
    except (OSError, ssl.SSLError):
        raise UpstreamError("'ca_file' can not be read as a file of certificates") from None


def _named(error: Exception, config: HttpUpstreamConfig) -> UpstreamError:
    # Of the error only its kind: its text may quote what was sent.
    if isinstance(error, httpx2.ConnectTimeout):
        return UnreachableError(
            f"the server did not take a connection within {config.connect_timeout_s:g} seconds"
        )
    if isinstance(error, httpx2.ConnectError):
        of_tls = _is_of_tls(error)
        return UnreachableError(
            "the server's TLS certificate or protocol is not acceptable"
            if of_tls
            else "the server can not be reached: no connection could be made"
        )
    text = "the connection to the server broke"
    if isinstance(error, httpx2.PoolTimeout):
        text = f"all {config.max_connections} connections to the server are in use"
    elif isinstance(error, httpx2.TimeoutException):
        text = f"the server was silent for {config.read_timeout_s:g} seconds"
    elif isinstance(error, httpx2.RemoteProtocolError):
        text = "the server closed the connection or does not speak HTTP"
    return UpstreamError(text)


def _is_of_tls(error: BaseException | None) -> bool:
    seen = 0
    while error is not None and seen < 10:  # noqa: PLR2004 - a chain of causes is short
        if isinstance(error, ssl.SSLError):
            return True
        error, seen = error.__cause__ or error.__context__, seen + 1
    return False
