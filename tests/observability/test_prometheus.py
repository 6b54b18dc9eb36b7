"""The Prometheus and OpenMetrics text, written out and read back by a parser of its own."""

import math
import re

import pytest
from hypothesis import given, strategies as st

from localmcp_harden.observability.export.prometheus import (
    OPENMETRICS_TYPE,
    PROMETHEUS_TYPE,
    render,
    render_for,
)
from localmcp_harden.observability.metrics import MetricsRegistry
from localmcp_harden.protocols.observability import MetricKind, MetricPoint

SAMPLE = re.compile(r'([a-zA-Z_][a-zA-Z0-9_]*)(?:\{((?:[^"\\]|"(?:[^"\\\n]|\\.)*")*)\})? (\S+)')
LABEL = re.compile(r'([a-zA-Z_][a-zA-Z0-9_]*)="((?:[^"\\\n]|\\.)*)"')


def counter(name="c", value=1.0, labels=(), **more):
    return MetricPoint(name=name, kind=MetricKind.COUNTER, value=value, labels=labels, **more)


def read_back(text):
    """Return every sample, by the grammar of the format."""
    samples = []
    for line in text.split("\n")[:-1]:
        if line.startswith("#"):
            continue
        name, labels, value = SAMPLE.fullmatch(line).groups()
        unescaped = {
            label: re.sub(r"\\(.)", lambda m: {"n": "\n"}.get(m[1], m[1]), text)
            for label, text in LABEL.findall(labels or "")
        }
        samples.append((name, unescaped, float(value)))
    return samples


def test_the_older_format_word_for_word():
    points = [
        counter("my.calls", 3.0, (("a", "x"),), description='What\n"is" \\ it'),
        MetricPoint(name="level", kind=MetricKind.GAUGE, value=-math.inf),
        MetricPoint(
            name="time", kind=MetricKind.HISTOGRAM, value=1.5, count=3, unit="s",
            labels=(("t.n", "y"),), buckets=((0.5, 1), (1.0, 2)),
        ),
    ]  # fmt: skip
    assert render(points) == (
        '# HELP my_calls_total What\\n"is" \\\\ it\n'
        "# TYPE my_calls_total counter\n"
        'my_calls_total{a="x"} 3.0\n'
        "# TYPE level gauge\n"
        "level -Inf\n"
        "# TYPE time_seconds histogram\n"
        'time_seconds_bucket{t_n="y",le="0.5"} 1\n'
        'time_seconds_bucket{t_n="y",le="1.0"} 2\n'
        'time_seconds_bucket{t_n="y",le="+Inf"} 3\n'
        'time_seconds_sum{t_n="y"} 1.5\n'
        'time_seconds_count{t_n="y"} 3\n'
    )


def test_the_newer_format_word_for_word():
    points = [
        counter("sent", 3.0, unit="By", description='a "b"'),
        counter("x_total", math.nan, unit="1"),
        MetricPoint(name="share", kind=MetricKind.GAUGE, value=0.5, unit="1"),
    ]
    assert render(points, openmetrics=True) == (
        '# HELP sent_bytes a \\"b\\"\n'
        "# TYPE sent_bytes counter\n"
        "# UNIT sent_bytes bytes\n"
        "sent_bytes_total 3.0\n"
        "# TYPE x counter\n"
        "x_total NaN\n"
        "# TYPE share_ratio gauge\n"
        "# UNIT share_ratio ratio\n"
        "share_ratio 0.5\n"
        "# EOF\n"
    )


def test_nothing_is_a_page_too():
    assert render([]) == ""
    assert render([], openmetrics=True) == "# EOF\n"


def test_names_that_would_collide_are_told_apart():
    points = [
        counter("a.b"), MetricPoint(name="a_b_total", kind=MetricKind.GAUGE),
        MetricPoint(name="a", kind=MetricKind.HISTOGRAM), counter("a_count"),
        MetricPoint(name="a_sum", kind=MetricKind.GAUGE), counter("a_b"),
    ]  # fmt: skip
    text = render(points)
    heads = re.findall(r"# TYPE (\S+)", text)
    assert len(heads) == len(set(heads)) == 6
    names = [name for name, _, _ in read_back(text)]
    assert len(names) == len(set(names))


def test_series_of_one_metric_stand_under_one_head():
    points = [counter("a", labels=(("l", "1"),)), counter("b"), counter("a", labels=(("l", "2"),))]
    assert render(points).count("# TYPE a_total") == 1


@pytest.mark.parametrize(
    ("accept", "kind", "end"),
    [
        (
            "application/openmetrics-text;version=1.0.0,text/plain;q=0.5",
            OPENMETRICS_TYPE,
            "# EOF\n",
        ),
        ("text/plain", PROMETHEUS_TYPE, "c_total 1.0\n"),
        ("", PROMETHEUS_TYPE, "c_total 1.0\n"),
    ],
)
def test_the_scraper_chooses(accept, kind, end):
    seen, body = render_for(accept, [counter()])
    assert seen == kind
    assert body.endswith(end)


@given(st.text(st.characters(codec=None)), st.booleans())
def test_no_label_value_ends_its_line(value, openmetrics):
    text = render([counter(labels=(("l", value),), description=value)], openmetrics=openmetrics)
    ((name, labels, number),) = read_back(text)
    kept = re.sub("[\ud800-\udfff\r]", "\ufffd", value)
    assert (name, labels, number) == ("c_total", {"l": kept}, 1.0)
    text.encode()


@given(st.lists(st.text(st.characters(codec=None), max_size=5), max_size=20))
def test_what_the_registry_holds_can_be_read_back(texts):
    metrics = MetricsRegistry()
    for text in texts:
        metrics.increment_counter("c", 1.0, {"l": text})
        metrics.record_histogram("h", len(text), {"l": text})
    samples = read_back(render(metrics.collect()))
    assert sum(value for name, _, value in samples if name == "c_total") == len(texts)
    assert sum(value for name, _, value in samples if name == "h_count") == len(texts)


def test_prometheus_client_reads_both_formats():
    parser = pytest.importorskip("prometheus_client.parser")
    newer = pytest.importorskip("prometheus_client.openmetrics.parser")
    metrics = MetricsRegistry()
    metrics.create_custom_metric("h", MetricKind.HISTOGRAM, unit="s", description='a "b"\n\\')
    metrics.record_histogram("h", 1.0, {"a": 'x"\\'})
    metrics.increment_counter("c.d", 2.0)
    metrics.record_gauge("g", -1.0)
    points = metrics.collect()
    old = list(parser.text_string_to_metric_families(render(points)))
    new = list(newer.text_string_to_metric_families(render(points, openmetrics=True)))
    assert {one.name for one in old} == {one.name for one in new} == {"c_d", "g", "h_seconds"}
