"""JsonSchemaValidator: the contract, and what is its own."""

import subprocess
import sys
from types import MappingProxyType

import pytest
from hypothesis import HealthCheck, given, settings, strategies as st

from localmcp_harden.core.events import GuardFailed
from localmcp_harden.core.model import Call, CallKind, ToolDeclaration
from localmcp_harden.security.content import schema as module
from localmcp_harden.security.content.schema import JsonSchemaValidator, SchemaConfig
from localmcp_harden.testing.clock import FakeClock
from localmcp_harden.testing.contracts.argument_validator import argument_validator
from localmcp_harden.testing.doubles.argument_validator import FakeArgumentValidator
from localmcp_harden.testing.recording import RecordingSink

pytestmark = pytest.mark.anyio


@pytest.mark.parametrize("rule", argument_validator.rules, ids=str)
@pytest.mark.parametrize(
    "make", [JsonSchemaValidator, FakeArgumentValidator], ids=["default", "fake"]
)
async def test_contract(make, rule):
    await rule.check(make)


def tool(schema, name="t"):
    return ToolDeclaration(name=name, input_schema=schema)


def call(arguments, name="t"):
    return Call(id="1", kind=CallKind.TOOL, method="tools/call", name=name, arguments=arguments)


def reason(schema, arguments, **config):
    validator = JsonSchemaValidator(SchemaConfig(**config))
    validator.declare([tool(schema)])
    decision = validator.validate(call(arguments))
    assert not decision.allowed
    return decision.reason


def test_the_fake_refuses_on_command():
    fake = FakeArgumentValidator()
    fake.declare([tool({"required": ["a"]})])
    assert not fake.validate(call({})).allowed
    assert fake.validate(call({"a": 1})).allowed
    fake.refuse_with = "scripted"
    assert fake.validate(call({"a": 1})).reason == "scripted"
    assert len(fake.calls) == 3
    assert set(fake.declared) == {"t"}


@pytest.mark.parametrize(
    ("part", "value", "sentence"),
    [
        ({"type": "integer"}, "sesame", "must be integer, not a string of 6 characters"),
        ({"type": ["string", "null"]}, 5, "must be null or string, not a whole number"),
        ({"enum": ["x", 1]}, "sesame", "must be one of x, 1, not a string of 6 characters"),
        ({"enum": list(range(9))}, "sesame", "must be one of the 9 values the schema allows, not"),
        ({"const": 5}, "sesame", "must be 5, not a string of 6 characters"),
        ({"minimum": 3}, 1, "must be at least 3, and is a whole number"),
        ({"maximum": 3}, 4, "must be at most 3,"),
        ({"exclusiveMinimum": 3}, 3, "must be above 3,"),
        ({"exclusiveMaximum": 3}, 3, "must be below 3,"),
        ({"multipleOf": 2}, 3, "must be a multiple of 2"),
        ({"minLength": 9}, "sesame", "must have at least 9 characters, and is a string of 6"),
        ({"maxLength": 3}, "sesame", "must have at most 3 characters, and is a string of 6"),
        ({"minItems": 2}, ["sesame"], "must have at least 2 items, and is a list of 1 items"),
        ({"maxItems": 0}, ["sesame"], "must have at most 0 items, and is a list of 1 items"),
        ({"minProperties": 1}, {}, "must have at least 1 properties, and is an object of 0 keys"),
        ({"maxProperties": 0}, {"sesame": 1}, "must have at most 0 properties,"),
        ({"uniqueItems": True}, ["sesame"] * 2, "must not hold the same item twice"),
        ({"contains": {"const": 1}}, ["sesame"], "lacks an item that the schema asks for"),
        ({"pattern": "^x"}, "sesame", "must match the pattern ^x, and is a string of 6"),
        ({"format": "email"}, "sesame", "must have the format email, and is a string of 6"),
        ({"anyOf": [{"type": "null"}, {"const": 2}]}, "sesame", "fits none of the 2 forms"),
        ({"oneOf": [{"type": "null"}, {"const": 2}]}, "sesame", "fits none of the 2 forms"),
        ({"oneOf": [{}, {}]}, "sesame", "fits several forms of which the schema allows one"),
        ({"not": {}}, "sesame", "has a form that the schema forbids"),
        (False, "sesame", "is, or holds, something that the schema forbids"),
        ({"additionalProperties": False}, {"sesame": 1}, "is, or holds, something that the schema"),
        (
            {"properties": {"b": {}}, "additionalProperties": False},
            {"sesame": 1},
            "has 1 properties that the schema does",
        ),
        ({"unevaluatedProperties": False}, {"sesame": 1}, "has 1 properties that the schema does"),
        ({"unevaluatedItems": False}, ["sesame"], "has items that the schema does not allow"),
        ({"propertyNames": {"maxLength": 1}}, {"sesame": 1}, "has a property whose name"),
        ({"required": ["b"]}, {"sesame": 1}, "lacks the required property `b`"),
        ({"dependentRequired": {"a": ["b"]}}, {"a": "sesame"}, "lacks the required property `b`"),
    ],
)
def test_sentences(part, value, sentence):
    text = reason({"properties": {"a": part}}, {"a": value})
    assert text.startswith(f"arguments.a {sentence}")
    assert "sesame" not in text


def test_old_tuples_have_a_sentence():
    old = {
        "$schema": "http://json-schema.org/draft-07/schema#",
        "properties": {"a": {"items": [{}], "additionalItems": False}},
    }
    assert "must have no items beyond the first 1" in reason(old, {"a": [1, "sesame"]})


def test_at_most_so_many_errors_are_explained():
    schema = {"additionalProperties": {"type": "null"}}
    text = reason(schema, {str(number): "sesame" * number for number in range(1, 9)})
    assert text.count("must be null") == 3
    assert text.endswith("and 5 more")
    assert "sesame" not in text


def test_names_a_caller_made_up_are_not_shown():
    text = reason({"additionalProperties": {"type": "null"}}, {"sesame": {"open": 1}})
    assert "sesame" not in text
    assert text.startswith("arguments.<a key of 6 characters>")


def test_a_reason_is_bounded_whatever_the_schema_says():
    schema = {"properties": {"a" * 5_000: {"pattern": "x" * 5_000, "enum": ["y" * 5_000]}}}
    text = reason(schema, {"a" * 5_000: "sesame"}, max_errors=10)
    assert len(text) < 1_000


def test_control_characters_of_a_schema_are_escaped():
    text = reason({"required": ["a\n\u202eb"]}, {})
    assert text.isprintable()
    assert text.isascii()


@pytest.mark.parametrize(
    ("uri", "draft_4"),
    [("http://json-schema.org/draft-04/schema#", True), (None, False)],
)
def test_the_dialect_is_that_of_the_schema(uri, draft_4):
    schema = {"properties": {"a": {"maximum": 3, "exclusiveMaximum": True if draft_4 else 3}}}
    if uri is not None:
        schema["$schema"] = uri
    validator = JsonSchemaValidator()
    validator.declare([tool(schema)])
    assert not validator.validate(call({"a": 3})).allowed
    assert validator.validate(call({"a": 2})).allowed


def test_an_unsafe_schema_is_told_to_the_sink_once():
    sink = RecordingSink()
    clock = FakeClock()
    validator = JsonSchemaValidator(sink=sink, clock=clock)
    for _ in range(3):
        validator.declare([tool({"$ref": "http://127.0.0.1:9/x"})])
    expected = GuardFailed(at=clock.wall(), guard="schema:t", error_type="UnsafeSchema")
    assert sink.events == [expected]
    assert "can not be checked safely" in validator.validate(call({})).reason
    assert list(validator.get_problems()) == ["t"]
    validator.declare([tool({"pattern": "(?=a)"})])
    assert [event.error_type for event in sink.events] == ["UnsafeSchema", "BadSchema"]
    validator.declare([tool({})])
    assert not validator.get_problems()


def test_nothing_is_fetched(tmp_path):
    secret = tmp_path / "schema.json"
    secret.write_text('{"type": "object"}', encoding="utf-8")
    validator = JsonSchemaValidator()
    validator.declare([tool({"properties": {"a": {"$ref": secret.as_uri()}}})])
    assert not validator.validate(call({"a": {}})).allowed
    # Nor would the engine by itself, if a reference ever got past the study.
    for engine in ("2020-12", "7"):
        with pytest.raises(ValueError, match="not followed"):
            module._compile({"items": {"$ref": secret.as_uri()}}, engine)


def compiled(monkeypatch):
    made = []
    real = module._compile
    monkeypatch.setattr(
        module, "_compile", lambda schema, dialect: made.append(schema) or real(schema, dialect)
    )
    return made


def test_an_unchanged_schema_is_not_compiled_again(monkeypatch):
    made = compiled(monkeypatch)
    validator = JsonSchemaValidator()
    schema = {"properties": {"a": {"enum": [1]}}}
    validator.declare([tool(schema)])
    validator.declare([tool(schema)])
    validator.declare([tool({"properties": {"a": {"enum": [1]}}})])
    assert len(made) == 1
    validator.declare([tool({"properties": {"a": {"enum": [True]}}})])
    assert len(made) == 2
    assert validator.validate(call({"a": True})).allowed


def test_tools_are_bounded_and_those_beyond_are_refused():
    sink = RecordingSink()
    validator = JsonSchemaValidator(SchemaConfig(max_tools=2), sink=sink)
    validator.declare([tool({"required": ["a"]}, name=str(number)) for number in range(5)])
    assert validator.validate(call({"a": 1}, "1")).allowed
    assert not validator.validate(call({"a": 1}, "2")).allowed
    assert not validator.validate(call({"a": 1}, "never declared")).allowed
    assert [event.error_type for event in sink.events] == ["TooManyTools"]
    validator.declare([tool({"required": ["b"]}, name="1")])
    assert validator.validate(call({"b": 1}, "1")).allowed


def test_a_panic_of_the_engine_is_a_denial_and_an_interrupt_is_not():
    class Panic(BaseException):
        pass

    def fail(error):
        def is_valid(_arguments):
            raise error

        return is_valid

    sink = RecordingSink()
    validator = JsonSchemaValidator(sink=sink)
    validator.declare([tool({})])
    validator._tools["t"].is_valid = fail(Panic("sesame"))
    decision = validator.validate(call({}))
    assert (decision.allowed, decision.code) == (False, "invalid_arguments")
    assert "sesame" not in decision.reason
    assert [event.error_type for event in sink.events] == ["Panic"]
    validator._tools["t"].is_valid = fail(KeyboardInterrupt())
    with pytest.raises(KeyboardInterrupt):
        validator.validate(call({}))


def test_a_verdict_stands_without_its_explanation():
    sink = RecordingSink()
    validator = JsonSchemaValidator(sink=sink)
    validator.declare([tool({"required": ["a"]})])
    validator._tools["t"].iter_errors = None
    assert not validator.validate(call({})).allowed
    assert [event.guard for event in sink.events] == ["schema:explanation"]


def test_an_explanation_that_could_take_minutes_is_not_attempted():
    part = {"anyOf": [{"type": "object", "properties": {"x": {"$ref": "#/$defs/a"}}}] * 2}
    schema = {"$defs": {"a": part}, "properties": {"a": {"$ref": "#/$defs/a"}}}
    value = 1
    for _ in range(28):
        value = {"x": value}
    validator = JsonSchemaValidator()
    validator.declare([tool(schema)])
    validator._tools["t"].iter_errors = None  # Would be reported if it were tried.
    assert "too large to say where" in validator.validate(call({"a": value})).reason


def test_many_items_are_not_explained_one_by_one():
    schema = {"properties": {"a": {"items": {"type": "string"}}}}
    assert "too large" in reason(schema, {"a": list(range(50_000))})
    assert "arguments.a[0] must be string" in reason(schema, {"a": [1]})


def test_read_only_views_are_taken():
    validator = JsonSchemaValidator()
    validator.declare([tool(MappingProxyType({"required": ["a"]}))])
    assert validator.validate(call(MappingProxyType({"a": 1}))).allowed
    assert not validator.validate(call(MappingProxyType({}))).allowed


def test_the_engine_is_loaded_with_the_first_schema():
    code = (
        "import sys; from localmcp_harden.security.content.schema import JsonSchemaValidator as V;"
        "from localmcp_harden.core.model import ToolDeclaration as T; v = V();"
        "v.declare([T(name='a')]); assert 'jsonschema_rs' not in sys.modules;"
        "v.declare([T(name='a', input_schema={})]); assert 'jsonschema_rs' in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=30)


@pytest.mark.parametrize("wrong", [{"max_tools": 0}, {"max_errors": 0}, {"max_fan_out": 0}])
def test_nonsense_is_refused(wrong):
    with pytest.raises(ValueError, match=next(iter(wrong))):
        SchemaConfig(**wrong)


keywords = st.sampled_from(
    [
        "properties",
        "items",
        "allOf",
        "anyOf",
        "$ref",
        "$defs",
        "type",
        "pattern",
        "enum",
        "not",
        "required",
        "additionalProperties",
        "$id",
        "$schema",
        "minimum",
        "unevaluatedProperties",
    ]
)
anything = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-3, 3)
    | st.sampled_from(["#", "#/$defs/a", "object", "string", "(", "^(a+)+$", "http://x/y", "a"]),
    lambda part: (
        st.lists(part, max_size=3) | st.dictionaries(keywords | st.just("a"), part, max_size=4)
    ),
    max_leaves=12,
)


@settings(suppress_health_check=[HealthCheck.too_slow])
@given(schema=st.dictionaries(keywords, anything, max_size=4), value=anything)
def test_whatever_is_declared_there_is_a_decision(schema, value):
    validator = JsonSchemaValidator()
    validator.declare([tool(schema)])
    decision = validator.validate(call({"a": value}))
    assert decision.allowed or (decision.code == "invalid_arguments" and decision.reason)
    assert len(decision.reason) < 2_000
