"""Takes a single error out of the groups that task groups wrap it in."""

from collections.abc import Generator
from contextlib import contextmanager

__all__ = ("leaves", "plain_errors")


def leaves(error: BaseException) -> list[BaseException]:
    """Return the errors of a group, however deep; an error that is no group alone."""
    if isinstance(error, BaseExceptionGroup):
        return [leaf for inner in error.exceptions for leaf in leaves(inner)]
    return [error]


@contextmanager
def plain_errors() -> Generator[None]:
    """Raise the only error of a group as itself; a group of several stays one."""
    try:
        yield
    except BaseExceptionGroup as group:
        found = leaves(group)
        if len(found) != 1:
            raise
        cause = found[0].__cause__
        raise found[0] from cause
