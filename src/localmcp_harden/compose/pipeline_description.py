"""What a pipeline is made of, as frozen records: for assertions on one's own wiring."""

from typing import final

from attrs import asdict, frozen, has

__all__ = ("PartDescription", "PipelineDescription")


@final
@frozen(kw_only=True)
class PartDescription:
    """One part of a pipeline.

    Args:
        name: What it does: `deadline`, `retry`, `breaker`, ...
        kind: The type of the block.
        settings: The settings in force, its config; None where it shows none.
    """

    name: str
    kind: str
    settings: object = None

    def __str__(self) -> str:
        """Return `name: kind(setting=value, ...)`."""
        settings = self.settings
        if settings is None or not has(type(settings)):
            return f"{self.name}: {self.kind}"
        shown = ", ".join(f"{n}={_shown(v)}" for n, v in asdict(settings, recurse=False).items())  # type: ignore[arg-type]
        return f"{self.name}: {self.kind}({shown})"


@final
@frozen(kw_only=True)
class PipelineDescription:
    """A pipeline's parts, outermost first."""

    name: str
    parts: tuple[PartDescription, ...] = ()

    @property
    def names(self) -> tuple[str, ...]:
        """Return what the parts do, outermost first."""
        return tuple(part.name for part in self.parts)

    def settings(self, name: str, /) -> object:
        """Return the settings of a part.

        Raises:
            KeyError: There is no such part.
        """
        for part in self.parts:
            if part.name == name:
                return part.settings
        raise KeyError(name)

    def __str__(self) -> str:
        """Return one line for each part, the operation last."""
        lines = [f"{self.name}, outermost first"]
        lines += [f"  {part}" for part in self.parts]
        return "\n".join([*lines, "  operation"])


def _shown(value: object) -> str:
    if isinstance(value, type):
        return value.__name__
    if isinstance(value, tuple):
        return f"({', '.join(map(_shown, value))})"  # pyright: ignore[reportUnknownArgumentType, reportUnknownVariableType]
    if callable(value):
        return getattr(value, "__name__", type(value).__name__)
    return repr(value)
