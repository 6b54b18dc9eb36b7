"""How the runner reads and compares what the conformance suite found: pure, without Node."""

import importlib.util
import json
import sys
from collections import Counter
from pathlib import Path

import pytest

TOOLS = Path(__file__).parents[2] / "tools"


@pytest.fixture(scope="module")
def runner():
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(TOOLS))
        spec = importlib.util.spec_from_file_location(
            "conformance_runner", TOOLS / "conformance.py"
        )
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
        yield module
        sys.modules.pop("node_packages", None)


def suite(runner, scenarios, known=()):
    return runner.Suite("s", "package", (), scenarios, "auto", frozenset(known))


def results(**scenarios):
    return {name.replace("_", "-"): Counter(checks) for name, checks in scenarios.items()}


GOOD = [("a", "SUCCESS"), ("a", "SUCCESS"), ("b", "SUCCESS")]


def write(folder, name, checks):
    made = folder / "deeper" / name
    made.mkdir(parents=True)
    listed = [{"id": check, "status": status, "name": "N"} for check, status in checks]
    (made / "checks.json").write_text(json.dumps(listed))


def test_results_are_read_by_scenario_and_without_mere_information(runner, tmp_path):
    write(tmp_path, "server-sep-2164-x-2026-11-22T04-58-58-509Z", [*GOOD, ("c", "INFO")])
    write(tmp_path, "server-ping-2026-11-22T04-58-58-511Z", [("p", "FAILURE"), ("q", "SKIPPED")])
    found = runner.read_results(tmp_path)

    assert found == {
        "sep-2164-x": Counter({("a", "SUCCESS"): 2, ("b", "SUCCESS"): 1}),
        "ping": Counter({("p", "FAILURE"): 1, ("q", "SKIPPED"): 1}),
    }
    assert [runner.count(found, each) for each in ("SUCCESS", "FAILURE", "WARNING")] == [3, 1, 0]


def test_a_folder_of_another_shape_is_not_passed_over(runner, tmp_path):
    write(tmp_path, "something", GOOD)
    with pytest.raises(ValueError, match="not the output folder of a scenario: something"):
        runner.read_results(tmp_path)


def test_equal_and_passed_is_no_problem(runner):
    one = results(ping=GOOD, tools_list=GOOD)
    assert runner.find_problems(suite(runner, 2), one, one) == []


def test_a_scenario_that_vanished_is_told_twice(runner):
    problems = runner.find_problems(
        suite(runner, 2), results(ping=GOOD), results(ping=GOOD, tools_list=GOOD)
    )
    assert problems == ["1 scenarios have results, not 2", "tools-list: vanished"]


@pytest.mark.parametrize("number", [0, 1, 3])
def test_a_scenario_that_vanished_everywhere_is_a_problem(runner, number):
    found = results(**{f"s{each}": GOOD for each in range(number)})
    problems = runner.find_problems(suite(runner, 2), found, found)
    assert problems == [f"{number} scenarios have results, not 2"]


@pytest.mark.parametrize("status", ["FAILURE", "WARNING", "SKIPPED"])
def test_what_does_not_pass_is_a_problem_though_bare_does_not_either(runner, status):
    found = results(ping=[*GOOD, ("c", status)])
    assert runner.find_problems(suite(runner, 1), found, found) == [f"ping: c: 1 {status}"]
    assert runner.find_problems(suite(runner, 1, {"c"}), found, found) == []


def test_a_known_one_must_still_be_as_it_is_when_bare(runner):
    found, bare = results(ping=[("c", "FAILURE")]), results(ping=[("c", "WARNING")])
    problems = runner.find_problems(suite(runner, 1, {"c"}), found, bare)
    assert problems == ["ping: c: 1 FAILURE, but 1 WARNING when bare"]


@pytest.mark.parametrize(
    ("here", "problem"),
    [
        ([*GOOD, ("b", "SUCCESS")], "ping: b: 2 SUCCESS, but 1 SUCCESS when bare"),
        (GOOD[:2], "ping: b: nothing, but 1 SUCCESS when bare"),
        ([*GOOD, ("n", "SUCCESS")], "ping: n: 1 SUCCESS, but nothing when bare"),
        (
            [GOOD[0], ("a", "FAILURE"), GOOD[2]],
            "ping: a: 1 FAILURE, 1 SUCCESS, but 2 SUCCESS when bare",
        ),
    ],
)
def test_every_difference_is_a_problem(runner, here, problem):
    found = runner.find_problems(suite(runner, 1), results(ping=here), results(ping=GOOD))
    assert found == [problem]


def test_an_excused_check_may_be_missing_and_may_not_fail(runner):
    one, bare, excused = suite(runner, 1), results(ping=GOOD), frozenset("b")
    failed = results(ping=[*GOOD[:2], ("b", "FAILURE")])

    assert runner.find_problems(one, results(ping=GOOD[:2]), bare, excused=excused) == []
    assert runner.find_problems(one, failed, bare, excused=excused) == [
        "ping: b: 1 FAILURE, but 1 SUCCESS when bare"
    ]
