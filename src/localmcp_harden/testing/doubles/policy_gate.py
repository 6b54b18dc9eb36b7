"""A policy gate whose decisions a test scripts, and which otherwise works."""

from collections.abc import Collection
from typing import final

from ...core.model import Call, Decision, SecurityContext
from ...protocols.security import Rule
from ...security.policy.gate import DEFAULT_OPEN_ACTIONS, IndexedPolicyGate, PolicyConfig

__all__ = ("FakePolicyGate",)


@final
class FakePolicyGate:
    """An `EditablePolicyGate` that records what it is asked.

    Args:
        rules: The rules it judges by when nothing is scripted.
        open_actions: Methods that need no rule.
    """

    def __init__(
        self, rules: tuple[Rule, ...] = (), *, open_actions: tuple[str, ...] = DEFAULT_OPEN_ACTIONS
    ) -> None:
        self.calls: list[Call] = []
        """Every call that was asked about."""
        self.decisions: list[Decision] = []
        """Answers to the next calls, first one first; then the rules judge again."""
        self.answer: Decision | None = None
        """When set, the answer to every call for which nothing else is scripted."""
        self.shown: frozenset[str] | None = None
        """When set, `permitted` returns those of the names that are in it."""
        self._real = IndexedPolicyGate(PolicyConfig(rules=rules, open_actions=open_actions))

    def enforce_policy(self, call: Call, /) -> Decision:
        """Answer as scripted; otherwise judge by the rules."""
        self.calls.append(call)
        if self.decisions:
            return self.decisions.pop(0)
        return self.answer or self._real.enforce_policy(call)

    def permitted(
        self, security: SecurityContext, action: str, names: Collection[str], /
    ) -> frozenset[str]:
        """Return what is scripted; otherwise judge by the rules."""
        if self.shown is not None:
            return self.shown.intersection(names)
        return self._real.permitted(security, action, names)

    def add_rule(self, rule: Rule, /) -> None:
        """Add a rule.

        Raises:
            ConfigError: A rule with this id exists, or the rule is wrong.
        """
        self._real.add_rule(rule)

    def remove_rule(self, rule_id: str, /) -> None:
        """Remove a rule.

        Raises:
            ConfigError: There is no rule with this id.
        """
        self._real.remove_rule(rule_id)

    def update_rule(self, rule: Rule, /) -> None:
        """Replace the rule with this id.

        Raises:
            ConfigError: There is no rule with this id, or the new one is wrong.
        """
        self._real.update_rule(rule)

    def get_rules(self) -> tuple[Rule, ...]:
        """Return the rules in force, in order."""
        return self._real.get_rules()

    def get_version(self) -> int:
        """Return a number that grows with every change of the rules."""
        return self._real.get_version()
