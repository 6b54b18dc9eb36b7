"""Log lines: ours beside structlog with the same redaction, stdlib with JSON, and loguru.

What counts is what a caller's thread pays. Our lines are written by a thread of their
own; it works while the caller does and takes its share of the interpreter, which these
times include. What it still has to do afterwards is waited for outside the measurement,
and `whole line` shows the sum.
"""

import gc
import json
import logging
import statistics
import time
from collections.abc import Callable

from benchmarks.harness import OURS, Bench
from localmcp_harden.core.events import CallRecord, OutcomeKind, StageDecision
from localmcp_harden.core.model import CallKind, Decision, Effect, Principal
from localmcp_harden.mechanisms.redact import KeyRedactor
from localmcp_harden.observability.logs import JsonLoggingService
from localmcp_harden.observability.metrics import MetricsRegistry
from localmcp_harden.observability.readers import CallLogger, CallMeter
from localmcp_harden.protocols.observability import LoggingConfig, LogLevel

CONTEXT = {
    "user": "ann", "tool": "git_status", "path": "src/main.py", "count": 3, "ok": True, "ms": 1.25,
}  # fmt: skip
ARGUMENTS = {"repo_path": "/home/ann/project", "max_count": 10, "branch": "main"}
CALLS = 2_000
ROUNDS = 25


class Null:
    """A binary file that keeps nothing."""

    def write(self, data: bytes) -> int:
        return len(data)

    def flush(self) -> None:
        pass


class NullText:
    def write(self, data: str) -> int:
        return len(data)

    def flush(self) -> None:
        pass


Subject = tuple[Callable[[], object], Callable[[], object]]


def nothing() -> None:
    pass


def compare_settled(
    bench: Bench, case: str, subjects: dict[str, Subject], *, base: str, whole: bool = False
) -> dict[str, float]:
    """Time calls, and let each subject finish its work before the next one is measured."""
    samples: dict[str, list[float]] = {name: [] for name in subjects}
    gc.collect()
    gc.disable()
    try:
        for _ in range(ROUNDS):
            for name, (function, settle) in subjects.items():
                start = time.perf_counter()
                for _ in range(CALLS):
                    function()
                end = time.perf_counter()
                settle()
                if whole:
                    end = time.perf_counter()
                samples[name].append((end - start) / CALLS)
    finally:
        gc.enable()
    medians = {name: statistics.median(values) for name, values in samples.items()}
    for name, median in medians.items():
        bench.row(case, name, "us", round(median * 1e6, 4), round(median / medians[base], 4))
    return medians


def structlog_logger(*, redact: bool):
    import orjson
    import structlog

    redactor = KeyRedactor()

    def hide(_logger: object, _method: str, event: dict) -> dict:
        return dict(redactor.redact(event))

    structlog.contextvars.bind_contextvars(correlation_id="c0ffee")
    return structlog.wrap_logger(
        structlog.BytesLogger(Null()),
        processors=[
            structlog.contextvars.merge_contextvars,
            structlog.processors.add_log_level,
            # Before the time is added, which needs no looking through.
            *([hide] if redact else []),
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            structlog.processors.JSONRenderer(serializer=orjson.dumps),
        ],
        wrapper_class=structlog.make_filtering_bound_logger(logging.INFO),
        cache_logger_on_first_use=True,
    ).bind()


def stdlib_logger(name: str) -> logging.Logger:
    from pythonjsonlogger.orjson import OrjsonFormatter

    logger = logging.getLogger(name)
    logger.propagate = False
    logger.setLevel(logging.INFO)
    handler = logging.StreamHandler(NullText())
    handler.setFormatter(OrjsonFormatter("%(asctime)s %(levelname)s %(name)s %(message)s"))
    logger.handlers = [handler]
    return logger


def record() -> CallRecord:
    return CallRecord(
        call_id="c0ffee", kind=CallKind.TOOL, method="tools/call", name="git_status",
        started_at=1.0, duration_s=0.01, outcome=OutcomeKind.OK, arguments=ARGUMENTS, attempts=1,
        principal=Principal(issuer="i", client="c", subject="ann", roles=frozenset({"dev"})),
        decisions=(StageDecision("policy", Decision(effect=Effect.ALLOW, rules=("r1",))),),
        timings={f"stage{number}": 1e-6 for number in range(9)}, meta={"transport": "stdio"},
    )  # fmt: skip


def run(bench: Bench) -> None:
    from loguru import logger as loguru_logger

    ours = JsonLoggingService(LoggingConfig(max_queued_lines=1_000_000), stream=Null())
    named = ours.create_logger("bench")
    ours.set_correlation_id("c0ffee")
    with_redaction = structlog_logger(redact=True)
    bare = structlog_logger(redact=False)
    stdlib = stdlib_logger("bench.json")
    loguru_logger.remove()
    loguru_logger.add(NullText(), serialize=True, level="INFO")

    lines: dict[str, Subject] = {
        "structlog, orjson, redaction": (
            lambda: with_redaction.info("request done", **CONTEXT), nothing),
        OURS: (lambda: named.log(LogLevel.INFO, "request done", CONTEXT), lambda: ours.flush(30)),
        "structlog, orjson": (lambda: bare.info("request done", **CONTEXT), nothing),
        "stdlib, python-json-logger, orjson": (
            lambda: stdlib.info("request done", extra=CONTEXT), nothing),
        "loguru, serialize": (lambda: loguru_logger.bind(**CONTEXT).info("request done"), nothing),
    }  # fmt: skip
    base = "structlog, orjson, redaction"
    medians = compare_settled(bench, "line, six fields", lines, base=base)
    ratio = medians[OURS] / medians[base]
    bench.target(
        "line, six fields", "at most 0.8 of structlog with redaction", ratio, met=ratio <= 0.8
    )
    compare_settled(
        bench, "whole line, both threads", {name: lines[name] for name in (base, OURS)},
        base=base, whole=True,
    )  # fmt: skip

    medians = bench.compare(
        "disabled level",
        {
            "stdlib": lambda: stdlib.debug("request done", extra=CONTEXT),
            OURS: lambda: named.log(LogLevel.DEBUG, "request done", CONTEXT),
            "structlog": lambda: bare.debug("request done", **CONTEXT),
            "loguru": lambda: loguru_logger.debug("request done"),
        },
        base="stdlib",
    )
    loguru_logger.remove()
    ratio = medians[OURS] / medians["stdlib"]
    bench.target("disabled level", "at most 2.5 of stdlib", ratio, met=ratio <= 2.5)

    redactor = KeyRedactor()
    bench.compare(
        "redact small arguments",
        {"json.dumps": lambda: json.dumps(ARGUMENTS), OURS: lambda: redactor.redact(ARGUMENTS)},
        base="json.dumps",
    )
    observe(bench, ours)
    ours.close()


def observe(bench: Bench, ours: JsonLoggingService) -> None:
    """One record, logged and counted, beside one span of the OpenTelemetry SDK."""
    from opentelemetry.sdk.trace import TracerProvider

    tracer = TracerProvider().get_tracer("bench")
    attributes = {"mcp.method.name": "tools/call", "gen_ai.tool.name": "git_status"}

    def span() -> None:
        with tracer.start_as_current_span("tools/call git_status", attributes=attributes):
            pass

    one = record()
    write, count = CallLogger(ours), CallMeter(MetricsRegistry())

    def both() -> None:
        write(one)
        count(one)

    medians = compare_settled(
        bench,
        "observe one record",
        {
            "OpenTelemetry SDK span": (span, nothing),
            OURS: (both, lambda: ours.flush(30)),
            "log alone": (lambda: write(one), lambda: ours.flush(30)),
            "metrics alone": (lambda: count(one), nothing),
        },
        base="OpenTelemetry SDK span",
    )
    ratio = medians[OURS] / medians["OpenTelemetry SDK span"]
    bench.target(
        "observe one record", "at most 1.0 of an OpenTelemetry SDK span", ratio, met=ratio <= 1.0
    )
