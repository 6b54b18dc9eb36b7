"""The chain alone: what a check and an around cost, beside bare coroutines."""

from benchmarks.harness import OURS, Bench
from localmcp_harden.compose.chain import Chain
from localmcp_harden.compose.record import Recorder
from localmcp_harden.core.events import discard
from localmcp_harden.core.model import Call, CallKind, Outcome
from localmcp_harden.mechanisms.clock import SystemClock
from localmcp_harden.mechanisms.redact import KeyRedactor
from localmcp_harden.protocols.chain import CallState, Slot, Stage

MANY = 20


def run(bench: Bench) -> None:
    clock = SystemClock()
    done = Outcome(value={})
    call = Call(id="1", kind=CallKind.TOOL, method="tools/call", name="t")

    async def handler(_: Call) -> Outcome:
        return done

    async def pass_on(state: CallState, call_next):
        return await call_next(state)

    def chain(stages: list[Stage]) -> Chain:
        recorder = Recorder(sink=discard, clock=clock, redactor=KeyRedactor())
        return Chain(stages, recorder=recorder, clock=clock)

    empty = chain([])
    checks = chain(
        [Stage(name=f"c{n}", slot=Slot.CONTENT, check=lambda _: None) for n in range(MANY)]
    )
    arounds = chain([Stage(name=f"a{n}", slot=Slot.BULKHEAD, around=pass_on) for n in range(MANY)])
    medians = bench.compare_async(
        "one call",
        {
            "bare handler": lambda: handler(call),
            f"{OURS}, no stages": lambda: empty.run(call, handler),
            f"{OURS}, {MANY} checks": lambda: checks.run(call, handler),
            f"{OURS}, {MANY} arounds": lambda: arounds.run(call, handler),
        },
        base="bare handler",
    )
    nothing = medians[f"{OURS}, no stages"]
    for kind, limit in (("check", 0.5), ("around", 1.5)):
        cost = (medians[f"{OURS}, {MANY} {kind}s"] - nothing) / MANY * 1e6
        bench.row(f"one {kind}", OURS, "us", round(cost, 4), round(cost * 1e-6 / nothing, 4))
        bench.target(f"one {kind}", f"at most {limit} us", cost, met=cost <= limit)
