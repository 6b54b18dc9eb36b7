"""The rules of an `ArgumentValidator`.

`make()` returns a validator that knows no tool yet.
"""

from collections.abc import Callable, Mapping
from typing import Any

from ...core.model import Call, CallKind, ToolDeclaration
from ...protocols.security import ArgumentValidator
from .kit import ContractKit, expect

__all__ = ("argument_validator",)

argument_validator: ContractKit[Callable[[], ArgumentValidator]] = ContractKit("ArgumentValidator")

_SCHEMA: Mapping[str, Any] = {
    "type": "object",
    "properties": {
        "path": {"type": "string", "maxLength": 20},
        "limit": {"type": "integer", "minimum": 1},
        "tags": {"type": "array", "items": {"enum": ["a", "b"]}},
    },
    "required": ["path"],
    "additionalProperties": False,
}


def _tool(schema: Mapping[str, Any] | None = _SCHEMA, name: str = "t") -> ToolDeclaration:
    return ToolDeclaration(name=name, input_schema=schema)


def _call(arguments: Mapping[str, Any], name: str = "t", kind: CallKind = CallKind.TOOL) -> Call:
    return Call(id="1", kind=kind, method="tools/call", name=name, arguments=arguments)


@argument_validator.rule("AV1")
async def what_fits_passes(make: Callable[[], ArgumentValidator]) -> None:
    """Arguments that fit the schema are allowed."""
    validator = make()
    validator.declare([_tool()])
    decision = validator.validate(_call({"path": "a", "limit": 3, "tags": ["a", "b"]}))
    expect(decision.allowed, f"refused: {decision.reason}")


@argument_validator.rule("AV2")
async def what_does_not_fit_is_refused(make: Callable[[], ArgumentValidator]) -> None:
    """Arguments that do not fit are denied with `invalid_arguments` and a reason."""
    validator = make()
    validator.declare([_tool()])
    for wrong in (
        {},
        {"path": 1},
        {"path": "a", "limit": 0},
        {"path": "a", "limit": 1.5},
        {"path": "a", "limit": True},
        {"path": "a", "tags": ["c"]},
        {"path": "a", "other": 1},
        {"path": "a" * 21},
    ):
        decision = validator.validate(_call(wrong))
        expect(not decision.allowed, f"{wrong} was let through")
        expect(decision.code == "invalid_arguments", f"code is {decision.code!r}")
        expect(decision.reason, "the reason is empty")


@argument_validator.rule("AV3")
async def reasons_name_the_place_and_not_the_value(make: Callable[[], ArgumentValidator]) -> None:
    """A reason names the property and never shows what was sent, as value or as name."""
    validator = make()
    validator.declare([_tool()])
    decision = validator.validate(_call({"path": "sesame" * 10, "limit": 1}))
    expect("path" in decision.reason, f"the place is missing: {decision.reason}")
    expect("sesame" not in decision.reason, "the reason shows the value")
    decision = validator.validate(_call({"path": "a", "sesame": 1}))
    expect("sesame" not in decision.reason, "the reason shows a name the caller made up")


@argument_validator.rule("AV4")
async def what_has_no_schema_passes(make: Callable[[], ArgumentValidator]) -> None:
    """Tools without a schema, tools not declared, and what is no tool call are allowed."""
    validator = make()
    validator.declare([_tool(), _tool(None, "free")])
    expect(validator.validate(_call({"x": 1}, "free")).allowed, "a tool without schema")
    expect(validator.validate(_call({"x": 1}, "unknown")).allowed, "an unknown tool")
    expect(validator.validate(_call({"x": 1}, kind=CallKind.PROMPT)).allowed, "a prompt")


@argument_validator.rule("AV5")
async def declarations_replace_and_add(make: Callable[[], ArgumentValidator]) -> None:
    """A tool declared again has its new schema; other tools keep theirs."""
    validator = make()
    validator.declare([_tool(), _tool(name="other")])
    validator.declare([_tool({"type": "object", "required": ["new"]})])
    expect(validator.validate(_call({"new": 1})).allowed, "the old schema is in force")
    expect(not validator.validate(_call({"path": "a"})).allowed, "the new schema is not in force")
    expect(not validator.validate(_call({}, "other")).allowed, "another tool's schema was lost")
    validator.declare([_tool(None)])
    expect(validator.validate(_call({})).allowed, "a schema that was taken back is in force")


@argument_validator.rule("AV6")
async def unsafe_schemas_are_refusals(make: Callable[[], ArgumentValidator]) -> None:
    """A remote reference, a pattern that is not linear, an endless or broken schema: all denied."""
    unsafe: dict[str, Mapping[str, Any]] = {
        "http reference": {"$ref": "http://127.0.0.1:9/schema"},
        "file reference": {"properties": {"a": {"$ref": "file:///etc/hostname"}}},
        "relative reference": {"$ref": "other.json"},
        "reference to nowhere": {"$ref": "#/$defs/none"},
        "reference to itself": {"$ref": "#"},
        "look-around": {"properties": {"a": {"pattern": "^(?=x)"}}},
        "no regular expression": {"properties": {"a": {"pattern": "("}}},
        "no schema": {"type": "nonsense"},
    }
    validator = make()
    for what, schema in unsafe.items():
        validator.declare([_tool(schema)])
        decision = validator.validate(_call({}))
        expect(not decision.allowed, f"{what}: a call was let through")
        expect(decision.code == "invalid_arguments", f"{what}: code is {decision.code!r}")
    validator.declare([_tool()])
    expect(validator.validate(_call({"path": "a"})).allowed, "a mended schema is still refused")


@argument_validator.rule("AV7")
async def hostile_arguments_are_refused(make: Callable[[], ArgumentValidator]) -> None:
    """Arguments that cannot be checked are denied; nothing is raised."""
    validator = make()
    text = {"type": "string", "minLength": 1}
    validator.declare(
        [
            _tool({"properties": {"a": text}, "additionalProperties": False}),
            _tool({"properties": {"a": {"$ref": "#"}}, "required": ["a"]}, "tree"),
        ]
    )
    deep: dict[str, Any] = {}
    for _ in range(10_000):
        deep = {"a": deep}
    cases: list[tuple[str, Any]] = [
        ("t", {"a": object()}),
        ("t", {1: 2}),
        ("tree", deep),
    ]
    # Half of a surrogate pair is for the bounds to refuse; here it must only not raise.
    validator.validate(_call({"a": "\ud800"}))
    for name, value in cases:
        decision = validator.validate(_call(value, name))
        expect(not decision.allowed, f"hostile arguments of {name} were let through")
        expect(decision.code == "invalid_arguments", f"code is {decision.code!r}")
    while deep:
        deep = deep.pop("a", {})


@argument_validator.rule("AV8")
async def hostile_patterns_are_harmless(make: Callable[[], ArgumentValidator]) -> None:
    """A pattern that takes exponential time elsewhere judges 100,000 characters at once."""
    validator = make()
    validator.declare([_tool({"properties": {"a": {"pattern": "^(a+)+$"}}})])
    decision = validator.validate(_call({"a": "a" * 100_000 + "!"}))
    expect(not decision.allowed, "what does not match was let through")
