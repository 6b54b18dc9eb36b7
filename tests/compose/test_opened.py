import anyio
import pytest

from localmcp_harden import HardenConfig, Hardening
from localmcp_harden.core.events import CallRecord, OutcomeKind
from localmcp_harden.core.model import CallKind, Outcome, deny
from localmcp_harden.testing.clock import FakeClock
from localmcp_harden.testing.doubles.audit_log import FakeAuditLog
from localmcp_harden.testing.doubles.logging_service import FakeLoggingService

pytestmark = pytest.mark.anyio


@pytest.fixture
def clock():
    return FakeClock()


@pytest.fixture
def records():
    return []


@pytest.fixture
def hardening(clock, records):
    def keep(event):
        if isinstance(event, CallRecord):
            records.append(event)

    config = HardenConfig(disabled=("audit", "policy"))
    return Hardening(config, clock=clock, sinks=[keep], logs=FakeLoggingService())


async def ok(_):
    return Outcome(value=1)


async def test_what_nothing_adopts_is_recorded_when_it_is_closed(hardening, records, clock):
    opened = hardening.open_request("http/POST", ip_address="192.0.2.1", user_agent="x")
    clock.advance(2)
    opened.close(Outcome(refusal=deny("host_refused", "why")))
    opened.close(Outcome())
    (record,) = records
    assert record.call_id == opened.id
    assert record.kind is CallKind.PROTOCOL
    assert (record.method, record.code, record.reason) == ("http/POST", "host_refused", "why")
    assert record.outcome is OutcomeKind.REFUSED
    assert record.duration_s == 2
    assert record.ip_address == "192.0.2.1"
    assert record.decisions[0].stage == "http"


async def test_what_a_call_adopts_leaves_that_calls_record_alone(hardening, records, clock):
    opened = hardening.open_request("http/POST", meta={"linked_trace_id": "t"})
    opened.message = "tools/list"
    clock.advance(3)
    fresh = hardening.new_call(CallKind.PROTOCOL, "tools/list", meta={"protocol_version": "v"})
    call = opened.adopt(fresh)
    assert opened.is_adopted
    assert fresh.id != call.id == opened.id
    await hardening.run(call, ok, opened=opened)
    opened.close(Outcome())
    (record,) = records
    assert record.call_id == opened.id
    assert record.parent_id is None
    assert record.method == "tools/list"
    assert record.duration_s == 3
    assert record.timings["transport"] == 3
    assert record.started_at == opened.call.security.timestamp
    assert record.meta == {"linked_trace_id": "t", "protocol_version": "v"}


async def test_another_call_of_the_same_request_names_it_as_its_parent(hardening, records):
    opened = hardening.open_request("http/POST")
    opened.message = "tools/call"
    call = opened.adopt(hardening.new_call(CallKind.PROTOCOL, "tools/list"))
    assert not opened.is_adopted
    assert call.id != opened.id
    await hardening.run(call, ok, opened=opened)
    opened.close(Outcome())
    assert [(each.call_id, each.parent_id) for each in records] == [
        (call.id, opened.id),
        (opened.id, None),
    ]
    assert "transport" not in records[0].timings


async def test_a_call_that_comes_too_late_is_one_of_its_own(hardening, records):
    opened = hardening.open_request("http/POST")
    opened.close(None)
    call = opened.adopt(hardening.new_call(CallKind.PROTOCOL, "ping"))
    assert (call.parent_id, opened.is_adopted) == (opened.id, False)
    assert [each.outcome for each in records] == [OutcomeKind.CANCELLED]


async def test_how_the_call_ended_is_known(hardening):
    opened = hardening.open_request("http/POST")
    call = opened.adopt(hardening.new_call(CallKind.PROTOCOL, "ping"))

    async def refused(_):
        return Outcome(refusal=deny("unauthenticated", "why"))

    await hardening.run(call, refused, opened=opened)
    assert opened.code == "unauthenticated"


async def test_waiting_ends_with_the_call_or_with_the_time(hardening, clock):
    opened, other = hardening.open_request("http/POST"), hardening.open_request("http/POST")
    with anyio.fail_after(5):
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(opened.wait_adopted, 1.0)
            tasks.start_soon(other.wait_adopted, 1.0)
            await anyio.wait_all_tasks_blocked()
            opened.adopt(hardening.new_call(CallKind.PROTOCOL, "ping"))
            await anyio.wait_all_tasks_blocked()
            clock.advance(1.0)
        await opened.wait_adopted(1.0)
    assert not other.is_adopted


async def test_a_refusal_is_audited_unless_it_is_one_of_a_flood(clock):
    log = FakeAuditLog()
    async with Hardening(audit=log, clock=clock, logs=FakeLoggingService()) as hardening:
        for audited in (True, False):
            opened = hardening.open_request("http/POST")
            opened.close(Outcome(refusal=deny("invalid_json", "why")), audited=audited)
        hardening.open_request("http/GET").close(Outcome())
        assert [entry.data["code"] for entry in log.entries] == ["invalid_json"]


async def test_a_transport_refuses_also_where_the_chain_observes(records, clock):
    config = HardenConfig(mode="observe", disabled=("audit",))
    hardening = Hardening(config, clock=clock, sinks=[records.append], logs=FakeLoggingService())
    hardening.open_request("http/POST").close(Outcome(refusal=deny("host_refused", "why")))
    assert records[-1].enforced
