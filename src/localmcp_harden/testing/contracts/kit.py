"""What a contract kit is: named rules that any implementation of a protocol obeys.

A kit needs no test runner. Run a whole kit with `run`, or one rule at a time
with the test runner of your choice::

    @pytest.mark.parametrize("rule", contracts.rate_limiter.rules, ids=str)
    async def test_mine_obeys(rule):
        await rule.check(make_my_limiter)
"""

from collections.abc import Awaitable, Callable
from typing import Any, Generic, TypeVar, final

import anyio
from attrs import frozen

__all__ = ("ContractKit", "ContractViolation", "Rule", "expect", "run")

_PATIENCE_S = 30.0

M = TypeVar("M", bound=Callable[..., Any])


class ContractViolation(AssertionError):  # noqa: N818 - it is an assertion that failed
    """An implementation broke a rule.

    Args:
        rule_id: The rule's id, for example `RL2`.
        message: What was expected and what was seen.
    """

    def __init__(self, rule_id: str, message: str) -> None:
        super().__init__(rule_id, message)
        self.rule_id: str = rule_id
        self.message: str = message

    def __str__(self) -> str:
        """Return `RULE: message`."""
        return f"{self.rule_id}: {self.message}"


@final
@frozen
class Rule(Generic[M]):
    """One rule of a contract.

    Args:
        id: Stable; appears in violations.
        sentence: The rule, as one sentence.
        body: Raises `AssertionError` when the implementation that `make` makes breaks it.
    """

    id: str
    sentence: str
    body: Callable[[M], Awaitable[None]]

    def __str__(self) -> str:
        """Return the id, so that test runners show it."""
        return self.id

    async def check(self, make: M) -> None:
        """Check one implementation.

        Args:
            make: Makes a fresh implementation; each kit says with which arguments.

        Raises:
            ContractViolation: The implementation breaks the rule.
        """
        try:
            # A broken implementation may wait for ever: then this is what it breaks.
            with anyio.fail_after(_PATIENCE_S):
                await self.body(make)
        except ContractViolation:
            raise
        except AssertionError as error:
            raise ContractViolation(self.id, f"{self.sentence} {error}".strip()) from error
        except Exception as error:
            raised = f"{type(error).__name__} was raised"
            raise ContractViolation(self.id, f"{self.sentence} {raised}".strip()) from error


class ContractKit(Generic[M]):
    """The rules of one protocol.

    Args:
        name: The protocol's name.
    """

    def __init__(self, name: str) -> None:
        self.name: str = name
        self._rules: list[Rule[M]] = []

    @property
    def rules(self) -> tuple[Rule[M], ...]:
        """The rules, in order."""
        return tuple(self._rules)

    def include(self, other: "ContractKit[M]") -> None:
        """Take over the rules of another kit, behind those that are there."""
        self._rules.extend(other.rules)

    def rule(
        self, rule_id: str
    ) -> Callable[[Callable[[M], Awaitable[None]]], Callable[[M], Awaitable[None]]]:
        """Add the decorated function as a rule; its docstring is the rule's sentence."""

        def add(body: Callable[[M], Awaitable[None]]) -> Callable[[M], Awaitable[None]]:
            sentence = (body.__doc__ or "").strip().split("\n")[0]
            self._rules.append(Rule(rule_id, sentence, body))
            return body

        return add


async def run(kit: ContractKit[M], make: M) -> None:
    """Check an implementation against every rule of a kit.

    Args:
        kit: The rules.
        make: Makes a fresh implementation for each rule.

    Raises:
        ExceptionGroup: Of one `ContractViolation` for each broken rule.
    """
    violations: list[ContractViolation] = []
    for rule in kit.rules:
        try:
            await rule.check(make)
        except ContractViolation as violation:
            violations.append(violation)
    if violations:
        raise ExceptionGroup(f"{kit.name}: {len(violations)} broken rules", violations)


def expect(condition: object, message: str) -> None:
    """Raise `AssertionError` unless the condition holds; works under `python -O` too."""
    if not condition:
        raise AssertionError(message)
