"""Counts the bodies that are being read and the bytes that are held, and says when it is enough.

Bytes are counted as they come, not as they are announced: an announcement costs nothing.
"""

from typing import final

__all__ = ("BodyBudget",)


@final
class BodyBudget:
    """What the bodies of all requests under way may take; nothing until `retune` says what."""

    def __init__(self) -> None:
        self.reading: int = 0
        """Bodies that are being read."""
        self.held_bytes: int = 0
        """Bytes that are held."""
        self._addresses: dict[str, int] = {}
        self._max_bodies = self._max_per_address = self._max_bytes = 0

    def retune(self, *, max_bodies: int, max_per_address: int, max_bytes: int) -> None:
        """Say how much there may be; what is held stays counted.

        Args:
            max_bodies: Bodies read at once.
            max_per_address: The same for one address.
            max_bytes: Bytes held at once.
        """
        self._max_bodies = max_bodies
        self._max_per_address = max_per_address
        self._max_bytes = max_bytes

    def begin(self, address: str) -> bool:
        """Return whether another body of this address may be read; it counts when it may."""
        of_address = self._addresses.get(address, 0)
        if self.reading >= self._max_bodies or of_address >= self._max_per_address:
            return False
        self.reading += 1
        self._addresses[address] = of_address + 1
        return True

    def end(self, address: str) -> None:
        """Say that a body has been read, or given up."""
        self.reading -= 1
        of_address = self._addresses[address] - 1
        if of_address:
            self._addresses[address] = of_address
        else:
            # Only who is reading is in the table, so it is as bounded as the reading is.
            del self._addresses[address]

    def hold(self, size: int) -> bool:
        """Return whether `size` more bytes may be held; they count when they may."""
        if self.held_bytes + size > self._max_bytes:
            return False
        self.held_bytes += size
        return True

    def let_go(self, size: int) -> None:
        """Say that `size` bytes are held no more."""
        self.held_bytes -= size
