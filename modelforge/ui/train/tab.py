"""The Train tab: a few choices and one button, everything else collapsed; the same page monitors the run.

The choices are in `form`, the planner's verdict on them in `verdict`, what is shown of a run in `monitor`.
"""

from __future__ import annotations

import shlex
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import gradio as gr

from modelforge import warmup
from modelforge.errors import MemoryFullError, ModelForgeError, RecipeError, RunStateError
from modelforge.forge import Forge
from modelforge.recipe import Recipe, read_stored
from modelforge.store import RunRecord, RunState
from modelforge.ui.look import html
from modelforge.ui.look.choices import DeleteButtons, select
from modelforge.ui.look.events import listen, listen_all
from modelforge.ui.train.baseline import BaselinePanel, attach_baseline
from modelforge.ui.train.comparison import ComparisonPanel, attach_comparison, offer_runs
from modelforge.ui.train.form import TrainForm
from modelforge.ui.train.growth import GrowthPanel, attach_growth, show_growth
from modelforge.ui.train.monitor import (
    Monitor,
    Views,
    attach_log,
    attach_proof,
    has_saved_model,
    show_nothing,
    show_run,
)
from modelforge.ui.train.queue import RunQueue, attach_queue, describe_state, show_queue
from modelforge.ui.train.reward_preview import try_rewards
from modelforge.ui.train.sweep import SweepPanel, attach_sweep
from modelforge.ui.train.timeline import Answers, attach_timeline
from modelforge.ui.train.verdict import VerdictPanel, attach_verdict, find_remedy

# How often the page asks for news. Gradio's page walks through all of itself for each event, a quarter of a second on a
# slow machine, which a run needs more.
BUSY_SECONDS, IDLE_SECONDS = 2.0, 5.0


class TrainTab:
    """Its components. `run_id` is the run that the page shows, `seen` how much of it is shown."""

    def __init__(self, forge: Forge) -> None:
        self._forge = forge
        self._views = Views(forge)
        self.run_id = gr.State("")
        self.seen = gr.State(None)
        gr.HTML(
            html.title("Train", "Everything is already selected. Press Start training, or change the settings first.")
        )
        with gr.Row():
            with gr.Column(scale=2, min_width=320):
                self.form = TrainForm(forge)
                self.verdict = VerdictPanel()
                self.start = gr.Button("Start training", variant="primary", size="lg", elem_id="train-start")
                with gr.Row(elem_classes="mf-actions"):
                    quiet: dict[str, Any] = {"interactive": False, "min_width": 110}
                    self.pause = gr.Button("Pause", elem_id="train-pause", **quiet)
                    self.stop = gr.Button("Stop and save", variant="stop", elem_id="train-stop", **quiet)
                self.problem = gr.HTML("", elem_id="train-problem")
                self.baseline = BaselinePanel()
                with gr.Accordion("Advanced: every setting", open=False):
                    self.form.build_settings()
                with gr.Accordion("Sweep: try several values", open=False):
                    gr.HTML("<p>Queues a run for every value, or for every pair of values of two settings.</p>")
                    self.sweep = SweepPanel(self.form)
                with gr.Accordion("Recipe and command line", open=False):
                    gr.HTML(
                        "<p>The recipe has all settings of the form. Save it as recipe.yaml to train in a terminal.</p>"
                    )
                    self.recipe = gr.Code(
                        language="yaml", label="recipe.yaml", interactive=False, elem_id="train-recipe"
                    )
                    self.command = gr.Code(
                        language="shell", label="Terminal", interactive=False, lines=1, wrap_lines=True
                    )
            with gr.Column(scale=3, min_width=320):
                self.queue = RunQueue()
                self.monitor = Monitor()
                self.resume = gr.Button("Resume", variant="primary", visible=False, elem_id="train-resume")
                self.retry = gr.Button("Fix and retry", variant="primary", visible=False, elem_id="train-retry")
                with gr.Row(visible=False, elem_classes="mf-actions") as self.next_row:
                    self.chat = gr.Button("Chat →", variant="primary", elem_id="train-chat")
                    self.look = gr.Button("Show in Models")
                    self.proof = gr.Button("Recipe and proof", elem_id="train-proof")
                # The file is made on demand; then the browser presses this one.
                self.proof_file = gr.DownloadButton("recipe.yaml", visible="hidden", elem_id="train-proof-file")
                self.growth = GrowthPanel()
                self.queue.build_waiting()
        gr.HTML("<h3>Earlier runs</h3>")
        with gr.Row(elem_classes="mf-actions"):
            self.earlier = gr.Dropdown([], label="Run", scale=3, min_width=260, elem_id="train-earlier")
            self.deletion = DeleteButtons("train-delete", "Delete this run…")
        with gr.Accordion("Compare runs", open=False):
            self.comparison = ComparisonPanel()
        self.timer = gr.Timer(IDLE_SECONDS)
        buttons = [self.timer, self.start, self.stop, self.pause, self.resume, self.retry, self.next_row]
        self.at = self.monitor.timeline.at
        lists = [self.earlier, self.comparison.chosen, *self.queue.outputs]
        self.shown = [self.run_id, self.seen, self.at, *self.monitor.outputs, *buttons, *lists]
        self.shown += self.growth.outputs

    def refresh(self, run_id: str, seen: Any, waiting: str | None = None, at: int | None = None) -> Any:
        """Values of `shown`, or no change where the page has seen it all. waiting: the queued run that is selected. at:
        the step whose answers are shown."""
        runs = self._forge.runs
        known = {record.id: record for record in runs.all()}
        record = known.get(run_id) or runs.current() or next(iter(known.values()), None)
        if record is None:
            if seen == "nothing":
                return gr.skip()
            monitor = dict(zip(self.monitor.outputs, show_nothing(), strict=True))
            return {self.run_id: "", self.seen: "nothing", **monitor, **self._buttons(None), **self._lists("", waiting)}
        view = self._views.refreshed(record.id)
        states = [record.state.value, *describe_state(self._forge)]
        now_seen = [record.id, view.cursor, states]
        if now_seen == seen:
            return gr.skip()
        monitor = dict(zip(self.monitor.outputs, show_run(record, view, at), strict=True))
        is_same = seen and [seen[0], seen[2]] == [record.id, states]
        lists = {} if is_same else self._lists(record.id, waiting)
        if not seen or seen[0] != record.id:
            monitor[self.at] = None
        return {self.run_id: record.id, self.seen: now_seen, **monitor, **self._buttons(record), **lists}

    def find_answers(self, run_id: str) -> tuple[Answers, bool]:
        """Of a run: its answers, and whether it has left a model."""
        record = self._forge.runs.get(run_id)
        return self._views.refreshed(record.id).answers, has_saved_model(record)

    def list_runs(self, chosen: str) -> Any:
        """The dropdown of earlier runs, with `chosen` or the newest one selected."""
        runs = self._forge.runs.all()
        choices = [
            (f"{html.date(run.created)} · {run.recipe.get('name') or run.id} · {run.state.value}", run.id)
            for run in runs
        ]
        return select(choices, chosen)

    def _lists(self, run_id: str, waiting: str | None) -> dict[Any, Any]:
        queue = show_queue(self._forge, waiting)
        compared = {self.comparison.chosen: offer_runs(self._forge.runs.all())}
        record = next((each for each in self._forge.runs.all() if each.id == run_id), None)
        growth = show_growth(self._forge, record)
        return {
            self.earlier: self.list_runs(run_id),
            **compared,
            **dict(zip(self.queue.outputs, queue, strict=True)),
            **dict(zip(self.growth.outputs, growth, strict=True)),
        }

    def _buttons(self, record: RunRecord | None) -> dict[Any, Any]:
        """The buttons for a run in this state."""
        state = record.state if record else None
        stoppable = state in (RunState.queued, RunState.preparing, RunState.running)
        busy = state is not None and state.active
        error = record.error if record and state is RunState.failed else None
        is_too_large = error is not None and error["kind"] == MemoryFullError.kind
        return {
            self.timer: gr.Timer(BUSY_SECONDS if busy else IDLE_SECONDS),
            self.start: gr.Button("Queue another" if busy else "Start training"),
            self.stop: gr.Button(interactive=stoppable),
            self.pause: gr.Button(interactive=stoppable),
            self.resume: gr.Button(visible=bool(state and state.resumable) and not is_too_large),
            self.retry: gr.Button(visible=is_too_large),
            self.next_row: gr.Row(visible=bool(record and record.model_id)),
        }


def build(forge: Forge) -> TrainTab:
    tab = TrainTab(forge)
    attach_verdict(tab.form, tab.verdict, tab.baseline.time)
    attach_baseline(tab.form, tab.baseline)
    _attach_runs(forge, tab)
    attach_log(forge, tab.monitor, tab.run_id)
    attach_proof(forge, tab.proof, tab.proof_file, tab.run_id)
    attach_timeline(tab.monitor.timeline, tab.run_id, tab.find_answers)
    attach_queue(forge, tab.queue, tab.run_id, tab.refresh, tab.shown)
    attach_comparison(forge, tab.comparison)
    attach_growth(forge, tab.growth, tab.run_id, tab.refresh, tab.shown)
    attach_sweep(tab.form, tab.sweep, tab.refresh, tab.shown)
    _attach_recipe(forge, tab)
    return tab


def _attach_recipe(forge: Forge, tab: TrainTab) -> None:
    form = tab.form

    def show_recipe(*values: Any) -> list[str]:
        try:
            recipe = form.read_if_complete(*values)
        except ModelForgeError as error:
            return [html.note(str(error), "bad"), "", ""]
        if recipe is None:
            return ["", "", ""]
        command = f"modelforge train recipe.yaml --set dataset={shlex.quote(recipe.dataset)}"
        return ["", recipe.to_yaml(), command]

    def try_out(*values: Any) -> Iterator[str]:
        yield from try_rewards(forge, form.read(*values))

    listen_all([each.change for each in form.inputs], show_recipe, form.inputs, [tab.problem, tab.recipe, tab.command])
    listen(form.rewards.preview.click, try_out, form.inputs, form.rewards.tried)


def _attach_runs(forge: Forge, tab: TrainTab) -> None:
    def start(*values: Any) -> Any:
        recipe = tab.form.read(*values)
        warmup.wait()
        return begin(recipe)

    def begin(recipe: Recipe) -> Any:
        run = forge.runs.start(recipe)
        if forge.runs.is_waiting(run.id):
            gr.Info("Another run is in progress. This run waits in the queue and starts automatically.")
        return tab.refresh(run.id, None)

    def retry(run_id: str) -> Any:
        """Start a run that ran out of memory again, with settings that need less."""
        record = forge.runs.get(run_id)
        remedy = find_remedy(forge, read_stored(record.recipe, record.recipe_version).recipe)
        if remedy is None:
            raise RecipeError("No setting is left that would reduce memory.", fix="Choose a smaller base model.")
        title, recipe = remedy
        shown = begin(recipe)
        gr.Info(f"Started again. {html.text(title)}")
        return shown

    def stop(run_id: str) -> None:
        if not run_id:
            raise RunStateError("No run is in progress.", fix="Start one first.")
        forge.runs.stop(run_id)

    def resume(run_id: str) -> None:
        warmup.wait()
        forge.runs.resume(run_id)

    def change(action: Callable[[str], Any], run_id: str) -> Any:
        action(run_id)
        return tab.refresh(run_id, None)

    def delete(run_id: str | None) -> Any:
        forge.runs.delete(run_id or "")
        return tab.refresh("", None)

    listen(tab.start.click, start, tab.form.inputs, tab.shown, show_progress="minimal")
    listen(tab.retry.click, retry, tab.run_id, tab.shown)
    for button, action in ((tab.stop, stop), (tab.pause, forge.runs.pause), (tab.resume, resume)):
        listen(button.click, partial(change, action), tab.run_id, tab.shown)
    listen(
        tab.timer.tick, tab.refresh, [tab.run_id, tab.seen, tab.queue.chosen, tab.at], tab.shown, trigger_mode="once"
    )
    listen(tab.earlier.input, lambda run_id: tab.refresh(run_id, None), tab.earlier, tab.shown)
    tab.deletion.attach(delete, tab.earlier, tab.shown)
