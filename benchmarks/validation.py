"""Validation of arguments: ours beside jsonschema-rs bare, jsonschema, and pydantic by hand."""

import json

from benchmarks.harness import OURS, Bench
from localmcp_harden.core.model import Call, CallKind, ToolDeclaration
from localmcp_harden.mechanisms.json_bounds import check_json_text
from localmcp_harden.security.content.bounds import DefaultInputBounds
from localmcp_harden.security.content.schema import JsonSchemaValidator

SCHEMA = {
    "type": "object",
    "properties": {
        "path": {"type": "string", "minLength": 1, "maxLength": 4096},
        "edits": {
            "type": "array",
            "minItems": 1,
            "items": {
                "type": "object",
                "properties": {"old": {"type": "string"}, "new": {"type": "string"}},
                "required": ["old", "new"],
                "additionalProperties": False,
            },
        },
        "dry_run": {"type": "boolean"},
    },
    "required": ["path", "edits"],
    "additionalProperties": False,
}
GOOD = {"path": "/srv/notes/a.md", "edits": [{"old": "tea", "new": "coffee"}], "dry_run": False}
BAD = {"path": "/srv/notes/a.md", "edits": [{"old": "tea"}], "dry_run": 1}


def call(arguments: dict[str, object]) -> Call:
    return Call(id="1", kind=CallKind.TOOL, method="tools/call", name="edit", arguments=arguments)


def run(bench: Bench) -> None:
    import jsonschema
    import jsonschema_rs
    import pydantic

    validator = JsonSchemaValidator()
    validator.declare([ToolDeclaration(name="edit", input_schema=SCHEMA)])
    good, bad = call(GOOD), call(BAD)
    engine = jsonschema_rs.Draft202012Validator(SCHEMA)
    python = jsonschema.Draft202012Validator(SCHEMA)

    class Edit(pydantic.BaseModel):
        model_config = pydantic.ConfigDict(extra="forbid", strict=True)
        old: str
        new: str

    class Arguments(pydantic.BaseModel):
        model_config = pydantic.ConfigDict(extra="forbid", strict=True)
        path: str = pydantic.Field(min_length=1, max_length=4096)
        edits: list[Edit] = pydantic.Field(min_length=1)
        dry_run: bool = False

    medians = bench.compare(
        "arguments that fit",
        {
            "jsonschema-rs bare": lambda: engine.is_valid(GOOD),
            OURS: lambda: validator.validate(good),
            "pydantic, by hand": lambda: Arguments.model_validate(GOOD),
            "jsonschema": lambda: python.is_valid(GOOD),
        },
        base="jsonschema-rs bare",
    )
    ratio = medians[OURS] / medians["jsonschema"]
    bench.target("arguments that fit", "at most 0.05 of jsonschema", ratio, met=ratio <= 0.05)
    ratio = medians[OURS] / medians["jsonschema-rs bare"]
    bench.target("arguments that fit", "at most 2 of the bare engine", ratio, met=ratio <= 2)

    bench.compare(
        "arguments that do not fit, explained",
        {
            "jsonschema-rs bare": lambda: [e.message for e in engine.iter_errors(BAD)],
            OURS: lambda: validator.validate(bad),
            "jsonschema": lambda: [e.message for e in python.iter_errors(BAD)],
        },
        base="jsonschema-rs bare",
    )

    bounds = DefaultInputBounds()
    small = {"path": "/srv/notes/a.md", "limit": 10}
    medians = bench.compare(
        "bounds of small arguments",
        {
            "json.dumps for the size": lambda: len(json.dumps(small)),
            OURS: lambda: bounds.check_bounds(small),
        },
        base="json.dumps for the size",
    )
    ratio = medians[OURS] / medians["json.dumps for the size"]
    bench.target("bounds of small arguments", "at most 0.5 of json.dumps", ratio, met=ratio <= 0.5)

    unchanged = [ToolDeclaration(name="edit", input_schema=SCHEMA)] * 100
    fresh = [
        ToolDeclaration(name="edit", input_schema=json.loads(json.dumps(SCHEMA)))
        for _ in range(100)
    ]
    bench.compare(
        "declare 100 unchanged tools",
        {
            "the same objects": lambda: validator.declare(unchanged),
            "equal objects": lambda: validator.declare(fresh),
        },
        base="the same objects",
    )

    text = json.dumps([{"path": "/srv/notes/a.md", "edits": [{"old": "a", "new": "b"}]}] * 20_000)
    data = text.encode()
    medians = bench.compare(
        f"scan {len(data) / 1e6:.1f} MB of text",
        {
            "json.loads": lambda: json.loads(data),
            OURS: lambda: check_json_text(data, max_bytes=1 << 30, max_depth=64),
        },
        base="json.loads",
    )
    ratio = medians[OURS] / medians["json.loads"]
    bench.target("scan of text", "at most 1 of json.loads", ratio, met=ratio <= 1)
