"""Refuses what no rule allows or any rule denies, by an index over the rules.

Deny wins over allow, and what no rule speaks of is denied; neither can be
configured away. A decision costs the same with ten rules and with ten thousand.
"""

import threading
from collections.abc import Collection
from typing import final

from attrs import field, frozen
from attrs.validators import deep_iterable, instance_of

from ...core.errors import ConfigError
from ...core.events import EventSink, discard
from ...core.model import ALLOW, Call, CallKind, Decision, SecurityContext, deny
from ...core.ports import Clock, Random
from ...protocols.security import Rule
from .index import REFUSAL, PolicyIndex, combinations
from .rules import PROMPT, PathResolver, PlacedRule, check_rule, check_rules

__all__ = ("DEFAULT_OPEN_ACTIONS", "IndexedPolicyGate", "PolicyConfig")

DEFAULT_OPEN_ACTIONS: tuple[str, ...] = (
    "initialize",
    "server/discover",
    "ping",
    "notifications/*",
    "tools/list",
    "resources/list",
    "resources/templates/list",
    "prompts/list",
    "logging/setLevel",
)
"""Methods without which no conversation begins, and which do nothing on their own.

Lists are among them because each one is filtered to what its caller may use.
"""

_CALL_TOOL = "tools/call"
_MAX_ENTRIES = 1_000_000
_MAX_KNOWN = 1_024
_MAX_KNOWN_CHARS = 256
# Asking an enumeration for a member runs its metaclass, on every call: once is enough.
_TOOL = CallKind.TOOL
_ACTING = (
    "tools/call",
    "resources/read",
    "resources/subscribe",
    "prompts/get",
    "admin/any",
    "stage/any",
)
_REFUSED = deny("policy_denied", REFUSAL)


def _check_open_actions(_owner: object, _attribute: object, value: tuple[str, ...]) -> None:
    for action in value:
        if not action or "*" in action.removesuffix("/*") or action.startswith("/"):
            raise ValueError(
                "open_actions: write a whole method, or a family as in notifications/*"
            )
        acting = [method for method in _ACTING if _covers(action, method)]
        if acting or action.startswith(("admin/", "stage/")):
            raise ValueError(
                "open_actions: calling, reading and administration need a rule that allows them; "
                "take the entry out and write an allow rule"
            )


def _covers(action: str, method: str) -> bool:
    return method.startswith(action[:-1]) if action.endswith("/*") else method == action


@final
@frozen(kw_only=True)
class PolicyConfig:
    """The rules of a server.

    Args:
        rules: What is allowed and what is denied (none, so that nothing is allowed until
            somebody says so). Together at most 1,000,000 combinations of tool, action,
            role and resource.
        open_actions: Methods that need no allow rule; a deny rule that matches still
            refuses them. A name that ends in `/*` stands for all that begins like it.
            By default the handshake, `ping`, notifications, lists and the log level:
            without them no client gets as far as a call, and none of them acts. Calling
            tools, reading resources, getting prompts and administration can not be opened.
    """

    rules: tuple[Rule, ...] = field(
        default=(), validator=deep_iterable(instance_of(Rule), instance_of(tuple))
    )
    open_actions: tuple[str, ...] = field(
        default=DEFAULT_OPEN_ACTIONS,
        validator=[deep_iterable(instance_of(str), instance_of(tuple)), _check_open_actions],
    )


@final
@frozen
class _Snapshot:
    """What a call is judged by; replaced as a whole."""

    index: PolicyIndex
    rules: dict[str, PlacedRule]
    version: int
    next_place: int
    known: dict[tuple[str, str, frozenset[str]], Decision] = field(factory=dict)
    """What was decided of tools, by action, name and roles, where no resource is touched."""


@final
class IndexedPolicyGate:
    """The default `EditablePolicyGate`.

    Args:
        config: The rules.
        clock: Not used: no rule depends on time.
        random: Not used.
        sink: Not used: what is decided is in the call's record.
        resolve_path: Turns the absolute paths of rules into canonical URIs when the rules
            are loaded, so that a rule for a symbolic link means its target;
            `lambda path: canonical_path(path, base="/")` asks the system. Without it a
            path is taken as written.

    Raises:
        ConfigError: A rule is wrong; the path names the rule and the field.
    """

    def __init__(
        self,
        config: PolicyConfig | None = None,
        *,
        clock: Clock | None = None,  # noqa: ARG002 - the constructor every block has
        random: Random | None = None,  # noqa: ARG002 - the same
        sink: EventSink = discard,  # noqa: ARG002 - a gate has no event that the record lacks
        resolve_path: PathResolver | None = None,
    ) -> None:
        self.config: PolicyConfig = config or PolicyConfig()
        self._resolve = resolve_path
        # Writers wait for each other; a call reads one snapshot and needs no lock.
        self._writing = threading.Lock()
        opened = self.config.open_actions
        self._open = frozenset(action for action in opened if not action.endswith("/*"))
        self._open_families = tuple(action[:-1] for action in opened if action.endswith("/*"))
        rules = check_rules(self.config.rules, resolve=resolve_path)
        _check_size(sum(combinations(placed.normal) for placed in rules.values()))
        self._now = _Snapshot(PolicyIndex.build(rules.values()), rules, 1, len(rules))

    def enforce_policy(self, call: Call, /) -> Decision:
        """Decide by every rule that matches; any deny wins, and without an allow it is no."""
        security = call.security
        action = security.action or call.method
        resource = security.resource
        tool = call.name if call.kind is _TOOL else None
        now = self._now
        if tool is None or resource:
            if not resource and call.kind is CallKind.PROMPT:
                resource = PROMPT + call.name
            return self._decide(now, action, tool, security.user.roles, resource)
        # Most calls: what rules say of these three changes with the rules alone, which
        # are of this snapshot. A look-up is a third of the search.
        asked = (action, tool, security.user.roles)
        decision = now.known.get(asked)
        if decision is None:
            decision = self._decide(now, action, tool, security.user.roles, "")
            if call.annotations.known and len(tool) + len(action) <= _MAX_KNOWN_CHARS:
                # Bounded: a caller with ever new roles makes it forget, and not grow.
                if len(now.known) >= _MAX_KNOWN:
                    now.known.clear()
                now.known[asked] = decision
        return decision

    def permitted(
        self, security: SecurityContext, action: str, names: Collection[str], /
    ) -> frozenset[str]:
        """Return those names that some rule allows and no rule denies as a whole.

        Names of `resources/` actions are canonical URIs and judged as such; a URI
        template (with braces) passes where any resource could.
        """
        index, roles = self._now.index, security.user.roles
        opened = self._is_open(action)
        # One answer for every name that no rule calls by its name.
        general = index.may_allow(action, None, roles)

        def judge_resource(resource: str) -> bool:
            decision = index.decide(action, None, roles, resource)
            return opened if decision is None else decision.allowed

        def could(tool: str | None) -> bool:
            allowed = index.may_allow(action, tool, roles)
            return opened if allowed is None else allowed

        if action == "prompts/get":
            return frozenset(name for name in names if judge_resource(PROMPT + name))
        if action.startswith("resources/"):
            any_resource = opened if general is None else general
            return frozenset(
                name for name in names if (any_resource if "{" in name else judge_resource(name))
            )
        if general is False:
            return frozenset()
        if action != _CALL_TOOL and could(None):
            # Another action's name is a tool's or not: a rule for a tool can not take it away.
            return frozenset(names)
        return frozenset(name for name in names if could(name))

    def add_rule(self, rule: Rule, /) -> None:
        """Add a rule after all others.

        Raises:
            ConfigError: A rule with this id exists, or the rule is wrong.
        """
        with self._writing:
            now = self._now
            placed = check_rule(rule, now.next_place, resolve=self._resolve)
            if rule.id in now.rules:
                raise ConfigError(
                    "a rule with this id exists; update_rule replaces it", f"rules.{rule.id}.id"
                )
            _check_size(now.index.size + combinations(placed.normal))
            self._now = _Snapshot(
                now.index.with_rule(placed),
                {**now.rules, rule.id: placed},
                now.version + 1,
                now.next_place + 1,
            )

    def remove_rule(self, rule_id: str, /) -> None:
        """Remove a rule.

        Raises:
            ConfigError: There is no rule with this id.
        """
        with self._writing:
            now = self._now
            placed = _existing(now, rule_id)
            rules = {name: kept for name, kept in now.rules.items() if name != rule_id}
            self._now = _Snapshot(
                now.index.without_rule(placed), rules, now.version + 1, now.next_place
            )

    def update_rule(self, rule: Rule, /) -> None:
        """Replace the rule with this id, at its place.

        Raises:
            ConfigError: There is no rule with this id, or the new one is wrong.
        """
        with self._writing:
            now = self._now
            old = _existing(now, rule.id)
            new = check_rule(rule, old.place, resolve=self._resolve)
            _check_size(now.index.size - combinations(old.normal) + combinations(new.normal))
            # Both changes happen before the swap: no call sees the policy without the rule.
            self._now = _Snapshot(
                now.index.without_rule(old).with_rule(new),
                {**now.rules, rule.id: new},
                now.version + 1,
                now.next_place,
            )

    def get_rules(self) -> tuple[Rule, ...]:
        """Return the rules in force, as they were written, in order."""
        return tuple(placed.rule for placed in self._now.rules.values())

    def get_version(self) -> int:
        """Return a number that grows with every change, from 1."""
        return self._now.version

    def _decide(
        self, now: _Snapshot, action: str, tool: str | None, roles: frozenset[str], resource: str
    ) -> Decision:
        decision = now.index.decide(action, tool, roles, resource)
        if decision is not None:
            return decision
        return ALLOW if self._is_open(action) else _REFUSED

    def _is_open(self, action: str) -> bool:
        return action in self._open or action.startswith(self._open_families)


def _existing(snapshot: _Snapshot, rule_id: str) -> PlacedRule:
    placed = snapshot.rules.get(rule_id)
    if placed is None:
        raise ConfigError("there is no rule with this id; add_rule adds one", "rules")
    return placed


def _check_size(size: int) -> None:
    if size > _MAX_ENTRIES:
        raise ConfigError(
            f"the rules have {size} combinations of tool, action, role and resource, at most "
            f"{_MAX_ENTRIES} are taken: use roles and shorter prefixes",
            "rules",
        )
