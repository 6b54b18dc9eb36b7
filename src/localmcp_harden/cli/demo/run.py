"""Runs the demo: plays the story, gathers the proof, writes the report."""

import signal
import time
from collections.abc import Generator, Sequence
from contextlib import contextmanager
from pathlib import Path

import anyio

from ..terminal import make_console, print_json
from .live import Live
from .notes import Archive
from .performance import Performance, as_document
from .play import Watcher, play
from .proof import gather_proof
from .report import prepare_folder, write_report
from .scenery import Scenery, build_scenery
from .story import Step, is_playable

__all__ = ("perform", "run_demo")


def run_demo(story: Sequence[Step], folder: Path, *, as_json: bool, keep: bool) -> bool:
    """Run the demo and show it, and return whether everything went as the story says.

    Args:
        story: The steps, in order.
        folder: Where the report goes.
        as_json: Whether standard output gets the facts, and standard error the show.
        keep: Whether the scratch folder is left behind.

    Raises:
        ConfigError: The folder can not be used.
        HardenError: Something that the demo needs is missing, or a server did not start.
    """
    prepare_folder(folder)
    live = Live(make_console(stderr=as_json))
    with _ending_in_order(), build_scenery(keep=keep) as scenery:
        live.begin(str(scenery.root), scenery.servers)
        performance = perform(story, scenery, live)
        page = write_report(performance, scenery, folder)
    live.finish(performance, str(page))
    if as_json:
        print_json(as_document(performance))
    return performance.passed


def perform(story: Sequence[Step], scenery: Scenery, watch: Watcher) -> Performance:
    """Play a story, gather the proof, and return both.

    Args:
        story: The steps, in order; those of a server that is not here are left out.
        scenery: Where it plays.
        watch: Told of every step as it is done.

    Raises:
        HardenError: A server did not start or went away.
    """
    archive = Archive()
    started_at, started = time.time(), time.monotonic()
    playable = [step for step in story if is_playable(step, scenery.servers)]
    results = anyio.run(play, playable, scenery, archive, watch)
    proof = gather_proof(results, scenery, archive)
    return Performance(
        started_at=started_at,
        duration_s=time.monotonic() - started,
        results=results,
        proof=proof,
    )


@contextmanager
def _ending_in_order() -> Generator[None]:
    """Let SIGTERM do what Ctrl-C does, so that the demo cleans up either way."""
    before = signal.signal(signal.SIGTERM, lambda *_: signal.raise_signal(signal.SIGINT))
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)
