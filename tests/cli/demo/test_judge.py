"""Everything that a story can expect can also be disappointed."""

import pytest
from attrs import evolve

from localmcp_harden.cli.demo.actors import Seen
from localmcp_harden.cli.demo.judge import CallResult, judge
from localmcp_harden.cli.demo.records import Record
from localmcp_harden.cli.demo.script import STORY
from localmcp_harden.cli.demo.story import Act, Caller, Expectation, Step, Verdict

EXPECT = Expectation(
    verdict=Verdict.REFUSED,
    code="rate_limited",
    rules=("limit",),
    attempts=0,
    text="too many",
    tools=("a", "b"),
    retry_after=True,
    within_s=1.0,
    event="something happened",
)
SEEN = Seen(
    verdict=Verdict.REFUSED,
    code="rate_limited",
    text="too many calls",
    retry_after_s=0.5,
    call_id="7",
    tools=("a", "b"),
    duration_s=0.1,
)
RECORD = Record(
    call_id="7",
    method="tools/call",
    name="search",
    outcome="refused",
    code="rate_limited",
    rules=("other", "limit"),
    duration_s=0.01,
)
EVENTS = ("something happened",)


def step(**more):
    return Step(id="x", act=Act.OWN, title="x", caller=Caller.READER, expect=EXPECT, **more)


def call(seen=SEEN, record=RECORD):
    return CallResult(at=0.0, shown="search()", seen=seen, record=record)


def test_what_went_as_expected_has_no_problem():
    assert judge(step(), [call()], EVENTS) == ()


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"verdict": Verdict.ALLOWED}, "verdict"),
        ({"code": "policy_denied"}, "code"),
        ({"code": ""}, "code"),
        ({"text": "sorry"}, "answer"),
        ({"retry_after_s": None}, "when to come again"),
        ({"retry_after_s": 0.0}, "when to come again"),
        ({"call_id": "8"}, "another call's record"),
        ({"tools": ("a",)}, "tools"),
        ({"tools": ("a", "b", "c")}, "tools"),
        ({"tools": None}, "tools"),
        ({"duration_s": 1.1}, "within"),
    ],
    ids=str,
)
def test_every_difference_in_what_was_seen_is_a_problem(change, told):
    problems = judge(step(), [call(seen=evolve(SEEN, **change))], EVENTS)

    assert any(told in problem for problem in problems)


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"outcome": "ok"}, "outcome"),
        ({"code": "policy_denied"}, "code"),
        ({"rules": ("other",)}, "rules"),
        ({"attempts": 1}, "attempts"),
        ({"call_id": "8"}, "another call's record"),
    ],
    ids=str,
)
def test_every_difference_in_the_record_is_a_problem(change, told):
    problems = judge(step(), [call(record=evolve(RECORD, **change))], EVENTS)

    assert len(problems) == 1
    assert told in problems[0]


def test_no_record_is_a_problem_where_there_should_be_one():
    assert judge(step(), [call(record=None)], EVENTS) == ("the server has no record of it",)
    assert judge(step(), [call(record=None)], EVENTS, recorded=False) == ()


def test_an_event_that_did_not_come_is_a_problem():
    assert len(judge(step(), [call()], ("something else happened",))) == 1


def test_no_call_at_all_is_a_problem():
    assert judge(step(), [], EVENTS) == ("nobody called",)


PASSED = call(
    seen=Seen(verdict=Verdict.ALLOWED), record=evolve(RECORD, outcome="ok", code="", rules=())
)


def test_of_a_burst_the_first_calls_must_pass():
    burst = evolve(step(burst=9), expect=evolve(EXPECT, passes_first=2))

    assert judge(burst, [PASSED, PASSED, call()], EVENTS) == ()
    assert judge(burst, [PASSED, call()], EVENTS) == ("expected 2 calls to pass first, saw 1",)
    failed = evolve(PASSED, seen=Seen(verdict=Verdict.FAILED))
    assert any("call 2: " in each for each in judge(burst, [PASSED, failed, call()], EVENTS))


def test_a_burst_that_nobody_stopped_is_a_problem():
    assert judge(step(burst=3), [PASSED, PASSED, PASSED], EVENTS) != ()


def test_the_story_is_sound():
    ids = [each.id for each in STORY]

    assert len(ids) == len(set(ids))
    assert [each.act for each in STORY] == sorted((each.act for each in STORY), key=list(Act).index)
    for each in STORY:
        if each.expect.verdict is Verdict.REFUSED:
            assert each.expect.code
        assert each.title.endswith(".")


def test_the_story_meets_every_guard():
    codes = {each.expect.code for each in STORY}

    assert codes >= {
        "unauthenticated",
        "policy_denied",
        "rate_limited",
        "input_too_large",
        "invalid_arguments",
        "circuit_open",
        "deadline_exceeded",
    }


def test_an_expectation_can_be_read():
    text = str(evolve(EXPECT, passes_first=4))

    assert text == "refused, rate_limited, tool ran 0\u00d7, 2 tools shown, after 4 passed"
