"""Studies a JSON Schema before anything is checked with it: what it refers to, what it may cost.

A schema comes from a server that may be hostile. It is read as a graph of subschemas with
two kinds of edges: those that judge the same value again (`allOf`, `$ref`) and those
that judge a part of it (`properties`, `items`). A cycle of the first kind never ends; a
graph that branches at every level costs exponentially much.
"""

from collections.abc import Callable, Iterator, Mapping
from typing import Any, Final, cast, final
from urllib.parse import unquote

from attrs import frozen

from .json_walk import JsonLimits, find_excess

__all__ = ("SchemaLimits", "SchemaStudy", "UnsafeSchemaError", "study_schema")

_SAME_LISTS: Final = ("allOf", "anyOf", "oneOf")
_SAME_MAPS: Final = ("dependentSchemas", "dependencies")
_SAME: Final = ("not", "if", "then", "else")
_PART_LISTS: Final = ("prefixItems", "items")
_PART_MAPS: Final = ("properties", "patternProperties")
_PART: Final = (
    "items",
    "additionalItems",
    "contains",
    "propertyNames",
    "additionalProperties",
    "unevaluatedItems",
    "unevaluatedProperties",
)
_REFERENCES: Final = ("$ref", "$dynamicRef", "$recursiveRef")
_ANCHORS: Final = ("$anchor", "$dynamicAnchor")
_BEYOND: Final = 1 << 40

_DIALECTS: Final = {
    "json-schema.org/draft/2020-12/schema": "2020-12",
    "json-schema.org/draft/2019-09/schema": "2019-09",
    "json-schema.org/draft-07/schema": "7",
    "json-schema.org/draft-06/schema": "6",
    "json-schema.org/draft-04/schema": "4",
}


class UnsafeSchemaError(Exception):
    """A schema can not be checked safely; the message says why in half a sentence."""


@final
@frozen(kw_only=True)
class SchemaLimits:
    """How large a schema may be, and how much one check with it may cost.

    Args:
        max_bytes: Bytes of its strings and keys.
        max_depth: Levels of nesting.
        max_parts: Values in it.
        max_patterns: Regular expressions in it.
        max_fan_out: Subschemas that one value may have to be judged by, references
            followed; a recursion counts once.
    """

    max_bytes: int
    max_depth: int
    max_parts: int
    max_patterns: int
    max_fan_out: int


@final
class SchemaStudy:
    """What is known of a schema that passed.

    Args:
        dialect: The draft: `2020-12`, `2019-09`, `7`, `6` or `4`.
        names: The property names that the schema itself speaks of.
    """

    def __init__(self, dialect: str, names: frozenset[str], graph: "_Graph") -> None:
        self.dialect: str = dialect
        self.names: frozenset[str] = names
        self._order = graph.order
        self._own = graph.own
        self._same = graph.same
        self._parts = graph.parts
        self._branching = graph.branching
        self._levels: list[list[int]] = [[1] * len(graph.own)]

    def explanation_cost(self, depth: int) -> int:
        """Return how many subschemas may have to explain why a value of `depth` fails.

        An explanation follows every branch, so that what recurses counts at each level.
        """
        for _ in range(len(self._levels), depth + 1):
            below = self._levels[-1]
            if below[0] >= _BEYOND:
                break
            level = [0] * len(self._own)
            for node in self._order:
                cost = self._own[node]
                cost += sum(level[other] for other in self._same[node])
                cost += sum(below[other] for other in self._parts[node])
                level[node] = min(_BEYOND, cost * 3 if self._branching[node] else cost)
            self._levels.append(level)
        return self._levels[min(depth, len(self._levels) - 1)][0]


def study_schema(schema: Mapping[str, Any], limits: SchemaLimits) -> SchemaStudy:
    """Return what is known of `schema`.

    Raises:
        UnsafeSchemaError: It is too large, refers beyond itself, refers to itself without
            end, or may cost too much.
    """
    excess = find_excess(
        schema,
        JsonLimits(
            max_bytes=limits.max_bytes,
            max_depth=limits.max_depth,
            max_parts=limits.max_parts,
            max_string_chars=limits.max_bytes,
            max_key_chars=limits.max_bytes,
            max_integer_bits=64,
        ),
        "it",
    )
    if excess is not None:
        raise UnsafeSchemaError(excess.reason)
    graph = _Graph(schema, _dialect(schema))
    if graph.patterns > limits.max_patterns:
        raise UnsafeSchemaError(f"it has more than {limits.max_patterns} patterns")
    if graph.fan_out() > limits.max_fan_out:
        raise UnsafeSchemaError(f"it branches into more than {limits.max_fan_out} checks")
    return SchemaStudy(graph.dialect, frozenset(graph.names), graph)


def _dialect(schema: Mapping[str, Any]) -> str:
    named = schema.get("$schema")
    if named is None:
        return "2020-12"
    if isinstance(named, str):
        dialect = _DIALECTS.get(named.removesuffix("#").split("://", 1)[-1])
        if dialect is not None:
            return dialect
    raise UnsafeSchemaError("its `$schema` names an unknown dialect")


class _Graph:
    """The subschemas that a check can reach, numbered from the root, and their edges."""

    def __init__(self, root: Mapping[str, Any], dialect: str) -> None:
        self.dialect: str = dialect
        self.names: set[str] = set()
        self.patterns: int = 0
        self.own: list[int] = []
        """What each subschema costs by itself."""
        self.same: list[list[int]] = []
        self.parts: list[list[int]] = []
        self.branching: list[bool] = []
        """Whether explaining a failure here repeats what is further in."""
        self._weights: list[int] = []
        self._root = root
        self._id = "id" if dialect == "4" else "$id"
        self._numbers: dict[int, int] = {}
        self._pending: list[Mapping[str, Any]] = []
        self._anchors: dict[str, object] | None = None
        self._number(root)
        while self._pending:
            self._read(self._pending.pop())
        self.order: list[int] = list(_postorder(self.same, self._never_ends))

    def fan_out(self) -> int:
        """Return the cost of the root, where a recursion is followed once."""
        edges = [same + parts for same, parts in zip(self.same, self.parts, strict=True)]
        cost = [1] * len(edges)
        # What is still being followed has cost 1: jsonschema-rs judges a value by a
        # recursive reference once and remembers.
        for node in _postorder(edges, None):
            total = self.own[node] + sum(cost[other] for other in edges[node])
            cost[node] = min(_BEYOND, total * self._weights[node])
        return cost[0]

    def _number(self, schema: Mapping[str, Any]) -> int:
        number = self._numbers.get(id(schema))
        if number is None:
            number = self._numbers[id(schema)] = len(self.own)
            self.own.append(1)
            self.same.append([])
            self.parts.append([])
            self.branching.append(False)
            self._weights.append(1)
            self._pending.append(schema)
        return number

    def _read(self, schema: Mapping[str, Any]) -> None:
        number = self._numbers[id(schema)]
        if number:
            identity = schema.get(self._id)
            if isinstance(identity, str) and not identity.startswith("#"):
                raise UnsafeSchemaError(f"a part of it has an `{self._id}` of its own")
        same = [self._target(schema[key]) for key in _REFERENCES if key in schema]
        same += [schema.get(key) for key in _SAME]
        same += [part for key in _SAME_LISTS for part in _members(schema.get(key))]
        same += [part for key in _SAME_MAPS for part in _values(schema.get(key))]
        parts = [schema.get(key) for key in _PART]
        parts += [part for key in _PART_LISTS for part in _members(schema.get(key))]
        parts += [part for key in _PART_MAPS for part in _values(schema.get(key))]
        self.same[number] = self._numbers_of(same)
        self.parts[number] = self._numbers_of(parts)
        # Measured on jsonschema-rs: each nested `unevaluated...` judges what is beside it
        # up to three times, and each nested `anyOf` copies the failures from further in.
        unevaluated = "unevaluatedProperties" in schema or "unevaluatedItems" in schema
        self._weights[number] = 3 if unevaluated else 1
        self.branching[number] = unevaluated or "anyOf" in schema or "oneOf" in schema
        self.own[number] += _own_cost(schema)
        self.patterns += ("pattern" in schema) + len(_values(schema.get("patternProperties")))
        self.names.update(name for name in _keys(schema.get("properties")))
        self.names.update(name for name in _members(schema.get("required")) if type(name) is str)

    def _numbers_of(self, schemas: list[Any]) -> list[int]:
        # A boolean schema costs nothing, and anything else is for the engine to refuse.
        return [self._number(schema) for schema in schemas if isinstance(schema, Mapping)]

    def _target(self, reference: object) -> object:
        if not isinstance(reference, str) or not reference.startswith("#"):
            raise UnsafeSchemaError("a reference in it leads outside of it")
        fragment = unquote(reference[1:])
        if not fragment:
            return self._root
        target = self._at(fragment) if fragment.startswith("/") else self._anchored(fragment)
        if not isinstance(target, Mapping | bool):
            raise UnsafeSchemaError("a reference in it leads nowhere")
        return cast("Mapping[str, Any] | bool", target)

    def _at(self, pointer: str) -> object:
        target: object = self._root
        for step in pointer.split("/")[1:]:
            key = step.replace("~1", "/").replace("~0", "~")
            if isinstance(target, Mapping):
                target = cast("Mapping[str, object]", target).get(key)
            elif isinstance(target, list) and key.isdecimal() and key.isascii() and len(key) < 9:  # noqa: PLR2004
                members = cast("list[object]", target)
                target = members[int(key)] if int(key) < len(members) else None
            else:
                return None
        return target

    def _anchored(self, name: str) -> object:
        if self._anchors is None:
            self._anchors = {}
            for part in _objects(self._root):
                named = [part.get(key) for key in _ANCHORS]
                identity = part.get(self._id)
                if isinstance(identity, str) and identity.startswith("#"):
                    named.append(identity[1:])
                for anchor in named:
                    if not isinstance(anchor, str):
                        continue
                    if self._anchors.setdefault(anchor, part) is not part:
                        raise UnsafeSchemaError("two parts of it have the same anchor")
        return self._anchors.get(name)

    @staticmethod
    def _never_ends() -> None:
        raise UnsafeSchemaError("a reference in it leads back to itself without end")


def _own_cost(schema: Mapping[str, Any]) -> int:
    """Return the comparisons that a subschema makes by itself, beyond the first."""
    cost = len(_members(schema.get("required")))
    cost += sum(len(_members(needed)) for needed in _values(schema.get("dependentRequired")))
    choices = _members(schema.get("enum"))
    # Scalars are found by one look-up; objects are compared one by one.
    if any(isinstance(choice, dict | list) for choice in choices):
        cost += len(choices)
    return cost


def _postorder(edges: list[list[int]], on_cycle: Callable[[], None] | None) -> Iterator[int]:
    """Yield every node after those its edges lead to; call `on_cycle` where that can not be."""
    state = [0] * len(edges)
    for start in range(len(edges)):
        if state[start]:
            continue
        state[start] = 1
        path = [(start, iter(edges[start]))]
        while path:
            node, others = path[-1]
            for other in others:
                if state[other] == 1 and on_cycle is not None:
                    on_cycle()
                if not state[other]:
                    state[other] = 1
                    path.append((other, iter(edges[other])))
                    break
            else:
                state[node] = 2
                path.pop()
                yield node


def _objects(root: object) -> Iterator[Mapping[str, Any]]:
    stack = [root]
    while stack:
        part = stack.pop()
        if isinstance(part, Mapping):
            part = cast("Mapping[str, Any]", part)
            yield part
            stack.extend(part.values())
        elif isinstance(part, list):
            stack.extend(cast("list[object]", part))


def _members(value: Any) -> list[Any]:
    return value if isinstance(value, list) else []


def _values(value: object) -> list[Any]:
    return list(cast("Mapping[str, Any]", value).values()) if isinstance(value, Mapping) else []


def _keys(value: object) -> list[str]:
    return list(cast("Mapping[str, Any]", value)) if isinstance(value, Mapping) else []
