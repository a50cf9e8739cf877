"""The monitor of a run, part of the Train tab: state, numbers, chart, answers before and after, log.

It only shows. Closing the page changes nothing; any number of pages see the same.
"""

from __future__ import annotations

import threading
from typing import Any

import gradio as gr

from modelforge.forge import Forge
from modelforge.hardware import describe_bytes
from modelforge.store import RunRecord, RunState
from modelforge.ui import html
from modelforge.ui.chart import draw_loss
from modelforge.ui.run_view import RunView

SENTENCES = {
    RunState.queued: ("Waiting for its turn: another run is in progress, and runs go one at a time.", "quiet"),
    RunState.preparing: ("Getting ready: loading the base model and encoding the examples.", "quiet"),
    RunState.running: ("Training. You can close this page; the run goes on.", "good"),
    RunState.stopping: ("Saving and stopping.", "warning"),
    RunState.stopped: ("Stopped before its end.", "warning"),
    RunState.interrupted: (
        "Interrupted: the app was closed or the machine went down while it was training.",
        "warning",
    ),
}


class Monitor:
    """The widgets that show one run."""

    def __init__(self) -> None:
        self.head = gr.HTML(elem_id="run-head")
        self.chart = gr.HTML(elem_id="run-chart")
        self.answers = gr.HTML(elem_id="run-answers")
        with gr.Accordion("Log", open=False):
            self.log = gr.Textbox(
                label="Log",
                lines=12,
                max_lines=12,
                show_label=False,
                interactive=False,
                autoscroll=True,
                elem_id="run-log",
            )

    @property
    def outputs(self) -> list[Any]:
        return [self.head, self.chart, self.answers, self.log]


class Views:
    """One RunView for each run that anybody looks at."""

    def __init__(self, forge: Forge) -> None:
        self._forge = forge
        self._lock = threading.Lock()
        self._views: dict[str, RunView] = {}

    def refreshed(self, run_id: str) -> RunView:
        with self._lock:
            view = self._views.setdefault(run_id, RunView(self._forge.runs.feed(run_id)))
        view.refresh()
        return view


def show_run(record: RunRecord, view: RunView) -> list[Any]:
    """Values of the monitor's widgets, in the order of `Monitor.outputs`."""
    latest = view.latest.get("progress", {})
    step, total = latest.get("step", record.step), latest.get("total_steps", record.total_steps)
    head = f'<div class="mf-run-name">{html.text(record.recipe.get("name") or record.id)}</div>'
    head += _state(record)
    if total:
        share = step / total
        left = (
            f"{html.seconds(latest['eta_seconds'])} left"
            if latest and record.state is RunState.running
            else record.state.value
        )
        head += html.bar(share, f"step {step} of {total} · {share:.0%} · {left}")
    if latest:
        head += html.tiles(
            [
                ("Step", f"{step} / {total}"),
                ("Time left", html.seconds(latest["eta_seconds"]) if record.state.active else "-"),
                ("Loss", "-" if latest["loss"] is None else f"{latest['loss']:.3f}"),
                ("Held-out loss", f"{view.held_out[-1][1]:.3f}" if view.held_out else "-"),
                ("Tokens/s", f"{latest['tokens_per_second']:.0f}"),
                ("Memory", describe_bytes(latest["memory_bytes"])),
            ]
        )
    head += "".join(html.note(event["message"], "warning") for event in [view.latest.get("warning")] if event)
    chart = draw_loss(view.losses, view.held_out, total) if view.losses or view.held_out else ""
    return [head, chart, _answers(view), "\n".join(view.lines)]


def show_nothing() -> list[Any]:
    return [html.note("No run yet. Press Start training: everything needed is already chosen."), "", "", ""]


def _state(record: RunRecord) -> str:
    if record.state is RunState.finished:
        return html.note(_verdict(record.metrics), "good")
    if record.state is RunState.failed and record.error:
        error = record.error
        said = " ".join(
            part for part in (f"{error['where']}:" if error["where"] else "", error["what"], error["fix"]) if part
        )
        return html.note(f"Failed. {said}", "bad")
    sentence, kind = SENTENCES[record.state]
    if record.state is RunState.stopped:
        sentence += (
            " What was learnt so far is saved as a model."
            if record.model_id
            else " Nothing was learnt yet, so nothing was saved."
        )
    return html.note(sentence, kind)


def _verdict(metrics: dict[str, Any]) -> str:
    """Whether it got better, in one sentence, from what was measured."""
    base, tuned = metrics.get("base"), metrics.get("tuned")
    if not base or not tuned:
        return "Finished. Nothing was held out, so whether it got better was not measured; ask it in the Playground."
    before, after = base["loss"], tuned["loss"]
    if after < before:
        return f"Finished, and better: on held-out examples the loss fell from {before:.3f} to {after:.3f}."
    return f"Finished, but not better: on held-out examples the loss went from {before:.3f} to {after:.3f}."


def _answers(view: RunView) -> str:
    if not view.answers:
        return ""
    rows = (
        (prompt, shown.get("before", ""), shown.get("after", "…"), shown["expected"])
        for prompt, shown in view.answers.items()
    )
    return "<h3>Answers before and after</h3>" + html.table(("Asked", "Before", "After", "Expected"), rows, empty="")
