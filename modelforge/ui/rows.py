"""Row by row: what a model answered before and answers now, beside the expected answer; or a base model without and
with examples in the prompt.

It shows outcomes that were measured (`models.outcomes`), of a run, or of the last evaluation or trial on the page.
"""

from __future__ import annotations

import csv
import difflib
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import gradio as gr

from modelforge.errors import NotFoundError
from modelforge.ui.look import html
from modelforge.ui.look.choices import pick
from modelforge.ui.look.events import listen
from modelforge.ui.look.files import make_file

if TYPE_CHECKING:
    from modelforge.models.outcomes import Measured, Outcome

LOST, WORST, BEST, EVERY = "lost", "worst", "best", "all"
MOST_SHOWN = 50  # rows on the page; the CSV has all of them
MOST_MARKED = 400  # words of an answer in which differences are marked
_FORMULA = ("=", "+", "-", "@", "\t", "\r")  # a spreadsheet would compute a cell that begins so
_PIECE = re.compile(r"\s+|\w+|[^\w\s]+")


@dataclass(frozen=True)
class Titles:
    """How the two sides, and the lists of rows, are called."""

    before: str = "Before"
    now: str = "Now"
    lost: str = "Right before, wrong now"
    worst: str = "Worst"
    best: str = "Best"


WITH_EXAMPLES = Titles(
    "As it is", "With examples", "Right only without examples", "Better without examples", "Better with examples"
)
TITLES = {"zero_shot": WITH_EXAMPLES}
"""The side that is compared with -> titles, where they are not the usual ones."""


class RowsPanel:
    """Its components. measured: what is shown, a `Measured`; None where nothing was measured. prefix: of the ids of its
    elements."""

    def __init__(self, prefix: str = "models-rows") -> None:
        self._prefix = prefix
        self.measured = gr.State(None)
        # Outside of the box: showing that would show what is hidden in it.
        self.file = gr.DownloadButton("rows.csv", visible="hidden", elem_id=f"{prefix}-file")
        with gr.Column(visible=False, elem_id=prefix) as self.box:
            gr.HTML("<h3>Row by row</h3>")
            with gr.Row(elem_classes="mf-actions"):
                self.which = gr.Radio([], label="Rows", elem_id=f"{prefix}-which", scale=3, min_width=300)
                self.search = gr.Textbox(
                    label="Containing", max_length=200, elem_id=f"{prefix}-search", scale=2, min_width=180
                )
                self.fetch = gr.Button("Download CSV", elem_id=f"{prefix}-fetch", scale=0, min_width=150)
            self.list = gr.HTML("", elem_id=f"{prefix}-list")
        self.shown = [self.measured, self.box, self.which, self.list]

    def attach(self) -> None:
        def copy_rows(measured: Measured | None) -> Any:
            if measured is None:
                raise NotFoundError("Nothing was measured yet.", fix="Measure first.")
            return gr.DownloadButton(value=write_csv(measured))

        inputs = [self.measured, self.which, self.search]
        listen(self.which.input, list_rows, inputs, self.list)
        listen(self.search.submit, list_rows, inputs, self.list)
        copied = listen(self.fetch.click, copy_rows, self.measured, self.file)
        copied.success(None, js=f"() => document.querySelector('#{self._prefix}-file').click()")


def show_rows(measured: Measured | None) -> list[Any]:
    """Values of `RowsPanel.shown`."""
    if measured is None or not measured.outcomes:
        return [None, gr.Column(visible=False), gr.Radio([], value=None), ""]
    choices = list_choices(measured)
    chosen = pick(choices, None)
    return [measured, gr.Column(visible=True), gr.Radio(choices, value=chosen), list_rows(measured, chosen, "")]


def find_titles(measured: Measured) -> Titles:
    return TITLES.get(measured.against, Titles())


def list_choices(measured: Measured) -> list[tuple[str, str]]:
    """(label, key) of the lists that have rows, what a sceptic looks at first."""
    titles = find_titles(measured)
    found = [(LOST, titles.lost), (WORST, titles.worst), (BEST, titles.best), (EVERY, "All")]
    counts = {key: len(choose_rows(measured, key)) for key, _ in found}
    return [(f"{label} ({counts[key]})", key) for key, label in found if counts[key]]


def choose_rows(measured: Measured, which: str | None) -> Sequence[Outcome]:
    if which == LOST:
        return measured.list_lost()
    if which == WORST:
        return measured.list_worst()
    return measured.list_gains() if which == BEST else measured.outcomes


def list_rows(measured: Measured | None, which: str | None, search: str) -> str:
    """The rows of a list that contain a text, as HTML."""
    if measured is None:
        return ""
    wanted = search.strip().casefold()
    rows = [each for each in choose_rows(measured, which) if wanted in _join(each)]
    if not rows:
        return html.note("No row contains this text." if wanted else "There are no such rows.")
    more = f"{MOST_SHOWN} of {len(rows)} rows are shown; the CSV has all of them." if len(rows) > MOST_SHOWN else ""
    return "".join(draw_row(measured, each) for each in rows[:MOST_SHOWN]) + (html.aside(more) if more else "")


def draw_row(measured: Measured, outcome: Outcome) -> str:
    """One row: what was asked, the expected answer, the answers before and now, with marks where they differ from
    it."""
    before, side, titles = measured.describe_row(outcome), measured.against, find_titles(measured)
    lost = bool(outcome.is_right(side)) and outcome.is_right("tuned") is False
    label = titles.lost.lower() if lost else ""
    head = (
        f"<span>Row {outcome.row}</span>" + (f"<b>{label}</b>" if label else "") + f"<span>{html.text(before)}</span>"
    )
    head += "<span>also trained on</span>" if outcome.known else ""
    texts = [("Expected", html.text(outcome.expected))]
    for title, name in ((titles.before, side), (titles.now, "tuned")):
        if name in outcome.answers:
            texts.append((title, mark_differences(outcome.answers[name], outcome.expected)))
    sides = "".join(
        f'<div class="mf-outcome-side"><span>{title}</span><div>{text}</div></div>' for title, text in texts
    )
    prompt = f'<div class="mf-outcome-prompt">{html.text(_shorten(outcome.prompt))}</div>' if outcome.prompt else ""
    return (
        f'<div class="mf-outcome{" mf-outcome-lost" if lost else ""}"><div class="mf-outcome-head">{head}</div>{prompt}'
        f'<div class="mf-outcome-sides">{sides}</div></div>'
    )


def mark_differences(answer: str, expected: str) -> str:
    """The answer as HTML, with marks around the words that the expected one does not have there; none in a long one."""
    answer = answer.strip()  # a model that writes line breaks alone would show as a tall, empty box
    pieces, wanted = _PIECE.findall(answer), _PIECE.findall(expected)
    if not wanted or max(len(pieces), len(wanted)) > 2 * MOST_MARKED:
        return html.text(answer) or "<i>nothing</i>"
    matcher = difflib.SequenceMatcher(
        None, [each.casefold() for each in pieces], [each.casefold() for each in wanted], False
    )
    found = []
    for kind, start, end, *_ in matcher.get_opcodes():
        text = html.text("".join(pieces[start:end]))
        found.append(text if kind == "equal" or not text.strip() else f"<mark>{text}</mark>")
    return "".join(found) or "<i>nothing</i>"


def write_csv(measured: Measured) -> str:
    """The path of a new file with all rows: what was asked, expected and answered, and every score."""
    sides = [measured.against, "tuned"]
    shown = find_titles(measured)
    titles = {measured.against: shown.before.lower(), "tuned": shown.now.lower()}
    before, now = titles.values()
    names = list(
        dict.fromkeys(name for each in measured.outcomes for side in sides for name in each.scores.get(side, {}))
    )
    path = make_file("rows.csv")
    with path.open("w", encoding="utf-8-sig", newline="") as file:
        writer = csv.writer(file)
        scored = [f"{name} {titles[side]}" for name in names for side in sides]
        writer.writerow(["row", "prompt", "expected", before, now, f"right {before}", f"right {now}", *scored])
        for each in measured.rank_gains():
            answers = [each.answers.get(side, "") for side in sides]
            right = ["" if (found := each.is_right(side)) is None else found for side in sides]
            scores = [each.scores.get(side, {}).get(name, "") for name in names for side in sides]
            texts = [disarm(text) for text in (each.prompt, each.expected, *answers)]
            writer.writerow([each.row, *texts, *right, *scores])
    return str(path)


def disarm(text: str) -> str:
    """A text as a cell that no spreadsheet takes for a formula."""
    text = text.encode("utf-8", "replace").decode()
    return f"'{text}" if text.startswith(_FORMULA) else text


def _join(outcome: Outcome) -> str:
    return "\n".join([outcome.prompt, outcome.expected, *outcome.answers.values()]).casefold()


def _shorten(text: str) -> str:
    return text if len(text) <= 600 else f"{text[:600]} …"
