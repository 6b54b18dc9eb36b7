"""Finds the rules that match a call in a few dictionary probes, however many rules there are.

The index is tool, action, role, then prefix of the resource by whole segments. Its
cost depends on the caller's roles and on the depth of the rules' prefixes, never on
the number of rules nor on the length of what the caller sends.
"""

import re
from collections.abc import Callable, Iterable, Mapping
from typing import TypeAlias, final

from ...core.model import Decision, Effect, deny
from ...mechanisms.paths import MAX_LENGTH
from ...protocols.security import Rule
from .rules import ANY, PlacedRule

__all__ = ("REFUSAL", "PolicyIndex", "combinations")

REFUSAL: str = "this call is not permitted"
"""What a caller reads when a rule has no reason of its own: the same as when no rule matched."""

_BOUNDARIES = "/?#"
_CUT = re.compile("[/?#]")
_DOT_DOT = re.compile(r"(?:^|[/?#:])\.\.(?:[/?#]|$)")
_FILE = "file:///"

_Line: TypeAlias = tuple[int, str, str]
"""Place, id and reason of a rule."""


@final
class _Entry:
    """The rules at one place of the index, and what they decide when no others match."""

    __slots__ = ("allow", "allows", "denies", "deny")

    def __init__(self, allows: tuple[_Line, ...], denies: tuple[_Line, ...]) -> None:
        self.allows = allows
        self.denies = denies
        # Made here once: it costs as much as the whole search.
        self.allow = _allowing(allows) if allows else None
        self.deny = _denying(denies) if denies else None


@final
class _Leaf:
    """The entries of one tool, action and role, by prefix."""

    __slots__ = ("depth", "entries", "has_allow")

    def __init__(self, entries: dict[str, _Entry]) -> None:
        self.entries = entries
        self.has_allow = any(entry.allows for entry in entries.values())
        self.depth = max((_depth(prefix) for prefix in entries if prefix != ANY), default=-1)


_Roles: TypeAlias = Mapping[str, _Leaf]
_Actions: TypeAlias = Mapping[str, _Roles]
_Change: TypeAlias = Callable[[_Entry | None], _Entry | None]

_NONE: Mapping[str, _Roles] = {}


@final
class PolicyIndex:
    """An immutable index of rules; an edit returns another one, sharing what did not change."""

    __slots__ = ("_any_tool", "_tools", "size")

    def __init__(self, tools: Mapping[str, _Actions], size: int) -> None:
        self.size: int = size
        """How many combinations of tool, action, role and prefix are kept."""
        self._tools = tools
        self._any_tool = tools.get(ANY, _NONE)

    @classmethod
    def build(cls, rules: Iterable[PlacedRule]) -> "PolicyIndex":
        """Return the index of these rules."""
        lines: dict[str, dict[str, dict[str, dict[str, tuple[list[_Line], list[_Line]]]]]] = {}
        size = 0
        for placed in rules:
            rule, line = placed.normal, _line(placed)
            denies = rule.effect is Effect.DENY
            for tool in rule.tools:
                actions = lines.setdefault(tool, {})
                for action in rule.actions:
                    roles = actions.setdefault(action, {})
                    for role in rule.roles:
                        entries = roles.setdefault(role, {})
                        for prefix in rule.resources:
                            entry = entries.get(prefix)
                            if entry is None:
                                entry = entries[prefix] = ([], [])
                            entry[denies].append(line)
            size += combinations(rule)
        tools = {
            tool: {
                action: {
                    role: _Leaf(
                        {
                            prefix: _Entry(tuple(allows), tuple(denied))
                            for prefix, (allows, denied) in entries.items()
                        }
                    )
                    for role, entries in roles.items()
                }
                for action, roles in actions.items()
            }
            for tool, actions in lines.items()
        }
        return cls(tools, size)

    def with_rule(self, placed: PlacedRule) -> "PolicyIndex":
        """Return an index with one rule more."""
        line, denies = _line(placed), placed.normal.effect is Effect.DENY

        def add(entry: _Entry | None) -> _Entry:
            allows, denied = (entry.allows, entry.denies) if entry else ((), ())
            if denies:
                return _Entry(allows, tuple(sorted((*denied, line))))
            return _Entry(tuple(sorted((*allows, line))), denied)

        return self._changed(placed.normal, add, combinations(placed.normal))

    def without_rule(self, placed: PlacedRule) -> "PolicyIndex":
        """Return an index without this rule."""
        line = _line(placed)

        def drop(entry: _Entry | None) -> _Entry | None:
            if entry is None:
                return None
            allows = tuple(kept for kept in entry.allows if kept != line)
            denies = tuple(kept for kept in entry.denies if kept != line)
            return _Entry(allows, denies) if allows or denies else None

        return self._changed(placed.normal, drop, -combinations(placed.normal))

    def decide(
        self, action: str, tool: str | None, roles: Iterable[str], resource: str
    ) -> Decision | None:
        """Return what the matching rules decide, None when none matches.

        Args:
            action: The protocol method.
            tool: The tool's name, None when the call is no tool call.
            roles: The caller's roles.
            resource: The canonical URI, `""` for none.
        """
        # A resource that is not canonical can not be placed; no rule speaks for it.
        if len(resource) > MAX_LENGTH or (".." in resource and _DOT_DOT.search(resource)):
            return _NOT_CANONICAL
        hits: list[_Entry] = []
        prefixes: list[str] = []
        cut_to = -1
        for leaf in self._leaves(action, tool, roles):
            entries = leaf.entries
            entry = entries.get(ANY)
            if entry is not None:
                hits.append(entry)
            depth = leaf.depth
            if depth < 0 or not resource:
                continue
            if depth > cut_to:
                prefixes = _prefixes(resource, depth)
                cut_to = depth
            for prefix in prefixes:
                entry = entries.get(prefix)
                if entry is not None:
                    hits.append(entry)
        if not hits:
            return None
        if len(hits) == 1:
            entry = hits[0]
            return entry.deny or entry.allow
        return _fold(hits)

    def may_allow(self, action: str, tool: str | None, roles: Iterable[str]) -> bool | None:
        """Return whether some resource could be allowed.

        Returns:
            True when a rule allows one, False when a rule denies all of them, None when
            no rule says either.
        """
        allowed: bool | None = None
        for leaf in self._leaves(action, tool, roles):
            entry = leaf.entries.get(ANY)
            if entry is not None and entry.denies:
                return False
            if leaf.has_allow:
                allowed = True
        return allowed

    def _leaves(self, action: str, tool: str | None, roles: Iterable[str]) -> list[_Leaf]:
        leaves: list[_Leaf] = []
        # A tool without rules of its own is judged by those for any tool.
        own = self._tools.get(tool, _NONE) if tool is not None else _NONE
        for actions in (self._any_tool, own) if own else (self._any_tool,):
            for name in (action, ANY):
                by_role = actions.get(name)
                if by_role is None:
                    continue
                leaf = by_role.get(ANY)
                if leaf is not None:
                    leaves.append(leaf)
                for role in roles:
                    leaf = by_role.get(role)
                    if leaf is not None:
                        leaves.append(leaf)
        return leaves

    def _changed(self, rule: Rule, change: _Change, growth: int) -> "PolicyIndex":
        """Return a copy with `change` applied to every entry of the rule."""
        tools = dict(self._tools)
        for tool in rule.tools:
            actions = dict(tools.get(tool, _NONE))
            for action in rule.actions:
                roles: dict[str, _Leaf] = dict(actions.get(action, {}))
                for role in rule.roles:
                    leaf = roles.get(role)
                    entries: dict[str, _Entry] = dict(leaf.entries) if leaf else {}
                    for prefix in rule.resources:
                        entry = change(entries.get(prefix))
                        if entry is None:
                            entries.pop(prefix, None)
                        else:
                            entries[prefix] = entry
                    if entries:
                        roles[role] = _Leaf(entries)
                    else:
                        roles.pop(role, None)
                if roles:
                    actions[action] = roles
                else:
                    actions.pop(action, None)
            if actions:
                tools[tool] = actions
            else:
                tools.pop(tool, None)
        return PolicyIndex(tools, self.size + growth)


def combinations(rule: Rule) -> int:
    """Return how many entries a rule takes in the index."""
    return len(rule.actions) * len(rule.tools) * len(rule.roles) * len(rule.resources)


def _prefixes(resource: str, depth: int) -> list[str]:
    """Return the prefixes of whole segments that hold at most `depth` boundaries, and itself."""
    cuts: list[str] = []
    if "?" in resource or "#" in resource:
        for count, match in enumerate(_CUT.finditer(resource)):
            if count > depth:
                return cuts
            cuts.append(resource[: match.start()])
        cuts.append(resource)
        return cuts
    at = resource.find("/")
    if resource.startswith(_FILE):
        # No rule's prefix is `file:` or `file:/`: all files are `file://`.
        at, depth = 7, depth - 2
    while at >= 0:
        if depth < 0:
            return cuts
        cuts.append(resource[:at])
        depth -= 1
        at = resource.find("/", at + 1)
    cuts.append(resource)
    return cuts


def _depth(prefix: str) -> int:
    return sum(prefix.count(boundary) for boundary in _BOUNDARIES)


def _fold(hits: list[_Entry]) -> Decision | None:
    denying = [entry for entry in hits if entry.deny is not None]
    found = denying or hits
    if len(found) == 1:
        return found[0].deny or found[0].allow
    # A caller with two roles meets a rule for both of them twice.
    if denying:
        return _denying(tuple(sorted({line for entry in found for line in entry.denies})))
    return _allowing(tuple(sorted({line for entry in found for line in entry.allows})))


def _allowing(lines: tuple[_Line, ...]) -> Decision:
    return Decision(effect=Effect.ALLOW, rules=tuple(rule_id for _, rule_id, _ in lines))


def _denying(lines: tuple[_Line, ...]) -> Decision:
    reason = next((reason for _, _, reason in lines if reason), REFUSAL)
    return deny("policy_denied", reason, rules=tuple(rule_id for _, rule_id, _ in lines))


def _line(placed: PlacedRule) -> _Line:
    return (placed.place, placed.normal.id, placed.normal.reason)


_NOT_CANONICAL = deny("policy_denied", REFUSAL)
