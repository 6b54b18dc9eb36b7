"""The page on retry storms says what the simulation says."""

import importlib
import sys
from functools import cache
from pathlib import Path

import pytest

# The simulation is no part of the package; at the end, so that it hides no other module.
sys.path.append(str(Path(__file__).parents[2]))
fleet = importlib.import_module("benchmarks.fleet")
chart_at = importlib.import_module("tools.svg_lines").chart_at

PAGE = fleet.PAGE.read_text(encoding="utf-8")
PLOT = fleet.PLOT.read_text(encoding="utf-8")


@cache
def simulate(place):
    return fleet.simulate(fleet.VARIANTS[place])


def find(name):
    return simulate([variant.name for variant in fleet.VARIANTS].index(name))


@pytest.mark.parametrize("place", range(len(fleet.VARIANTS)), ids=lambda p: fleet.VARIANTS[p].name)
def test_the_page_has_the_numbers_of_the_simulation(place):
    run = simulate(place)
    assert fleet.row(run) in PAGE
    assert chart_at(fleet.chart(run), place, high=fleet.HIGH) in PLOT


def test_a_run_is_the_same_every_time():
    first, second = (fleet.simulate(fleet.VARIANTS[3]) for _ in range(2))
    assert first == second


def test_the_page_lists_every_variant_once():
    rows = [line for line in PAGE.splitlines() if line.endswith(" % |")]
    assert len(rows) == len(fleet.VARIANTS)


def test_a_budget_lets_the_upstream_recover_that_retries_alone_keep_down():
    alone, bounded = find("retry, full jitter"), find("retry and budget")
    assert alone.recovery_s is None
    assert bounded.recovery_s is not None
    assert bounded.recovery_s < 10
    assert bounded.after < fleet.CAPACITY < alone.after


def test_one_budget_bounds_hedges_too():
    alone, bounded = find("retry and hedge"), find("retry, hedge, one budget")
    assert alone.recovery_s is None
    assert bounded.recovery_s is not None
    assert bounded.after < fleet.CAPACITY


def test_other_seeds_say_the_same():
    alone = fleet.simulate(fleet.VARIANTS[2], seed=2)
    bounded = fleet.simulate(fleet.VARIANTS[3], seed=2)
    assert (alone.recovery_s, bounded.recovery_s is None) == (None, False)
