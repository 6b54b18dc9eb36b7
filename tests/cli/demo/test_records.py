import json

import pytest

from localmcp_harden.cli.demo.records import RecordReader

pytestmark = pytest.mark.anyio

CONTEXT = {
    "call_id": "a-1",
    "method": "tools/call",
    "name": "search",
    "outcome": "refused",
    "code": "policy_denied",
    "rules": ["no"],
    "attempts": 2,
    "duration_s": 0.25,
}


def line(logger="localmcp.calls", message="m", **context):
    return json.dumps({"logger": logger, "message": message, "ctx": {**CONTEXT, **context}}) + "\n"


async def test_a_record_is_read_whole(tmp_path):
    file = tmp_path / "log"
    file.write_text(line())
    record = await RecordReader(file).find(lambda _: True)

    assert record is not None
    assert record.call_id == "a-1"
    assert record.rules == ("no",)
    assert (record.outcome, record.code, record.attempts) == ("refused", "policy_denied", 2)
    assert record.duration_s == 0.25


async def test_what_does_not_match_is_passed_over(tmp_path):
    file = tmp_path / "log"
    file.write_text(line(call_id="1") + line(call_id="2") + line(call_id="3"))
    reader = RecordReader(file)

    second = await reader.find(lambda record: record.call_id == "2")
    third = await reader.find(lambda _: True)

    assert second is not None
    assert second.call_id == "2"
    assert third is not None
    assert third.call_id == "3"
    assert await reader.find(lambda _: True, within_s=0.0) is None


async def test_half_a_line_is_read_when_it_is_whole(tmp_path):
    file = tmp_path / "log"
    text = line()
    file.write_text(text[:20])
    reader = RecordReader(file)
    assert await reader.find(lambda _: True, within_s=0.0) is None

    with file.open("a") as log:
        log.write(text[20:])
    assert await reader.find(lambda _: True) is not None


async def test_a_file_that_is_not_there_yet_has_no_records(tmp_path):
    assert await RecordReader(tmp_path / "none").find(lambda _: True, within_s=0.0) is None


async def test_what_is_no_record_is_left_out(tmp_path):
    file = tmp_path / "log"
    file.write_text('nonsense\n[1]\n{"logger":"localmcp.calls","ctx":3}\n' + line(logger="other"))

    assert await RecordReader(file).find(lambda _: True, within_s=0.0) is None


async def test_events_are_told_once(tmp_path):
    file = tmp_path / "log"
    file.write_text(line(logger="localmcp.events", message="it opened"))
    reader = RecordReader(file)

    assert await reader.find_event("it opened")
    assert not await reader.find_event("it closed", within_s=0.0)
    assert reader.take_events() == ("it opened",)
    assert reader.take_events() == ()
