"""Canonical resources: what is one thing has one name, and no trick leads inside."""

# pathlib drops "//" and "." from the very spellings that are tested.
# ruff: noqa: PTH110, PTH118, PTH121

import os
import string

import pytest
from hypothesis import HealthCheck, assume, example, given, settings, strategies as st

from localmcp_harden.core.errors import ConfigError, InvalidResourceError
from localmcp_harden.mechanisms.paths import (
    MAX_LENGTH,
    canonical_path,
    canonical_uri,
    file_uri,
    normalize_uri,
    path_of,
)


@pytest.fixture(scope="module")
def tree(tmp_path_factory):
    """A root with links out of it and into it, beside a folder that is not for anyone."""
    base = tmp_path_factory.mktemp("tree").resolve()
    (base / "root" / "sub").mkdir(parents=True)
    (base / "root2").mkdir()
    (base / "outside" / "deep").mkdir(parents=True)
    for name in ("root/file", "root/sub/file", "outside/file", "outside/deep/file", "root2/file"):
        (base / name).write_text("x")
    (base / "root" / "out").symlink_to("../outside/deep")
    (base / "root" / "out_file").symlink_to(base / "outside" / "file")
    (base / "root" / "chain").symlink_to("out")
    (base / "outside" / "in").symlink_to(base / "root" / "sub")
    (base / "root" / "loop").symlink_to("loop")
    (base / "root" / "dangling").symlink_to("../outside/missing")
    (base / "root" / "%2e%2e").mkdir()
    (base / "root" / "%2e%2e" / "file").write_text("x")
    return base


PIECES = [
    "", ".", "..", "...", "root", "root2", "sub", "file", "out", "out_file", "chain", "in", "loop",
    "dangling", "deep", "outside", "missing", "%2e%2e", "%2e", "..;", "~", "%2f", "a b", "é", "*",
]  # fmt: skip
relative = st.lists(st.sampled_from(PIECES), min_size=1, max_size=7).map("/".join).filter(bool)
anything = settings(
    max_examples=400, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)


@given(path=relative, absolute=st.booleans())
@example(path="deep/../loop", absolute=False)
@example(path="deep/../loop/file", absolute=False)
@anything
def test_the_system_opens_what_the_name_says(tree, path, absolute):
    root = str(tree / "root")
    asked = f"{root}/{path}" if absolute else path
    try:
        uri = canonical_path(asked, base=root)
    except InvalidResourceError:
        # Only what the system does not open either may be refused here.
        assert not os.path.exists(os.path.join(root, asked))
        return
    opened = os.path.join(root, asked)
    assert uri.startswith("file:///")
    assert canonical_path(path_of(uri), base="/") == uri
    if os.path.exists(opened):
        assert os.path.samefile(opened, path_of(uri))
        assert os.path.realpath(opened) == path_of(uri)


@given(path=relative, data=st.data())
@anything
def test_no_uri_leads_inside_by_its_spelling(tree, path, data):
    """However it is escaped: an accepted URI names what every reading of it opens."""
    root = str(tree / "root")
    text = f"{root}/{path}".replace("%", "%25")
    encoded = "".join(
        f"%{ord(c):02x}" if c in "./" and data.draw(st.integers(0, 5)) == 0 else c for c in text
    )
    encoded = "".join(c if c in string.printable else f"%{ord(c):02X}" for c in encoded)
    encoded = encoded.replace("%E9", "%C3%A9")
    spelled = data.draw(st.sampled_from(["file://", "FILE://", "file://localhost", "file:"]))
    try:
        uri = canonical_uri(spelled + encoded)
    except InvalidResourceError:
        return
    assert canonical_uri(uri) == uri
    inside = uri == file_uri(root) or uri.startswith(file_uri(root) + "/")
    for reading in {f"{root}/{path}", os.path.normpath(f"{root}/{path}")}:
        real = os.path.realpath(reading)
        assert inside is (real == root or real.startswith(root + "/"))


def test_links_out_of_the_root_are_seen(tree):
    root = str(tree / "root")
    outside = file_uri(str(tree / "outside"))
    for path in ("out/file", "out_file", "chain/file", "dangling", "sub/../out", "dangling/x"):
        assert canonical_path(path, base=root).startswith(outside)
        assert canonical_uri(file_uri(f"{root}/{path}")).startswith(outside)
    assert canonical_path("../outside/in/file", base=root) == file_uri(f"{root}/sub/file")
    # The system follows the link before it goes up.
    assert canonical_path("out/../file", base=root) == f"{outside}/file"
    with pytest.raises(InvalidResourceError, match="two ways"):
        canonical_uri(f"file://{root}/out/../file")


def test_loops_are_refused(tree):
    with pytest.raises(InvalidResourceError, match="resolved"):
        canonical_path("loop/x", base=str(tree / "root"))


@pytest.mark.parametrize(
    ("path", "uri"),
    [
        ("a", "file:///nowhere/a"),
        ("/a//b/./c/", "file:///a/b/c"),
        ("//a", "file:///a"),
        ("../../..", "file:///"),
        ("~/a", "file:///nowhere/~/a"),
        ("$HOME", "file:///nowhere/$HOME"),
        ("%2e%2e/a", "file:///nowhere/%252e%252e/a"),
        ("a?b#c", "file:///nowhere/a%3Fb%23c"),
        ("a\\b", "file:///nowhere/a%5Cb"),
        ("é", "file:///nowhere/%C3%A9"),
        ("file:///a", "file:///nowhere/file:/a"),
    ],
)
def test_paths_are_taken_literally(path, uri):
    assert canonical_path(path, base="/nowhere") == uri


@pytest.mark.parametrize(
    "path",
    ["", "\x00", "a\nb", "a\x7f", "\x85", "\ud800", "a" * (MAX_LENGTH + 1), "é" * 3000, 7, b"a"],
)
def test_what_is_no_path_is_refused_and_not_repeated(path):
    with pytest.raises(InvalidResourceError) as caught:
        canonical_path(path, base="/")
    assert len(caught.value.reason) < 100
    assert not path or str(path) not in caught.value.reason


def test_a_name_that_the_system_finds_too_long_is_refused(tmp_path):
    with pytest.raises(InvalidResourceError):
        canonical_path("a" * 300, base=str(tmp_path))
    (tmp_path / "bad").symlink_to("line\nbreak")
    with pytest.raises(InvalidResourceError):
        canonical_path("bad", base=str(tmp_path))


@pytest.mark.parametrize("base", ["", "relative", "./x"])
def test_the_base_is_absolute(base):
    with pytest.raises(ConfigError, match="absolute"):
        canonical_path("a", base=base)


@pytest.mark.parametrize(
    ("uri", "canonical"),
    [
        ("HTTPS://Example.ORG/A", "https://example.org/A"),
        ("https://example.org", "https://example.org/"),
        ("https://example.org.:443/", "https://example.org/"),
        ("https://example.org:/", "https://example.org/"),
        ("http://example.org:0080/", "http://example.org/"),
        ("https://example.org:8443/", "https://example.org:8443/"),
        ("https://[0:0:0::1]:443/", "https://[::1]/"),
        ("https://ex%61mple.org/", "https://example.org/"),
        ("https://h/a/./b/../c", "https://h/a/c"),
        ("https://h/../../a", "https://h/a"),
        ("https://h/a/%2E%2e/b", "https://h/b"),
        ("https://h/%7Eann/%2a", "https://h/~ann/%2A"),
        ("https://h/a b", "https://h/a%20b"),
        ("https://h/é", "https://h/%C3%A9"),
        ("https://h/?q=%41#%42", "https://h/?q=A#B"),
        ("https://h/a?../b", "https://h/a?../b"),
        ("note://box/1", "note://box/1"),
        ("note:///1", "note:///1"),
        ("note:1", "note:1"),
        ("note:/a/../b", "note:/b"),
        ("postgres://ann@db/t", "postgres://ann@db/t"),
        ("file:/nowhere/a", "file:///nowhere/a"),
        ("file://LOCALHOST/nowhere/a", "file:///nowhere/a"),
        ("file:////nowhere//a/", "file:///nowhere/a"),
        ("file:///nowhere/%61%20b", "file:///nowhere/a%20b"),
        ("file:///nowhere/../x-not-there", "file:///x-not-there"),
        ("file:///nowhere/100%25", "file:///nowhere/100%25"),
    ],
)
def test_uris_have_one_spelling(uri, canonical):
    assert canonical_uri(uri) == canonical
    assert canonical_uri(canonical) == canonical


@pytest.mark.parametrize(
    "uri",
    [
        "",
        "no-scheme",
        "//h/a",
        "/a",
        "C:/windows",
        "1x:a",
        ":a",
        "https://h/a\nb",
        "https://h/%0a",
        "https://h/%00",
        "https://h/%7f",
        "https://h/\ud800",
        "https://h/%",
        "https://h/%4",
        "https://h/%zz",
        "https://h/%ff",
        "https://h/%c0%ae%c0%ae/",
        "https://h/%252e%252e/",
        "https://h/.%252e/",
        "https://h/a%2f..%2fb",
        "https://h/a%5c..%5cb",
        "https://h/a%252f..%252fb",
        "https://h/%2525252525252e",
        "https://h\\@evil/",
        "https://h/a\\b",
        "https://user:pa55@h/",  # pragma: allowlist secret
        "https://user%3apa55@h/",
        "https://a@b@h/",
        "https://:80/",
        "https://@/",
        "https://./",
        "https://h../",
        "https://h:99999999/",
        "https://h:x/",
        "https://a:1:2/",
        "https://[::1/",
        "https://[::1]x/",
        "https://[zz]/",
        "https://[fe80::1%25eth0]/",
        "https://[]/",
        "note:/..//a",
        "file:a",
        "file:",
        "file://",
        "file://evil/a",
        "file:///a?b",
        "file:///a#b",
        "file:///a?",
        "file:///a\\b",
        "file:///a%5cb",
        "file:///a%2fb",
        "file:///a/%2e%2e%2fb",
        "file:///srv/%252e%252e/etc",
        "file:///srv/../%252e%252e/etc",
        "file:///srv/%25252e%25252e/etc",
        "file:///%c0%ae",
        "file:///%ff",
        "file:///%00",
        "file:///%ed%a0%80",
        "https://h/" + "a" * MAX_LENGTH,
        "https://h/" + "é" * 1000,
        7,
    ],
)
def test_what_can_be_read_in_two_ways_is_refused(uri):
    with pytest.raises(InvalidResourceError) as caught:
        canonical_uri(uri)
    reason = caught.value.reason
    assert len(reason) < 100
    assert "pa55" not in reason
    assert not uri or str(uri) not in reason


@given(
    st.text(max_size=30)
    | st.text("ah./%:@?#[]2eEfF5cC\\~ é", max_size=30).map("note://h/".__add__)
    | st.text("ah./%:@[]2eEfF5c~ é1", max_size=20).map("https://".__add__)
    | st.text("a./%2eEfF5c é", max_size=30).map("file:///".__add__)
)
@settings(max_examples=1500, deadline=None)
def test_one_pass_is_enough_and_nothing_else_is_raised(uri):
    try:
        canonical = canonical_uri(uri)
    except InvalidResourceError:
        return
    assert canonical_uri(canonical) == canonical
    assert canonical.isascii()
    assert canonical.isprintable()
    path = canonical.partition("?")[0].partition("#")[0]
    assert not {"..", "."} & set(path.split("/")[1:])


@given(st.text("ah./%2eE~ é", max_size=30))
@settings(max_examples=300, deadline=None)
def test_a_rules_text_and_the_calls_text_meet(text):
    """A URI that is normalized as text, as rules are, is canonical where no link is involved."""
    try:
        normal = normalize_uri(f"note://h/{text}")
    except InvalidResourceError:
        return
    assert canonical_uri(f"note://h/{text}") == normal


@given(st.text(st.characters(blacklist_categories=["Cs", "Cc"]), min_size=1, max_size=40))
@settings(max_examples=300, deadline=None)
def test_path_of_turns_back(name):
    assume(name.strip("/"))
    path = "/" + name.lstrip("/")
    assert path_of(file_uri(path)) == path


@pytest.mark.parametrize("uri", ["note://a", "file://", "file:/a", ""])
def test_path_of_takes_file_uris_only(uri):
    with pytest.raises(InvalidResourceError):
        path_of(uri)


def test_a_relative_path_has_no_uri():
    with pytest.raises(InvalidResourceError, match="absolute"):
        file_uri("a")
