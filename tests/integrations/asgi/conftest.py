"""A server that is driven by hand, and what its guard recorded."""

import json

import anyio
import pytest

from localmcp_harden import HardenConfig, Hardening
from localmcp_harden.core.events import CallRecord
from localmcp_harden.integrations.asgi import AsgiGuard
from localmcp_harden.security.transport.config import HttpConfig
from localmcp_harden.testing.clock import FakeClock
from localmcp_harden.testing.doubles.logging_service import FakeLoggingService


async def application(scope, receive, send):
    """Answer with what came through the guard."""
    body = b""
    while True:
        message = await receive()
        if message["type"] != "http.request":
            return
        body += message.get("body", b"")
        if not message.get("more_body", False):
            break
    seen = {
        "client": scope["client"][0] if scope["client"] else None,
        "headers": {name.decode(): value.decode("latin-1") for name, value in scope["headers"]},
        "body": body.decode("utf-8", "replace"),
    }
    await answer(send, 200, json.dumps(seen).encode())


async def answer(send, status, body=b"", headers=()):
    await send({"type": "http.response.start", "status": status, "headers": [*headers]})
    await send({"type": "http.response.body", "body": body})


class Reply:
    def __init__(self, messages):
        start = messages[0]
        self.status = start["status"]
        self.lines = start["headers"]
        self.headers = dict(start["headers"])
        self.body = b"".join(each.get("body", b"") for each in messages[1:])
        self.complete = not messages[-1].get("more_body", False)

    @property
    def json(self):
        return json.loads(self.body)

    @property
    def code(self):
        return self.json["error"]["data"]["code"]


class Driver:
    def __init__(self, app, config, **options):
        self.records = []
        self.clock = FakeClock()
        self.hardening = Hardening(
            options.pop("settings", None) or HardenConfig(disabled=("audit", "policy")),
            clock=self.clock,
            sinks=[lambda event: isinstance(event, CallRecord) and self.records.append(event)],
            logs=FakeLoggingService(),
            audit=options.pop("audit", None),
        )
        self.guard = AsgiGuard(app, self.hardening, config=config, clock=self.clock, **options)

    @property
    def codes(self):
        return [each.code for each in self.records]

    def scope(self, method="POST", headers=(), *, peer="192.0.2.1", kind="http", version="1.1"):
        given = {name.encode(): value.encode("latin-1") for name, value in dict(headers).items()}
        lines = {b"host": b"localhost", **given}
        return {
            "type": kind,
            "http_version": version,
            "method": method,
            "path": "/mcp",
            "client": (peer, 1234) if peer else None,
            "headers": list(lines.items()),
        }

    async def run(self, scope, parts=(), *, hang=False):
        """Send a request; without `hang` the client goes away after its parts."""
        messages, sent = list(parts), []

        async def receive():
            if messages:
                return messages.pop(0)
            if hang:
                await anyio.sleep_forever()
            return {"type": "http.disconnect"}

        async def send(message):
            sent.append(message)

        await self.guard(scope, receive, send)
        return Reply(sent) if sent else None

    async def post(self, body, headers=(), *, peer="192.0.2.1", declared=True):
        given = {"content-type": "application/json", **dict(headers)}
        if declared:
            given.setdefault("content-length", str(len(body)))
        scope = self.scope("POST", given, peer=peer)
        return await self.run(scope, [{"type": "http.request", "body": body, "more_body": False}])

    async def get(self, headers=(), *, method="GET", peer="192.0.2.1"):
        parts = [{"type": "http.request", "body": b"", "more_body": False}]
        return await self.run(self.scope(method, headers, peer=peer), parts)


@pytest.fixture
def drive():
    def make(app=application, *, settings=None, audit=None, app_authenticates=None, **config):
        return Driver(
            app,
            HttpConfig(**config),
            settings=settings,
            audit=audit,
            app_authenticates=app_authenticates,
        )

    make.answer = answer
    return make
