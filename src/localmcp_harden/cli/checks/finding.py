"""One finding of the doctor: an id that does not change, a level, a sentence, a remedy."""

from enum import StrEnum
from typing import final

from attrs import field, frozen

__all__ = ("Finding", "Level", "failed", "good", "warned")


class Level(StrEnum):
    """How bad it is."""

    OK = "ok"
    WARN = "warn"
    """It works, with a weaker guarantee than there could be."""
    FAIL = "fail"
    """Something that the package promises does not hold here."""


@final
@frozen(kw_only=True)
class Finding:
    """What was found.

    Args:
        id: Stable, dotted: `audit.durability`.
        level: How bad it is.
        sentence: What is so.
        remedy: What to do about it, `""` where nothing needs doing.
    """

    id: str
    level: Level
    sentence: str
    remedy: str = field(default="")


def good(finding_id: str, sentence: str) -> Finding:
    """Return a finding that asks for nothing."""
    return Finding(id=finding_id, level=Level.OK, sentence=sentence)


def warned(finding_id: str, sentence: str, remedy: str) -> Finding:
    """Return a finding that weakens a guarantee."""
    return Finding(id=finding_id, level=Level.WARN, sentence=sentence, remedy=remedy)


def failed(finding_id: str, sentence: str, remedy: str) -> Finding:
    """Return a finding that breaks a guarantee."""
    return Finding(id=finding_id, level=Level.FAIL, sentence=sentence, remedy=remedy)
