import io
import json
import sys

import pytest

from localmcp_harden.cli.addresses import parse_address
from localmcp_harden.cli.terminal import Text, make_console, print_json
from localmcp_harden.core.errors import ConfigError


class Terminal(io.StringIO):
    def isatty(self):
        return True


def test_a_pipe_gets_wide_lines_and_no_colors(monkeypatch):
    stream = io.StringIO()
    monkeypatch.setattr(sys, "stdout", stream)
    make_console().print(Text("x" * 130, style="red"))

    assert stream.getvalue() == "x" * 130 + "\n"


def test_a_terminal_gets_colors(monkeypatch):
    stream = Terminal()
    monkeypatch.setattr(sys, "stderr", stream)
    monkeypatch.setenv("TERM", "xterm-256color")
    monkeypatch.delenv("NO_COLOR", raising=False)
    make_console(stderr=True).print(Text("x", style="red"))

    assert stream.getvalue().startswith("\x1b[")


def test_what_a_server_said_is_no_markup(monkeypatch):
    stream = io.StringIO()
    monkeypatch.setattr(sys, "stdout", stream)
    make_console().print("[bold]x[/bold]")

    assert stream.getvalue() == "[bold]x[/bold]\n"


def test_json_can_not_act_on_a_terminal(capsys):
    print_json({"x": "\x1b[2J\u202e"})
    out = capsys.readouterr().out

    assert out.isascii()
    assert "\x1b" not in out
    assert json.loads(out) == {"x": "\x1b[2J\u202e"}


@pytest.mark.parametrize(
    ("text", "address"),
    [
        ("127.0.0.1:8000", ("127.0.0.1", 8000)),
        ("localhost:0", ("localhost", 0)),
        ("[::1]:65535", ("::1", 65535)),
        (":80", ("127.0.0.1", 80)),
    ],
)
def test_an_address_is_read(text, address):
    assert parse_address(text) == address


@pytest.mark.parametrize(
    "text", ["", "8000", "x:", "x:y", "x:-1", "x:65536", "x:\u0662", "x:1 ", "x:" + "9" * 5000]
)
def test_what_is_no_address_is_refused(text):
    with pytest.raises(ConfigError, match="HOST:PORT"):
        parse_address(text)
