"""Bulkheads and levels of service in the chain: who waits, who is refused, what a reload keeps."""

import anyio
import pytest

from localmcp_harden import Effect, HardenConfig, Hardening, Mode, Rule, ToolConfig
from localmcp_harden.compose.loading import load_config
from localmcp_harden.core.errors import ConfigError
from localmcp_harden.core.model import Annotations, CallKind, Outcome, ToolDeclaration
from localmcp_harden.protocols.degradation import DegradationConfig, DegradationLevel
from localmcp_harden.protocols.health import HealthStatus
from localmcp_harden.protocols.load import BulkheadConfig
from localmcp_harden.security.policy.gate import PolicyConfig
from localmcp_harden.testing import FakeAuditLog, FakeLoggingService, RecordingSink

pytestmark = pytest.mark.anyio

ALL = PolicyConfig(rules=(Rule(id="all", effect=Effect.ALLOW),))
ONE = BulkheadConfig(max_concurrent=1, max_queue=0)
LEVELS = DegradationConfig(
    levels=(DegradationLevel(name="normal"), DegradationLevel(name="reduced", off=("export",))),
    statuses={"healthy": "normal", "unhealthy": "reduced"},
)


class World:
    """A hardened server with two tools that run until they are let go."""

    def __init__(self, *, audit=None, **config):
        self.sink = RecordingSink()
        self.hardening = Hardening(
            HardenConfig(policy=ALL, **config),
            audit=audit or FakeAuditLog(),
            logs=FakeLoggingService(),
            sinks=[self.sink],
        )
        tools = [ToolDeclaration(name=each, annotations=Annotations()) for each in ("a", "export")]
        self.hardening.declare_tools(tools, complete=True)
        self.running = 0
        self.most = 0
        self.let_go = anyio.Event()

    async def handle(self, _):
        self.running += 1
        self.most = max(self.most, self.running)
        await self.let_go.wait()
        self.running -= 1
        return Outcome(value="done")

    async def call(self, name="a", kind=CallKind.TOOL, method="tools/call"):
        call = self.hardening.new_call(kind, method, name)
        return await self.hardening.run(call, self.handle)

    async def together(self, *names):
        outcomes = []

        async def one(name):
            outcomes.append(await self.call(name))

        async with anyio.create_task_group() as tasks:
            for name in names:
                tasks.start_soon(one, name)
            await anyio.wait_all_tasks_blocked()
            self.let_go.set()
        return outcomes

    def codes(self, outcomes):
        return sorted(each.refusal.code if each.refusal else "" for each in outcomes)


async def test_without_settings_there_is_no_bulkhead():
    world = World()
    outcomes = await world.together(*["a"] * 20)

    assert world.most == 20
    assert world.codes(outcomes) == [""] * 20
    assert "bulkhead" not in [stage.name for stage in world.hardening.describe().stages]


async def test_a_full_bulkhead_refuses_and_the_record_says_so():
    world = World(bulkhead=ONE)
    outcomes = await world.together("a", "export", "a")

    assert world.most == 1
    assert world.codes(outcomes) == ["", "bulkhead_full", "bulkhead_full"]
    assert sorted(record.code for record in world.sink.records) == [
        "", "bulkhead_full", "bulkhead_full"
    ]  # fmt: skip


async def test_calls_wait_for_their_turn():
    world = World(bulkhead=BulkheadConfig(max_concurrent=2, max_queue=10))
    outcomes = await world.together(*["a"] * 8)

    assert world.most == 2
    assert world.codes(outcomes) == [""] * 8


async def test_a_tool_may_have_a_bulkhead_of_its_own():
    world = World(tools={"export": ToolConfig(bulkhead=ONE)})
    outcomes = await world.together("export", "export", "a", "a")

    assert world.codes(outcomes) == ["", "", "", "bulkhead_full"]
    assert set(world.hardening.blocks.bulkheads.snapshots()) == {"export"}


async def test_what_keeps_a_conversation_going_is_not_held_back():
    world = World(bulkhead=ONE)
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(world.call, "", CallKind.PROTOCOL, "subscriptions/listen")
        await anyio.wait_all_tasks_blocked()
        world.let_go.set()
        assert (await world.call()).value == "done"


async def test_a_cancelled_call_gives_its_permit_back():
    world = World(bulkhead=ONE)
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(world.call)
        await anyio.wait_all_tasks_blocked()
        tasks.cancel_scope.cancel()
    world.let_go.set()

    assert (await world.call()).value == "done"


async def test_observing_makes_nobody_wait():
    world = World(bulkhead=ONE, mode=Mode.OBSERVE)
    assert world.codes(await world.together("a", "a", "a")) == [""] * 3
    assert world.most == 3


async def test_a_reload_changes_bounds_and_keeps_who_runs():
    world = World(bulkhead=ONE)
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(world.call)
        await anyio.wait_all_tasks_blocked()
        world.hardening.reload(
            HardenConfig(policy=ALL, bulkhead=BulkheadConfig(max_concurrent=2, max_queue=0))
        )
        tasks.start_soon(world.call)
        await anyio.wait_all_tasks_blocked()
        assert world.running == 2
        assert (await world.call()).refusal.code == "bulkhead_full"
        world.let_go.set()


async def test_a_tool_that_is_off_is_refused_until_it_is_on_again():
    world = World(degradation=LEVELS)
    world.let_go.set()
    degradation = world.hardening.blocks.degradation

    assert (await world.call("export")).value == "done"
    degradation.set_level("reduced")
    refusal = (await world.call("export")).refusal
    assert refusal.code == "switched_off"
    assert "export" not in refusal.reason
    assert (await world.call("a")).value == "done"
    degradation.set_level(None)
    degradation.set_level("normal")
    assert (await world.call("export")).value == "done"


async def test_levels_come_from_a_file_and_are_refused_when_they_make_no_sense(tmp_path):
    file = tmp_path / "harden.toml"
    file.write_text(
        "version = 1\n[bulkhead]\nmax_concurrent = 3\n[bulkhead.adaptive]\nmin_limit = 2\n"
        "[tools.export.bulkhead]\nmax_concurrent = 1\n"
        '[[degradation.levels]]\nname = "normal"\n'
        '[[degradation.levels]]\nname = "reduced"\noff = ["export"]\n'
        '[degradation.statuses]\nhealthy = "normal"\nunhealthy = "reduced"\n'
    )
    config = load_config(file, environ={}).config
    assert config.bulkhead.adaptive.min_limit == 2
    assert config.tools["export"].bulkhead.max_concurrent == 1
    assert config.degradation.levels[1].off == ("export",)

    file.write_text("version = 1\n[bulkhead]\nmax_concurrent = 0\n")
    with pytest.raises(ConfigError, match=r"bulkhead\.max_concurrent"):
        load_config(file, environ={})


async def test_the_guards_own_health_is_known():
    world = World(bulkhead=ONE)
    report = await world.hardening.health.get_detailed_health()

    assert {check.name for check in report.checks} == {"audit", "circuits", "bulkheads"}
    assert report.status is HealthStatus.HEALTHY


async def test_an_audit_log_that_has_no_room_makes_the_server_unready():
    world = World(audit=FakeAuditLog(max_queued=1))
    held = world.hardening.blocks.audit.reserve()
    report = await world.hardening.health.get_detailed_health()

    assert report.status is HealthStatus.UNHEALTHY
    held.discard()
