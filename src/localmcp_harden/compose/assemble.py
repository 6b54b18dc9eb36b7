"""Lists the stages of a configuration: the package's own in their order, then a host's."""

import os
from collections.abc import Sequence
from typing import cast

from ..core.errors import CircuitOpenError, DeadlineExceededError, UnsafeOrderError
from ..protocols.chain import CallState, Probe, Slot, Stage
from ..protocols.security import LocalAuthenticator
from . import load_stages, stages
from .blocks import Blocks, Ports
from .chain import Chain, Mode
from .config import STAGES, HardenConfig
from .record import Recorder
from .resources import canonicalise, may_touch

__all__ = ("assemble", "make_chain")


def make_chain(
    config: HardenConfig,
    blocks: Blocks,
    ports: Ports,
    own: Sequence[Stage],
    probe: Probe | None,
) -> tuple[Chain, Recorder]:
    """Return the chain of a configuration, and the recorder of what never becomes a call.

    Args:
        config: What is on, and how.
        blocks: What stands behind the stages.
        ports: Time, and where records go.
        own: A host's stages.
        probe: A debugger's hook between the stages.

    Raises:
        UnsafeOrderError: One of the host's stages stands where it could do harm.
    """
    recorder = Recorder(
        sink=ports.sink,
        clock=ports.clock,
        redactor=blocks.redactor,
        audit=None if "audit" in config.disabled else blocks.audit,
        enforced=config.mode is Mode.ENFORCE,
    )
    chain = Chain(
        assemble(config, blocks, recorder, own),
        recorder=recorder,
        clock=ports.clock,
        mode=config.mode,
        probe=probe,
        custom=frozenset(stage.name for stage in own),
    )
    # What a transport refuses is refused, whatever the chain only observes.
    return chain, recorder.enforcing()


def assemble(
    config: HardenConfig, blocks: Blocks, recorder: Recorder, own: Sequence[Stage]
) -> tuple[Stage, ...]:
    """Return the stages, outermost first.

    Args:
        config: What is on, and how.
        blocks: What stands behind the stages.
        recorder: Makes the audit log's intents.
        own: A host's stages; each goes behind the package's own of its slot.

    Raises:
        UnsafeOrderError: A host's stage takes the name of one of the package's own.
    """
    taken = [stage.name for stage in own if stage.name in STAGES]
    if taken:
        raise UnsafeOrderError(f"{taken[0]!r} is the name of a built-in stage", "stages")
    built = [
        stage
        for stage in _built_in(config, blocks, recorder, keep_copy=bool(own))
        if stage.name not in config.disabled
    ]
    # Sorting is stable, so stages of one slot keep the order in which they were given.
    return tuple(sorted([*built, *own], key=lambda stage: stage.slot))


def _built_in(
    config: HardenConfig, blocks: Blocks, recorder: Recorder, *, keep_copy: bool
) -> list[Stage]:
    enforcing = config.mode is Mode.ENFORCE
    base = str(config.base_folder) if config.base_folder else os.getcwd()  # noqa: PTH109
    timeouts = {
        name: tool.deadline_s for name, tool in config.tools.items() if tool.deadline_s is not None
    }
    found = [
        Stage(
            name="correlate",
            slot=Slot.CORRELATE,
            check=stages.correlate(blocks.logs),
            subject=blocks.logs,
        ),
        _authenticate(blocks, enforcing=enforcing),
        Stage(
            name="rate_limit",
            slot=Slot.RATE_LIMIT,
            check=stages.rate_limit(blocks.rate_limiter),
            subject=blocks.rate_limiter,
        ),
        Stage(
            name="catalog",
            slot=Slot.VALIDATE,
            around=stages.catalog(blocks.deadline, enforcing=enforcing),
            applies=stages.is_unknown,
        ),
        Stage(
            name="bounds",
            slot=Slot.VALIDATE,
            check=stages.bounds(blocks.bounds),
            subject=blocks.bounds,
        ),
        Stage(
            name="schema",
            slot=Slot.VALIDATE,
            check=stages.schema(blocks.validator),
            subject=blocks.validator,
        ),
        Stage(
            name="canonicalise",
            slot=Slot.CANONICALISE,
            around=canonicalise(config.tools, base, enforcing=enforcing),
            applies=may_touch(config.tools),
            rewrites=True,
        ),
        Stage(
            name="policy",
            slot=Slot.POLICY,
            check=stages.policy(blocks.policy),
            subject=blocks.policy,
        ),
        Stage(name="freeze", slot=Slot.FREEZE, check=stages.freeze(keep_copy=keep_copy)),
        Stage(
            name="deadline",
            slot=Slot.DEADLINE,
            around=stages.deadline(blocks.deadline, timeouts),
            applies=stages.is_timed if enforcing else _never,
            refuses=DeadlineExceededError,
            subject=blocks.deadline,
        ),
        Stage(
            name="retry",
            slot=Slot.RETRY,
            around=stages.retry(blocks.retry),
            applies=stages.is_repeatable if enforcing else _never,
            subject=blocks.retry,
        ),
        Stage(
            name="breaker",
            slot=Slot.BREAKER,
            around=stages.breaker(blocks.breakers.get),
            applies=stages.has_circuit,
            refuses=CircuitOpenError,
            subject=blocks.breakers,
        ),
    ]
    if blocks.bulkheads:
        found.append(
            Stage(
                name="bulkhead",
                slot=Slot.BULKHEAD,
                around=load_stages.bulkhead(blocks.bulkheads),
                applies=load_stages.is_bounded(blocks.bulkheads) if enforcing else _never,
                subject=blocks.bulkheads,
            )
        )
    if blocks.degradation is not None:
        found.append(
            Stage(
                name="degradation",
                slot=Slot.APPROVAL,
                check=load_stages.switched_off(blocks.degradation),
                subject=blocks.degradation,
            )
        )
    if config.audit.before_acting != "never":
        found.append(
            Stage(
                name="audit",
                slot=Slot.AUDIT,
                around=stages.audit_before_acting(
                    blocks.audit,
                    recorder.intent,
                    before=config.audit.before_acting,
                    enforcing=enforcing,
                ),
                subject=blocks.audit,
            )
        )
    return found


def _never(_: CallState) -> bool:
    # Observing must neither cut off nor repeat; the record tells what would have been.
    return False


def _authenticate(blocks: Blocks, *, enforcing: bool) -> Stage:
    authenticator = blocks.authenticator
    if hasattr(authenticator, "identify"):
        return Stage(
            name="authenticate",
            slot=Slot.AUTHENTICATE,
            check=stages.authenticate_locally(cast("LocalAuthenticator", authenticator)),
            subject=authenticator,
        )
    return Stage(
        name="authenticate",
        slot=Slot.AUTHENTICATE,
        around=stages.authenticate(authenticator, enforcing=enforcing),
        subject=authenticator,
    )
