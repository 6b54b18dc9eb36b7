"""Gives callers their roles, by client, subject, issuer or scope; roles include others.

All expansion happens when the map is made: at run time a caller costs a few
dictionary probes.
"""

from collections.abc import Iterable, Mapping
from typing import final

from attrs import field, frozen

from ...core.errors import ConfigError
from .fields import is_names

__all__ = ("RoleConfig", "RoleMap")


@final
@frozen(kw_only=True)
class RoleConfig:
    """Who has a role, and what it includes.

    Of each kind that is given one must fit: `clients = ["cli"]` with
    `issuers = ["https://id.example"]` means that client of that issuer and no other.
    A role of which nothing is given comes by including it, or with a token.

    Args:
        includes: Roles that come with this one.
        clients: OAuth client ids, or the clients of token entries.
        subjects: Subjects. Name the issuer with them wherever there can be two.
        issuers: Issuers, as the token names them; `local` on stdio, `token` for the
            token table.
        scopes: Scopes, one of which the caller must have been granted.
    """

    includes: tuple[str, ...] = field(default=(), validator=is_names)
    clients: tuple[str, ...] = field(default=(), validator=is_names)
    subjects: tuple[str, ...] = field(default=(), validator=is_names)
    issuers: tuple[str, ...] = field(default=(), validator=is_names)
    scopes: tuple[str, ...] = field(default=(), validator=is_names)


@final
class RoleMap:
    """The roles of callers.

    Args:
        roles: Each role by its name (none).

    Raises:
        ConfigError: A role includes one that there is not, or itself by way of others.
    """

    def __init__(self, roles: Mapping[str, RoleConfig] | None = None) -> None:
        roles = dict(roles or {})
        if "" in roles:
            raise ConfigError("a role needs a name", "roles")
        self._roles = roles
        self._closure = _close(roles)
        self._by_subject: dict[str, list[str]] = {}
        self._by_client: dict[str, list[str]] = {}
        self._by_scope: dict[str, list[str]] = {}
        self._by_issuer: dict[str, list[str]] = {}
        for name, spec in roles.items():
            # Filed under the kind that fits the fewest callers; the others are compared.
            if spec.subjects:
                _file(self._by_subject, spec.subjects, name)
            elif spec.clients:
                _file(self._by_client, spec.clients, name)
            elif spec.scopes:
                _file(self._by_scope, spec.scopes, name)
            else:
                _file(self._by_issuer, spec.issuers, name)

    def roles_of(
        self, *, issuer: str, client: str, subject: str, scopes: frozenset[str]
    ) -> frozenset[str]:
        """Return every role of this caller, included ones too."""
        candidates = [
            *self._by_subject.get(subject, ()),
            *self._by_client.get(client, ()),
            *self._by_issuer.get(issuer, ()),
        ]
        if self._by_scope:
            for scope in scopes:
                candidates += self._by_scope.get(scope, ())
        found: frozenset[str] = frozenset()
        for name in candidates:
            spec = self._roles[name]
            if (
                (not spec.subjects or subject in spec.subjects)
                and (not spec.clients or client in spec.clients)
                and (not spec.issuers or issuer in spec.issuers)
                and (not spec.scopes or not scopes.isdisjoint(spec.scopes))
            ):
                found |= self._closure[name]
        return found

    def expand(self, roles: Iterable[str], /) -> frozenset[str]:
        """Return these roles with all they include; a name that is no role stays as it is."""
        found = set(roles)
        for name in tuple(found):
            found |= self._closure.get(name, frozenset())
        return frozenset(found)


def _file(index: dict[str, list[str]], keys: Iterable[str], name: str) -> None:
    for key in dict.fromkeys(keys):
        index.setdefault(key, []).append(name)


def _close(roles: Mapping[str, RoleConfig]) -> dict[str, frozenset[str]]:
    """Return each role with all it includes, by a walk in depth without recursion."""
    closure: dict[str, frozenset[str]] = {}
    for start in roles:
        # The way from `start`: each role with those of its includes still to be visited.
        way: list[tuple[str, list[str]]] = [(start, list(roles[start].includes))]
        on_way = {start}
        while way:
            name, left = way[-1]
            if name in closure or not left:
                if name not in closure:
                    included = (closure[other] for other in roles[name].includes)
                    closure[name] = frozenset({name}).union(*included)
                way.pop()
                on_way.discard(name)
                continue
            following = left.pop()
            if following not in roles:
                raise ConfigError(
                    f"includes a role that is not defined: {_arrow(way, following)}; "
                    "define it or take it out",
                    f"roles.{name}.includes",
                )
            if following in on_way:
                raise ConfigError(
                    f"roles include each other: {_arrow(way, following)}; take one out",
                    f"roles.{name}.includes",
                )
            if following not in closure:
                way.append((following, list(roles[following].includes)))
                on_way.add(following)
    return closure


def _arrow(way: list[tuple[str, list[str]]], last: str) -> str:
    return " -> ".join([*(name for name, _ in way), last])
