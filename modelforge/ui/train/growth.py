"""More data or more epochs? Below a finished run in the Train tab: what its curve tells, and a button that queues two
smaller runs, and then the forecast of what more data would give."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import gradio as gr

from modelforge import warmup
from modelforge.errors import ModelForgeError
from modelforge.forge import Forge
from modelforge.runs.more_data import SHARES, Growth, check_can_ask
from modelforge.scores.scaling import EPOCHS_MORE, LITTLE, MORE
from modelforge.store import RunRecord, RunState
from modelforge.ui.look import html
from modelforge.ui.look.events import listen

_SHARE = 0.75  # of the run's time: a half and a quarter


class GrowthPanel:
    """Its components."""

    def __init__(self) -> None:
        with gr.Column(visible=False, elem_id="train-growth") as self.box:
            gr.HTML("<h3>More data or more epochs?</h3>")
            self.shown = gr.HTML("")
            self.ask = gr.Button("Find out with two smaller runs", elem_id="train-growth-ask")
        self.outputs = [self.box, self.shown, self.ask]


def show_growth(forge: Forge, record: RunRecord | None) -> list[Any]:
    """Values of `GrowthPanel.outputs`; hidden for a run without a verdict, or on a share of its data."""
    if record is None or record.state is not RunState.finished or not record.metrics.get("verdict"):
        return [gr.Column(visible=False), "", gr.Button(visible=False)]
    if record.recipe.get("train_share", 1.0) < 1:
        note = html.aside("Trained on a share of its examples; the run on all of them tells what more would give.")
        return [gr.Column(visible=True), note, gr.Button(visible=False)]
    found = forge.runs.describe_growth(record.id)
    shown = html.note(f"{_capitalise(found.epochs.word)}. {found.epochs.why}", _kind(found.epochs.word == EPOCHS_MORE))
    return [gr.Column(visible=True), shown + _describe_data(record, found), _offer(record, found)]


def _describe_data(record: RunRecord, found: Growth) -> str:
    if found.data:
        return html.note(f"{_capitalise(found.data.word)}. {found.data.why}", _kind(found.data.word in (MORE, LITTLE)))
    try:
        check_can_ask(record)
    except ModelForgeError as error:
        return html.note(f"More data: no forecast is possible. {error.what} {error.fix}")
    if len(found.smaller) == len(SHARES):
        return html.note("Two smaller runs are queued. When both have finished, the forecast appears here.")
    sentence = "Whether more data would help shows when the same recipe is trained on a half and a quarter of it."
    seconds = _find_seconds(record)
    takes = f" Both together take about {html.seconds(_SHARE * seconds)}." if seconds else ""
    return html.aside(sentence + takes)


def _offer(record: RunRecord, found: Growth) -> Any:
    try:
        check_can_ask(record)
    except ModelForgeError:
        return gr.Button(visible=False)
    return gr.Button(visible=found.data is None and len(found.smaller) < len(SHARES))


def _find_seconds(record: RunRecord) -> float:
    """How long the run took; 0 where that is not known."""
    from datetime import datetime

    if not record.started or not record.finished:
        return 0.0
    return (datetime.fromisoformat(record.finished) - datetime.fromisoformat(record.started)).total_seconds()


def _kind(is_told: bool) -> str:
    return "good" if is_told else "quiet"


def _capitalise(word: str) -> str:
    return word[0].upper() + word[1:]


def attach_growth(forge: Forge, panel: GrowthPanel, run_id: Any, refresh: Callable[..., Any], shown: list[Any]) -> None:
    """run_id, refresh, shown: the run that the page shows, and how to show it again."""

    def ask(chosen: str) -> Any:
        warmup.wait()
        runs = forge.runs.start_smaller(chosen)
        queued = sum(run.state.active for run in runs)
        gr.Info(f"{queued} smaller runs are queued. Select this run again when they have finished.")
        return refresh(chosen, None)

    listen(panel.ask.click, ask, run_id, shown)
