"""Refuses arguments that do not fit the tool's JSON Schema, checked by jsonschema-rs.

Schemas come from servers that may be hostile: nothing is fetched, patterns run in linear
time, and a schema that could be costly or endless is not used at all. Its tool's calls are
then refused, since arguments that cannot be checked are not known to be right.
"""

import hashlib
from collections.abc import Mapping, Sequence
from typing import Any, cast, final

from attrs import define, field, frozen
from attrs.validators import and_, ge, instance_of, le

from ...core.events import EventSink, GuardFailed, discard
from ...core.model import ALLOW, Call, CallKind, Decision, ToolDeclaration, deny
from ...core.ports import Clock, Random
from ...mechanisms.canonical import canonical_bytes
from ...mechanisms.clock import SystemClock
from ...mechanisms.schema_graph import (
    SchemaLimits,
    SchemaStudy,
    UnsafeSchemaError,
    study_schema,
)
from .explanation import explain

__all__ = ("JsonSchemaValidator", "SchemaConfig")

_CODE = "invalid_arguments"
# Asking an enumeration for a member runs its metaclass, on every call: once is enough.
_TOOL = CallKind.TOOL
_CLASSES = {
    "2020-12": "Draft202012Validator",
    "2019-09": "Draft201909Validator",
    "7": "Draft7Validator",
    "6": "Draft6Validator",
    "4": "Draft4Validator",
}
_MAX_EXPLANATION = 20_000
"""How many subschemas an explanation may visit: about a tenth of a second at worst."""
_MAX_NAME_CHARS = 64


def _whole(default: int, low: int, high: int) -> Any:
    return field(default=default, validator=[instance_of(int), and_(ge(low), le(high))])


@final
@frozen(kw_only=True)
class SchemaConfig:
    """Which schemas are used, and how much a refusal says.

    Args:
        max_schema_bytes: Bytes of one schema's strings and keys (64 to 64 MiB; 256 KiB,
            ten times the largest in common servers).
        max_schema_depth: Levels of nesting (1 to 200; 64).
        max_schema_parts: Values in one schema (1 to 1,000,000; 20,000).
        max_patterns: Regular expressions in one schema (0 to 100,000; 500).
        max_fan_out: Subschemas that one value may have to be judged by, references
            followed (1 to 10,000,000; 20,000, so that 10,000 values take seconds at worst).
        max_tools: How many tools are known (1 to 1,000,000; 10,000). Calls of tools beyond
            it are refused.
        max_errors: How many errors a refusal explains (1 to 10; 3).
    """

    max_schema_bytes: int = _whole(256 * 1024, 64, 64 * 1024 * 1024)
    max_schema_depth: int = _whole(64, 1, 200)
    max_schema_parts: int = _whole(20_000, 1, 1_000_000)
    max_patterns: int = _whole(500, 0, 100_000)
    max_fan_out: int = _whole(20_000, 1, 10_000_000)
    max_tools: int = _whole(10_000, 1, 1_000_000)
    max_errors: int = _whole(3, 1, 10)


@final
@define
class _Tool:
    """A declared tool: what it was declared with, and what that was made into."""

    schema: Mapping[str, Any] | None
    digest: bytes
    is_valid: Any = None
    iter_errors: Any = None
    study: SchemaStudy | None = None
    problem: str = ""


@final
class JsonSchemaValidator:
    """The default `ArgumentValidator`.

    A schema is judged and compiled when it is declared; declaring the same one again
    costs a comparison. The dialect is that of `$schema`: 2020-12 when it names none, and
    2019-09 and drafts 7, 6 and 4.
    """

    def __init__(
        self,
        config: SchemaConfig | None = None,
        *,
        clock: Clock | None = None,
        random: Random | None = None,  # noqa: ARG002 - the constructor every block has
        sink: EventSink = discard,
    ) -> None:
        self.config: SchemaConfig = config or SchemaConfig()
        self._wall = (clock or SystemClock()).wall
        self._sink = sink
        self._tools: dict[str, _Tool] = {}
        self._overflowed = False
        self._limits = SchemaLimits(
            max_bytes=self.config.max_schema_bytes,
            max_depth=self.config.max_schema_depth,
            max_parts=self.config.max_schema_parts,
            max_patterns=self.config.max_patterns,
            max_fan_out=self.config.max_fan_out,
        )

    def declare(self, tools: Sequence[ToolDeclaration], /) -> None:
        """Take over the schemas of these tools; others known before are kept."""
        for tool in tools:
            known = self._tools.get(tool.name)
            if known is not None and known.schema is tool.input_schema:
                continue
            digest = _digest(tool.input_schema)
            if known is not None and known.digest == digest:
                continue
            if known is None and len(self._tools) >= self.config.max_tools:
                if not self._overflowed:
                    self._overflowed = True
                    self._report("the table of tools", "TooManyTools")
                continue
            self._tools[tool.name] = self._admit(tool, digest)

    def validate(self, call: Call, /) -> Decision:
        """Decide on a call's arguments."""
        if call.kind is not _TOOL:
            return ALLOW
        tool = self._tools.get(call.name)
        if tool is None or tool.is_valid is None:
            return self._without_schema(tool)
        arguments = call.arguments
        if type(arguments) is not dict:
            arguments = dict(arguments)
        try:
            if tool.is_valid(arguments):
                return ALLOW
            reason = self._explain(tool, arguments)
        except ValueError:
            # The engine's answer to what JSON has no form for: the caller's doing.
            reason = "the arguments hold something that JSON has no form for"
        except BaseException as error:
            # A panic of the engine is no Exception; what ends the program passes.
            if isinstance(error, KeyboardInterrupt | SystemExit | GeneratorExit):
                raise
            self._report(call.name, type(error).__name__)
            reason = "the arguments could not be checked"
        return deny(_CODE, reason)

    def get_problems(self) -> Mapping[str, str]:
        """Return why calls are refused of those tools whose schema is not used, by name."""
        return {name: tool.problem for name, tool in self._tools.items() if tool.problem}

    def _without_schema(self, tool: _Tool | None) -> Decision:
        if tool is not None:
            return deny(_CODE, tool.problem) if tool.problem else ALLOW
        if self._overflowed:
            return deny(_CODE, "the server declares more tools than are checked; see `max_tools`")
        return ALLOW

    def _admit(self, tool: ToolDeclaration, digest: bytes) -> _Tool:
        schema = tool.input_schema
        if schema is None:
            return _Tool(None, digest)
        try:
            study = study_schema(schema, self._limits)
            engine = _compile(schema, study.dialect)
        except UnsafeSchemaError as error:
            why, kind = str(error), "UnsafeSchema"
        except BaseException as error:
            if isinstance(error, KeyboardInterrupt | SystemExit | GeneratorExit):
                raise
            # The message may quote the schema at any length, and the file system.
            why, kind = "it is not a valid schema, or has a pattern that is not linear", "BadSchema"
        else:
            return _Tool(schema, digest, engine.is_valid, engine.iter_errors, study)
        self._report(tool.name, kind)
        return _Tool(
            schema,
            digest,
            problem=f"the server's schema of this tool can not be checked safely: {why}",
        )

    def _explain(self, tool: _Tool, arguments: Mapping[str, Any]) -> str:
        study = tool.study
        if study is not None and _visits(study, arguments) <= _MAX_EXPLANATION:
            try:
                return explain(tool.iter_errors(arguments), study.names, self.config.max_errors)
            except Exception as error:  # noqa: BLE001 - the verdict stands without its explanation
                self._report("explanation", type(error).__name__)
        return "the arguments do not fit the tool's schema; they are too large to say where"

    def _report(self, guard: str, error_type: str) -> None:
        name = guard if len(guard) <= _MAX_NAME_CHARS else f"{guard[:_MAX_NAME_CHARS]}..."
        self._sink(GuardFailed(at=self._wall(), guard=f"schema:{name}", error_type=error_type))


def _digest(schema: Mapping[str, Any] | None) -> bytes:
    """Return what tells one schema from another; `==` would take `1` for `true`."""
    return b"" if schema is None else hashlib.sha256(canonical_bytes(schema)).digest()


def _compile(schema: Mapping[str, Any], dialect: str) -> Any:
    # Imported here: a host that declares no schema never loads the engine.
    import jsonschema_rs  # noqa: PLC0415

    engine: Any = getattr(jsonschema_rs, _CLASSES[dialect])
    return engine(
        schema if type(schema) is dict else dict(schema),
        retriever=_never_fetch,
        validate_formats=True,
        # Patterns in linear time: this engine refuses look-around and back-references.
        pattern_options=jsonschema_rs.RegexOptions(),
    )


def _never_fetch(_uri: str, /) -> Any:
    raise ValueError("references beyond the schema are not followed")


def _visits(study: SchemaStudy, arguments: Mapping[str, Any]) -> int:
    """Return how many subschemas an explanation may visit at most."""
    depth, repeated = 0, 1
    stack: list[tuple[object, int]] = [(arguments, 1)]
    while stack:
        value, level = stack.pop()
        depth = max(depth, level)
        if isinstance(value, Mapping):
            members = cast("Mapping[str, object]", value)
            # A property the schema names is judged by its own part of it, any other one
            # and every item of a list by a part that they share.
            repeated += sum(1 for name in members if name not in study.names)
            stack.extend((member, level + 1) for member in members.values())
        elif isinstance(value, list | tuple):
            items = cast("Sequence[object]", value)
            repeated += len(items)
            stack.extend((item, level + 1) for item in items)
        if repeated > _MAX_EXPLANATION:
            break
    return study.explanation_cost(min(depth, 64)) * repeated
