import io
import json
import re
from html.parser import HTMLParser

import pytest
from attrs import evolve

from localmcp_harden.cli.demo.actors import Seen
from localmcp_harden.cli.demo.judge import CallResult, StepResult
from localmcp_harden.cli.demo.live import Live
from localmcp_harden.cli.demo.markup import Html, join, tag
from localmcp_harden.cli.demo.performance import Performance, as_document
from localmcp_harden.cli.demo.proof import Check, Head, Proof
from localmcp_harden.cli.demo.records import Record
from localmcp_harden.cli.demo.report import prepare_folder, render_page
from localmcp_harden.cli.demo.story import Act, Caller, Expectation, Given, Step, Verdict
from localmcp_harden.cli.terminal import Console
from localmcp_harden.core.errors import ConfigError

PLANTED = "<script>alert(1)</script><img src='http://evil.example/x' onerror=\"x\">&{}"


def performance(text="text", *, problems=()):
    seen = Seen(verdict=Verdict.REFUSED, code=text, text=text, retry_after_s=1.5, tools=(text, "b"))
    record = Record(
        call_id="1", method="tools/call", name=text, outcome="refused", rules=(text,), attempts=3
    )
    steps = [
        Step(
            id=f"s-{act.name}",
            act=act,
            title=f"Title {text}",
            caller=caller,
            given=Given.ARCHIVE_IS_DOWN,
            waits=True,
            expect=Expectation(verdict=Verdict.REFUSED),
        )
        for act, caller in zip(
            Act, (Caller.BARE, Caller.AGENT, Caller.EDITOR, Caller.READER), strict=True
        )
    ]
    results = tuple(
        StepResult(
            step=step,
            calls=(CallResult(at=0.0, shown=text, seen=seen, record=record),),
            events=(text,),
            problems=problems,
        )
        for step in steps
    )
    proof = Proof(
        checks=(Check(id="c", title=text, passed=not problems, detail=text),),
        heads=(Head(server=text, writer=text, sequence=4, hash="ab" * 32),),
    )
    return Performance(started_at=0.0, duration_s=1.0, results=results, proof=proof)


class Balance(HTMLParser):
    VOID = frozenset({"meta", "col", "br", "hr"})

    def __init__(self):
        super().__init__()
        self.open = []
        self.seen = set()
        self.attributes = set()

    def handle_starttag(self, tag, attrs):
        self.seen.add(tag)
        self.attributes |= {name for name, _ in attrs}
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag


def parsed(page):
    balance = Balance()
    balance.feed(page)
    assert balance.open == []
    return balance


def test_what_a_server_said_can_not_act_on_the_page():
    page = render_page(performance(PLANTED, problems=(PLANTED,)), {"git": PLANTED})
    balance = parsed(page)

    assert page.count("&lt;script&gt;") > 10
    assert "script" not in balance.seen
    assert "img" not in balance.seen
    assert not [name for name in balance.attributes if name.startswith("on")]


def test_the_page_needs_nothing_from_outside():
    page = render_page(performance(), {"git": "x = 1"})
    balance = parsed(page)

    assert balance.seen & {"script", "link", "img", "iframe", "base", "object"} == set()
    assert balance.attributes & {"src", "href", "srcset", "action"} == set()
    assert "url(" not in page
    assert "@import" not in page
    assert not re.search(r"https?://", page)
    assert "prefers-color-scheme: dark" in page
    assert "@media print" in page
    assert "$" not in page


def test_the_page_says_whether_it_went_well():
    good, bad = performance(), performance(problems=("saw something else",))

    assert "Everything went as the story says" in render_page(good, {})
    page = render_page(bad, {})
    assert "Everything went as the story says" not in page
    assert "went otherwise than the story says" in page
    assert page.count("saw something else") == len(Act)


@pytest.mark.parametrize("failing", ["step", "check", "empty"])
def test_one_failure_is_enough(failing):
    good = performance()
    bad = {
        "step": evolve(good, results=(*good.results[1:], evolve(good.results[0], problems=("x",)))),
        "check": evolve(
            good, proof=evolve(good.proof, checks=(evolve(good.proof.checks[0], passed=False),))
        ),
        "empty": evolve(good, results=()),
    }[failing]

    assert good.passed
    assert not bad.passed
    assert as_document(bad)["passed"] is False


def test_the_document_is_json_with_stable_keys():
    document = json.loads(json.dumps(as_document(performance())))

    assert set(document) == {
        "kind",
        "version",
        "passed",
        "started_at",
        "duration_s",
        "versions",
        "steps",
        "checks",
        "heads",
    }
    assert set(document["steps"][0]) == {
        "id",
        "act",
        "title",
        "caller",
        "given",
        "waited_s",
        "expected",
        "passed",
        "problems",
        "events",
        "calls",
    }
    assert document["heads"][0]["head"] == f"text:4:{'ab' * 32}"


@pytest.mark.parametrize("width", [60, 200])
def test_the_show_has_a_line_for_every_call(width):
    stream = io.StringIO()
    live = Live(Console(file=stream, width=width))
    played = performance("search", problems=("saw something else",))
    for result in played.results:
        live(result)
    live.finish(played, "report.html")
    text = stream.getvalue()

    assert text.count("NOT AS EXPECTED: saw something else") == len(Act)
    assert "\x1b" not in text
    for act in Act:
        assert act.value in text
    assert "report: report.html" in text


def test_markup_escapes_all_but_markup():
    assert tag("b", "<i>", tag("i", "&")) == "<b>&lt;i&gt;<i>&amp;</i></b>"
    assert tag("a", class_='x" y', data_z="1") == '<a class="x&quot; y" data-z="1"></a>'
    assert tag("br") == "<br>"
    assert isinstance(join("<"), Html)
    assert join("<", Html("<")) == "&lt;<"


def test_a_folder_of_others_is_left_alone(tmp_path):
    (tmp_path / "thesis.txt").write_text("years of work")
    with pytest.raises(ConfigError, match="holds other files"):
        prepare_folder(tmp_path)

    (tmp_path / "report.json").write_text('{"kind": "something else"}')
    with pytest.raises(ConfigError, match="holds other files"):
        prepare_folder(tmp_path)
    assert (tmp_path / "thesis.txt").read_text() == "years of work"


def test_of_a_former_demo_only_its_own_files_go(tmp_path):
    (tmp_path / "report.json").write_text(json.dumps(as_document(performance())))
    (tmp_path / "report.html").write_text("")
    (tmp_path / "audit" / "git").mkdir(parents=True)
    (tmp_path / "my-notes.txt").write_text("kept")
    prepare_folder(tmp_path)

    assert [path.name for path in tmp_path.iterdir()] == ["my-notes.txt"]


def test_a_folder_is_made_where_there_is_none(tmp_path):
    prepare_folder(tmp_path / "a" / "b")

    assert (tmp_path / "a" / "b").is_dir()


def test_what_can_not_be_a_folder_is_told(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(ConfigError, match="can not be used"):
        prepare_folder(tmp_path / "file" / "below")
