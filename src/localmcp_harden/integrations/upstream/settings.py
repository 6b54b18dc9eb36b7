"""What may be set of every wrapped server, whatever it is reached by."""

from typing import Any

from attrs import field, frozen
from attrs.validators import and_, ge, gt, in_, instance_of, le

__all__ = ("UpstreamSettings", "is_text")


def is_text(_owner: object, attribute: Any, value: object) -> None:
    """Refuse what is no text without showing it, as `instance_of` would: it may be a secret.

    Raises:
        TypeError: It is none.
    """
    if not isinstance(value, str):
        raise TypeError(f"'{attribute.name}' must be text, not {type(value).__name__}")


@frozen(kw_only=True)
class UpstreamSettings:
    """Bounds on a wrapped server, and how it is kept running.

    The settings that `UpstreamConfig` and `HttpUpstreamConfig` share.

    Args:
        mode: `auto` finds out which era of the protocol the server speaks; `legacy`
            does not ask and greets it as clients of 2025 do, for the server that takes
            the question amiss.
        max_message_bytes: The longest message it may send (1,024 to 1 GiB; 16 MiB, room
            for an image).
        max_depth: How deep its messages may be nested (8 to 190; 128).
        start_timeout_s: From start to the answered handshake (above 0, up to 3,600; 10).
        call_timeout_s: How long it may take over one request (above 0, up to 86,400;
            300, well beyond the deadline that calls have by default).
        restart_delay_s: The least time between two starts (0 to 3,600; 1).
        restart_max_delay_s: The most that the wait grows to while starts keep failing
            (0 to 86,400; 30). What is less than `restart_delay_s` counts as that.
        restart_stable_s: How long it must run for its failures to be forgotten (0 to
            86,400; 60).
        restart_limit: How often it may end within `restart_window_s` (1 to 1,000; 10);
            then it is down, and started no sooner than `restart_max_delay_s` later.
        restart_window_s: The time that `restart_limit` counts in (above 0, up to 86,400;
            300).
        drain_s: How long calls in flight may take at the end, before the connection is
            closed under them (0 to 3,600; 5).
    """

    mode: str = field(default="auto", validator=in_(("auto", "legacy")))
    max_message_bytes: int = field(
        default=16 * 1024 * 1024, validator=[instance_of(int), and_(ge(1_024), le(1 << 30))]
    )
    max_depth: int = field(default=128, validator=[instance_of(int), and_(ge(8), le(190))])
    start_timeout_s: float = field(default=10.0, validator=and_(gt(0.0), le(3_600.0)))
    call_timeout_s: float = field(default=300.0, validator=and_(gt(0.0), le(86_400.0)))
    restart_delay_s: float = field(default=1.0, validator=and_(ge(0.0), le(3_600.0)))
    restart_max_delay_s: float = field(default=30.0, validator=and_(ge(0.0), le(86_400.0)))
    restart_stable_s: float = field(default=60.0, validator=and_(ge(0.0), le(86_400.0)))
    restart_limit: int = field(default=10, validator=[instance_of(int), and_(ge(1), le(1_000))])
    restart_window_s: float = field(default=300.0, validator=and_(gt(0.0), le(86_400.0)))
    drain_s: float = field(default=5.0, validator=and_(ge(0.0), le(3_600.0)))

    @property
    def label(self) -> str:
        """Return what messages and log lines call the server; holds no secret."""
        raise NotImplementedError

    @property
    def program(self) -> str:
        """Return the label."""
        return self.label
