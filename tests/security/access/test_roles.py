"""Roles: who has them, what they include, and which configurations are refused."""

import pytest
from hypothesis import given, settings, strategies as st

from localmcp_harden.core.errors import ConfigError
from localmcp_harden.security.access.roles import RoleConfig, RoleMap


def roles(mapping, *, issuer="", client="c", subject="", scopes=()):
    return RoleMap(mapping).roles_of(
        issuer=issuer, client=client, subject=subject, scopes=frozenset(scopes)
    )


@pytest.mark.parametrize(
    ("spec", "caller", "has"),
    [
        (RoleConfig(clients=("c", "d")), {}, True),
        (RoleConfig(clients=("d",)), {}, False),
        (RoleConfig(subjects=("ann",)), {"subject": "ann"}, True),
        (RoleConfig(subjects=("ann",)), {"subject": "bob"}, False),
        (RoleConfig(issuers=("i",)), {"issuer": "i"}, True),
        (RoleConfig(issuers=("i",)), {"issuer": "j"}, False),
        (RoleConfig(scopes=("a", "b")), {"scopes": ("b", "x")}, True),
        (RoleConfig(scopes=("a", "b")), {"scopes": ("x",)}, False),
        (RoleConfig(), {"issuer": "i", "subject": "ann", "scopes": ("a",)}, False),
        # Of each kind that is given one must fit.
        (RoleConfig(clients=("c",), issuers=("i",)), {"issuer": "i"}, True),
        (RoleConfig(clients=("c",), issuers=("i",)), {"issuer": "j"}, False),
        (RoleConfig(subjects=("s",), scopes=("a",)), {"subject": "s"}, False),
        (RoleConfig(subjects=("s",), clients=("d",)), {"subject": "s"}, False),
        (RoleConfig(scopes=("a",), issuers=("i",)), {"scopes": ("a",)}, False),
        (RoleConfig(scopes=("a",), issuers=("i",)), {"scopes": ("a",), "issuer": "i"}, True),
    ],
)
def test_a_role_is_granted_when_every_kind_fits(spec, caller, has):
    assert roles({"r": spec}, **caller) == ({"r"} if has else set())


def test_included_roles_come_along():
    mapping = {
        "admin": RoleConfig(includes=("editor", "auditor"), clients=("root",)),
        "editor": RoleConfig(includes=("viewer",), clients=("c",)),
        "auditor": RoleConfig(includes=("viewer",)),
        "viewer": RoleConfig(),
    }
    assert roles(mapping, client="root") == {"admin", "editor", "auditor", "viewer"}
    assert roles(mapping) == {"editor", "viewer"}
    assert RoleMap(mapping).expand({"auditor", "other"}) == {"auditor", "viewer", "other"}


@pytest.mark.parametrize(
    ("includes", "path", "arrow"),
    [
        ({"a": ("a",)}, "roles.a.includes", "a -> a"),
        ({"a": ("b",), "b": ("c",), "c": ("a",)}, "roles.c.includes", "a -> b -> c -> a"),
        ({"x": ("a",), "a": ("b",), "b": ("a",)}, "roles.b.includes", "x -> a -> b -> a"),
        ({"a": ("b",), "b": ("ghost",)}, "roles.b.includes", "a -> b -> ghost"),
    ],
)
def test_cycles_and_unknown_roles_are_refused_with_the_way(includes, path, arrow):
    with pytest.raises(ConfigError) as caught:
        RoleMap({name: RoleConfig(includes=others) for name, others in includes.items()})
    assert caught.value.path == path
    assert arrow in caught.value.message


def test_a_diamond_is_no_cycle_and_depth_is_no_matter():
    deep = {f"r{n}": RoleConfig(includes=(f"r{n + 1}",)) for n in range(3000)}
    deep["r3000"] = RoleConfig()
    assert len(RoleMap(deep).expand({"r0"})) == 3001


@given(st.dictionaries(st.integers(0, 7), st.lists(st.integers(0, 7), max_size=3)))
@settings(max_examples=200)
def test_inclusion_is_what_can_be_reached(edges):
    names = set(edges) | {other for others in edges.values() for other in others}
    reach = {name: {name} for name in names}
    for _ in names:
        for name in names:
            for other in edges.get(name, ()):
                reach[name] |= reach[other]
    cyclic = any(name in reach[other] for name in names for other in edges.get(name, ()))
    mapping = {
        str(name): RoleConfig(includes=tuple(map(str, edges.get(name, ())))) for name in names
    }
    if cyclic:
        with pytest.raises(ConfigError, match="include each other"):
            RoleMap(mapping)
        return
    built = RoleMap(mapping)
    for name in names:
        assert built.expand({str(name)}) == {str(other) for other in reach[name]}


@pytest.mark.parametrize("field", ["includes", "clients", "subjects", "issuers", "scopes"])
@pytest.mark.parametrize("wrong", ["admin", ("",), (1,), None])
def test_nonsense_is_refused(field, wrong):
    with pytest.raises(ValueError, match=field):
        RoleConfig(**{field: wrong})


def test_a_role_has_a_name():
    with pytest.raises(ConfigError, match="needs a name"):
        RoleMap({"": RoleConfig()})
