"""Turns SIGTERM and SIGINT into an orderly end, where this is the main thread."""

import signal
import threading
from collections.abc import Callable

import anyio

__all__ = ("end_on_signal",)


async def end_on_signal(end: Callable[[], None]) -> None:
    """Call `end` at the first signal to stop; runs until it is cancelled.

    Without it SIGTERM would end the process between two instructions, with children
    running and entries unwritten. In other threads the signals are the host's.
    """
    if threading.current_thread() is not threading.main_thread():
        return
    with anyio.open_signal_receiver(signal.SIGTERM, signal.SIGINT) as received:
        async for _ in received:
            end()
