"""JsonLoggingService: the contract, and what happens when the sink fails."""

import io
import json
import logging
import os
import subprocess
import sys
import threading
from pathlib import Path

import pytest
from hypothesis import given, strategies as st

from localmcp_harden.core.events import StoreFailed
from localmcp_harden.mechanisms.correlation import Correlation, get_correlation, set_correlation
from localmcp_harden.mechanisms.lines import UNSAFE_CHARACTERS
from localmcp_harden.observability.logs import JsonLoggingService
from localmcp_harden.protocols.observability import LoggingConfig, LogLevel, SettledContext
from localmcp_harden.testing.clock import FakeClock
from localmcp_harden.testing.contracts.logging_service import logging_service
from localmcp_harden.testing.doubles.logging_service import FakeLoggingService
from localmcp_harden.testing.recording import RecordingSink

pytestmark = pytest.mark.anyio
PATIENCE_S = 30.0


@pytest.fixture
def make_json():
    made = []

    def make(*, config=None, clock=None, **more):
        stream = io.BytesIO()
        logs = JsonLoggingService(config, clock=clock, stream=stream, **more)
        made.append(logs)

        def lines():
            assert logs.flush(PATIENCE_S)
            return stream.getvalue().splitlines(keepends=True)

        return logs, lines

    yield make
    for logs in made:
        logs.close()


def make_fake(*, config, clock):
    fake = FakeLoggingService(config, clock=clock)
    return fake, lambda: fake.written


@pytest.mark.parametrize("rule", logging_service.rules, ids=str)
@pytest.mark.parametrize("which", ["json", "fake"])
async def test_contract(which, rule, make_json):
    await rule.check(make_json if which == "json" else make_fake)


class Stuck:
    """A stream whose reader has stopped reading, until it is told to go on."""

    def __init__(self):
        self.entered = threading.Event()
        self.go_on = threading.Event()
        self.data = b""

    def write(self, data):
        self.entered.set()
        self.go_on.wait(PATIENCE_S)
        self.data += data

    def flush(self):
        pass

    def messages(self):
        return [json.loads(line)["message"] for line in self.data.splitlines()]


class Broken:
    """A stream that fails until it is mended."""

    def __init__(self):
        self.broken = True
        self.data = b""

    def write(self, data):
        if self.broken:
            raise OSError(28, "No space left on device")
        self.data += data

    def flush(self):
        pass


def stuck_service(max_queued_lines=16, **more):
    stream = Stuck()
    config = LoggingConfig(
        level=LogLevel.DEBUG, max_queued_lines=max_queued_lines, linger_s=0.0, close_timeout_s=0.0
    )
    logs = JsonLoggingService(config, stream=stream, **more)
    logs.log(LogLevel.CRITICAL, "first")
    assert stream.entered.wait(PATIENCE_S)
    return logs, stream


def test_a_stuck_reader_costs_quiet_lines_first():
    logs, stream = stuck_service(clock=FakeClock())
    for level in (LogLevel.DEBUG, LogLevel.INFO, LogLevel.WARNING, LogLevel.ERROR):
        for _ in range(16):
            logs.log(level, level.name)

    assert logs.get_dropped() == {
        LogLevel.DEBUG: 16 - 8,
        LogLevel.INFO: 16 - 4,
        LogLevel.WARNING: 16 - 2,
        LogLevel.ERROR: 16 - 2,
    }
    stream.go_on.set()
    assert logs.flush(PATIENCE_S)
    seen = stream.messages()
    assert [seen.count(level.name) for level in LogLevel] == [8, 4, 2, 2, 0]
    logs.close()


def test_every_line_is_written_or_counted():
    logs, stream = stuck_service(max_queued_lines=100)
    for number in range(1_000):
        logs.log(LogLevel(10 + 10 * (number % 5)), "m")
    stream.go_on.set()
    assert logs.flush(PATIENCE_S)
    assert len(stream.messages()) + sum(logs.get_dropped().values()) == 1_001
    logs.close()


def test_closing_a_stuck_service_counts_what_it_leaves():
    logs, stream = stuck_service()
    for _ in range(5):
        logs.log(LogLevel.ERROR, "waits")
    logs.close()
    assert logs.get_dropped() == {LogLevel.CRITICAL: 1, LogLevel.ERROR: 5}
    stream.go_on.set()


def test_losses_are_reported_at_a_limited_rate():
    clock, sink = FakeClock(), RecordingSink()
    logs, stream = stuck_service(clock=clock, sink=sink)
    for _ in range(1_000):
        logs.log(LogLevel.INFO, "m")
    assert len(sink.of(StoreFailed)) == 1
    assert sink.events[0].store == "log"
    assert sink.events[0].error_type == "QueueFull"

    clock.advance(10.0)
    logs.log(LogLevel.INFO, "m")
    logs.log(LogLevel.INFO, "m")
    assert len(sink.of(StoreFailed)) == 2
    assert sink.events[1].detail == "988 lines lost"
    stream.go_on.set()
    logs.close()


def test_a_report_that_logs_itself_does_not_recurse():
    box = []
    logs, stream = stuck_service(
        sink=lambda event: box[0].log(LogLevel.INFO, str(event)), clock=FakeClock()
    )
    box.append(logs)
    for _ in range(100):
        logs.log(LogLevel.INFO, "m")
    stream.go_on.set()
    logs.close()


def test_a_failing_sink_loses_lines_and_recovers():
    stream, sink = Broken(), RecordingSink()
    logs = JsonLoggingService(LoggingConfig(linger_s=0.0), stream=stream, sink=sink)
    logs.log(LogLevel.ERROR, "lost")
    assert logs.flush(PATIENCE_S)
    assert logs.get_dropped() == {LogLevel.ERROR: 1}

    stream.broken = False
    logs.log(LogLevel.ERROR, "kept")
    assert logs.flush(PATIENCE_S)
    assert [json.loads(line)["message"] for line in stream.data.splitlines()] == ["kept"]
    assert sink.of(StoreFailed)[0].error_type == "OSError"
    logs.close()


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no full device here")
def test_a_full_disk_harms_nobody(tmp_path):
    full = tmp_path / "full.log"
    full.symlink_to("/dev/full")
    logs = JsonLoggingService(LoggingConfig(file=full, linger_s=0.0))
    for _ in range(100):
        logs.log(LogLevel.WARNING, "m")
    logs.close()
    assert logs.get_dropped() == {LogLevel.WARNING: 100}


def test_a_pipe_that_nobody_reads_blocks_nobody():
    read, write = os.pipe()
    with os.fdopen(write, "wb", buffering=0) as stream:
        config = LoggingConfig(max_queued_lines=100, linger_s=0.0, close_timeout_s=0.0)
        logs = JsonLoggingService(config, stream=stream)
        for _ in range(5_000):
            logs.log(LogLevel.ERROR, "x" * 1_000)
        assert logs.get_dropped()[LogLevel.ERROR] > 0
        logs.close()
        # Frees the thread, so that the test leaves nothing behind.
        os.close(read)


def test_a_file_is_appended_to_and_private(tmp_path):
    path = tmp_path / "a.log"
    for message in ("one", "two"):
        logs = JsonLoggingService(LoggingConfig(file=path))
        logs.log(LogLevel.INFO, message)
        logs.close()
    assert [json.loads(line)["message"] for line in path.read_bytes().splitlines()] == [
        "one",
        "two",
    ]
    assert path.stat().st_mode & 0o777 == 0o600


def test_a_file_that_can_not_be_opened_is_counted(tmp_path):
    logs = JsonLoggingService(LoggingConfig(file=tmp_path / "no" / "such", linger_s=0.0))
    logs.log(LogLevel.INFO, "m")
    logs.close()
    assert logs.get_dropped() == {LogLevel.INFO: 1}


def test_the_default_is_standard_error(capfd):
    logs = JsonLoggingService()
    logs.log(LogLevel.INFO, "hello")
    logs.close()
    out, err = capfd.readouterr()
    assert out == ""
    assert json.loads(err)["message"] == "hello"


def test_a_replaced_standard_error_is_used(capsys):
    logs = JsonLoggingService()
    logs.log(LogLevel.INFO, "hello")
    logs.close()
    assert json.loads(capsys.readouterr().err)["message"] == "hello"


def test_without_standard_error_lines_are_counted(monkeypatch):
    monkeypatch.setattr(sys, "stderr", None)
    logs = JsonLoggingService()
    logs.log(LogLevel.INFO, "hello")
    logs.close()
    assert logs.get_dropped() == {LogLevel.INFO: 1}


def run_script(script):
    return subprocess.run(
        [sys.executable, "-c", script], capture_output=True, timeout=PATIENCE_S, check=True
    )


IMPORTS = (
    "from localmcp_harden.observability.logs import JsonLoggingService\n"
    "from localmcp_harden.protocols.observability import LoggingConfig, LogLevel\n"
)


def test_what_waits_at_exit_is_written_and_exit_is_not_delayed():
    done = run_script(
        IMPORTS + "logs = JsonLoggingService(LoggingConfig(linger_s=5.0))\n"
        "for n in range(100): logs.log(LogLevel.INFO, str(n))\n"
    )
    assert done.stdout == b""
    assert len(done.stderr.splitlines()) == 100


def test_a_stuck_pipe_does_not_keep_the_interpreter_alive():
    read, write = os.pipe()
    try:
        script = (
            IMPORTS
            + "logs = JsonLoggingService(LoggingConfig(linger_s=0.0, close_timeout_s=0.1))\n"
            "for n in range(5000): logs.log(LogLevel.ERROR, 'x' * 1000)\n"
        )
        done = subprocess.run(
            [sys.executable, "-c", script], stderr=write, timeout=PATIENCE_S, check=False
        )
        assert done.returncode == 0
    finally:
        os.close(read)
        os.close(write)


def test_a_torn_line_is_mended(tmp_path, monkeypatch):
    path = tmp_path / "a.log"
    real = os.write
    calls = []

    def short(descriptor, data):
        calls.append(1)
        if len(calls) == 1:
            return real(descriptor, bytes(data)[:10])
        if len(calls) == 2:
            raise OSError(28, "No space left on device")
        return real(descriptor, data)

    logs = JsonLoggingService(LoggingConfig(file=path, linger_s=0.0))
    monkeypatch.setattr("localmcp_harden.observability.line_targets.os.write", short)
    logs.log(LogLevel.INFO, "torn")
    assert logs.flush(PATIENCE_S)
    logs.log(LogLevel.INFO, "whole")
    logs.close()
    lines = path.read_bytes().splitlines()
    assert len(lines) == 2
    assert json.loads(lines[1])["message"] == "whole"
    assert logs.get_dropped() == {LogLevel.INFO: 1}


def test_lines_written_before_a_failure_are_not_counted_as_lost(tmp_path, monkeypatch):
    path = tmp_path / "a.log"
    real = os.write

    def first_line_only(descriptor, data):
        line, end, _ = bytes(data).partition(b"\n")
        if b"second" in line:
            raise OSError(28, "No space left on device")
        return real(descriptor, line + end)

    logs = JsonLoggingService(LoggingConfig(file=path, linger_s=1.0))
    monkeypatch.setattr("localmcp_harden.observability.line_targets.os.write", first_line_only)
    logs.log(LogLevel.INFO, "first")
    logs.log(LogLevel.WARNING, "second")
    logs.close()
    assert logs.get_dropped() == {LogLevel.WARNING: 1}
    assert len(path.read_bytes().splitlines()) == 1


def test_a_descriptor_that_would_block_is_waited_for(tmp_path, monkeypatch):
    real = os.write
    calls = []

    def busy(descriptor, data):
        calls.append(1)
        if len(calls) == 1:
            raise BlockingIOError
        return real(descriptor, data)

    logs = JsonLoggingService(LoggingConfig(file=tmp_path / "a.log"))
    monkeypatch.setattr("localmcp_harden.observability.line_targets.os.write", busy)
    logs.log(LogLevel.INFO, "m")
    logs.close()
    assert logs.get_dropped() == {}


def test_closing_twice_is_harmless_and_a_later_line_starts_again(make_json):
    logs, lines = make_json()
    logs.log(LogLevel.INFO, "one")
    logs.close()
    logs.close()
    logs.log(LogLevel.INFO, "two")
    assert len(lines()) == 2


def test_the_thread_starts_with_the_first_line_and_ends_with_close(make_json):
    logs, lines = make_json()
    assert logs._lines._thread is None
    logs.log(LogLevel.INFO, "m")
    lines()
    thread = logs._lines._thread
    assert thread.daemon
    logs.close()
    assert not thread.is_alive()


def test_a_service_that_is_thrown_away_takes_its_thread_with_it():
    logs = JsonLoggingService(stream=io.BytesIO())
    logs.log(LogLevel.INFO, "m")
    thread = logs._lines._thread
    del logs
    import gc

    gc.collect()
    thread.join(PATIENCE_S)
    assert not thread.is_alive()


def test_the_root_logger_is_left_alone(make_json):
    before = (list(logging.root.handlers), logging.root.level)
    logs, lines = make_json()
    logs.log(LogLevel.INFO, "m")
    lines()
    assert (list(logging.root.handlers), logging.root.level) == before


def test_time_is_written_in_utc_with_microseconds(make_json):
    clock = FakeClock()
    logs, lines = make_json(clock=clock)
    clock.advance(0.25)
    logs.log(LogLevel.INFO, "m")
    assert json.loads(lines()[0])["ts"] == "2027-01-15T08:00:00.250000Z"


def test_a_clock_that_tells_nonsense_does_not_stop_the_lines(make_json):
    class Broken(FakeClock):
        def wall(self):
            return float("nan")

    logs, lines = make_json(clock=Broken())
    logs.log(LogLevel.INFO, "m")
    assert json.loads(lines()[0])["message"] == "m"


def test_a_long_correlation_id_is_cut(make_json):
    logs, _ = make_json()
    logs.set_correlation_id("x" * 1_000)
    seen = logs.get_correlation_id()
    logs.set_correlation_id(None)
    assert seen == "x" * 128


def test_trace_ids_are_carried(make_json):
    logs, lines = make_json()
    before = get_correlation()
    set_correlation(Correlation(trace_id="t" * 32, span_id="s" * 16))
    logs.log(LogLevel.INFO, "m")
    set_correlation(before)
    line = json.loads(lines()[0])
    assert (line["trace_id"], line["span_id"]) == ("t" * 32, "s" * 16)


def test_a_settled_context_is_written_as_it_is(make_json):
    logs, lines = make_json()
    logs.log(LogLevel.INFO, "m", SettledContext(password="shown", deep={"a": (1,)}))
    assert json.loads(lines()[0])["ctx"] == {"password": "shown", "deep": {"a": [1]}}


def test_a_long_line_loses_its_context_and_stays_json(make_json):
    logs, lines = make_json(config=LoggingConfig(max_line_bytes=4_096))
    logger = logs.create_logger("\U000e0041" * 128)
    logs.set_correlation_id("\U000e0041" * 128)
    logger.log(LogLevel.INFO, "\U000e0041" * 2_000, SettledContext(big="x" * 10_000))
    logs.set_correlation_id(None)
    line = lines()[0]
    assert len(line) <= 4_097
    assert json.loads(line)["ctx"]["left_out_bytes"] > 10_000


def test_a_redactor_that_raises_costs_its_line_only(make_json):
    class Bad:
        def redact(self, arguments, /):
            raise RuntimeError

        redact_text = redact

    logs, lines = make_json(redactor=Bad())
    logs.log(LogLevel.INFO, "m", {"a": 1})
    logs.log(LogLevel.INFO, "m", {"a": [1]})
    assert [json.loads(line)["level"] for line in lines()] == ["error"]
    assert logs.get_dropped() == {LogLevel.ERROR: 1}


def test_levels_between_the_five_are_kept_as_numbers(make_json):
    logs, lines = make_json(config=LoggingConfig(level=LogLevel.DEBUG))
    for level in (25, 10**400, True):
        logs.log(level, "m")
    logs.log("nonsense", "m")
    assert [json.loads(line)["level"] for line in lines()] == ["level_25", "level_99", "error"]


def test_configure_moves_to_another_file_and_writes_what_waited(tmp_path):
    logs = JsonLoggingService(LoggingConfig(file=tmp_path / "a", linger_s=5.0))
    logs.log(LogLevel.INFO, "one")
    old = logs._lines._thread
    logs.configure(LoggingConfig(file=tmp_path / "b"))
    logs.log(LogLevel.INFO, "two")
    logs.close()
    old.join(PATIENCE_S)
    assert not old.is_alive()
    assert json.loads((tmp_path / "a").read_bytes())["message"] == "one"
    assert json.loads((tmp_path / "b").read_bytes())["message"] == "two"


def test_configure_keeps_the_sink_when_only_levels_change(make_json):
    logs, _ = make_json()
    before = logs._lines
    logs.configure(LoggingConfig(level=LogLevel.ERROR, report_interval_s=1.0))
    assert logs._lines is before


def test_levels_are_read_by_name():
    assert LogLevel("warning") is LogLevel.WARNING
    with pytest.raises(ValueError, match="loud"):
        LogLevel("loud")


@pytest.mark.parametrize(
    "wrong",
    [
        {"max_queued_lines": 1}, {"max_line_bytes": 10}, {"linger_s": -1.0}, {"linger_s": 60.0},
        {"close_timeout_s": float("nan")}, {"report_interval_s": 0.0}, {"levels": {"a": 3}},
    ],
)  # fmt: skip
def test_nonsense_is_refused(wrong):
    with pytest.raises(ValueError, match=next(iter(wrong))):
        LoggingConfig(**wrong)


@given(
    message=st.text(st.characters(codec=None)),
    context=st.dictionaries(
        st.text(st.characters(codec=None)),
        st.one_of(st.text(st.characters(codec=None)), st.integers(), st.floats(), st.binary()),
        max_size=5,
    ),
)
def test_no_line_holds_a_raw_control_or_direction_mark(message, context):
    import re

    stream = io.BytesIO()
    logs = JsonLoggingService(LoggingConfig(linger_s=0.0), stream=stream)
    logs.log(LogLevel.INFO, message, context)
    logs.close()
    line = stream.getvalue().decode()
    assert not re.search(f"[{UNSAFE_CHARACTERS}\ud800-\udfff]", line[:-1])
    assert json.loads(line)["level"] == "info"


class TestLogLater:
    def test_the_line_is_made_in_the_thread_that_writes_it(self, make_json):
        logs, lines = make_json()
        threads = []

        def make(source):
            threads.append(threading.current_thread().name)
            return f"about {source}", SettledContext(source=source)

        logs.create_logger("calls").log_later(LogLevel.INFO, make, "tea")
        (line,) = map(json.loads, lines())
        assert (line["logger"], line["level"], line["message"]) == ("calls", "info", "about tea")
        assert line["ctx"] == {"source": "tea"}
        assert threads == ["localmcp-harden-log"]

    def test_what_is_too_quiet_is_not_made(self, make_json):
        logs, lines = make_json()
        logs.create_logger("calls").log_later(LogLevel.DEBUG, pytest.fail, "tea")
        assert lines() == []

    def test_a_line_that_can_not_be_made_is_reported_in_its_place(self, make_json):
        logs, lines = make_json()
        logger = logs.create_logger("calls")
        logger.log_later(LogLevel.INFO, lambda source: source["absent"], {})
        logger.log(LogLevel.INFO, "next")
        broken, following = map(json.loads, lines())
        assert broken["ctx"] == {"error_type": "KeyError"}
        assert following["message"] == "next"
