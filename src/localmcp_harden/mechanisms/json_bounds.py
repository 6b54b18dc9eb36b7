"""Bounds of JSON text, checked by a linear scan before anything parses it.

The scan removes escapes and strings from windows of the text, turns the brackets that
are left into bits, and reads eight of them at a time from a table of running sums: it
never recurses, and even 16 MiB of nothing but brackets takes a fraction of a second.
"""

from ..core.errors import InputTooLargeError

__all__ = ("check_json_text",)

_WINDOW = 1 << 18
_NOT_STRUCTURE = bytes(byte for byte in range(256) if byte not in b"[]{},")
_NOT_BRACKETS = bytes(byte for byte in range(256) if byte not in b"[]{}")
_AS_BITS = bytes.maketrans(b"[{]}", b"1100")


def _sums(byte: int) -> tuple[int, int]:
    """Return the net depth and the peak of eight brackets, one a bit, first bit first."""
    depth = peak = 0
    for place in range(7, -1, -1):
        depth += 1 if byte >> place & 1 else -1
        peak = max(peak, depth)
    return depth, peak


_NET, _PEAK = zip(*map(_sums, range(256)), strict=True)


def check_json_text(
    data: bytes, *, max_bytes: int, max_depth: int, max_parts: int | None = None
) -> None:
    """Refuse JSON text that would be too large, too deep or too rich to parse.

    The text need not be well-formed: what a parser would see up to the first error
    passes no bound when this returns. It must be UTF-8.

    Args:
        data: The text.
        max_bytes: The greatest size, bytes.
        max_depth: How many arrays and objects may be open at once.
        max_parts: How many values there may be, counted by brackets and commas; None
            for no bound.

    Raises:
        InputTooLargeError: A bound is passed.
    """
    if len(data) > max_bytes:
        raise InputTooLargeError(f"the message has {len(data)} bytes; {max_bytes} are allowed")
    if len(data) <= max_depth:
        return
    if max_parts is None and data.count(b"[") + data.count(b"{") <= max_depth:
        # Even with those that stand in strings there are not enough of them.
        return
    depth = parts = 0
    in_string = False
    held = b""
    for start in range(0, len(data), _WINDOW):
        window = held + data[start : start + _WINDOW]
        window, held = _hold_escape(window)
        outside, in_string = _outside_strings(window, in_string=in_string)
        marks = outside.translate(None, _NOT_STRUCTURE)
        brackets = marks.translate(None, b",")
        opened = brackets.count(b"[") + brackets.count(b"{")
        if max_parts is not None:
            parts += opened + len(marks) - len(brackets)
            if parts > max_parts:
                raise InputTooLargeError(f"the message has more than {max_parts} parts")
        if depth + opened > max_depth:
            _walk(brackets, depth, max_depth)
        depth += 2 * opened - len(brackets)


def _hold_escape(window: bytes) -> tuple[bytes, bytes]:
    """Split off a last backslash that escapes a character of the next window."""
    trailing = len(window) - len(window.rstrip(b"\\"))
    return (window[:-1], window[-1:]) if trailing % 2 else (window, b"")


def _outside_strings(window: bytes, *, in_string: bool) -> tuple[bytes, bool]:
    """Return what of `window` is outside strings, and whether a string is open at its end."""
    if b"\0" in window:
        # No JSON in UTF-8; in UTF-16 quotes can not be trusted. Count whatever opens.
        return window.translate(None, b"]}"), in_string
    if b"\\" in window:
        window = window.replace(b"\\\\", b"").replace(b'\\"', b"")
    pieces = window.split(b'"')
    outside = b"".join(pieces[in_string::2])
    return outside, in_string ^ (len(pieces) % 2 == 0)


def _walk(brackets: bytes, depth: int, max_depth: int) -> None:
    """Follow the depth through `brackets`; raise when it passes the bound."""
    whole = len(brackets) // 8 * 8
    if whole:
        bits = int(brackets[:whole].translate(_AS_BITS), 2).to_bytes(whole // 8, "big")
        for byte in bits:
            if depth + _PEAK[byte] > max_depth:
                raise _too_deep(max_depth)
            depth += _NET[byte]
    for bracket in brackets[whole:]:
        depth += 1 if bracket in b"[{" else -1
        if depth > max_depth:
            raise _too_deep(max_depth)


def _too_deep(max_depth: int) -> InputTooLargeError:
    return InputTooLargeError(f"the message is nested deeper than {max_depth} levels")
