"""CallLogger and CallMeter: one line and one count for every event."""

import io
import json

import pytest

from localmcp_harden.core.events import (
    BreakerStateChanged,
    CallRecord,
    ChaosInjected,
    ConfigurationReloaded,
    DegradationChanged,
    EndpointEjectionChanged,
    Escalated,
    FallbackUsed,
    GuardFailed,
    HealAttempted,
    HealthChanged,
    HedgeStarted,
    LoopStalled,
    OutcomeKind,
    RetryEnded,
    RetryScheduled,
    ServiceRestarted,
    StageDecision,
    StoreFailed,
)
from localmcp_harden.core.model import CallKind, Decision, Effect, Principal, deny
from localmcp_harden.observability import names, rare_events
from localmcp_harden.observability.logs import JsonLoggingService
from localmcp_harden.observability.metrics import MetricsConfig, MetricsRegistry
from localmcp_harden.observability.readers import CallLogger, CallMeter
from localmcp_harden.testing.doubles.logging_service import FakeLoggingService
from localmcp_harden.testing.doubles.metrics_service import FakeMetricsService


def record(**changes):
    facts = {
        "call_id": "c1", "kind": CallKind.TOOL, "method": "tools/call", "name": "git_status",
        "started_at": 1.0, "duration_s": 0.25, "outcome": OutcomeKind.OK,
    }  # fmt: skip
    return CallRecord(**(facts | changes))


def line_of(event):
    logs = FakeLoggingService()
    CallLogger(logs)(event)
    (line,) = logs.lines
    return line


def test_a_call_is_one_line_with_all_that_is_known():
    allowed = Decision(effect=Effect.ALLOW, rules=("r1",))
    line = line_of(
        record(
            principal=Principal(issuer="i", client="c", subject="s", roles=frozenset({"dev"})),
            arguments={"path": "/x"}, decisions=(StageDecision("policy", allowed),),
            timings={"policy": 0.001}, meta={"trace_id": "t"}, resource="file:///x", project="p",
            ip_address="192.0.2.1", user_agent="agent/1", parent_id="c0", attempts=2,
            session_id="opens-the-session",
        )
    )  # fmt: skip
    assert (line["level"], line["logger"]) == ("info", "localmcp.calls")
    assert line["message"] == "tools/call git_status ok"
    assert "opens-the-session" not in json.dumps(line)
    digest = line["ctx"].pop("session")
    assert len(digest) == 8
    assert line["ctx"] == {
        "call_id": "c1", "kind": "tool", "method": "tools/call", "name": "git_status",
        "outcome": "ok", "duration_s": 0.25, "attempts": 2, "rules": ["r1"],
        "principal": {"issuer": "i", "client": "c", "subject": "s", "roles": ["dev"]},
        "timings_s": {"policy": 0.001}, "arguments": {"path": "/x"}, "meta": {"trace_id": "t"},
        "resource": "file:///x", "project": "p", "ip_address": "192.0.2.1",
        "claimed": {"user_agent": "agent/1"}, "parent_id": "c0",
    }  # fmt: skip


def test_a_denied_call_says_why():
    denial = deny("policy_denied", "not allowed", rules=("r2",))
    line = line_of(
        record(
            outcome=OutcomeKind.REFUSED, code="policy_denied", reason="not allowed",
            decisions=(StageDecision("policy", denial),),
        )
    )  # fmt: skip
    assert (line["level"], line["message"]) == ("warning", "tools/call git_status denied")
    wanted = {
        "code": "policy_denied", "reason": "not allowed", "rules": ["r2"], "enforced": True,
        "decisions": {"policy": "policy_denied"},
    }  # fmt: skip
    assert wanted.items() <= line["ctx"].items()


@pytest.mark.parametrize(
    ("changes", "level", "message"),
    [
        ({"outcome": OutcomeKind.ERROR, "code": "OSError"}, "warning",
         "tools/call git_status failed"),
        ({"outcome": OutcomeKind.CANCELLED}, "info", "tools/call git_status cancelled"),
        ({"outcome": OutcomeKind.REFUSED, "code": "gate_failed"}, "error",
         "tools/call git_status denied"),
        ({"would_refuse": ("rate_limited",), "enforced": False}, "warning",
         "tools/call git_status ok, would be denied"),
        ({"kind": CallKind.PROTOCOL, "method": "tools/list", "name": ""}, "info", "tools/list ok"),
        ({"name": "x" * 1_000}, "info", f"tools/call {'x' * 128} ok"),
    ],
)  # fmt: skip
def test_level_and_message_follow_the_outcome(changes, level, message):
    line = line_of(record(**changes))
    assert (line["level"], line["message"]) == (level, message)


RARE = [
    (BreakerStateChanged(at=1, breaker="b", previous="closed", current="open", cause="c"),
     "warning", "breaker b: closed to open"),
    (BreakerStateChanged(at=1, breaker="b", previous="open", current="half_open", cause="c"),
     "info", "breaker b: open to half_open"),
    (RetryScheduled(at=1, operation="o", attempt=1, wait_s=0.25, error_type="OSError"),
     "info", "o: attempt 1 failed, the next in 0.25 s"),
    (GuardFailed(at=1, guard="policy", error_type="KeyError"),
     "error", "guard policy broke: KeyError"),
    (StoreFailed(at=1, store="audit", error_type="OSError", detail="log"),
     "error", "store audit failed: OSError"),
    (ConfigurationReloaded(at=1, version=3, source="harden.toml"),
     "info", "configuration 3 is in force"),
    (HealthChanged(at=1, check="db", previous="healthy", current="unhealthy", reason="gone"),
     "warning", "health check db is unhealthy: gone"),
    (HealthChanged(at=1, check="db", previous="unhealthy", current="healthy"),
     "info", "health check db is healthy"),
    (HealAttempted(at=1, check="db", attempt=2, outcome="not_verified"),
     "warning", "healing db, attempt 2: not_verified"),
    (HealAttempted(at=1, check="db", attempt=3, outcome="healed"),
     "info", "healing db, attempt 3: healed"),
    (ServiceRestarted(at=1, supervisor="s", service="sync", services=("sync",), wait_s=0.25,
                      error_type="OSError"),
     "warning", "service sync is restarted in 0.25 s: OSError"),
    (Escalated(at=1, source="s", subject="sync", cause="intensity", attempts=5),
     "error", "s gave up on sync: intensity"),
    (LoopStalled(at=1, stalled_s=2.5, stack=("a.py:1 in f", "b.py:2 in g")),
     "error", "the event loop stood still for 2.5 s in b.py:2 in g"),
    (EndpointEjectionChanged(at=1, pool="p", endpoint="a", ejected=True, cause="success_rate",
                             ejection_s=30.0),
     "warning", "endpoint a of p is left out for 30 s"),
    (RetryEnded(at=1, operation="o", outcome="recovered", attempts=2, waited_s=0.5),
     "info", "o: recovered after 2 attempts"),
    (HedgeStarted(at=1, operation="o", hedge=1, delay_s=0.25),
     "info", "o is begun once more after 0.25 s"),
    (FallbackUsed(at=1, operation="o", source="value", error_type="OSError"),
     "warning", "o failed, and a value was answered"),
    (DegradationChanged(at=1, service="s", previous="full", current="reduced", cause="health"),
     "warning", "service s: full to reduced"),
    (ChaosInjected(at=1, operation="o", kind="latency", delay_s=0.25),
     "warning", "o: latency on purpose"),
]  # fmt: skip


@pytest.mark.parametrize(("event", "level", "message"), RARE)
def test_a_rare_event_is_one_line(event, level, message):
    line = line_of(event)
    assert (line["level"], line["message"]) == (level, message)
    assert line["logger"] == "localmcp.events"
    assert line["ctx"]["event"]


def test_an_event_that_nobody_described_is_written_under_its_name():
    class NewEvent:
        pass

    metrics, count = meter()
    count(NewEvent())
    line = line_of(NewEvent())
    assert (line["level"], line["message"]) == ("info", "event NewEvent")
    assert metrics.collect() == ()


def test_every_described_event_is_among_the_examples():
    assert {type(event) for event, _, _ in RARE} == set(rare_events._DESCRIBED)
    assert set(rare_events._DESCRIBED) == set(rare_events._COUNTED)


def meter():
    metrics = FakeMetricsService()
    return metrics, CallMeter(metrics)


def test_a_call_is_counted_and_timed():
    metrics, count = meter()
    count(record())
    labels = {names.METHOD: "tools/call", names.TOOL_NAME: "git_status"}
    assert metrics.point("mcp.server.operation.duration", labels).count == 1
    assert metrics.value("mcp.server.operation.duration", labels) == 0.25
    assert metrics.value("localmcp.calls", {"kind": "tool", "outcome": "ok", "code": ""}) == 1.0


def test_a_refusal_is_counted_by_code():
    metrics, count = meter()
    count(record(outcome=OutcomeKind.REFUSED, code="rate_limited"))
    assert metrics.value("localmcp.refusals", {"code": "rate_limited"}) == 1.0
    labels = {
        names.METHOD: "tools/call", names.TOOL_NAME: "git_status", names.ERROR_TYPE: "rate_limited"
    }  # fmt: skip
    assert metrics.point("mcp.server.operation.duration", labels).count == 1


def test_what_observing_let_pass_is_counted_apart():
    metrics, count = meter()
    count(record(would_refuse=("rate_limited", "policy_denied"), enforced=False))
    assert metrics.value("localmcp.refusals.observed", {"code": "policy_denied"}) == 1.0
    assert not [point for point in metrics.collect() if point.name == "localmcp.refusals"]


@pytest.mark.parametrize(
    ("changes", "labels"),
    [
        ({"name": "_unknown"}, {"gen_ai.tool.name": "_unknown"}),
        ({"name": ""}, {"gen_ai.tool.name": "_unknown"}),
        ({"kind": CallKind.PROMPT, "method": "prompts/get", "name": "p"},
         {"mcp.method.name": "prompts/get"}),
        ({"kind": CallKind.RESOURCE, "method": "resources/read", "name": "file:///x"},
         {"mcp.method.name": "resources/read"}),
        ({"kind": CallKind.PROTOCOL, "method": "made/up", "name": ""},
         {"mcp.method.name": "_other"}),
        ({"outcome": OutcomeKind.ERROR}, {"gen_ai.tool.name": "git_status",
                                          "error.type": "tool_error"}),
        ({"outcome": OutcomeKind.CANCELLED}, {"gen_ai.tool.name": "git_status",
                                              "error.type": "cancelled"}),
    ],
)  # fmt: skip
def test_labels_hold_nothing_that_a_caller_invents(changes, labels):
    metrics, count = meter()
    count(record(**changes))
    wanted = {"mcp.method.name": "tools/call"} | labels
    assert metrics.point("mcp.server.operation.duration", wanted) is not None


@pytest.mark.parametrize("kind", [CallKind.STAGE, CallKind.ADMIN])
def test_what_is_no_request_is_counted_but_not_timed_as_one(kind):
    metrics, count = meter()
    count(record(kind=kind, method="stage/build"))
    assert metrics.value("localmcp.calls", {"kind": kind.value, "outcome": "ok", "code": ""}) == 1
    assert all(point.name != "mcp.server.operation.duration" for point in metrics.collect())


@pytest.mark.parametrize(
    ("event", "name", "labels", "value"),
    [
        (RARE[0][0], "localmcp.breaker.state", {"breaker": "b"}, 2.0),
        (RARE[1][0], "localmcp.breaker.state", {"breaker": "b"}, 1.0),
        (RARE[0][0], "localmcp.breaker.transitions",
         {"breaker": "b", "from": "closed", "to": "open"}, 1.0),
        (RARE[2][0], "localmcp.retries", {"error.type": "OSError"}, 1.0),
        (RARE[3][0], "localmcp.guard.failures", {"guard": "policy", "error.type": "KeyError"}, 1.0),
        (RARE[4][0], "localmcp.store.failures", {"store": "audit", "error.type": "OSError"}, 1.0),
        (RARE[5][0], "localmcp.configuration.reloads", None, 1.0),
        (RARE[6][0], "localmcp.health.status", {"check": "db"}, 0.0),
        (RARE[7][0], "localmcp.health.status", {"check": "db"}, 2.0),
        (RARE[8][0], "localmcp.heal.attempts", {"check": "db", "outcome": "not_verified"}, 1.0),
        (RARE[10][0], "localmcp.service.restarts",
         {"service": "sync", "error.type": "OSError"}, 1.0),
        (RARE[11][0], "localmcp.escalations", {"source": "s", "cause": "intensity"}, 1.0),
        (RARE[12][0], "localmcp.loop.stalls", None, 1.0),
        (RARE[12][0], "localmcp.loop.stalled", None, 2.5),
        (RARE[13][0], "localmcp.ejections", {"cause": "success_rate"}, 1.0),
        (RARE[14][0], "localmcp.retries.ended", {"outcome": "recovered"}, 1.0),
        (RARE[15][0], "localmcp.hedges", None, 1.0),
        (RARE[16][0], "localmcp.fallbacks", {"source": "value"}, 1.0),
        (RARE[17][0], "localmcp.degradations", {"service": "s", "to": "reduced"}, 1.0),
        (RARE[18][0], "localmcp.chaos", {"kind": "latency"}, 1.0),
    ],
)  # fmt: skip
def test_a_rare_event_is_counted(event, name, labels, value):
    metrics, count = meter()
    count(event)
    assert metrics.value(name, labels) == value


def test_every_metric_is_described_and_a_second_meter_is_welcome():
    metrics, count = meter()
    CallMeter(metrics)
    count(record())
    for event, _, _ in RARE:
        count(event)
    assert all(point.description for point in metrics.collect())


def test_calls_logged_and_counted_are_as_many():
    logs, (metrics, count) = FakeLoggingService(), meter()
    write = CallLogger(logs)
    for number in range(100):
        one = record(outcome=list(OutcomeKind)[number % 4], code="x" if number % 4 else "")
        write(one)
        count(one)
    assert len(logs.lines) == 100
    total = sum(point.value for point in metrics.collect() if point.name == "localmcp.calls")
    assert total == 100


def test_a_deferring_logger_writes_the_same_line():
    stream = io.BytesIO()
    logs = JsonLoggingService(stream=stream)
    one = record(arguments={"path": "/x"}, ip_address="192.0.2.1")
    CallLogger(logs)(one)
    logs.close()
    written, plain = json.loads(stream.getvalue()), line_of(one)
    assert {key: written[key] for key in ("level", "logger", "message", "ctx")} == {
        key: plain[key] for key in ("level", "logger", "message", "ctx")
    }


@pytest.mark.parametrize("kind", [CallKind.TOOL, CallKind.STAGE])
def test_usual_calls_are_counted_as_others_are(kind):
    held, looked_up = MetricsRegistry(), MetricsRegistry()
    fast, slow = CallMeter(held), CallMeter(looked_up)
    slow._binds = False
    for number in range(12):
        one = record(
            kind=kind, name=f"t{number % 2}", duration_s=number,
            outcome=OutcomeKind.ERROR if number == 5 else OutcomeKind.OK,
            code="x" if number == 5 else "", would_refuse=("y",) if number == 7 else (),
        )  # fmt: skip
        fast(one)
        slow(one)
    assert fast._usual
    assert held.collect() == looked_up.collect()


def test_what_is_past_the_bound_of_series_is_counted_as_such_each_time():
    metrics = MetricsRegistry(MetricsConfig(max_series=2))
    count = CallMeter(metrics)
    for number in range(20):
        count(record(name=f"t{number % 4}"))
    values = {(point.name, point.labels): point for point in metrics.collect()}
    past = values[names.METRICS_OVERFLOW, (("metric", names.OPERATION_DURATION),)]
    assert past.value == 10
    assert len(count._usual) == 2
