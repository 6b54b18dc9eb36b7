"""The page: a table of methods for each era, and what did not hold."""

from collections.abc import Iterable, Mapping
from pathlib import Path

from .guarantees import ENTRANCES, PROBES, all_found
from .probe import all_faults, all_methods
from .servers import INTEGRATIONS
from .wire import LEGACY, MODERN

PAGE = Path(__file__).parents[2] / "docs" / "reference" / "methods.md"

_INTRODUCTION = """\
# Methods and integrations

Every method that a client may send, in either era of the protocol, and whether the
guards hold for it in each integration. **yes** means that it was tried: without
credentials, over the rate and against the policy it is refused, the refusal is what the
client gets, and every time there is exactly one record. What is not **yes** says what
happened instead. A notification has no answer; its refusal is in its record, and the
server does not see it.

Cancelling over HTTP is hanging up in the era of 2026: its notification is not handed on by
the transport, so that there is nothing to guard.

This page is written by `tools/method_matrix`, and a test compares it with what holds.
"""

_MORE = """
## What holds around the methods

Tried over HTTP. *Guarded* means that `AsgiGuard` stands in front, as `serve_http` has it;
without it, what a server's own library refuses counts. *After parsing* means that the
chain refuses what the library has already read. On standard input and output
`serve_stdio` bounds size and depth of a message before it is parsed.

"""


async def render() -> str:
    """Try everything, and return the page as it should be."""
    parts = [_INTRODUCTION]
    for version in (LEGACY, MODERN):
        columns = {title: await all_faults(make, version) for title, make in INTEGRATIONS.items()}
        rows = {
            f"`{method.name}`": [
                "; ".join(sorted(set(faults[method]))) or "yes" for faults in columns.values()
            ]
            for method in all_methods()
            if method.version == version
        }
        parts.append(f"\n## Methods of {version}\n\n{_table('method', columns, rows)}")
    found = {title: await all_found(make) for title, make in ENTRANCES.items()}
    rows = {title: [each[title] for each in found.values()] for title in PROBES}
    parts.append(f"{_MORE}{_table('over HTTP', found, rows)}")
    return "".join(parts)


def _table(corner: str, titles: Iterable[str], rows: Mapping[str, list[str]]) -> str:
    head = [corner, *titles]
    lines = [head, ["---"] * len(head), *([title, *cells] for title, cells in rows.items())]
    return "".join(f"| {' | '.join(cells)} |\n" for cells in lines)
