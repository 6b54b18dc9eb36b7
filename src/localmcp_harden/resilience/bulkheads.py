"""The bulkheads of a server: one for all calls, and one for each tool that has its own.

There are as many as the configuration names, so callers can not make more.
"""

from collections.abc import Mapping
from typing import final

from ..core.events import EventSink, discard
from ..core.ports import Clock
from ..protocols.load import Bulkhead, BulkheadConfig, BulkheadSnapshot
from .bulkhead import QueueBulkhead

__all__ = ("BulkheadSet",)

_ALL = "all calls"


@final
class BulkheadSet:
    """Finds the bulkheads that a call goes through.

    Args:
        config: The settings of the one for all calls, None for none.
        tools: The settings of those of single tools, by tool.
        own: A host's own bulkhead for all calls, instead of the configured one.
        clock: Time.
        sink: See `QueueBulkhead`.
    """

    def __init__(
        self,
        config: BulkheadConfig | None = None,
        tools: Mapping[str, BulkheadConfig] | None = None,
        *,
        own: Bulkhead | None = None,
        clock: Clock | None = None,
        sink: EventSink = discard,
    ) -> None:
        self._clock = clock
        self._sink = sink
        self._own = own
        self._all: Bulkhead | None = own
        self._tools: dict[str, Bulkhead] = {}
        self.configure(config, tools or {})

    def __bool__(self) -> bool:
        """Return whether there is any."""
        return self._all is not None or bool(self._tools)

    def of_tool(self, name: str) -> tuple[Bulkhead, ...]:
        """Return what a call of a tool goes through, outermost first."""
        own = self._tools.get(name)
        if own is None:
            return self.of_others()
        return (own,) if self._all is None else (self._all, own)

    def of_others(self) -> tuple[Bulkhead, ...]:
        """Return what a call of no tool, or of one without its own, goes through."""
        return () if self._all is None else (self._all,)

    def snapshots(self) -> dict[str, BulkheadSnapshot]:
        """Return every bulkhead's numbers, by tool; those of all calls under `all calls`."""
        found = {} if self._all is None else {_ALL: self._all.snapshot()}
        return found | {name: each.snapshot() for name, each in self._tools.items()}

    def configure(self, config: BulkheadConfig | None, tools: Mapping[str, BulkheadConfig]) -> None:
        """Go on with other settings; who runs goes on, and who waits keeps its place."""
        if self._own is None:
            self._all = self._kept(self._all, _ALL, config)
        kept = {name: self._kept(self._tools.get(name), name, tools[name]) for name in tools}
        self._tools = {name: each for name, each in kept.items() if each is not None}

    def _kept(
        self, now: Bulkhead | None, name: str, config: BulkheadConfig | None
    ) -> Bulkhead | None:
        if config is None:
            return None
        if now is None:
            return QueueBulkhead(config, name=name, clock=self._clock, sink=self._sink)
        now.configure(config)
        return now
