"""Tries the base model before a first run, part of the Train tab: a recommendation, and the answers row by row.

What is measured is in `models.baseline`; the time beside the button is the planner's, for the form as it is.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from concurrent.futures import CancelledError
from typing import TYPE_CHECKING, Any

import gradio as gr

from modelforge import warmup
from modelforge.scores.need import DATA, PROMPT, TRAIN, UNCLEAR
from modelforge.scores.titles import SHOWN
from modelforge.ui.look import html
from modelforge.ui.look.background import FOLLOW_SECONDS, BackgroundCall
from modelforge.ui.look.events import listen
from modelforge.ui.rows import RowsPanel, show_rows
from modelforge.ui.train.form import TrainForm

if TYPE_CHECKING:
    from modelforge.models.baseline import Baseline
    from modelforge.models.few_shot import Example

KINDS = {PROMPT: "good", TRAIN: "good", DATA: "bad", UNCLEAR: "quiet"}
_FIRST_SHARE = 0.05  # of the work, after which the time that is left is estimated


class BaselinePanel:
    """Its components. running: the trial in progress, a `BackgroundCall`."""

    def __init__(self) -> None:
        with gr.Row(elem_classes="mf-actions"):
            self.go = gr.Button("Try the base model first", elem_id="baseline-go", min_width=200)
            self.cancel = gr.Button("Cancel", visible=False, scale=0, min_width=110, elem_id="baseline-cancel")
        self.time = gr.HTML(describe_time(""), elem_id="baseline-time")
        self.running = gr.State(None)
        self.shown = gr.HTML("", elem_id="baseline-shown")
        self.rows = RowsPanel("baseline-rows")


def attach_baseline(form: TrainForm, panel: BaselinePanel) -> None:
    runs = form.forge.runs

    def go(*values: Any) -> Iterator[dict[Any, Any]]:
        """A progress bar, then the recommendation, both ways side by side, and the rows."""
        recipe = form.read(*values)
        runs.refuse_beside_run()

        def measure(watch: Callable[[float], None]) -> Baseline:
            warmup.wait()
            return runs.try_base(recipe, watch=watch)

        call, began = BackgroundCall(measure), time.monotonic()
        bar = html.bar(0, "Loading the base model …")
        yield {panel.shown: bar, panel.running: call, panel.cancel: gr.Button(visible=True)}
        ended = {panel.running: None, panel.cancel: gr.Button(visible=False)}
        while not call.wait(FOLLOW_SECONDS):
            yield {panel.shown: show_progress(call.progress, time.monotonic() - began)}
        try:
            found = call.result()
        except CancelledError:
            yield {panel.shown: html.note("Cancelled; nothing was measured."), **ended}
        except Exception as error:
            yield {panel.shown: html.note(str(error), "bad"), **ended}
            raise
        else:
            rows = dict(zip(panel.rows.shown, show_rows(found.measured), strict=True))
            yield {panel.shown: show_baseline(found, recipe.base_model), **rows, **ended}

    def cancel(call: BackgroundCall[Any] | None) -> None:
        if call is not None:
            call.cancel()

    listen(panel.go.click, go, form.inputs, [panel.shown, panel.running, panel.cancel, *panel.rows.shown])
    listen(panel.cancel.click, cancel, panel.running)
    panel.rows.attach()


def describe_time(time: str) -> str:
    """The line below the button. time: as the planner predicts it; "" where it is not known."""
    takes = f" Takes {time}." if time else ""
    return html.aside(
        "Do you need to train? The base model answers the held-out rows, as it is and with three examples in the "
        f"prompt.{takes}"
    )


def show_progress(share: float | None, seconds: float) -> str:
    """A bar with the time that is left. share: None while the model is loaded."""
    if not share:
        return html.bar(0, "Loading the base model …")
    left = f", about {html.seconds(seconds * (1 - share) / share)} left" if share > _FIRST_SHARE else ""
    return html.bar(share, f"Answering the held-out rows: {share:.0%}{left}")


def show_baseline(found: Baseline, base_model: str) -> str:
    """The recommendation as a card, then the metrics of both ways, and the examples."""
    word, few = found.advice.word, found.few_shot
    counted = "1 held-out row" if found.rows == 1 else f"{found.rows} held-out rows"
    notes = "".join(html.aside(sentence) for sentence in (f"{base_model} on {counted}.", *found.measured.notes))
    card = (
        f'<div class="mf-verdict mf-{KINDS[word]}"><div class="mf-verdict-word">{word[0].upper()}{word[1:]}</div>'
        f'<div class="mf-verdict-why">{html.text(found.advice.why)}</div>{notes}</div>'
    )
    table = html.table(
        {
            "Metric": SHOWN[name].title,
            "As it is": SHOWN[name].write(value),
            **({"With examples": SHOWN[name].write(few[name]) if name in few else html.NOTHING} if few else {}),
        }
        for name, value in found.zero_shot.items()
    )
    return card + table + "".join(show_example(each) for each in found.examples)


def show_example(example: Example) -> str:
    """One of the examples in the prompt."""
    asked = "\n".join(str(turn["content"]) for turn in example.turns[:-1])
    return (
        f'<div class="mf-sample"><div class="mf-sample-asked">Example, row {example.row}: {html.text(asked)}</div>'
        f"<div>{html.text(example.answer)}</div></div>"
    )
