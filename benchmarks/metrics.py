"""Counters and histograms: ours beside prometheus_client's cached children and the OTel SDK."""

from benchmarks.harness import OURS, Bench
from localmcp_harden.observability.export.prometheus import render
from localmcp_harden.observability.metrics import MetricsRegistry

LABELS = {"method": "tools/call", "tool": "git_status", "outcome": "ok"}
SERIES = 1_000


def run(bench: Bench) -> None:
    import prometheus_client
    from opentelemetry.sdk.metrics import MeterProvider
    from opentelemetry.sdk.metrics.export import InMemoryMetricReader

    ours = MetricsRegistry()
    counter = ours.bind_counter("calls", LABELS)
    histogram = ours.bind_histogram("duration", LABELS)

    peers = prometheus_client.CollectorRegistry()
    names = tuple(LABELS)
    family = prometheus_client.Counter("calls", "Calls.", names, registry=peers)
    cached_counter = family.labels(**LABELS)
    cached_histogram = prometheus_client.Histogram(
        "duration", "Duration.", names, registry=peers
    ).labels(**LABELS)

    meter = MeterProvider([InMemoryMetricReader()]).get_meter("bench")
    otel_counter = meter.create_counter("calls")
    otel_histogram = meter.create_histogram("duration")

    base = "prometheus_client, cached child"
    medians = bench.compare(
        "counter",
        {
            base: cached_counter.inc,
            OURS: counter.inc,
            "localmcp-harden, by name": lambda: ours.increment_counter("calls", 1.0, LABELS),
            "prometheus_client, labels()": lambda: family.labels(**LABELS).inc(),
            "OpenTelemetry SDK": lambda: otel_counter.add(1, LABELS),
        },
        base=base,
    )
    ratio = medians[OURS] / medians[base]
    bench.target("counter", "at most 1.1 of prometheus_client's child", ratio, met=ratio <= 1.1)
    ratio = medians[OURS] / medians["OpenTelemetry SDK"]
    bench.target("counter", "at most 1/15 of the OpenTelemetry SDK", ratio, met=ratio <= 1 / 15)

    medians = bench.compare(
        "histogram",
        {
            base: lambda: cached_histogram.observe(0.15),
            OURS: lambda: histogram.observe(0.15),
            "localmcp-harden, by name": lambda: ours.record_histogram("duration", 0.15, LABELS),
            "OpenTelemetry SDK": lambda: otel_histogram.record(0.15, LABELS),
        },
        base=base,
    )
    ratio = medians[OURS] / medians[base]
    bench.target("histogram", "at most 1.5 of prometheus_client's child", ratio, met=ratio <= 1.5)
    ratio = medians[OURS] / medians["OpenTelemetry SDK"]
    bench.target("histogram", "at most 1/15 of the OpenTelemetry SDK", ratio, met=ratio <= 1 / 15)

    many = MetricsRegistry()
    same = prometheus_client.CollectorRegistry()
    children = prometheus_client.Counter("calls", "Calls.", ["user"], registry=same)
    for number in range(SERIES):
        many.increment_counter("calls", 1.0, {"user": str(number)})
        children.labels(str(number)).inc()
    bench.compare(
        "scrape, 1,000 counters",
        {
            "prometheus_client": lambda: prometheus_client.generate_latest(same),
            OURS: lambda: render(many.collect()),
        },
        base="prometheus_client",
    )
