"""The rules of an `EditablePolicyGate`, beside those of `policy_gate`.

`make(rules)` returns a gate with these rules and no others.
"""

import threading
from collections.abc import Callable
from functools import partial
from typing import Protocol

from ...core.errors import ConfigError
from ...protocols.security import EditablePolicyGate, Rule
from .kit import ContractKit, expect
from .rules import allowing, call_to, denying

__all__ = ("MakeEditablePolicyGate", "editable_policy_gate")


class MakeEditablePolicyGate(Protocol):
    """Makes the editable gate that is to be checked."""

    def __call__(self, rules: tuple[Rule, ...], /) -> EditablePolicyGate:
        """Return a gate with these rules."""
        ...


editable_policy_gate: ContractKit[MakeEditablePolicyGate] = ContractKit("EditablePolicyGate")


@editable_policy_gate.rule("EPG1")
async def an_added_rule_is_in_force(make: MakeEditablePolicyGate) -> None:
    """A rule counts as soon as it is added, allow and deny alike."""
    gate = make(())
    gate.add_rule(allowing("a"))
    expect(gate.enforce_policy(call_to()).rules == ("a",), "the added allow rule does not count")
    gate.add_rule(denying("d", resources=("/a",)))
    decision = gate.enforce_policy(call_to(resource="file:///a/b"))
    expect(decision.rules == ("d",), "the added deny rule does not count")
    expect(gate.enforce_policy(call_to()).allowed, "the added deny rule counts where it should not")


@editable_policy_gate.rule("EPG2")
async def a_removed_rule_is_gone(make: MakeEditablePolicyGate) -> None:
    """A removed rule counts no more; those that share its place stay."""
    gate = make(
        (allowing("a1"), allowing("a2"), denying("d1"), denying("d2", tools=("read", "write")))
    )
    for rule_id, wanted in (("d1", ("d2",)), ("d2", ("a1", "a2")), ("a1", ("a2",)), ("a2", ())):
        gate.remove_rule(rule_id)
        seen = gate.enforce_policy(call_to()).rules
        expect(sorted(seen) == sorted(wanted), f"without {rule_id}: {seen}, not {wanted}")
    expect(not gate.enforce_policy(call_to()).allowed, "a call is allowed though no rule is left")
    gate.add_rule(allowing("a1"))
    expect(gate.enforce_policy(call_to()).rules == ("a1",), "a freed id can not be used again")


@editable_policy_gate.rule("EPG3")
async def an_updated_rule_is_replaced(make: MakeEditablePolicyGate) -> None:
    """After an update the new rule counts and nothing of the old one."""
    gate = make((allowing("x", tools=("read", "list")),))
    gate.update_rule(allowing("x", tools=("write",)))
    expect(not gate.enforce_policy(call_to("read")).allowed, "the old rule still counts")
    expect(gate.enforce_policy(call_to("write")).rules == ("x",), "the new rule does not count")
    gate.update_rule(denying("x"))
    expect(gate.enforce_policy(call_to("write")).rules == ("x",), "the new effect does not count")
    expect(not gate.enforce_policy(call_to("write")).allowed, "the old effect still counts")


@editable_policy_gate.rule("EPG4")
async def ids_are_unique(make: MakeEditablePolicyGate) -> None:
    """Adding an id twice, and changing one that there is not, is refused and changes nothing."""
    gate = make((allowing("a"),))
    _refused(lambda: gate.add_rule(denying("a")), "a second rule with the same id")
    _refused(lambda: gate.update_rule(denying("b")), "an update of an unknown id")
    _refused(lambda: gate.remove_rule("b"), "the removal of an unknown id")
    expect(gate.enforce_policy(call_to()).rules == ("a",), "a refused change changed something")


@editable_policy_gate.rule("EPG5")
async def rules_that_never_match_are_refused(make: MakeEditablePolicyGate) -> None:
    """A rule with an empty part or a dot-dot segment is refused and changes nothing."""
    gate = make((allowing("a"),))
    for part in ("actions", "tools", "roles", "resources"):
        never: dict[str, tuple[str, ...]] = {part: ()}
        _refused(partial(gate.add_rule, denying("b", **never)), f"a rule with empty {part}")
        _refused(partial(gate.update_rule, denying("a", **never)), f"an update to empty {part}")
    _refused(lambda: gate.add_rule(denying("b", resources=("/a/../b",))), "a dot-dot segment")
    expect(gate.enforce_policy(call_to()).rules == ("a",), "a refused change changed something")


def _refused(change: Callable[[], None], what: str) -> None:
    try:
        change()
    except ConfigError:
        return
    raise AssertionError(f"{what} was taken")


@editable_policy_gate.rule("EPG6")
async def a_change_is_atomic(make: MakeEditablePolicyGate) -> None:
    """While a rule is replaced in another thread, every call meets the old one or the new one."""
    gate = make((allowing("x"),))
    call = call_to()
    seen: set[tuple[str, ...]] = set()
    done = threading.Event()

    def replace() -> None:
        for number in range(300):
            roles = ("*",) if number % 2 else ("*", "r")
            gate.update_rule(allowing("x", roles=roles, tools=("read", f"t{number}")))
        done.set()

    thread = threading.Thread(target=replace)
    thread.start()
    while not done.is_set() and thread.is_alive():
        seen.add(gate.enforce_policy(call).rules)
    thread.join()
    seen.add(gate.enforce_policy(call).rules)
    expect(seen == {("x",)}, f"a call met {sorted(seen)} in mid-change")
