"""DependencyGraph: one status of many; never better for a part that is worse."""

import pytest
from hypothesis import given, strategies as st

from localmcp_harden.mechanisms.dependency_graph import DependencyGraph, counted_as, find_circle
from localmcp_harden.protocols.health import HealthStatus

ILL, SO_SO, WELL = HealthStatus
STATUS = st.sampled_from(HealthStatus)


@st.composite
def graphs(draw):
    """Return a graph without circles: each node depends on earlier ones only."""
    count = draw(st.integers(1, 8))
    names = [f"n{number}" for number in range(count)]
    depends_on = {
        name: tuple(draw(st.sets(st.sampled_from(names[:at]))) if at else ())
        for at, name in enumerate(names)
    }
    shuffled = draw(st.permutations(names))
    critical = frozenset(draw(st.sets(st.sampled_from(names))))
    return DependencyGraph({name: depends_on[name] for name in shuffled}, critical), names


@given(graph=graphs(), data=st.data())
def test_what_gets_worse_never_makes_the_whole_better(graph, data):
    graph, names = graph
    own = {name: data.draw(STATUS) for name in names}
    worse = {name: HealthStatus(data.draw(st.integers(0, own[name]))) for name in names}
    verdicts, worse_verdicts = graph.judge(own), graph.judge(worse)
    assert all(worse_verdicts[name].status <= verdicts[name].status for name in names)
    assert graph.combine(names, worse_verdicts, WELL) <= graph.combine(names, verdicts, WELL)


@given(graph=graphs(), data=st.data())
def test_nothing_is_better_than_its_own_status_and_causes_are_ill(graph, data):
    graph, names = graph
    own = {name: data.draw(STATUS) for name in names}
    for name, verdict in graph.judge(own).items():
        assert verdict.status <= own[name]
        assert bool(verdict.causes) is (verdict.status is not WELL)
        assert all(own[cause] is not WELL for cause in verdict.causes)
        assert verdict.missing == ()


def test_criticality():
    assert counted_as(ILL, critical=True) is ILL
    assert counted_as(ILL, critical=False) is SO_SO
    assert counted_as(WELL, critical=False) is WELL
    graph = DependencyGraph({"app": ("cache",), "cache": ()}, frozenset({"app"}))
    assert graph.judge({"app": WELL, "cache": ILL})["app"].status is SO_SO


def test_what_is_missing_is_ill():
    verdict = DependencyGraph({"a": ("gone",)}, frozenset()).judge({"a": WELL})["a"]
    assert (verdict.status, verdict.causes, verdict.missing) == (ILL, ("gone",), ("gone",))


def test_the_root_is_blamed_and_not_who_stands_on_it():
    graph = DependencyGraph({"c": ("b",), "b": ("a",), "a": ()}, frozenset("abc"))
    verdicts = graph.judge({"a": ILL, "b": ILL, "c": WELL})
    assert [verdicts[name].causes for name in "abc"] == [("a",)] * 3


def test_nothing_at_all():
    assert DependencyGraph({}, frozenset()).combine((), {}, SO_SO) is SO_SO


@pytest.mark.parametrize(
    ("depends_on", "circle"),
    [
        ({"a": ("a",)}, ("a", "a")),
        ({"a": ("b",), "b": ("c",), "c": ("a",)}, ("a", "b", "c", "a")),
        ({"a": ("b", "c"), "b": ("d",), "c": ("d",), "d": ()}, ()),
        ({"a": ("b",)}, ()),
    ],
)
def test_circles_are_found(depends_on, circle):
    assert find_circle(depends_on, "a") == circle


def test_long_chains_need_no_deep_stack():
    count = 5_000
    depends_on = {str(number): (str(number + 1),) for number in range(count)}
    depends_on[str(count)] = ()
    graph = DependencyGraph(depends_on, frozenset(depends_on))
    assert find_circle(depends_on, "0") == ()
    own = dict.fromkeys(depends_on, WELL) | {str(count): ILL}
    assert graph.judge(own)["0"].status is ILL
    assert graph.reach(["4998"]) == ("5000", "4999", "4998")
