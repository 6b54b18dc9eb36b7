"""What a configuration gives away: stages that are off, rules that open too much or nothing."""

import ipaddress
import stat
import time
from collections.abc import Iterator
from pathlib import Path

from ...compose.chain import Mode
from ...compose.config import HardenConfig
from ...compose.loading import LoadedConfig
from ...core.model import Effect
from ...protocols.security import Rule
from .finding import Finding, failed, good, warned

__all__ = ("check_address", "check_settings", "is_loopback")

_EVERY = ("*",)
_LOSS = {
    "correlate": "log lines of one call do not carry its id",
    "authenticate": "nobody is asked who they are",
    "rate_limit": "a caller may call as often as it likes",
    "bounds": "arguments may be of any size and depth",
    "schema": "arguments are not checked against the tools' schemas",
    "canonicalise": "paths are judged as written, so that `..` and symbolic links pass",
    "policy": "everybody may call everything",
    "audit": "nothing is kept that could be verified later",
    "deadline": "a call may take for ever",
    "retry": "a passing fault of a tool reaches the caller",
    "breaker": "a failing tool is called on and on",
}


def check_settings(loaded: LoadedConfig) -> Iterator[Finding]:
    """Look at every setting that weakens a guarantee."""
    config = loaded.config
    yield good("config.valid", f"the settings of {loaded.file or 'no file'} are valid")
    if loaded.file is not None:
        yield _file(loaded.file)
    yield _mode(config)
    for stage in config.disabled:
        yield warned(
            f"config.disabled.{stage}",
            f"the stage {stage} is off: {_LOSS.get(stage, 'a guard is missing')}",
            f"take {stage!r} out of `disabled`",
        )
    yield from _rules(config)
    yield _anonymous(config)
    yield from _tokens(config)
    if config.audit.before_acting == "never" and "audit" not in config.disabled:
        yield warned(
            "config.audit_intent",
            "calls act before their audit entry is durable",
            'set audit.before_acting = "writes"',
        )


def check_address(config: HardenConfig, host: str, port: int) -> Iterator[Finding]:
    """Look at an address that a server would listen on with these settings."""
    address = f"{host}:{port}"
    if is_loopback(host):
        yield good("http.address", f"{address} is reached from this machine only")
        return
    yield warned(
        "http.plaintext",
        f"{address} is reached from other machines, and tokens would cross the network in clear",
        "listen on 127.0.0.1 behind a proxy that speaks TLS",
    )
    if config.authentication.anonymous_http or "authenticate" in config.disabled:
        yield failed(
            "http.anonymous",
            f"{address} is reached from other machines, and anonymous callers are let in",
            "set authentication.anonymous_http = false and give out tokens",
        )
    elif not config.authentication.tokens:
        yield warned(
            "http.tokens",
            "no token is configured, so every call over HTTP is refused",
            "add [[authentication.tokens]] entries",
        )


def is_loopback(host: str) -> bool:
    """Return whether a host name or address is reached from this machine only."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return False


def _file(file: Path) -> Finding:
    mode = stat.S_IMODE(file.stat().st_mode)
    if mode & 0o022:
        return failed(
            "config.permissions",
            f"{file} can be changed by other users (mode {mode:04o}), and with it the rules",
            f"chmod go-w {file}",
        )
    return good("config.permissions", f"only its owner can change {file}")


def _mode(config: HardenConfig) -> Finding:
    if config.mode is Mode.OBSERVE:
        return warned(
            "config.mode",
            "observe mode: every guard decides and none refuses",
            'set mode = "enforce" when the records show what you expect',
        )
    return good("config.mode", "refusals are carried out")


def _rules(config: HardenConfig) -> Iterator[Finding]:
    if "policy" in config.disabled:
        return
    allowing = [rule for rule in config.policy.rules if rule.effect is Effect.ALLOW]
    if not allowing:
        yield warned(
            "config.rules",
            "no rule allows anything, so every call of a tool is refused",
            'add [[policy.rules]] entries with effect = "allow"',
        )
        return
    yield good(
        "config.rules",
        f"{len(config.policy.rules)} rules, {len(allowing)} of which allow something",
    )
    for rule in allowing:
        if _is_open(rule):
            yield warned(
                "config.open_rule",
                f"rule {rule.id!r} allows every call to every caller",
                "name the tools, roles or resources it is for",
            )


def _is_open(rule: Rule) -> bool:
    return all(part == _EVERY for part in (rule.actions, rule.tools, rule.roles, rule.resources))


def _anonymous(config: HardenConfig) -> Finding:
    if config.authentication.anonymous_http:
        return warned(
            "config.anonymous_http",
            "callers over HTTP may come without credentials",
            "set authentication.anonymous_http = false and give out tokens",
        )
    return good("config.anonymous_http", "callers over HTTP need credentials")


def _tokens(config: HardenConfig) -> Iterator[Finding]:
    now = time.time()
    expired = [
        entry.client
        for entry in config.authentication.tokens
        if entry.expires_at is not None and entry.expires_at <= now
    ]
    if expired:
        yield warned(
            "config.expired_tokens",
            f"{len(expired)} tokens have expired, of: {', '.join(sorted(set(expired)))}",
            "take their entries out, or issue new ones",
        )
