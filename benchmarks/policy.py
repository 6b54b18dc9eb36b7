"""Policy decisions: ours beside cedarpy (parsed), pycasbin's FastEnforcer and vakt.

The same policy everywhere: a role may call a tool on a prefix, every tenth rule
denies. Two layouts: spread over tools (10 rules each), and all on one tool. Every
engine's answers are compared with ours before the clock starts.
"""

import functools
import itertools
import json
import logging
import time
from collections.abc import Callable

from benchmarks.harness import OURS, Bench
from localmcp_harden.core.model import Call, CallKind, Effect, Principal, SecurityContext
from localmcp_harden.protocols.security import Rule
from localmcp_harden.security.policy.gate import IndexedPolicyGate, PolicyConfig

PROBES = 1_000
SIZES = (10, 100, 1_000, 10_000)
PEER_SIZES = (100, 1_000, 10_000)


def rules_of(count: int, *, spread: bool) -> tuple[Rule, ...]:
    return tuple(
        Rule(
            id=f"r{n}",
            effect=Effect.DENY if n % 10 == 9 else Effect.ALLOW,
            actions=("tools/call",),
            tools=(f"tool{n // 10}" if spread else "tool",),
            roles=(f"role{n % 5}",),
            resources=(f"/srv/area{n % 10 if spread else n}/notes",),
        )
        for n in range(count)
    )


def calls_of(rules: tuple[Rule, ...]) -> list[Call]:
    """Return calls that rules match, and calls that miss by the role."""
    calls = []
    for probe in range(PROBES):
        rule = rules[probe * len(rules) // PROBES]
        role = rule.roles[0] if probe % 4 else "stranger"
        security = SecurityContext(
            user=Principal(client="c", subject=role, roles=frozenset({role})),
            action="tools/call",
            resource=f"file://{rule.resources[0]}/2026/today.md",
        )
        name = rule.tools[0]
        calls.append(
            Call(id="1", kind=CallKind.TOOL, method="tools/call", name=name, security=security)
        )
    return calls


Judge = Callable[[Call], bool]


def role_of(call: Call) -> str:
    return call.security.user.subject


def cedar(rules: tuple[Rule, ...]) -> Judge:
    import cedarpy

    text = "\n".join(
        f'{"forbid" if rule.effect is Effect.DENY else "permit"} (principal == Role::"'
        f'{rule.roles[0]}", action == Action::"{rule.tools[0]}", resource) when '
        f'{{ context.resource like "file://{rule.resources[0]}/*" }};'
        for rule in rules
    )
    policies = cedarpy.PolicySet.from_str(text)
    entities = cedarpy.Entities.from_json_str(json.dumps([]))

    def judge(call: Call) -> bool:
        request = {
            "principal": f'Role::"{role_of(call)}"',
            "action": f'Action::"{call.name}"',
            "resource": 'File::"x"',
            "context": {"resource": call.security.resource},
        }
        return cedarpy.is_authorized(request, policies, entities).allowed

    return judge


CASBIN_MODEL = """
[request_definition]
r = sub, obj, act
[policy_definition]
p = sub, obj, act, eft
[policy_effect]
e = some(where (p.eft == allow)) && !some(where (p.eft == deny))
[matchers]
m = r.sub == p.sub && r.act == p.act && keyMatch(r.obj, p.obj)
"""


def casbin(rules: tuple[Rule, ...]) -> Judge:
    import casbin
    from casbin.model.model_fast import FastModel

    logging.getLogger("casbin").setLevel(logging.CRITICAL)
    model = FastModel([0, 2])
    model.load_model_from_text(CASBIN_MODEL)
    enforcer = casbin.FastEnforcer(model, cache_key_order=[0, 2])
    enforcer.add_policies(
        [
            [rule.roles[0], f"file://{rule.resources[0]}/*", rule.tools[0], rule.effect.value]
            for rule in rules
        ]
    )
    return lambda call: enforcer.enforce(role_of(call), call.security.resource, call.name)


def vakt(rules: tuple[Rule, ...]) -> Judge:
    import vakt
    from vakt.rules import Eq, StartsWith

    logging.getLogger("vakt").setLevel(logging.CRITICAL)
    storage = vakt.MemoryStorage()
    for rule in rules:
        storage.add(
            vakt.Policy(
                rule.id,
                effect=vakt.DENY_ACCESS if rule.effect is Effect.DENY else vakt.ALLOW_ACCESS,
                subjects=[Eq(rule.roles[0])],
                actions=[Eq(rule.tools[0])],
                resources=[StartsWith(f"file://{rule.resources[0]}/")],
            )
        )
    guard = vakt.Guard(storage, vakt.RulesChecker())
    return lambda call: guard.is_allowed(
        vakt.Inquiry(action=call.name, resource=call.security.resource, subject=role_of(call))
    )


PEERS = {"cedarpy, parsed": cedar, "casbin FastEnforcer": casbin, "vakt RulesChecker": vakt}


def run(bench: Bench) -> None:
    for spread in (True, False):
        layout = "spread over tools" if spread else "all on one tool"
        gates, probes = {}, {}
        for count in SIZES:
            rules = rules_of(count, spread=spread)
            start = time.perf_counter()
            gates[count] = IndexedPolicyGate(PolicyConfig(rules=rules))
            load_s = time.perf_counter() - start
            probes[count] = calls_of(rules)
        case = f"load 10,000 rules, {layout}"
        bench.row(case, OURS, "ms", round(load_s * 1e3, 1), 1.0)
        bench.target(case, "below 1 s", load_s, met=load_s < 1.0)

        names = {count: f"{OURS}, {count:,} rules" for count in SIZES}
        medians = bench.compare(
            f"growth, {layout}",
            {
                names[count]: functools.partial(_one, gates[count], itertools.cycle(probes[count]))
                for count in SIZES
            },
            base=names[10],
        )
        ratio = medians[names[10_000]] / medians[names[10]]
        bench.target(f"growth, {layout}", "10,000 rules at most 1.3 of 10", ratio, met=ratio <= 1.3)

        for count in PEER_SIZES:
            _beside_peers(bench, f"{count:,} rules, {layout}", gates[count], count, spread=spread)


def _one(gate: IndexedPolicyGate, calls: "itertools.cycle[Call]") -> object:
    return gate.enforce_policy(next(calls))


def _beside_peers(
    bench: Bench, case: str, gate: IndexedPolicyGate, count: int, *, spread: bool
) -> None:
    rules = rules_of(count, spread=spread)
    calls = calls_of(rules)
    wanted = [gate.enforce_policy(call).allowed for call in calls]
    subjects: dict[str, Callable[[], object]] = {
        OURS: functools.partial(_one, gate, itertools.cycle(calls))
    }
    for name, make in PEERS.items():
        try:
            judge = make(rules)
        except ImportError:
            continue
        # A linear engine takes 20 ms a call at 10,000 rules: compare fewer answers there.
        step = max(1, count // 500)
        same = [judge(call) for call in calls[::step]] == wanted[::step]
        assert same, f"{name} decides otherwise"
        cycle = itertools.cycle(calls)
        subjects[name] = lambda judge=judge, cycle=cycle: judge(next(cycle))
    medians = bench.compare(case, subjects, base=OURS)
    peers = [median for name, median in medians.items() if name != OURS]
    if peers:
        ratio = medians[OURS] / min(peers)
        bench.target(case, "at most 0.1 of the fastest peer", ratio, met=ratio <= 0.1)
