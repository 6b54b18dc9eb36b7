"""Keeps libraries from writing to streams that are not theirs."""

from stamina.instrumentation import set_on_retry_hooks

__all__ = ("silence_retry_hooks",)


def silence_retry_hooks() -> None:
    """Take away stamina's own reports of retries, for this whole process.

    By default it logs through structlog where that is installed, and structlog writes
    to standard output, which belongs to the protocol. Retries are in our own log.
    """
    set_on_retry_hooks(())
