"""MetricsRegistry: the contract, bounds, misuse, and series held on hot paths."""

import math
import string

import pytest
from hypothesis import given, strategies as st

from localmcp_harden.core.errors import ConfigError
from localmcp_harden.observability.metrics import MetricsConfig, MetricsRegistry
from localmcp_harden.observability.names import DURATION_BUCKETS_S
from localmcp_harden.protocols.observability import MetricKind
from localmcp_harden.testing.contracts.metrics_service import metrics_service
from localmcp_harden.testing.doubles.metrics_service import FakeMetricsService

pytestmark = pytest.mark.anyio


def make_registry(*, max_series):
    return MetricsRegistry(MetricsConfig(max_series=max_series))


@pytest.mark.parametrize("rule", metrics_service.rules, ids=str)
@pytest.mark.parametrize("make", [make_registry, FakeMetricsService], ids=["registry", "fake"])
async def test_contract(make, rule):
    await rule.check(make)


def values(metrics, name):
    return {point.labels: point.value for point in metrics.collect() if point.name == name}


def misuse(metrics):
    counted = values(metrics, "localmcp.metrics.misuse")
    return {labels[0][1]: value for labels, value in counted.items()}


def held(metrics, name):
    family = metrics._families[name]
    return len(family.series) + len(family.overflow) + len(family.found)


def test_very_many_labels_stay_bounded():
    metrics = make_registry(max_series=100)
    for number in range(200_000):
        metrics.increment_counter("c", 1.0, {"user": str(number)})
    assert held(metrics, "c") <= 301
    assert values(metrics, "localmcp.metrics.overflow") == {(("metric", "c"),): 199_900.0}
    assert sum(values(metrics, "c").values()) == 200_000


def test_very_many_spellings_of_one_series_stay_bounded():
    metrics = make_registry(max_series=10)
    for number in range(1_000):
        metrics.increment_counter("c", 1.0, {"user": "x" * 128 + str(number)})
    assert values(metrics, "c") == {(("user", "x" * 128),): 1_000.0}
    assert held(metrics, "c") <= 31


def test_very_many_sets_of_label_names_stay_bounded():
    metrics = make_registry(max_series=10)
    for number in range(1_000):
        metrics.increment_counter("c", 1.0, {f"name{number}": "x"})
    assert held(metrics, "c") <= 40
    assert sum(values(metrics, "c").values()) == 1_000


def test_very_many_metrics_stay_bounded():
    metrics = MetricsRegistry(MetricsConfig(max_metrics=10))
    for number in range(1_000):
        metrics.increment_counter(f"c{number}")
    assert len(metrics._families) == 10
    assert misuse(metrics) == {"too_many_metrics": 990.0}
    with pytest.raises(ConfigError, match="max_metrics"):
        metrics.create_custom_metric("one.more", MetricKind.GAUGE)


def test_misuse_is_counted_by_kind():
    metrics = make_registry(max_series=10)
    metrics.increment_counter("c", -1)
    metrics.increment_counter("c", math.nan)
    metrics.increment_counter("9")
    metrics.increment_counter("c", 1.0, {"a": 1})
    metrics.record_gauge("c", 1.0)
    assert misuse(metrics) == {"value": 2.0, "name": 1.0, "labels": 1.0, "kind": 1.0}


@pytest.mark.parametrize(
    "labels",
    [
        {"quantile": "1"}, {"a.b": "1", "a_b": "2"}, {str(number): "" for number in range(3)},
        {f"l{number}": "" for number in range(17)}, {"": "1"}, {"a\n": "1"},
    ],
)  # fmt: skip
def test_labels_that_no_scraper_takes_are_misuse(labels):
    metrics = make_registry(max_series=10)
    metrics.increment_counter("c", 1.0, labels)
    assert misuse(metrics) == {"labels": 1.0}


def test_label_values_are_cut_and_cleaned():
    metrics = make_registry(max_series=10)
    metrics.increment_counter("c", 1.0, {"a": "x" * 1_000, "b": "\x1b[2J\ud800\u202e\n"})
    ((labels, _),) = values(metrics, "c").items()
    assert labels == (("a", "x" * 128), ("b", "\ufffd[2J\ufffd\ufffd\ufffd"))


def test_names_that_differ_only_in_dots_are_one_too_many():
    metrics = make_registry(max_series=10)
    metrics.increment_counter("a.b")
    metrics.increment_counter("a_b")
    assert misuse(metrics) == {"name": 1.0}
    with pytest.raises(ConfigError, match="read as"):
        metrics.create_custom_metric("a_b", MetricKind.COUNTER)


def test_the_registrys_own_names_are_taken():
    metrics = make_registry(max_series=10)
    metrics.record_gauge("localmcp.metrics.misuse", 3.0)
    assert misuse(metrics) == {"name": 1.0}


def test_bound_series_are_those_of_the_registry():
    metrics = make_registry(max_series=10)
    metrics.bind_counter("c", {"a": "1"}).inc()
    metrics.bind_counter("c", {"a": "1"}).inc(2.0)
    metrics.bind_gauge("g").set(3.0)
    metrics.bind_histogram("h").observe(0.3)
    assert {point.name: point.value for point in metrics.collect()} == {
        "c": 3.0,
        "g": 3.0,
        "h": 0.3,
    }


def test_binding_by_misuse_gives_something_harmless():
    metrics = make_registry(max_series=10)
    metrics.increment_counter("c")
    metrics.bind_counter("9").inc()
    metrics.bind_gauge("c").set(1.0)
    metrics.bind_histogram("c").observe(1.0)
    assert values(metrics, "c") == {(): 1.0}
    assert misuse(metrics) == {"name": 1.0, "kind": 2.0}


def test_histograms_have_the_buckets_of_the_conventions():
    metrics = make_registry(max_series=10)
    metrics.record_histogram("h", 0.15)
    point = metrics.collect()[0]
    assert tuple(bound for bound, _ in point.buckets) == DURATION_BUCKETS_S
    assert [count for _, count in point.buckets] == [0, 0, 0, 0] + [1] * 10


def test_declaring_after_the_first_value_adds_the_description():
    metrics = make_registry(max_series=10)
    metrics.increment_counter("c")
    metrics.create_custom_metric("c", MetricKind.COUNTER, description="d", unit="By")
    metrics.create_custom_metric("c", MetricKind.COUNTER)
    assert (metrics.collect()[0].description, metrics.collect()[0].unit) == ("d", "By")


def test_bounds_can_not_change_once_values_are_sorted_by_them():
    metrics = make_registry(max_series=10)
    metrics.record_histogram("h", 1.0)
    with pytest.raises(ConfigError, match="bounds"):
        metrics.create_custom_metric("h", MetricKind.HISTOGRAM, buckets=(1.0, 2.0))
    metrics.create_custom_metric("h", MetricKind.HISTOGRAM, buckets=DURATION_BUCKETS_S)


def test_configure_keeps_what_was_counted():
    metrics = make_registry(max_series=10)
    metrics.increment_counter("c", 1.0, {"a": "1"})
    metrics.increment_counter("c", 1.0, {"a": "2"})
    metrics.configure(MetricsConfig(max_series=1))
    metrics.increment_counter("c", 1.0, {"a": "2"})
    metrics.increment_counter("c", 1.0, {"a": "3"})
    assert values(metrics, "c") == {
        (("a", "1"),): 1.0,
        (("a", "2"),): 2.0,
        (("a", "__overflow__"),): 1.0,
    }


@pytest.mark.parametrize(
    "wrong",
    [
        {"max_metrics": 0}, {"max_series": 0}, {"max_label_chars": 1}, {"default_buckets": ()},
        {"default_buckets": (2.0, 1.0)}, {"default_buckets": (1.0, math.inf)},
    ],
)  # fmt: skip
def test_nonsense_is_refused(wrong):
    with pytest.raises(ValueError, match=next(iter(wrong))):
        MetricsConfig(**wrong)


anything = st.one_of(
    st.text(), st.floats(), st.integers(), st.none(), st.binary(), st.lists(st.integers())
)


@given(
    st.lists(
        st.tuples(
            st.one_of(st.sampled_from(["c", "g", "h", "a.b"]), anything),
            anything,
            st.one_of(
                anything,
                st.dictionaries(st.one_of(st.sampled_from(string.ascii_letters), anything.filter(
                    lambda key: not isinstance(key, list))), anything, max_size=3),
            ),
        ),
        max_size=20,
    )
)  # fmt: skip
def test_no_call_raises_and_every_point_is_finite(calls):
    metrics = make_registry(max_series=3)
    for name, value, labels in calls:
        metrics.increment_counter(name, value, labels)
        metrics.record_gauge(name, value, labels)
        metrics.record_histogram(name, value, labels)
    for point in metrics.collect():
        assert point.value > -math.inf
        assert all(isinstance(text, str) for label in point.labels for text in label)


@given(st.lists(st.floats(-1e6, 1e6), min_size=1, max_size=200))
def test_a_histogram_agrees_with_counting_by_hand(numbers):
    metrics = make_registry(max_series=3)
    for number in numbers:
        metrics.record_histogram("h", number)
    point = metrics.collect()[0]
    assert point.count == len(numbers)
    assert point.value == pytest.approx(sum(numbers))
    assert point.buckets == tuple(
        (bound, sum(number <= bound for number in numbers)) for bound in DURATION_BUCKETS_S
    )
