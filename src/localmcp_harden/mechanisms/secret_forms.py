"""How secrets look in plain text, and the words that announce them.

One RE2 automaton reads a text once, in time linear in its length, whatever an
attacker puts into it. A few substring tests before it spare most texts the reading.
"""

from functools import cache
from importlib import import_module
from typing import Any

__all__ = ("REDACTED", "SENSITIVE_WORDS", "hide_tokens", "may_hold_token")

REDACTED: str = "[redacted]"
"""What stands where a secret stood."""

SENSITIVE_WORDS: frozenset[str] = frozenset(
    {
        "password", "passwords", "passwd", "passphrase", "passcode", "pwd", "pass",
        "secret", "secrets", "token", "authtoken", "accesstoken", "refreshtoken",
        "idtoken", "sessiontoken", "bearer", "jwt", "auth", "authorization",
        "api_key", "api_keys", "access_key", "private_key", "signing_key",
        "encryption_key", "session_key", "ssh_key", "master_key", "account_key",
        "cookie", "cookies", "credential", "credentials", "connection_string", "otp",
    }
)  # fmt: skip
"""Words, and words joined by `_`, that make a key sensitive."""

# Ends a text that was cut, so that a secret that lost its end is still recognized.
_CUT = "\x00"
# The one form of letters and digits alone: a key id of AWS, 4 and 12 characters.
_SHORTEST_KEY_ID = 16

_WORDS = (
    r"pass(?:word|wd|phrase|code)|pwd|secret|token|jwt|credentials?|authtoken|accesstoken"
    r"|(?:api|access|private|signing|encryption|session|ssh|master|account|secret)[_-]?key"
    r"|sig"
)
_CAMEL_WORDS = r"Password|Passphrase|Passcode|Secret|Token|Credentials?|(?:Api|Access|Private)Key"
_QUOTED = r"""\\+"[^"]*"?|"(?:[^"\\]|\\(?s:.))*"?|'(?:[^'\\]|\\(?s:.))*'?"""
_ASSIGN = r"""\\*["']?[ \t]*[:=][ \t]*"""

# The groups are what stays in front of the hidden part.
_FORMS = (
    # A private key, to its end or to the end of the text.
    r"-----BEGIN [A-Z0-9 ]*PRIVATE KEY-----(?s:.*?)(?:-----END [A-Z0-9 ]*PRIVATE KEY-----|\z)",
    # Headers whose whole line is secret.
    rf"((?i:cookie|authorization){_ASSIGN})(?:{_QUOTED}|[^\r\n\"]+)",
    # password=..., "api_key": "...", accessToken: ...
    rf"((?:^|[^A-Za-z])(?i:{_WORDS}){_ASSIGN})(?:(?i:bearer|basic)\s+)?(?:{_QUOTED}|[^\s&;\"]+)",
    rf"([a-z0-9](?:{_CAMEL_WORDS}){_ASSIGN})(?:{_QUOTED}|[^\s&;\"]+)",
    # --password ...
    rf"((?:(?:^|\s)--|(?:^| )-)(?:[A-Za-z0-9]+-)*(?i:{_WORDS})\s+)(?:{_QUOTED}|\S+)",
    r"(\b(?:[Bb]earer|BEARER)\s+)[A-Za-z0-9._~+/=-]{8,}",
    r"(\bBasic\s+)[A-Za-z0-9+/=]{12,}",
    # User and password in front of a URL's host.
    r"(://)[^\s/?#\"'<>\x00]*[@\x00]",
    # Tokens that announce themselves: ours, JWT, AWS, GitHub, OpenAI-like, Slack.
    r"lmh_[A-Za-z0-9_-]{4,}",
    r"eyJ[A-Za-z0-9_-]{8,}\.[A-Za-z0-9_-]*(?:\.[A-Za-z0-9_-]*)?",
    r"\b(?:AKIA|ASIA)[A-Z0-9]{12,}",
    r"\b(?:gh[pousr]_|github_pat_)[A-Za-z0-9_]{16,}",
    r"\bsk-[A-Za-z0-9_-]{16,}",
    r"\bxox[abprs]-[A-Za-z0-9-]{8,}",
)


def may_hold_token(text: str) -> bool:
    """Return False when no form can be in `text`: cheap, and never wrong in that direction."""
    if text.isalnum():
        # Every other form has a sign or a space in it; one look for most names and words.
        return len(text) >= _SHORTEST_KEY_ID and ("AKIA" in text or "ASIA" in text)
    # Written out: a loop over the marks would cost three times as much.
    return (
        "=" in text
        or ":" in text
        or "--" in text
        or " -" in text
        or "eyJ" in text
        or "lmh_" in text
        or "AKIA" in text
        or "ASIA" in text
        or ("gh" in text and "_" in text)
        or "sk-" in text
        or "xox" in text
        or "Basic" in text
        or "earer" in text
        or "BEARER" in text
        or text[:1] == "-"
    )


def hide_tokens(text: str, *, cut: bool = False) -> str:
    """Return `text` with everything that looks like a secret replaced.

    Args:
        text: Text that has a UTF-8 form.
        cut: Whether the text was cut here, so that its last word may be half a secret.
    """
    if not cut and not may_hold_token(text):
        return text
    hidden: str = _automaton().sub(_replace, text + _CUT if cut else text)
    return hidden.removesuffix(_CUT)


def _replace(match: Any) -> str:
    kept = next((group for group in match.groups() if group), "")
    return f"{kept}{REDACTED}@" if match.group().endswith("@") else f"{kept}{REDACTED}"


@cache
def _automaton() -> Any:
    # Loaded at the first text that needs it: importing RE2 costs more than the package.
    re2: Any = import_module("re2")
    options = re2.Options()
    # Otherwise RE2 writes to standard error when it runs short of memory.
    options.log_errors = False
    return re2.compile("|".join(f"(?:{form})" for form in _FORMS), options)
