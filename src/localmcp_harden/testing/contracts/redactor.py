"""The rules of a `Redactor`.

`make()` returns one with its default settings.
"""

import json
from collections.abc import Mapping
from typing import Any, Protocol, cast

from ...core.ports import Redactor
from .kit import ContractKit, expect

__all__ = ("MakeRedactor", "redactor")


class MakeRedactor(Protocol):
    """Makes the redactor that is to be checked."""

    def __call__(self) -> Redactor:
        """Return a redactor."""
        ...


redactor: ContractKit[MakeRedactor] = ContractKit("Redactor")

_SECRET = "zq9-planted-zq9"  # noqa: S105  # nosec B105 - planted, to see whether it comes through
_MOST_CHARS = 2_000_000


class _Raising:
    def __repr__(self) -> str:
        raise RuntimeError("no repr")

    __str__ = __repr__
    __hash__ = object.__hash__


class _RaisingMapping(Mapping[str, Any]):
    def __getitem__(self, key: str) -> Any:
        raise RuntimeError("no item")

    def __iter__(self) -> Any:
        raise RuntimeError("no keys")

    def __len__(self) -> int:
        raise RuntimeError("no length")


@redactor.rule("RD1")
async def telling_keys_hide(make: MakeRedactor) -> None:
    """What stands under a telling key is replaced, at any depth and in any spelling."""
    mine = make()
    for key in ("password", "API_KEY", "accessToken", "X-Api-Key", "client_secret", "Set-Cookie"):
        for value in (_SECRET, [_SECRET], {"a": _SECRET}, {key: {"b": (_SECRET,)}}):
            text = json.dumps(mine.redact({"a": [{"b": {key: value}}], key: value}))
            expect(_SECRET not in text, f"a secret under {key} came through")


@redactor.rule("RD2")
async def plain_values_stay(make: MakeRedactor) -> None:
    """What is no secret is kept as it is: `max_tokens` and `tokenizer` among them."""
    plain = {"path": "src/a.py", "max_tokens": 5, "tokenizer": "bpe", "deep": [1, None, {"x": 0.5}]}
    seen = make().redact(plain)
    expect(seen == plain, f"it became {seen}")


@redactor.rule("RD3")
async def tokens_in_text_hide(make: MakeRedactor) -> None:
    """A bearer token, an assignment and the password of a URL are replaced in text."""
    mine = make()
    for text in (
        f"Authorization: Bearer {_SECRET}",
        f"password={_SECRET}&a=1",
        f"https://ann:{_SECRET}@example.com/x",  # pragma: allowlist secret
    ):
        expect(_SECRET not in mine.redact_text(text), "redact_text let one through")
        expect(_SECRET not in json.dumps(mine.redact({"q": [text], "r": text})), "redact did not")


@redactor.rule("RD4")
async def it_takes_anything(make: MakeRedactor) -> None:
    """Whatever it is given, it returns something that JSON can hold."""
    mine = make()
    endless: dict[str, Any] = {}
    endless["self"] = [endless]
    hostile: list[Any] = [
        {"a": _Raising()}, {_Raising(): 1}, _RaisingMapping(), {"a": _RaisingMapping()}, endless,
        {"a": 10**5_000}, {"a": "\ud800"}, {"\ud800": 1}, {"a": {1, 2}}, {"a": b"\xff"}, None, 3,
        {"a": float("nan")},
    ]  # fmt: skip
    for value in hostile:
        json.dumps(mine.redact(value), allow_nan=False).encode()
    for text in ("\ud800 password=\ud800", "", None, 3, _Raising()):
        mine.redact_text(cast("Any", text)).encode()


@redactor.rule("RD5")
async def the_copy_is_bounded(make: MakeRedactor) -> None:
    """Long, wide and deep input gives a copy of limited size."""
    mine = make()
    deep: Any = "x"
    for _ in range(5_000):
        deep = [deep, "x"]
    for value in (
        {"a": "x" * 10_000_000},
        {"a": ["x" * 1_000] * 100_000},
        {"x" * 10_000_000: 1},
        {str(number): {"a": 1} for number in range(100_000)},
        {"a": deep},
    ):
        size = len(json.dumps(mine.redact(value)))
        expect(size <= _MOST_CHARS, f"the copy has {size} characters")
    expect(len(mine.redact_text("x" * 10_000_000)) <= _MOST_CHARS, "a text was not cut")


@redactor.rule("RD6")
async def the_original_is_untouched(make: MakeRedactor) -> None:
    """The arguments are copied, not changed; the copy shares nothing that can change."""
    inner = ["a"]
    given = {"password": _SECRET, "list": inner}
    copy = make().redact(given)
    expect(given == {"password": _SECRET, "list": ["a"]}, "the original was changed")
    inner.append("b")
    expect(copy["list"] == ["a"], "the copy changed with the original")


@redactor.rule("RD7")
async def twice_is_once(make: MakeRedactor) -> None:
    """Redacting what is redacted changes nothing."""
    mine = make()
    once = mine.redact({"password": _SECRET, "q": f"token={_SECRET} https://{_SECRET}@b/c"})
    expect(mine.redact(once) == once, "the second pass changed something")
