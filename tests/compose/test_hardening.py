"""The facade: every block replaceable, life cycle, reload that keeps state, description."""

from contextlib import asynccontextmanager

import anyio
import pytest
from attrs import evolve, fields

from localmcp_harden import (
    CallKind,
    ConfigError,
    Effect,
    HardenConfig,
    Hardening,
    Mode,
    Outcome,
    Rule,
    ToolConfig,
    deny,
    load_config,
)
from localmcp_harden.core.errors import UnsafeOrderError
from localmcp_harden.core.events import ConfigurationReloaded, GuardFailed, OutcomeKind
from localmcp_harden.core.model import Annotations, Principal, SecurityContext, ToolDeclaration
from localmcp_harden.mechanisms.redact import RedactionConfig
from localmcp_harden.protocols.chain import Slot, Stage
from localmcp_harden.protocols.resilience import BreakerConfig, BreakerState
from localmcp_harden.protocols.security import Credentials, Transport
from localmcp_harden.resilience.deadline import DeadlineConfig
from localmcp_harden.security.access.limits import RateLimitConfig
from localmcp_harden.security.policy.gate import PolicyConfig
from localmcp_harden.testing import (
    FakeAuditLog,
    FakeAuthenticator,
    FakeCircuitBreaker,
    FakeClock,
    FakeLoggingService,
    FakePolicyGate,
    FakeRateLimiter,
    RecordingSink,
)

pytestmark = pytest.mark.anyio

ALL = PolicyConfig(rules=(Rule(id="all", effect=Effect.ALLOW),))
LOCAL = Credentials(transport=Transport.STDIO)


async def answer(call):
    return Outcome(value={"arguments": dict(call.arguments)})


async def fail(call):
    return Outcome(value={}, is_error=True)


@pytest.fixture
def sink():
    return RecordingSink()


@pytest.fixture
def clock():
    return FakeClock(autojump=True)


@pytest.fixture
def make(sink, clock):
    def make(config=None, **blocks):
        blocks.setdefault("audit", FakeAuditLog())
        blocks.setdefault("logs", FakeLoggingService())
        return Hardening(config or HardenConfig(policy=ALL), clock=clock, sinks=[sink], **blocks)

    return make


async def run(hardening, name="t", handler=answer, arguments=None, kind=CallKind.TOOL, method=None):
    method = method or {CallKind.TOOL: "tools/call", CallKind.RESOURCE: "resources/read"}[kind]
    call = hardening.new_call(kind, method, name, arguments)
    async with hardening:
        return await hardening.run(call, handler, credentials=LOCAL)


class TestBlocks:
    async def test_own_blocks_are_asked(self, make):
        gate, limiter, authenticator = FakePolicyGate(), FakeRateLimiter(), FakeAuthenticator()
        hardening = make(policy=gate, rate_limiter=limiter, authenticator=authenticator)
        await run(hardening)
        assert len(gate.calls) == len(limiter.calls) == 1
        assert hardening.blocks.authenticator is authenticator

    async def test_one_breaker_may_serve_all_tools(self, make):
        breaker = FakeCircuitBreaker()
        breaker.forced = BreakerState.OPEN
        hardening = make(breaker=breaker)
        for name in ("a", "b"):
            hardening.declare_tools([ToolDeclaration(name=name)])
            assert (await run(hardening, name)).refusal.code == "circuit_open"

    async def test_a_function_may_give_each_tool_its_own(self, make):
        made = {}

        def breaker(name):
            return made.setdefault(name, FakeCircuitBreaker())

        hardening = make(breaker=breaker)
        hardening.declare_tools([ToolDeclaration(name="a"), ToolDeclaration(name="b")])
        for name in ("a", "b", "a", "invented"):
            await run(hardening, name)
        assert sorted(made) == ["a", "b"]

    async def test_an_authenticator_that_waits_joins_as_an_around(self, make):
        class Remote:
            async def authenticate(self, credentials):
                await anyio.lowlevel.checkpoint()
                return Principal(client="far", subject="ann")

        hardening = make(authenticator=Remote())
        assert (await run(hardening)).is_success
        kinds = {stage.name: stage.kind for stage in hardening.describe().stages}
        assert kinds["authenticate"] == "around"

    async def test_a_sink_that_breaks_hurts_nobody(self, sink, clock):
        def broken(event):
            raise OSError("s3cret")

        hardening = Hardening(
            HardenConfig(policy=ALL),
            audit=FakeAuditLog(),
            logs=FakeLoggingService(),
            clock=clock,
            sinks=[broken, sink],
        )
        assert (await run(hardening)).is_success
        assert len(sink.records) == 1
        (failed,) = sink.of(GuardFailed)
        assert failed.guard.endswith("broken")
        assert "s3cret" not in repr(sink.events)


class TestDefaults:
    async def test_without_rules_nothing_is_allowed(self, make):
        outcome = await run(make(HardenConfig()))
        assert outcome.refusal.code == "policy_denied"

    async def test_over_http_without_credentials_nobody_gets_in(self, make):
        hardening = make()
        call = hardening.new_call(CallKind.TOOL, "tools/call", "t")
        credentials = Credentials(transport=Transport.HTTP)
        outcome = await hardening.run(call, answer, credentials=credentials)
        assert outcome.refusal.code == "unauthenticated"

    async def test_a_disabled_stage_is_left_out_and_pointed_at(self, make):
        hardening = make(HardenConfig(disabled=("policy", "retry")))
        assert (await run(hardening)).is_success
        description = hardening.describe()
        assert description.disabled == ("policy", "retry")
        assert "DISABLED: policy, retry" in str(description)
        assert "policy" not in [stage.name for stage in description.stages]

    async def test_annotations_of_a_stranger_count_for_nothing(self, make, sink):
        config = HardenConfig(policy=ALL, trust_annotations=False)
        hardening = make(config)
        hardening.declare_tools(
            [ToolDeclaration(name="t", annotations=Annotations(read_only=True))]
        )
        await run(hardening, handler=fail)
        assert sink.records[-1].attempts == 1

    async def test_the_hosts_word_counts(self, make, sink):
        config = HardenConfig(
            policy=ALL, trust_annotations=False, tools={"t": ToolConfig(idempotent=True)}
        )
        hardening = make(config)
        hardening.declare_tools([ToolDeclaration(name="t")])
        await run(hardening, handler=fail)
        assert sink.records[-1].attempts > 1


class TestResources:
    async def test_every_path_of_a_call_is_judged(self, make, tmp_path):
        rule = Rule(id="in", effect=Effect.ALLOW, resources=(str(tmp_path / "in"),))
        hardening = make(
            HardenConfig(
                policy=PolicyConfig(rules=(rule,)),
                tools={"move": ToolConfig(paths=("source", "targets"))},
                base_folder=tmp_path,
            )
        )
        hardening.declare_tools([ToolDeclaration(name="move")])
        good = await run(hardening, "move", arguments={"source": "in/a", "targets": ["in/b"]})
        assert good.value["arguments"] == {
            "source": str(tmp_path / "in/a"),
            "targets": [str(tmp_path / "in/b")],
        }
        for arguments in (
            {"source": "in/a", "targets": ["in/b", "out/b"]},
            {"source": "out/a", "targets": ["in/b"]},
            {"targets": []},
        ):
            outcome = await run(hardening, "move", arguments=arguments)
            assert outcome.refusal.code == "policy_denied"

    async def test_an_argument_that_is_no_path_is_refused(self, make):
        hardening = make(HardenConfig(policy=ALL, tools={"t": ToolConfig(paths=("p",))}))
        outcome = await run(hardening, arguments={"p": {"secret": "hunter2"}})
        assert outcome.refusal.code == "invalid_resource"
        assert "hunter2" not in outcome.refusal.reason

    async def test_uris_are_judged_in_one_spelling(self, make):
        rules = (
            Rule(id="a", effect=Effect.ALLOW, resources=("https://example.org/docs",)),
            Rule(id="d", effect=Effect.DENY, resources=("https://example.org/docs/private",)),
        )
        hardening = make(HardenConfig(policy=PolicyConfig(rules=rules)))
        seen = {}
        for uri in (
            "https://EXAMPLE.org:443/docs/x",
            "https://example.org/docs/%70rivate/x",
            "https://example.org/docs/./private",
        ):
            outcome = await run(hardening, uri, kind=CallKind.RESOURCE)
            seen[uri] = outcome.refusal.code if outcome.refusal else "ok"
        assert list(seen.values()) == ["ok", "policy_denied", "policy_denied"]

    async def test_a_subscription_is_judged_for_each_resource(self, make):
        rules = (
            Rule(id="l", effect=Effect.ALLOW, actions=("subscriptions/listen",)),
            Rule(id="s", effect=Effect.ALLOW, resources=("note://open",)),
        )
        hardening = make(HardenConfig(policy=PolicyConfig(rules=rules)))
        for uris, code in (
            (["note://open/1"], None),
            (["note://open/1", "note://shut/1"], "policy_denied"),
        ):
            outcome = await run(
                hardening,
                "",
                arguments={"resourceSubscriptions": uris},
                kind=CallKind.PROTOCOL,
                method="subscriptions/listen",
            )
            assert (outcome.refusal.code if outcome.refusal else None) == code


class TestOwnStages:
    async def test_a_stage_joins_its_slot(self, make):
        stage = Stage(
            name="mine", slot=Slot.CONTENT, check=lambda state: deny("policy_denied", "no")
        )
        hardening = make(stages=[stage])
        assert (await run(hardening)).refusal.reason == "no"
        names = [stage.name for stage in hardening.describe().stages]
        assert names.index("canonicalise") < names.index("mine") < names.index("policy")

    def test_an_unsafe_stage_is_refused(self, make):
        async def cache(state, call_next):
            return await call_next(state)

        with pytest.raises(UnsafeOrderError, match="before policy"):
            make(stages=[Stage(name="c", slot=Slot.CONTENT, around=cache, answers=True)])
        with pytest.raises(UnsafeOrderError, match="built-in"):
            make(stages=[Stage(name="policy", slot=Slot.POLICY, check=lambda state: None)])


class TestLifeCycle:
    async def test_the_hosts_lifespan_is_wrapped_and_not_taken_over(self, make):
        audit = FakeAuditLog()
        hardening = make(audit=audit)
        seen = []

        @asynccontextmanager
        async def host(server):
            seen.append((server, audit.is_open))
            yield {"db": 1}
            seen.append(("end", audit.is_open))

        async with hardening.lifespan(host)("server") as state:
            assert state == {"db": 1}
        assert seen == [("server", True), ("end", True)]
        assert not audit.is_open

    async def test_several_users_share_and_the_last_one_closes(self, make):
        audit = FakeAuditLog()
        hardening = make(audit=audit)
        async with hardening:
            async with hardening:
                assert audit.is_open
            assert audit.is_open
        assert not audit.is_open
        async with hardening:
            assert audit.is_open

    async def test_closing_is_not_cut_short_by_cancellation(self, make):
        audit = FakeAuditLog()
        hardening = make(audit=audit)
        with anyio.CancelScope() as scope:
            async with hardening:
                scope.cancel()
                await anyio.lowlevel.checkpoint()
        assert not audit.is_open

    def test_it_works_on_one_loop_after_another(self, make):
        hardening = make()
        for backend in ("asyncio", "trio", "asyncio"):
            assert anyio.run(run, hardening, backend=backend).is_success


class TestReload:
    async def test_windows_and_circuits_stay(self, make, clock):
        breaker = BreakerConfig(window_calls=2, minimum_calls=2, open_s=100)
        config = HardenConfig(
            policy=ALL, breaker=breaker, rate_limit=RateLimitConfig(rate_per_s=0.001, burst=5)
        )
        hardening = make(config)
        hardening.declare_tools([ToolDeclaration(name="t"), ToolDeclaration(name="u")])
        for _ in range(2):
            await run(hardening, handler=fail)
        assert (await run(hardening)).refusal.code == "circuit_open"

        hardening.reload(
            HardenConfig(
                policy=ALL,
                breaker=BreakerConfig(window_calls=4, minimum_calls=2, open_s=100),
                rate_limit=RateLimitConfig(rate_per_s=0.001, burst=6),
            )
        )
        assert (await run(hardening)).refusal.code == "circuit_open"
        # The circuit of another tool still counts error results as failures.
        for _ in range(2):
            await run(hardening, "u", handler=fail)
        assert (await run(hardening, "u")).refusal.code == "rate_limited"

    async def test_a_failure_is_still_a_failure_after_a_reload(self, make):
        config = HardenConfig(policy=ALL)
        hardening = make(config)
        hardening.declare_tools([ToolDeclaration(name="t")])
        hardening.reload(
            HardenConfig(policy=ALL, breaker=BreakerConfig(window_calls=2, minimum_calls=2))
        )
        for _ in range(2):
            await run(hardening, handler=fail)
        assert (await run(hardening)).refusal.code == "circuit_open"

    async def test_new_rules_are_in_force_and_reported(self, make, sink):
        hardening = make()
        assert (await run(hardening)).is_success
        hardening.reload(HardenConfig())
        assert (await run(hardening)).refusal.code == "policy_denied"
        (event,) = sink.of(ConfigurationReloaded)
        assert event.version == 2

    async def test_schemas_outlive_a_new_validator(self, make):
        from localmcp_harden.security.content.schema import SchemaConfig

        hardening = make()
        schema = {"type": "object", "required": ["n"]}
        hardening.declare_tools([ToolDeclaration(name="t", input_schema=schema)])
        hardening.reload(HardenConfig(policy=ALL, schema=SchemaConfig(max_tools=77)))
        assert (await run(hardening)).refusal.code == "invalid_arguments"

    async def test_the_file_is_read_again(self, make, tmp_path):
        file = tmp_path / "harden.toml"
        file.write_text("[rate_limit]\nburst = 1\n")
        hardening = make(load_config(file, environ={}))
        file.write_text("[rate_limit]\nburst = 2\n")
        hardening.reload()
        assert hardening.config.rate_limit.burst == 2
        file.write_text("[rate_limit]\nburst = 0\n")
        with pytest.raises(ConfigError, match="burst"):
            hardening.reload()
        assert hardening.config.rate_limit.burst == 2

    async def test_what_wins_over_the_file_wins_again(self, make, tmp_path):
        file = tmp_path / "harden.toml"
        file.write_text("[rate_limit]\nburst = 1\n")
        settings = {"rate_limit": {"burst": 7}, "trust_annotations": False}
        hardening = make(load_config(file, environ={}, settings=settings))
        file.write_text('mode = "observe"\n[rate_limit]\nburst = 2\n')
        hardening.reload()
        assert hardening.config.mode is Mode.OBSERVE
        assert hardening.config.rate_limit.burst == 7
        assert not hardening.config.trust_annotations

    async def test_a_refused_reload_has_changed_nothing(self, make):
        before = HardenConfig(
            policy=ALL, redaction=RedactionConfig(extra_words=frozenset({"zebra"}))
        )
        hardening = make(before)
        twice = Rule(id="twice", effect=Effect.ALLOW)
        with pytest.raises(ConfigError):
            hardening.reload(HardenConfig(policy=PolicyConfig(rules=(twice, twice))))
        redacted = hardening.blocks.redactor.redact({"zebra": "stripes"})
        assert "stripes" not in str(redacted)
        assert hardening.config is before

    async def test_without_a_file_there_is_nothing_to_read_again(self, make):
        with pytest.raises(ConfigError, match="nothing to read"):
            make().reload()

    async def test_what_can_not_change_is_refused_and_nothing_has_changed(self, clock, tmp_path):
        from localmcp_harden.security.audit.log import AuditConfig

        audit = AuditConfig(folder=tmp_path)
        hardening = Hardening(HardenConfig(audit=audit), clock=clock, logs=FakeLoggingService())
        with pytest.raises(ConfigError, match="restart"):
            hardening.reload(HardenConfig(policy=ALL, audit=AuditConfig(folder=tmp_path / "other")))
        assert hardening.config.policy == PolicyConfig()

    async def test_a_call_on_its_way_ends_under_the_old_settings(self, make, sink):
        hardening = make()
        go = anyio.Event()

        async def wait(call):
            await go.wait()
            return Outcome(value={})

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(run, hardening, "t", wait)
            await anyio.wait_all_tasks_blocked()
            hardening.reload(HardenConfig())
            go.set()
        assert sink.records[-1].outcome is OutcomeKind.OK


class TestDescription:
    def test_every_setting_with_its_source(self, make, tmp_path):
        file = tmp_path / "harden.toml"
        file.write_text("[rate_limit]\nburst = 7\n")
        hardening = make(load_config(file, environ={}))
        stages = {stage.name: stage for stage in hardening.describe().stages}

        settings = {s.path: (s.value, s.source) for s in stages["rate_limit"].settings}
        assert settings["rate_limit.burst"] == ("7", "harden.toml:2")
        assert settings["rate_limit.rate_per_s"] == ("20.0", "default")
        assert stages["rate_limit"].implementation == "GcraRateLimiter"
        assert next(iter(stages)) == "record"
        assert "logging.level = info  [default]" in str(hardening.describe())
        assert "rate_limit.burst = 7  [harden.toml:2]" in str(hardening.describe())

    def test_it_shows_no_secret(self, make):
        settings = {"authentication": {"tokens": [{"sha256": "ab" * 32, "client": "c"}]}}
        assert "ab" * 32 not in str(make(load_config(environ={}, settings=settings)).describe())


async def test_permitted_judges_canonical_forms(make, tmp_path):
    (tmp_path / "real").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "real")
    rule = Rule(id="r", effect=Effect.ALLOW, resources=(str(tmp_path / "real"), "note://box"))
    hardening = make(HardenConfig(policy=PolicyConfig(rules=(rule,))))
    uris = [f"file://{tmp_path}/link/x", "NOTE://box/1", "note://other", "no uri"]
    security = SecurityContext(action="resources/read")
    assert await hardening.permitted(security, "resources/read", uris) == set(uris[:2])


async def test_permitted_shows_everything_where_nothing_is_refused(make):
    security = SecurityContext(action="tools/call")
    names = {"a", "b"}
    assert await make(HardenConfig()).permitted(security, "tools/call", names) == frozenset()
    for config in (HardenConfig(mode=Mode.OBSERVE), HardenConfig(disabled=("policy",))):
        assert await make(config).permitted(security, "tools/call", names) == names


async def test_a_call_made_within_a_call_knows_its_parent(make, sink):
    hardening = make()

    async def outer(call):
        inner = hardening.new_call(CallKind.STAGE, "stage/x")
        return await hardening.run(inner, answer, credentials=LOCAL)

    await run(hardening, handler=outer)
    inner, outer_record = sink.records
    assert inner.parent_id == outer_record.call_id
    assert outer_record.parent_id is None


def test_a_new_call_has_every_field():
    # It is made of dicts, past the constructors.
    call = Hardening().new_call(CallKind.TOOL, "tools/call", "a", {"b": 1}, session_id="s")
    for made in (call, call.security):
        assert list(vars(made)) == [each.name for each in fields(type(made))]
        assert made == type(made)(**vars(made))


async def test_the_stores_are_open_while_somebody_uses_them(make):
    hardening = make()
    assert not hardening.is_open
    async with hardening:
        assert hardening.is_open
    assert not hardening.is_open


async def test_a_call_has_its_id_on_its_lines_and_leaves_the_one_before(make):
    logs = FakeLoggingService()
    hardening, seen = make(logs=logs), []
    logs.set_correlation_id("before")
    try:

        async def handler(call):
            seen.append((call.id, logs.get_correlation_id()))
            return Outcome()

        await run(hardening, handler=handler)
        assert seen[0][0] == seen[0][1]
        assert logs.get_correlation_id() == "before"
    finally:
        logs.set_correlation_id(None)


async def test_what_takes_too_long_is_refused_by_the_deadline(sink):
    async def handler(call):
        await anyio.sleep_forever()

    # On the real clock: the handler waits for no time of its own.
    config = HardenConfig(policy=ALL, deadline=DeadlineConfig(timeout_s=0.01))
    hardening = Hardening(config, audit=FakeAuditLog(), logs=FakeLoggingService(), sinks=[sink])
    assert (await run(hardening, handler=handler)).refusal.code == "deadline_exceeded"
    (record,) = sink.records
    assert record.decisions[-1].stage == "deadline"


async def test_neither_action_nor_name_is_recorded_as_a_caller_made_it_up(make, sink):
    hardening = make()
    call = hardening.new_call(CallKind.TOOL, "tools/call", "invented")
    security = evolve(call.security, action="password=s3cret")  # pragma: allowlist secret
    await hardening.run(call.with_security(security), answer, credentials=LOCAL)
    (record,) = sink.records
    assert (record.method, record.name) == ("tools/call", "_unknown")
    assert record.action == "password=[redacted]"  # pragma: allowlist secret
