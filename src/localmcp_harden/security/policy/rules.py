"""Checks rules and brings them into the one form the index knows.

A rule that can never match is a mistake that nobody would see: it is refused with
the id of the rule and the field. Patterns are refused for the same reason, since
the whole name or `*` is all there is.
"""

import re
from collections.abc import Callable, Iterable
from typing import TypeAlias, cast, final

from attrs import evolve, frozen

from ...core.errors import ConfigError, InvalidResourceError
from ...core.model import Effect
from ...mechanisms.paths import file_uri, normalize_uri, path_of
from ...protocols.security import Rule

__all__ = (
    "ANY",
    "MAX_PRODUCT",
    "PROMPT",
    "PathResolver",
    "PlacedRule",
    "check_rule",
    "check_rules",
)

ANY = "*"
PROMPT = "prompt:"
MAX_PRODUCT: int = 10_000
"""The most combinations of action, tool, role and resource in one rule."""

PathResolver: TypeAlias = Callable[[str], str]
"""Turns the absolute path of a rule into the URI by which calls are judged."""

_MAX_NAME = 256
_MAX_REASON = 500
_ID = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.:/@-]{0,127}", re.ASCII)
_NAME = re.compile(r"[^\x00-\x1f\x7f-\x9f\ud800-\udfff*?\[\]{}]+")
_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\ud800-\udfff]")
_DOTS = re.compile(r"(?:^|/)\.\.?(?:/|$)")
_GLOB = re.compile("[*{}]")
_SCHEME_ONLY = re.compile(r"[a-z][a-z0-9+.-]*:", re.ASCII)
_NEVER_A_TOOL = ("resources/", "prompts/", "notifications/", "completion/", "logging/", "server/")
_NEVER_A_TOOL_EXACTLY = frozenset({"initialize", "ping", "tools/list"})


@final
@frozen(kw_only=True)
class PlacedRule:
    """A rule in the index's form, with its place in the policy.

    Args:
        place: Earlier rules have smaller numbers; decides whose reason is told.
        rule: As it was written.
        normal: Without doubles, with resources as prefixes of canonical URIs.
    """

    place: int
    rule: Rule
    normal: Rule


def check_rules(
    rules: Iterable[Rule], *, resolve: PathResolver | None = None
) -> dict[str, PlacedRule]:
    """Check the rules of a policy and return them by id, in order.

    Raises:
        ConfigError: A rule is wrong, or two have the same id.
    """
    placed: dict[str, PlacedRule] = {}
    for place, rule in enumerate(rules):
        entry = check_rule(rule, place, resolve=resolve)
        if rule.id in placed:
            raise _wrong(rule, "id", "another rule has this id; ids are unique")
        placed[rule.id] = entry
    return placed


def check_rule(rule: Rule, place: int, *, resolve: PathResolver | None = None) -> PlacedRule:
    """Check one rule.

    Args:
        rule: The rule.
        place: Its place in the policy, from 0.
        resolve: See `PathResolver`; without it a path is taken as it is written.

    Raises:
        ConfigError: The rule is wrong; the path names the rule and the field.
    """
    rule_id = cast("object", rule.id)
    if not isinstance(rule_id, str) or _ID.fullmatch(rule_id) is None:
        raise ConfigError(
            "an id is 1 to 128 letters, digits and _ . : / @ -, and begins with a letter, "
            "a digit or _",
            f"rules[{place}].id",
            _source(rule),
        )
    try:
        effect = Effect(rule.effect)
    except ValueError:
        raise _wrong(rule, "effect", "must be allow or deny") from None
    _check_reason(rule)
    actions = _names(rule, "actions", rule.actions)
    tools = _names(rule, "tools", rule.tools)
    roles = _names(rule, "roles", rule.roles)
    written = _parts(rule, "resources", rule.resources)
    resources = _without_doubles(_resource(rule, part, resolve) for part in written)
    if tools != (ANY,) and all(_is_never_a_tool(action) for action in actions):
        raise _wrong(
            rule, "tools", "none of the rule's actions calls a tool, so it can never match; write *"
        )
    product = len(actions) * len(tools) * len(roles) * len(resources)
    if product > MAX_PRODUCT:
        raise _wrong(
            rule,
            "resources",
            f"the rule has {product} combinations of action, tool, role and resource; "
            f"at most {MAX_PRODUCT} are taken: split it, or use a shorter prefix or a role",
        )
    normal = evolve(
        rule, effect=effect, actions=actions, tools=tools, roles=roles, resources=resources
    )
    return PlacedRule(place=place, rule=rule, normal=normal)


def _check_reason(rule: Rule) -> None:
    reason = cast("object", rule.reason)
    if not isinstance(reason, str) or len(reason) > _MAX_REASON or _CONTROL.search(reason):
        raise _wrong(
            rule, "reason", f"must be one line of at most {_MAX_REASON} characters; callers read it"
        )


def _parts(rule: Rule, field: str, parts: object) -> tuple[str, ...]:
    if not isinstance(parts, tuple):
        raise _wrong(rule, field, f"must be a tuple of strings, not {type(parts).__name__}")
    if not parts:
        raise _wrong(rule, field, "is empty, so the rule can never match; write * to match all")
    kept: list[str] = []
    for part in cast("tuple[object, ...]", parts):
        if not isinstance(part, str):
            raise _wrong(rule, field, f"must hold strings, not {type(part).__name__}")
        kept.append(part)
    return tuple(kept)


def _names(rule: Rule, field: str, parts: object) -> tuple[str, ...]:
    names = _parts(rule, field, parts)
    for name in names:
        if name == ANY:
            continue
        if len(name) > _MAX_NAME:
            raise _wrong(rule, field, f"a name has {len(name)} characters, at most {_MAX_NAME}")
        if name != name.strip() or _NAME.fullmatch(name) is None:
            raise _wrong(
                rule,
                field,
                "a name is empty, begins or ends with a space, or holds a control character or "
                "one of * ? [ ] { }; patterns are not supported: write whole names, or * alone",
            )
    return _without_doubles(names)


def _resource(rule: Rule, text: str, resolve: PathResolver | None) -> str:
    """Return the prefix of canonical URIs that `text` stands for."""
    if text == ANY:
        return ANY
    if text.startswith(PROMPT):
        if len(text) > len(PROMPT) and _NAME.fullmatch(text[len(PROMPT) :]) is None:
            raise _wrong(rule, "resources", "the name of a prompt holds an unknown character")
        return text.rstrip("/")
    if _GLOB.search(text) or (text.startswith("/") and "?" in text):
        raise _wrong(
            rule, "resources", "patterns are not supported: write a path or URI, or * alone"
        )
    if _DOTS.search(text):
        raise _wrong(rule, "resources", "must not hold . or .. segments: write the real place")
    try:
        if text.startswith("/"):
            uri = resolve(text) if resolve else file_uri(text)
        else:
            uri = normalize_uri(text)
            if resolve and uri.startswith("file://"):
                uri = resolve(path_of(uri))
    except InvalidResourceError as error:
        raise _wrong(rule, "resources", f"{error}: write an absolute path or a URI") from None
    if _DOTS.search(uri):
        raise _wrong(rule, "resources", "must not hold . or .. segments: write the real place")
    return _without_slash(uri)


def _without_slash(uri: str) -> str:
    bare = uri.rstrip("/")
    if bare == "file:":
        # All files of this machine, and no other host's.
        return "file://"
    return bare


def _without_doubles(parts: Iterable[str]) -> tuple[str, ...]:
    unique = tuple(dict.fromkeys(parts))
    # `*` makes the others mean nothing.
    return (ANY,) if ANY in unique else unique


def _is_never_a_tool(action: str) -> bool:
    return action in _NEVER_A_TOOL_EXACTLY or action.startswith(_NEVER_A_TOOL)


def _wrong(rule: Rule, field: str, message: str) -> ConfigError:
    return ConfigError(message, f"rules.{rule.id}.{field}", _source(rule))


def _source(rule: Rule) -> str:
    source = cast("object", rule.source)
    return source if isinstance(source, str) else ""
