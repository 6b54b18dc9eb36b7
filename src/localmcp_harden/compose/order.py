"""Which orders of stages are safe, and why the others are not.

A chain is compiled only from an order in which nothing can skip policy and no
argument changes after policy has judged it.
"""

from collections.abc import Sequence

from ..core.errors import UnsafeOrderError
from ..protocols.chain import Slot, Stage

__all__ = ("check_order",)

# Outer slot, inner slot, what goes wrong when they are swapped.
_MUST_PRECEDE: tuple[tuple[Slot, Slot, str], ...] = (
    (Slot.AUTHENTICATE, Slot.RATE_LIMIT, "limits would be kept by a caller nobody has identified"),
    (Slot.AUTHENTICATE, Slot.POLICY, "policy would judge a caller nobody has identified"),
    (Slot.VALIDATE, Slot.POLICY, "policy would judge arguments of unchecked size and shape"),
    (Slot.CANONICALISE, Slot.POLICY, "policy would judge a path that is not the one opened"),
    (Slot.CONTENT, Slot.POLICY, "policy would not see the content findings"),
    (Slot.POLICY, Slot.FREEZE, "arguments would be frozen before they are judged"),
    (Slot.POLICY, Slot.CACHE, "a cached answer would bypass policy"),
    (Slot.OUTPUT, Slot.CACHE, "a cached answer would bypass the output filter"),
    (Slot.POLICY, Slot.APPROVAL, "a person would be asked about what policy denies"),
    (Slot.DEADLINE, Slot.RETRY, "the attempts together would have no deadline"),
    (Slot.RETRY, Slot.BREAKER, "a breaker would count one failure for many attempts"),
)


def check_order(stages: Sequence[Stage]) -> None:
    """Refuse stages that are not safe in this order, outermost first.

    Raises:
        UnsafeOrderError: Names the stages and what could go wrong.
    """
    _check_each(stages)
    _check_pairs(stages)
    _check_policy(stages)


def _check_each(stages: Sequence[Stage]) -> None:
    seen: set[str] = set()
    for stage in stages:
        if not stage.name:
            raise UnsafeOrderError("a stage has no name; a record could not tell of it", "stages")
        if stage.name in seen:
            raise UnsafeOrderError(
                f"two stages are named {stage.name!r}; a record could not tell them apart",
                "stages",
            )
        seen.add(stage.name)
        if (stage.check is None) == (stage.around is None):
            raise UnsafeOrderError(
                f"stage {stage.name!r} must have a check or an around, and not both", "stages"
            )
        if stage.answers and stage.check is not None:
            raise UnsafeOrderError(
                f"stage {stage.name!r} says that it answers calls, which only an around can do",
                "stages",
            )


def _check_pairs(stages: Sequence[Stage]) -> None:
    for outer, inner, harm in _MUST_PRECEDE:
        last_outer = max((i for i, s in enumerate(stages) if s.slot is outer), default=-1)
        first_inner = next((i for i, s in enumerate(stages) if s.slot is inner), None)
        if first_inner is not None and first_inner < last_outer:
            raise UnsafeOrderError(
                f"stage {stages[first_inner].name!r} stands outside "
                f"{stages[last_outer].name!r}: {harm}",
                "stages",
            )


def _check_policy(stages: Sequence[Stage]) -> None:
    policy = [i for i, stage in enumerate(stages) if stage.slot is Slot.POLICY]
    if not policy:
        return
    frozen = [i for i, stage in enumerate(stages) if stage.slot is Slot.FREEZE]
    if not frozen:
        raise UnsafeOrderError(
            "there is a policy stage and no freeze stage: arguments could change after policy",
            "stages",
        )
    for position, stage in enumerate(stages):
        if stage.answers and position < max(policy):
            raise UnsafeOrderError(
                f"stage {stage.name!r} may answer a call before policy has judged it", "stages"
            )
        if stage.rewrites and position > min(policy):
            raise UnsafeOrderError(
                f"stage {stage.name!r} may change arguments after policy has judged them", "stages"
            )
