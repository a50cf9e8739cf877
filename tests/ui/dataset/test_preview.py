"""What is shown of a row is its text, unchanged and never markup, with what is learnt and what is cut off marked."""

from __future__ import annotations

import html as standard_html
import re
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest

from modelforge import starter
from modelforge.data.encode import ChatEncoder
from modelforge.data.lengths import Lengths, measure
from modelforge.loading import load_tokenizer
from modelforge.paths import asset
from modelforge.recipe import Recipe
from modelforge.ui.dataset import preview, tokens, view
from tests import tiny
from tests.machine import base

__all__ = ["base"]

HOSTILE = '<script>alert("1")</script><img src=x onerror=alert(1)> &amp; </pre></span> {{ x }}'
TYPED = "schön 👩\u200d👩\u200d👧\n\n\u202eabc\u202c\tשלם e\u0301\r\n\u00a0x"
ALLOWED = {"b", "div", "h3", "mark", "pre", "span"}


class Reader(HTMLParser):
    """Reads HTML as a browser does: the tags that there are, and the texts of elements by their class."""

    def __init__(self, markup: str) -> None:
        super().__init__(convert_charrefs=True)
        self.tags: set[str] = set()
        self.signs: list[str] = []
        self.attributes: set[str] = set()
        self._open: list[tuple[str, str]] = []
        self._pieces: list[tuple[tuple[tuple[str, str], ...], str]] = []
        self.feed(markup)
        self.close()
        assert not self._open, "every tag is closed"

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = {name: value or "" for name, value in attrs}
        self.tags.add(tag)
        self.attributes |= given.keys()
        self._open.append((tag, given.get("class", "")))
        if "data-sign" in given:
            self.signs.append(given["data-sign"])

    def handle_endtag(self, tag: str) -> None:
        assert self._open.pop()[0] == tag

    def handle_data(self, data: str) -> None:
        self._pieces.append((tuple(self._open), data))

    def text(self, tag: str, css: str = "", *, without: tuple[str, ...] = ("mf-cut-line", "mf-gap")) -> str:
        """The text within such elements."""
        return "".join(
            data
            for place, data in self._pieces
            if any(name == tag and css in [*classes.split(), ""] for name, classes in place)
            and not any(classes in without for _, classes in place)
        )


def show(row: dict[str, Any], base: Path | None, max_length: int = 512, place: str = "Row 1") -> str:
    """The HTML of a row, with the tokenizer of a base model or without one."""
    encoder = ChatEncoder(load_tokenizer(base, str(base)), max_length) if base else None
    return preview.preview_row(row, place, encoder)


def read(row: dict[str, Any], base: Path | None, max_length: int = 512) -> Reader:
    return Reader(show(row, base, max_length))


def chat(question: str, answer: str) -> dict[str, Any]:
    return {"messages": tiny.messages(question, answer)}


def pair(prompt: str, chosen: str, rejected: str) -> dict[str, Any]:
    sides = {"prompt": ("user", prompt), "chosen": ("assistant", chosen), "rejected": ("assistant", rejected)}
    return {side: [{"role": role, "content": text}] for side, (role, text) in sides.items()}


def question(context: str, asked: str, *answers: tuple[str, int]) -> dict[str, Any]:
    found = {"text": [text for text, _ in answers], "answer_start": [start for _, start in answers]}
    return {"context": context, "question": asked, "answers": found}


# ---- what the model sees ---------------------------------------------------------------------------------------


def test_row_is_shown_as_the_template_renders_it(base: Path) -> None:
    shown = read(chat("What colour?", "It is red."), base)
    rendered = "<|im_start|>user\nWhat colour?<|im_end|>\n<|im_start|>assistant\nIt is red.<|im_end|>"
    assert shown.text("pre") == rendered
    assert shown.text("mark", "mf-learned") == "It is red.<|im_end|>"
    assert shown.text("div", "mf-preview-head").startswith("Row 1: ")


@pytest.mark.parametrize("typed", [TYPED, HOSTILE], ids=["special", "hostile"])
def test_texts_are_shown_unchanged_in_every_form(base: Path, typed: str) -> None:
    for place in (base, None):
        shown = read(chat(typed, typed), place)
        assert shown.text("pre").count(typed) == 2
        assert typed in shown.text("mark", "mf-learned")
        shown = read({"text": typed}, place)
        assert typed in shown.text("mark", "mf-learned")
        shown = read(pair(typed, f"{typed}1", f"{typed}2"), place)
        assert [typed in shown.text("mark", css) for css in ("mf-learned", "mf-rejected")] == [True, True]
        assert typed in read({"prompt": [{"role": "user", "content": typed}], "reference": "x"}, place).text("pre")
        shown = read(question(f"{typed} {typed} end", typed, (typed, 0)), place)
        assert shown.text("mark", "mf-learned") == typed
        assert shown.text("pre").count(typed) == 3


def test_nothing_in_a_row_is_markup(base: Path) -> None:
    rows = [
        chat(HOSTILE, HOSTILE),
        {"text": HOSTILE},
        pair(HOSTILE, HOSTILE, "other"),
        question(HOSTILE, HOSTILE, (HOSTILE, 0), (HOSTILE, 9)),
        {"messages": [*tiny.messages(HOSTILE, "a"), {"role": "tool", "content": HOSTILE}]},
    ]
    for row in rows:
        for place in (base, None):
            shown = Reader(show(row, place, 16, HOSTILE))
            assert shown.tags <= ALLOWED
            assert shown.attributes <= {"class", "data-sign"}
            assert HOSTILE in shown.text("div", "mf-preview-head")


def test_signs_stand_beside_what_cannot_be_seen(base: Path) -> None:
    shown = read({"text": "a\nb\tc\u202ed\u00a0e\x01f👩\u200d👧"}, base)
    # the first is in the legend
    assert shown.signs == ["↵", "↵", "⇥", "RLO", "⍽", "U+0001"]


def test_every_token_is_a_piece_of_its_own(base: Path) -> None:
    text = "The lamp is red."
    markup = show({"text": text}, base)
    body = markup[markup.index("<pre") :]
    pieces = [standard_html.unescape(found) for found in re.findall(r'<span class="mf-token">([^<]*)</span>', body)]
    expected = ChatEncoder(tiny.tokenizer(), 512).preview_tokens({"text": text})
    assert pieces == [token.text for token in expected]
    assert len(pieces) > 3


# ---- what is cut -----------------------------------------------------------------------------------------------


def test_cut_is_marked_with_what_is_lost_and_the_rest_is_grey(base: Path) -> None:
    row = chat("What colour is the lamp of house 0?", "The lamp is red. " * 8)
    whole = read(row, base).text("pre")
    encoded = ChatEncoder(tiny.tokenizer(), 40).encode_row(row)
    shown = read(row, base, 40)
    assert shown.text("span", "mf-cut-line", without=()) == f"cut here: max_length 40, {encoded.cut} tokens lost"
    grey = shown.text("span", "mf-cut")
    assert shown.text("pre") == whole
    assert whole.endswith(grey) and len(grey) > 20
    assert tiny.tokenizer().decode(encoded.input_ids) + grey == whole
    assert grey not in shown.text("mark")
    assert f"{40 + encoded.cut} tokens" in shown.text("div", "mf-preview-head")
    assert "cut here" not in show(row, base)


def test_one_lost_token_is_one(base: Path) -> None:
    row = {"text": "red"}
    length = len(ChatEncoder(tiny.tokenizer(), 512).encode_row(row).input_ids)
    assert "1 token lost" in show(row, base, length - 1)


def test_very_long_rows_are_shown_in_part(base: Path) -> None:
    shown = read(chat("blue " * 20_000 + "end of the question", "red " * 20_000 + "end of the answer"), base, 131_072)
    gaps = shown.text("span", "mf-gap", without=())
    assert gaps.count("tokens are not shown") == 2
    assert "end of the question" in shown.text("pre")
    assert "end of the answer" in shown.text("mark")
    markup = show({"text": "red " * 50_000}, base, 64)
    assert markup.count("mf-token") < tokens.SHOWN_TOKENS + tokens.SHOWN_CUT_TOKENS + 10
    long = "x" * 200_000
    for row in ({"text": long}, chat(long, long), pair(long, long, long), question(long, long, ("x", 5))):
        assert len(show(row, None)) < 450_000


# ---- other forms -----------------------------------------------------------------------------------------------


def test_pair_shows_the_prompt_once_the_better_answer_coloured_and_the_worse_one_red(base: Path) -> None:
    shown = read(pair("What colour?", "It is red.", "No idea."), base)
    assert shown.text("pre").count("What colour?") == 1
    assert shown.text("mark", "mf-learned") == "It is red.<|im_end|>"
    assert shown.text("mark", "mf-rejected") == "No idea.<|im_end|>"


@pytest.mark.parametrize(("label", "css", "said"), [(True, "mf-learned", "good"), (False, "mf-rejected", "bad")])
def test_labelled_answer_shows_its_label_and_colour(base: Path, label: bool, css: str, said: str) -> None:
    asked, answered = tiny.messages("Why?", "Because.")
    for place in (base, None):
        shown = read({"prompt": [asked], "completion": [answered], "label": label}, place)
        assert shown.text("mark", css).startswith("Because.")
        assert shown.text("div", "mf-preview-head").startswith("Row 1: labelled " + said if place else "Row 1")


def test_long_text_is_shown_in_its_pieces(base: Path) -> None:
    text = " ".join(f"The {thing} of house {number} is red." for number in range(12) for thing in tiny.THINGS)
    shown = read({"text": text}, base, max_length=64)
    heads = shown.text("div", "mf-preview-head")
    assert "longer than max_length, divided into" in heads and "Piece 1 of " in heads and "Piece 4 of " in heads
    assert text.startswith(shown.text("pre")) and "cut here" not in shown.text("pre")
    assert "more pieces are not shown" in shown.text("div", "mf-note")


def test_reasoning_that_the_template_leaves_out_is_said(base: Path) -> None:
    asked, answered = tiny.messages("Why?", "Because.")
    row = {"messages": [asked, {**answered, "reasoning_content": "Let me think."}]}
    assert "leaves out reasoning, so it is not trained" in show(row, base)
    assert "Let me think." in read(row, None).text("pre")


def test_answer_is_coloured_where_it_stands(base: Path) -> None:
    context = "red and red and red"
    shown = read(question(context, "Which?", ("red", 8)), base)
    markup = show(question(context, "Which?", ("red", 8)), base)
    assert 'red and <mark class="mf-learned">red</mark> and red' in markup
    assert shown.text("pre").startswith("Which?")
    nested = read(question(context, "Which?", ("red and red", 0), ("red", 0), ("red and", 8)), base)
    assert nested.text("mark") == "red and red and"
    assert nested.text("pre").endswith(context)


def test_answer_that_is_not_there_is_said(base: Path) -> None:
    shown = read(question("a red lamp", "Which?", ("red", 5)), base)
    assert "not at the given position" in shown.text("pre", without=())
    assert shown.text("mark") == ""
    assert "(no answer)" in read(question("a red lamp", "Which?"), base).text("pre", without=())


def test_chat_that_the_template_refuses_is_said_and_shown_all_the_same(tmp_path: Path) -> None:
    tokenizer = tiny.tokenizer()
    tokenizer.chat_template = "{{ raise_exception('no <b>system</b> turn') }}"
    tokenizer.save_pretrained(tmp_path / "refusing")
    shown = read(chat("What colour?", "red"), tmp_path / "refusing")
    assert "no <b>system</b> turn" in shown.text("div", "mf-bad")
    assert "What colour?" in shown.text("pre")
    assert shown.text("mark") == "red"


def test_what_the_template_leaves_out_is_said(base: Path) -> None:
    call = {"type": "function", "function": {"name": "look", "arguments": {}}}
    row = {"messages": [{"role": "user", "content": "q"}, {"role": "assistant", "content": "", "tool_calls": [call]}]}
    assert "tool calls" in read(row, base).text("div", "mf-warning")
    assert "look" in read(row, None).text("pre")


def test_tokenizer_that_is_not_here_is_not_fetched_and_rows_are_shown_without_it() -> None:
    assert preview.find_encoder(512) is None
    shown = read(chat("What colour?", "It is red."), None)
    assert shown.text("mark", "mf-learned") == "It is red."
    assert "not on this machine" in shown.text("div", "mf-keys")


def test_tokenizer_that_is_broken_shows_rows_without_it(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(starter, "is_fetched", lambda _: True)
    monkeypatch.setattr(starter, "folder", lambda _: tmp_path)
    tiny.tokenizer().save_pretrained(tmp_path)
    (tmp_path / "tokenizer.json").write_text("{}")
    assert preview.find_encoder(512) is None


def test_first_few_rows_share_a_legend() -> None:
    shown = Reader(preview.preview_rows(tiny.rows(8), ChatEncoder(tiny.tokenizer(), 512)))
    assert shown.text("div", "mf-preview-head").count("Row ") == preview.ROWS
    assert shown.text("div", "mf-keys").count("What the model sees") == 1
    assert preview.preview_rows([], None) == ""


# ---- lengths ---------------------------------------------------------------------------------------------------


def lengths(*counts: int, **more: int) -> Lengths:
    return Lengths(more.get("rows", len(counts)), len(counts), more.get("refused", 0), tuple(sorted(counts)))


def test_chart_says_what_is_cut_and_draws_a_line_there() -> None:
    shown = Reader(preview.show_lengths(lengths(*range(1, 101)), 50))
    assert "At max_length 50, 50 of 100 rows (50.0%) are cut" in shown.text("div", "mf-warning")
    assert "Proposed: 128." in shown.text("div", "mf-warning")
    assert shown.text("div", "mf-line") == "max_length 50"
    assert shown.text("div", "mf-axis").startswith("0")
    calm = Reader(preview.show_lengths(lengths(*range(1, 101)), 512))
    assert "none of 100 rows is cut" in calm.text("div", "mf-quiet")
    assert calm.text("div", "mf-line") == ""  # far to the right of every bar


def test_axis_names_the_longest_row_where_it_is_far_from_the_others() -> None:
    assert Reader(preview.show_lengths(lengths(*range(200), 9000), 512)).text("div", "mf-axis").endswith("… 9000")
    assert Reader(preview.show_lengths(lengths(*range(200)), 512)).text("div", "mf-axis").endswith("200")


def test_chart_says_how_many_rows_are_refused() -> None:
    assert "2 of 5 rows are rejected" in preview.show_lengths(Lengths(5, 5, 2, (1, 2, 3)), 512)
    assert "rejected" in preview.show_lengths(Lengths(5, 5, 5, ()), 512)
    assert "no rows" in preview.show_lengths(lengths(), 512)


@pytest.mark.parametrize("counts", [[1], [0] * 3, list(range(500)), [10] * 200 + [90_000], [64, 65, 66]])
@pytest.mark.parametrize("max_length", [8, 64, 66, 512, 131_072])
def test_bars_show_every_row_and_the_line_stands_within(counts: list[int], max_length: int) -> None:
    found = lengths(*counts)
    markup = preview.draw_lengths(*found.bins(), max_length)
    assert sum(map(int, re.findall(r"tokens: (\d+) rows", markup))) == len(counts)
    for share in map(float, re.findall(r"(?:left|height):(-?[\d.]+)%", markup)):
        assert 0 <= share <= 100
    assert ("mf-line" in markup) is (max_length < found.bins()[0][-1])
    beyond = [int(first) for first in re.findall(r'mf-beyond" style="[^"]*" title="(\d+) to', markup)]
    assert all(first > max_length for first in beyond)
    assert preview.draw_lengths((), (), 512) == ""


def test_lengths_are_measured_once_for_rows_that_are_looked_at_again(monkeypatch: pytest.MonkeyPatch) -> None:
    class Counted:
        """As the rows of a large file: each is read when it is asked for."""

        def __init__(self) -> None:
            self.reads = 0

        def __len__(self) -> int:
            return 16

        def __getitem__(self, index: int) -> Any:
            self.reads += 1
            return tiny.rows(16)[index]

        def __iter__(self) -> Any:
            return (self[index] for index in range(16))

    rows: Any = Counted()
    assert preview.measure_rows(rows) is None  # without a tokenizer
    assert view.suggest_max_length(rows) == Recipe().max_length
    monkeypatch.setattr(preview, "find_encoder", lambda length: ChatEncoder(tiny.tokenizer(), length))
    found = preview.measure_rows(rows)
    assert found and found == measure(tiny.rows(16), ChatEncoder(tiny.tokenizer(), 512))
    assert found.proposed() == 64
    assert view.suggest_max_length(rows) == Recipe().max_length
    assert rows.reads == 16


# ---- the style sheet -------------------------------------------------------------------------------------------


def test_every_class_is_in_the_style_sheet(base: Path) -> None:
    style = asset("style.css").read_text(encoding="utf-8")
    rows = [chat("q\n", "red " * 50), pair("q", "a", "b"), question("a red lamp", "Which?", ("red", 5))]
    markup = "".join(show(row, base, 24) for row in rows)
    markup += preview.show_lengths(lengths(*range(0, 1000, 7)), 400)
    used = {name for names in re.findall(r'class="([^"]*)"', markup) for name in names.split()}
    assert {"mf-cut-line", "mf-token", "mf-sign", "mf-rejected", "mf-line", "mf-beyond"} <= used
    for name in used - {"mf-quiet"}:  # a note as all notes are
        assert re.search(rf"\.{name}\b", style), name
