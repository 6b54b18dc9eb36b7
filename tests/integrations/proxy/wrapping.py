"""Makes wrapped servers, and clients that note what they are told."""

from contextlib import asynccontextmanager

import anyio
import mcp
import mcp_types as types
from mcp.shared.memory import create_client_server_memory_streams

from localmcp_harden import Effect, HardenConfig, Hardening, Rule
from localmcp_harden.integrations.proxy import StdioUpstream, wrap
from localmcp_harden.security.access.identity import AuthenticationConfig
from localmcp_harden.security.policy.gate import PolicyConfig
from localmcp_harden.testing import FakeLoggingService

ALL = (Rule(id="all", effect=Effect.ALLOW),)


def guards(*rules, sinks=(), logs=None, **config):
    config.setdefault("policy", PolicyConfig(rules=rules or ALL))
    config.setdefault("authentication", AuthenticationConfig(anonymous_http=True))
    config.setdefault("disabled", ("audit", "rate_limit", "retry", "breaker"))
    return Hardening(HardenConfig(**config), logs=logs or FakeLoggingService(), sinks=list(sinks))


@asynccontextmanager
async def on_streams(server):
    """Connect as over standard input and output: in messages, in either era."""
    async with (
        create_client_server_memory_streams() as (ours, theirs),
        anyio.create_task_group() as tasks,
    ):
        tasks.start_soon(server.run, *theirs, server.create_initialization_options())
        yield ours
        tasks.cancel_scope.cancel()


class Notes:
    """What a client was told, and what it answers."""

    def __init__(self, action="accept", can=("elicitation", "sampling", "roots")):
        self.action = action
        self.can = can
        self.asked = []
        self.told = []
        self.logged = []
        self.progress = []

    async def on_progress(self, progress, total, message):
        self.progress.append((progress, total, message))

    async def on_message(self, message):
        if isinstance(message, Exception):
            raise message
        self.told.append(message)

    async def on_log(self, params):
        self.logged.append((params.level, params.data))

    async def on_elicitation(self, context, params):
        self.asked.append(params.message)
        content = {"name": "me"} if self.action == "accept" else None
        return types.ElicitResult(action=self.action, content=content)

    async def on_sampling(self, context, params):
        self.asked.append(params.messages[0].content.text)
        content = types.TextContent(type="text", text="sampled")
        return types.CreateMessageResult(role="assistant", content=content, model="none")

    async def on_roots(self, context):
        return types.ListRootsResult(roots=[types.Root(uri="file:///mine")])

    def methods(self):
        return [note.method for note in self.told]

    def updated(self):
        return [
            note.params.uri
            for note in self.told
            if note.method == "notifications/resources/updated"
        ]

    def client(self, target, mode):
        return mcp.Client(
            target,
            mode=mode,
            elicitation_callback=self.on_elicitation if "elicitation" in self.can else None,
            sampling_callback=self.on_sampling if "sampling" in self.can else None,
            list_roots_callback=self.on_roots if "roots" in self.can else None,
            logging_callback=self.on_log,
            message_handler=self.on_message,
        )


@asynccontextmanager
async def connected(
    upstreams, notes, *words, bare=False, mode="legacy", upstream_mode="auto", config=None
):
    """Connect to the full server: bare, or wrapped."""
    settings = {"mode": upstream_mode}
    upstream = upstreams.full(*words, **settings)
    if bare:
        target = StdioUpstream(upstream)
    else:
        target = on_streams(wrap(upstream, guards(), config=config))
    with anyio.fail_after(40):
        async with notes.client(target, mode) as client:
            yield client


async def until(happened):
    """Wait for what another process does; whoever calls this bounds the time."""
    while not happened():  # noqa: ASYNC110 - there is no event across processes
        await anyio.sleep(0.01)


def said(result):
    return result.content[0].text
