"""The generic cell rate algorithm over many keys: one number a key, exact waiting times.

GCRA (ITU-T I.371, the virtual scheduling form) lets `burst` calls through at once
and `rate_per_s` a second after that. Over any window of W seconds a key gets at
most `burst + rate_per_s * W` calls, never more; "N per window, never more" needs
`burst + rate_per_s * W <= N`.
"""

__all__ = ("GcraTable",)


class GcraTable:
    """The arrival times of many keys under one rate.

    The table is bounded. When it is full, keys that owe nothing are forgotten
    first, which loses nothing: a forgotten key and a fresh one are the same. Only
    when every key owes something is the one that owes least forgotten.

    Args:
        rate_per_s: Calls a second in the long run, above 0.
        burst: Calls at once, at least 1.
        max_keys: How many keys are kept, at least 1.
    """

    def __init__(self, *, rate_per_s: float, burst: float, max_keys: int) -> None:
        self._due: dict[object, float] = {}
        self.retune(rate_per_s=rate_per_s, burst=burst, max_keys=max_keys)

    def __len__(self) -> int:
        """Return how many keys are kept."""
        return len(self._due)

    def retune(self, *, rate_per_s: float, burst: float, max_keys: int) -> None:
        """Go on under another rate. What a key owes, it owes for as long as before."""
        self._interval_s = 1.0 / rate_per_s
        self._tolerance_s = burst / rate_per_s
        self._max_keys = max_keys

    def hit(self, key: object, now: float, cost: float = 1.0) -> float:
        """Count `cost` calls of `key` at `now`.

        Returns:
            0 when they are let through; otherwise the seconds after which they
            would be, and nothing has been counted. Infinity when `cost` is above
            the burst, since no wait would help.
        """
        due = self._due.get(key)
        if due is None:
            while len(self._due) >= self._max_keys:
                self._make_room(now)
            due = now
        elif due < now:
            due = now
        due += cost * self._interval_s
        wait = due - now - self._tolerance_s
        # The tolerance absorbs rounding: without it the last call of a burst fails by 1e-16.
        if wait > 1e-9:  # noqa: PLR2004
            if cost * self._interval_s > self._tolerance_s + 1e-9:
                return float("inf")
            return wait
        self._due[key] = due
        return 0.0

    def wait(self, key: object, now: float, cost: float = 1.0) -> float:
        """Return the seconds until `cost` calls of `key` would be let through; count nothing."""
        due = self._due.get(key)
        if due is None or due < now:
            due = now
        wait = due + cost * self._interval_s - now - self._tolerance_s
        return wait if wait > 1e-9 else 0.0  # noqa: PLR2004 - rounding, as above

    def _make_room(self, now: float) -> None:
        idle = [key for key, due in self._due.items() if due <= now]
        for key in idle:
            del self._due[key]
        if not idle:
            del self._due[min(self._due, key=self._due.__getitem__)]
