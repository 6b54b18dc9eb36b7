"""Finds out what a call touches, in the one form in which policy judges it.

Paths are resolved as the operating system will resolve them. A tool gets its
paths in the resolved form, so that what it opens is what was judged; a resource
keeps its URI, since servers look it up by its letters.
"""

from collections.abc import Callable, Collection, Mapping, Sequence
from contextlib import suppress
from functools import partial
from typing import Any

import anyio.to_thread
from attrs import frozen

from ..core.errors import InvalidResourceError
from ..core.model import Call, CallKind, Outcome, SecurityContext
from ..mechanisms.paths import canonical_path, canonical_uri, path_of
from ..mechanisms.shape import shape_of
from ..protocols.chain import Around, CallNext, CallState
from ..protocols.security import PolicyGate
from .chain import refuse_unless_observing
from .config import ToolConfig

__all__ = ("SUBSCRIBED", "canonical_forms", "canonicalise", "may_touch", "permitted_names")

SUBSCRIBED = "resourceSubscriptions"
"""The argument of a subscription that holds the URIs it is for."""

_PROMPT = "prompt:"
# Asking an enumeration for a member runs its metaclass, on every call: once is enough.
_TOOL = CallKind.TOOL


def canonicalise(tools: Mapping[str, ToolConfig], base: str, *, enforcing: bool) -> Around:
    """Return the stage.

    Args:
        tools: Which arguments of which tools hold paths and URIs.
        base: Where relative paths start.
        enforcing: Whether a call whose resource has no canonical form is refused.
    """
    declared = _declared(tools)

    async def around(state: CallState, call_next: CallNext) -> Outcome:
        call = state.call
        if call.kind is CallKind.TOOL and call.name in declared:
            needs_disk = True
            work = partial(_of_tool, call, declared[call.name], base)
        elif call.name and call.kind is CallKind.RESOURCE:
            needs_disk = _is_file(call.name)
            work = partial(_of_resource, call)
        elif call.name and call.kind is CallKind.PROMPT:
            state.call = call.with_security(call.security.with_resource(f"{_PROMPT}{call.name}"))
            return await call_next(state)
        elif SUBSCRIBED in call.arguments and call.kind is CallKind.PROTOCOL:
            needs_disk = True
            work = partial(_of_subscription, call)
        else:
            return await call_next(state)
        try:
            # Resolving a path asks the file system, which may be slow or far away.
            touched = await anyio.to_thread.run_sync(work) if needs_disk else work()
        except InvalidResourceError as error:
            refusal = refuse_unless_observing(state, "canonicalise", error, enforcing=enforcing)
            if refusal is not None:
                return refusal
            return await call_next(state)
        state.call, state.resources = touched.call, touched.resources
        return await call_next(state)

    return around


def may_touch(tools: Mapping[str, ToolConfig]) -> Callable[[CallState], bool]:
    """Return the function that tells whether `canonicalise` has anything to do for a call."""
    declared = _declared(tools)

    def applies(state: CallState) -> bool:
        call = state.call
        return call.kind is not _TOOL or call.name in declared

    return applies


def _declared(tools: Mapping[str, ToolConfig]) -> Mapping[str, ToolConfig]:
    return {name: spec for name, spec in tools.items() if spec.paths or spec.uris}


async def canonical_forms(uris: Collection[str]) -> Mapping[str, str]:
    """Return the canonical form of each URI; one that has none is left out."""

    def work() -> Mapping[str, str]:
        forms: dict[str, str] = {}
        for uri in uris:
            with suppress(InvalidResourceError):
                forms[uri] = canonical_uri(uri)
        return forms

    if any(_is_file(uri) for uri in uris):
        return await anyio.to_thread.run_sync(work)
    return work()


async def permitted_names(
    gate: PolicyGate, security: SecurityContext, action: str, names: Collection[str]
) -> frozenset[str]:
    """Return the names that a policy lets a caller see; URIs are judged in canonical form."""
    if not action.startswith("resources/"):
        return gate.permitted(security, action, names)
    canonical = await canonical_forms(names)
    shown = gate.permitted(security, action, set(canonical.values()))
    return frozenset(name for name, form in canonical.items() if form in shown)


@frozen
class _Touched:
    call: Call
    resources: tuple[str, ...]


def _is_file(uri: str) -> bool:
    return uri[:5].lower() == "file:"


def _of_resource(call: Call) -> _Touched:
    uri = canonical_uri(call.name)
    return _Touched(call.with_security(call.security.with_resource(uri)), (uri,))


def _of_subscription(call: Call) -> _Touched:
    resources: list[str] = []
    _each(call.arguments[SUBSCRIBED], SUBSCRIBED, partial(_uri, resources))
    return _Touched(call, tuple(dict.fromkeys(resources)))


def _of_tool(call: Call, spec: ToolConfig, base: str) -> _Touched:
    arguments = dict(call.arguments)
    resources: list[str] = []
    for name in spec.paths:
        if name in arguments:
            arguments[name] = _each(arguments[name], name, partial(_path, base, resources))
    for name in spec.uris:
        if name in arguments:
            arguments[name] = _each(arguments[name], name, partial(_uri, resources))
    security = call.security.with_resource(resources[0] if resources else "")
    return _Touched(
        Call(
            id=call.id,
            kind=call.kind,
            method=call.method,
            name=call.name,
            arguments=arguments,
            annotations=call.annotations,
            meta=call.meta,
            security=security,
            parent_id=call.parent_id,
        ),
        tuple(dict.fromkeys(resources)),
    )


def _each(value: Any, argument: str, canonical: Any) -> Any:
    if isinstance(value, str):
        return canonical(value)
    if isinstance(value, Sequence) and all(isinstance(item, str) for item in value):
        return [canonical(item) for item in value]
    raise InvalidResourceError(
        f"argument {argument!r} must be a string or a list of strings, not {shape_of(value)}"
    )


def _path(base: str, resources: list[str], path: str) -> str:
    uri = canonical_path(path, base=base)
    resources.append(uri)
    return path_of(uri)


def _uri(resources: list[str], uri: str) -> str:
    canonical = canonical_uri(uri)
    resources.append(canonical)
    return canonical
