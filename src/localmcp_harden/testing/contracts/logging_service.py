"""The rules of a `LoggingService`.

`make(*, config, clock)` returns a service and a function that returns every line
written so far as bytes, waiting for a writer where there is one. Lines are JSON objects
with the keys `level`, `logger`, `message`, `correlation_id` and `ctx`.
"""

import json
from collections.abc import Callable, Sequence
from typing import Any, Protocol, cast

import anyio

from ...core.ports import Clock
from ...protocols.observability import LoggingConfig, LoggingService, LogLevel
from ..clock import FakeClock
from .kit import ContractKit, expect

__all__ = ("MakeLoggingService", "logging_service")


class MakeLoggingService(Protocol):
    """Makes the service that is to be checked, and what reads its lines."""

    def __call__(
        self, *, config: LoggingConfig, clock: Clock
    ) -> tuple[LoggingService, Callable[[], Sequence[bytes]]]:
        """Return a service and a function that returns the lines written so far."""
        ...


logging_service: ContractKit[MakeLoggingService] = ContractKit("LoggingService")

_HOSTILE_TEXT = "a\nb\r\x1b[2J\x9b31m\u2028\u202e\x7f\x00\ud800\ufeff"
_FORBIDDEN = frozenset(
    [*map(chr, range(32)), *map(chr, range(127, 160)), *"\u2028\u2029\u202e\ufeff\u2066\u200f"]
)


class _Raising:
    def __repr__(self) -> str:
        raise RuntimeError("no repr")

    __str__ = __repr__


def _parse(lines: Sequence[bytes]) -> list[dict[str, Any]]:
    return [cast("dict[str, Any]", json.loads(line)) for line in lines]


@logging_service.rule("LS1")
async def writes_what_it_is_given(make: MakeLoggingService) -> None:
    """A line carries level, logger, message and context."""
    logs, lines = make(config=LoggingConfig(), clock=FakeClock())
    logs.create_logger("a.b").log(LogLevel.WARNING, "hello", {"n": 1})
    seen = _parse(lines())
    expect(len(seen) == 1, f"saw {len(seen)} lines")
    wanted = {"level": "warning", "logger": "a.b", "message": "hello", "ctx": {"n": 1}}
    expect(wanted.items() <= seen[0].items(), f"saw {seen[0]}")


@logging_service.rule("LS2")
async def quiet_lines_are_left_out(make: MakeLoggingService) -> None:
    """Nothing below the level is written, and everything at it is."""
    logs, lines = make(config=LoggingConfig(level=LogLevel.WARNING), clock=FakeClock())
    for level in LogLevel:
        logs.log(level, level.name)
    seen = [line["message"] for line in _parse(lines())]
    expect(seen == ["WARNING", "ERROR", "CRITICAL"], f"saw {seen}")


@logging_service.rule("LS3")
async def loggers_have_levels_of_their_own(make: MakeLoggingService) -> None:
    """A logger's own level outweighs the general one, in both directions."""
    logs, lines = make(config=LoggingConfig(), clock=FakeClock())
    loud, quiet, other = (logs.create_logger(name) for name in ("loud", "quiet", "other"))
    logs.set_log_level(LogLevel.DEBUG, logger="loud")
    logs.set_log_level(LogLevel.ERROR, logger="quiet")
    logs.set_log_level(LogLevel.WARNING)
    for logger in (loud, quiet, other):
        logger.log(LogLevel.DEBUG, "debug")
        logger.log(LogLevel.WARNING, "warning")
    seen = [(line["logger"], line["message"]) for line in _parse(lines())]
    wanted = [("loud", "debug"), ("loud", "warning"), ("other", "warning")]
    expect(seen == wanted, f"saw {seen}")


@logging_service.rule("LS4")
async def context_forges_nothing(make: MakeLoggingService) -> None:
    """Context with the names of a line's own fields changes none of them."""
    logs, lines = make(config=LoggingConfig(), clock=FakeClock())
    forged = {"level": "debug", "logger": "x", "message": "y", "ts": "z", "ctx": 1}
    logs.create_logger("a").log(LogLevel.ERROR, "true", forged)
    seen = _parse(lines())[0]
    own = (seen["level"], seen["logger"], seen["message"])
    expect(own == ("error", "a", "true"), f"saw {own}")
    expect(seen["ctx"] == forged, f"the context became {seen['ctx']}")


@logging_service.rule("LS5")
async def a_line_is_one_line(make: MakeLoggingService) -> None:
    """No character of message, name or context breaks a line or acts on a terminal."""
    logs, lines = make(config=LoggingConfig(), clock=FakeClock())
    logger = logs.create_logger(_HOSTILE_TEXT)
    logger.log(LogLevel.INFO, _HOSTILE_TEXT, {"k": _HOSTILE_TEXT, _HOSTILE_TEXT: [_HOSTILE_TEXT]})
    written = lines()
    expect(len(written) == 1, f"one call wrote {len(written)} lines")
    found = _FORBIDDEN & set(written[0].decode().removesuffix("\n"))
    expect(not found, f"raw characters: {sorted(map(ascii, found))}")


@logging_service.rule("LS6")
async def hostile_values_harm_nobody(make: MakeLoggingService) -> None:
    """Whatever a context holds, the caller gets no exception and the line is written."""
    logs, lines = make(config=LoggingConfig(), clock=FakeClock())
    endless: list[Any] = []
    endless.append(endless)
    hostile: list[Any] = [_Raising(), endless, 10**5_000, float("nan"), b"\xff", {_Raising(): 1}]
    for value in hostile:
        logs.log(LogLevel.INFO, "m", {"value": value})
    logs.log(LogLevel.INFO, "m", cast("Any", _Raising()))
    logs.log(LogLevel.INFO, cast("Any", _Raising()))
    logs.log(cast("Any", _Raising()), "m")
    seen = len(_parse(lines()))
    expect(seen == len(hostile) + 3, f"{seen} of {len(hostile) + 3} lines were written")


@logging_service.rule("LS7")
async def secrets_stay_out(make: MakeLoggingService) -> None:
    """What stands under a telling key is not written, at any depth, nor a bearer token in text."""
    logs, lines = make(config=LoggingConfig(), clock=FakeClock())
    context = {"password": "hunter2x", "nested": [{"api_key": "hunter2x"}]}  # nosec B105 - a made-up secret
    logs.log(LogLevel.INFO, "sent Authorization: Bearer hunter2xhunter2x", context)
    logs.log(LogLevel.INFO, "flat", {"password": "hunter2x", "q": "token=hunter2x"})  # nosec B105 - a made-up secret
    expect(b"hunter2x" not in b"".join(lines()), "a secret was written")


@logging_service.rule("LS8")
async def correlation_follows_the_task(make: MakeLoggingService) -> None:
    """The id is on the lines of the task that set it and of tasks it starts, and no others."""
    logs, lines = make(config=LoggingConfig(), clock=FakeClock())

    async def call(name: str) -> None:
        logs.set_correlation_id(name)
        async with anyio.create_task_group() as inner:
            inner.start_soon(child, name)
        logs.log(LogLevel.INFO, name)

    async def child(name: str) -> None:
        await anyio.lowlevel.checkpoint()
        logs.log(LogLevel.INFO, name)

    logs.set_correlation_id("outer")
    async with anyio.create_task_group() as group:
        for name in ("one", "two"):
            group.start_soon(call, name)
    expect(logs.get_correlation_id() == "outer", "a task changed the id of the one it came from")
    logs.set_correlation_id(None)
    logs.log(LogLevel.INFO, "none")
    seen = sorted((line["message"], line.get("correlation_id") or "") for line in _parse(lines()))
    wanted = [("none", ""), ("one", "one"), ("one", "one"), ("two", "two"), ("two", "two")]
    expect(seen == wanted, f"saw {seen}")


@logging_service.rule("LS9")
async def configuration_is_replaced(make: MakeLoggingService) -> None:
    """A new configuration puts its levels in force and forgets those set before."""
    logs, lines = make(config=LoggingConfig(), clock=FakeClock())
    logger = logs.create_logger("a")
    logs.set_log_level(LogLevel.CRITICAL, logger="a")
    logs.configure(LoggingConfig(level=LogLevel.ERROR, levels={"b": LogLevel.DEBUG}))
    logger.log(LogLevel.ERROR, "error")
    logger.log(LogLevel.WARNING, "warning")
    logs.create_logger("b").log(LogLevel.DEBUG, "debug")
    seen = [line["message"] for line in _parse(lines())]
    expect(seen == ["error", "debug"], f"saw {seen}")


@logging_service.rule("LS10")
async def the_caller_may_go_on_changing(make: MakeLoggingService) -> None:
    """A line shows its context as it was when it was logged."""
    logs, lines = make(config=LoggingConfig(), clock=FakeClock())
    inner = [1]
    context: dict[str, object] = {"flat": 1, "inner": inner}
    logs.log(LogLevel.INFO, "m", context)
    flat: dict[str, object] = {"flat": 1}
    logs.log(LogLevel.INFO, "m", flat)
    inner.append(2)
    context["flat"] = flat["flat"] = 2
    seen = [line["ctx"] for line in _parse(lines())]
    expect(seen == [{"flat": 1, "inner": [1]}, {"flat": 1}], f"saw {seen}")
