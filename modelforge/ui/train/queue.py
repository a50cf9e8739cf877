"""The queue of the Train tab: the runs that wait, in order, and the runs that can be resumed; hidden without any."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import gradio as gr

from modelforge import warmup
from modelforge.forge import Forge
from modelforge.store import RunRecord, RunState
from modelforge.ui.look import html
from modelforge.ui.look.choices import select
from modelforge.ui.look.events import listen


class RunQueue:
    """Its components: the runs that can be resumed, and where `build_waiting` is called, the runs that wait."""

    def __init__(self) -> None:
        with gr.Column(visible=False, elem_id="train-left") as self.left_box:
            self.left = gr.HTML()
            self.resume_all = gr.Button("Resume all", variant="primary", elem_id="train-resume-all")

    def build_waiting(self) -> None:
        with gr.Column(visible=False, elem_id="train-queue") as self.box:
            gr.HTML("<h3>Queue</h3>")
            self.waiting = gr.HTML()
            with gr.Row(elem_classes="mf-actions"):
                self.chosen = gr.Dropdown(
                    [],
                    label="Waiting run",
                    scale=3,
                    min_width=220,
                    allow_custom_value=True,  # it can start while it is chosen
                    elem_id="train-waiting",
                )
                self.earlier = gr.Button("Earlier", scale=0, min_width=100, elem_id="train-earlier-turn")
                self.later = gr.Button("Later", scale=0, min_width=100)
                self.remove = gr.Button("Remove", scale=0, min_width=100, elem_id="train-remove")
        self.outputs = [self.left_box, self.left, self.box, self.waiting, self.chosen]


def show_queue(forge: Forge, chosen: str | None = None) -> list[Any]:
    """Values of `RunQueue.outputs`."""
    waiting, left = forge.runs.waiting(), forge.runs.resumable()
    choices = [(f"{index}. {record.label or record.id}", record.id) for index, record in enumerate(waiting, 1)]
    return [
        gr.Column(visible=len(left) > 1),  # a single run has its Resume button in the monitor
        _describe_left(left),
        gr.Column(visible=bool(waiting)),
        html.table(
            {"Place": place, "Run": record.label or record.id, "Dataset": record.dataset_name}
            for place, record in enumerate(waiting, 1)
        ),
        select(choices, chosen),
    ]


def describe_state(forge: Forge) -> list[str]:
    """The state that the lists of runs show: while it is the same, they need no update."""
    listed = [record for record in forge.runs.all() if record.state.active or record.state.resumable]
    return [f"{record.id} {record.state.value}" for record in [*forge.runs.waiting(), *listed]]


def attach_queue(forge: Forge, queue: RunQueue, run_id: Any, refresh: Callable[..., Any], shown: list[Any]) -> None:
    """run_id, refresh, shown: the run that the page shows, and how to show it again."""

    def move(by: int, chosen: str | None) -> list[Any]:
        ids = [record.id for record in forge.runs.waiting()]
        if chosen in ids:
            forge.runs.move(chosen, max(ids.index(chosen) + by, 0))
        return show_queue(forge, chosen)

    def remove(chosen: str | None) -> list[Any]:
        if chosen:
            forge.runs.stop(chosen)
        return show_queue(forge)

    def resume_all(seen: str) -> Any:
        warmup.wait()
        resumed = forge.runs.resume_all()
        return refresh(resumed[0].id if resumed else seen, None)

    listen(queue.earlier.click, partial(move, -1), queue.chosen, queue.outputs)
    listen(queue.later.click, partial(move, 1), queue.chosen, queue.outputs)
    listen(queue.remove.click, remove, queue.chosen, queue.outputs)
    listen(queue.resume_all.click, resume_all, run_id, shown)


def _describe_left(left: list[RunRecord]) -> str:
    if not left:
        return ""
    cut_off = sum(record.state is RunState.interrupted for record in left)
    how = f"{cut_off} interrupted when the app was closed or the machine went down" if cut_off else "paused"
    names = ", ".join(record.label or record.id for record in left[:5]) + (" and more" if len(left) > 5 else "")
    return html.note(f"{len(left)} runs can be resumed from their last checkpoint ({how}): {names}.", "warning")
