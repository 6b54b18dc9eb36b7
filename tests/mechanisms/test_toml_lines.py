"""Where the values of a TOML document stand."""

import tomllib

from hypothesis import given, strategies as st

from localmcp_harden.mechanisms.toml_lines import line_numbers

DOCUMENT = """\
a = 1
"quoted key".b = 2
[table]
  c = '''
d = 'not a key'
'''
e = 1 # comment
[[list]]
f = 1
[[list]]
f = 2
[list.inner]
g = 1
['x.y']
h = 1
"""


def test_places_are_found():
    tomllib.loads(DOCUMENT)
    assert line_numbers(DOCUMENT) == {
        "a": 1,
        "quoted key.b": 2,
        "table": 3,
        "table.c": 4,
        "table.e": 7,
        "list[0]": 8,
        "list[0].f": 9,
        "list[1]": 10,
        "list[1].f": 11,
        "list[1].inner": 12,
        "list[1].inner.g": 13,
        "x.y": 14,
        "x.y.h": 15,
    }


@given(st.text())
def test_any_text_is_survived(text):
    assert all(1 <= line <= len(text.splitlines()) for line in line_numbers(text).values())
