"""What a schema refers to, and what it may cost."""

import pytest

from localmcp_harden.mechanisms.schema_graph import SchemaLimits, UnsafeSchemaError, study_schema

LIMITS = SchemaLimits(
    max_bytes=100_000, max_depth=64, max_parts=20_000, max_patterns=10, max_fan_out=1_000
)


def refused(schema):
    with pytest.raises(UnsafeSchemaError) as caught:
        study_schema(schema, LIMITS)
    return str(caught.value)


@pytest.mark.parametrize(
    "schema",
    [
        {"$ref": "#"},
        {"allOf": [{"$ref": "#"}]},
        {"anyOf": [True, {"not": {"$ref": "#"}}]},
        {"if": {"$ref": "#"}},
        {"dependentSchemas": {"a": {"$ref": "#"}}},
        {"$dynamicRef": "#"},
        {"$defs": {"a": {"$ref": "#/$defs/b"}, "b": {"$ref": "#/$defs/a"}}, "$ref": "#/$defs/a"},
        {"properties": {"a": {"$ref": "#/properties/a"}}},
        {"$defs": {"a": {"$anchor": "x", "allOf": [{"$ref": "#x"}]}}, "items": {"$ref": "#x"}},
    ],
)
def test_a_reference_that_consumes_nothing_never_ends(schema):
    assert "without end" in refused(schema)


@pytest.mark.parametrize(
    "schema",
    [
        {"properties": {"child": {"$ref": "#"}}},
        {"items": {"$ref": "#"}, "additionalProperties": {"$ref": "#"}},
        {"$defs": {"n": {"anyOf": [{"items": {"$ref": "#/$defs/n"}}]}}, "$ref": "#/$defs/n"},
        {"$ref": "#/$defs/a%20b~1c", "$defs": {"a b/c": {"type": "object"}}},
        {"$ref": "#/allOf/1", "allOf": [True, {"type": "object"}]},
        {"$ref": "#x", "$defs": {"a": {"$anchor": "x"}}},
        {"$id": "https://example.com/s", "$ref": "#/$defs/a", "$defs": {"a": False}},
        True and {"properties": {"$ref": {"type": "string"}, "$id": {"type": "string"}}},
    ],
)
def test_what_ends_is_taken(schema):
    assert study_schema(schema, LIMITS).dialect == "2020-12"


@pytest.mark.parametrize(
    "reference",
    ["other.json", "http://a/b#/c", "file:///etc/passwd", "//a", "", "urn:x", 7, None],
)
def test_a_reference_elsewhere_is_refused(reference):
    assert "outside" in refused({"items": {"$ref": reference}})


@pytest.mark.parametrize(
    "reference",
    ["#/none", "#/items/0", "#nowhere", "#/$defs/list/5", "#/$defs/text", "#/" + "9" * 30],
)
def test_a_reference_to_nothing_is_refused(reference):
    schema = {"items": {"$ref": reference}, "$defs": {"list": [{}], "text": "x"}}
    assert "nowhere" in refused(schema)


def test_one_anchor_for_two_parts_is_refused():
    parts = {"a": {"$anchor": "x"}, "b": {"$anchor": "x", "type": "string"}}
    assert "same anchor" in refused({"$ref": "#x", "$defs": parts})


@pytest.mark.parametrize(
    "schema",
    [
        {"properties": {"a": {"$id": "http://a/b"}}},
        {"$schema": "http://json-schema.org/draft-04/schema#", "items": {"id": "other"}},
    ],
)
def test_a_part_with_an_identity_of_its_own_is_refused(schema):
    assert "of its own" in refused(schema)


@pytest.mark.parametrize(
    ("uri", "dialect"),
    [
        ("https://json-schema.org/draft/2020-12/schema", "2020-12"),
        ("https://json-schema.org/draft/2019-09/schema", "2019-09"),
        ("http://json-schema.org/draft-07/schema#", "7"),
        ("http://json-schema.org/draft-07/schema", "7"),
        ("https://json-schema.org/draft-06/schema#", "6"),
        ("http://json-schema.org/draft-04/schema#", "4"),
    ],
)
def test_dialects(uri, dialect):
    assert study_schema({"$schema": uri}, LIMITS).dialect == dialect


@pytest.mark.parametrize("uri", ["http://evil/schema", 7, "http://json-schema.org/schema#"])
def test_an_unknown_dialect_is_refused(uri):
    assert "dialect" in refused({"$schema": uri})


def ladder(levels, keyword="allOf"):
    """Doubles at each level, in a schema that grows by one line."""
    parts = {
        f"d{level}": {keyword: [{"$ref": f"#/$defs/d{level + 1}"}] * 2} for level in range(levels)
    }
    parts[f"d{levels}"] = {"type": "string"}
    return {"$defs": parts, "$ref": "#/$defs/d0"}


@pytest.mark.parametrize("keyword", ["allOf", "anyOf", "oneOf"])
def test_fan_out_is_bounded(keyword):
    study_schema(ladder(5, keyword), LIMITS)
    assert "branches" in refused(ladder(30, keyword))


def test_nested_unevaluated_is_bounded():
    schema = {"properties": {"a": True}}
    for _ in range(12):
        schema = {"allOf": [schema], "unevaluatedProperties": False}
    assert "branches" in refused(schema)


def test_large_choices_of_objects_count():
    assert "branches" in refused({"items": {"enum": [{"a": number} for number in range(2_000)]}})
    study_schema({"items": {"enum": list(range(2_000))}}, LIMITS)


@pytest.mark.parametrize(
    ("schema", "reason"),
    [
        ({"description": "x" * 200_000}, "characters"),
        ({"enum": list(range(30_000))}, "parts"),
        ({"a": {"const": float("nan")}}, "finite"),
        ({"description": "\ud800"}, "surrogate"),
        ({1: 2}, "no string"),
    ],
)
def test_size_and_form_are_bounded(schema, reason):
    assert reason in refused(schema)


def test_ten_thousand_levels_are_refused():
    schema = {}
    for _ in range(10_000):
        schema = {"items": schema}
    assert "deep" in refused(schema)
    while schema:
        schema = schema.pop("items", {})


def test_patterns_are_counted():
    schema = {"patternProperties": {"a" * number: {"pattern": "b"} for number in range(1, 7)}}
    assert "patterns" in refused(schema)


def test_names_are_those_the_schema_speaks_of():
    schema = {
        "properties": {"a": {"properties": {"b": True}}},
        "required": ["c"],
        "default": {"properties": {"d": 1}},
    }
    assert study_schema(schema, LIMITS).names == {"a", "b", "c"}


def test_what_recurses_costs_more_to_explain_at_each_level():
    value = {
        "anyOf": [
            {"type": "string"},
            {"additionalProperties": {"$ref": "#/$defs/v"}},
            {"items": {"$ref": "#/$defs/v"}},
        ]
    }
    study = study_schema(
        {"$defs": {"v": value}, "properties": {"a": {"$ref": "#/$defs/v"}}}, LIMITS
    )
    costs = [study.explanation_cost(depth) for depth in (1, 2, 4, 8, 64)]
    assert costs == sorted(costs)
    assert costs[3] > 100 * costs[1]
    flat = study_schema({"properties": {"a": {"type": "string"}}}, LIMITS)
    assert flat.explanation_cost(2) == flat.explanation_cost(64) < 10
