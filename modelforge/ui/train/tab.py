"""Train tab: a few choices and one button; all else folded away. While a run goes on, the same page is its monitor.

The choices are in `train_form`, the planner's verdict on them in `verdict`, what is shown of a run in `monitor`.
"""

from __future__ import annotations

import shlex
from collections.abc import Callable, Iterator
from typing import Any

import gradio as gr

from modelforge import warmup
from modelforge.errors import ModelForgeError, RecipeError, RunStateError
from modelforge.forge import Forge
from modelforge.recipe import Recipe, read_stored
from modelforge.store import RunRecord, RunState
from modelforge.ui.look import html
from modelforge.ui.look.events import listen, listen_all
from modelforge.ui.train.form import TrainForm, attach_form
from modelforge.ui.train.monitor import Monitor, Views, attach_log, show_nothing, show_run
from modelforge.ui.train.queue import RunQueue, attach_queue, describe_state, show_queue
from modelforge.ui.train.reward_preview import try_rewards
from modelforge.ui.train.sweep import SweepPanel, attach_sweep
from modelforge.ui.train.verdict import VerdictPanel, attach_verdict, find_remedy


class TrainTab:
    """Its components. `run_id` is the run this page looks at; `seen` what it has shown of it."""

    def __init__(self) -> None:
        self.refresh: Callable[..., list[Any]]
        self.list_runs: Callable[..., list[Any]]
        self.run_id = gr.State("")
        self.seen = gr.State(None)
        gr.HTML(
            html.title("Train", "Everything is chosen already: press Start training, or change what you like first.")
        )
        with gr.Row():
            with gr.Column(scale=2, min_width=320):
                self.form = TrainForm()
                self.verdict = VerdictPanel()
                self.start = gr.Button("Start training", variant="primary", size="lg", elem_id="train-start")
                with gr.Row(elem_classes="mf-actions"):
                    quiet: dict[str, Any] = {"interactive": False, "min_width": 110}
                    self.pause = gr.Button("Pause", elem_id="train-pause", **quiet)
                    self.stop = gr.Button("Stop and save", variant="stop", elem_id="train-stop", **quiet)
                self.problem = gr.HTML("", elem_id="train-problem")
                with gr.Accordion("Advanced: every setting", open=False):
                    self.form.build_settings()
                with gr.Accordion("Try several values: a sweep", open=False):
                    gr.HTML("<p>A run for every value, or for every pair of values, queued one after another.</p>")
                    self.sweep = SweepPanel(self.form)
                with gr.Accordion("The same as a recipe and on the command line", open=False):
                    gr.HTML("<p>What the form shows is what trains. Saved as recipe.yaml, it trains on a terminal.</p>")
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
                    self.chat = gr.Button("Try it →", variant="primary", elem_id="train-chat")
                    self.look = gr.Button("See it in Models", variant="secondary")
                self.queue.build_waiting()
        gr.HTML("<h3>Earlier runs</h3>")
        with gr.Row(elem_classes="mf-actions"):
            self.earlier = gr.Dropdown([], label="Show the run", scale=3, min_width=260, elem_id="train-earlier")
            self.forget = gr.Button("Delete this run…", variant="secondary", scale=0, min_width=190)
            self.forget_really = gr.Button("Yes, delete its log", variant="stop", visible=False, scale=0, min_width=190)
        self.timer = gr.Timer(1.0)

    @property
    def shown(self) -> list[Any]:
        buttons = [self.start, self.stop, self.pause, self.resume, self.retry, self.next_row]
        return [self.run_id, self.seen, *self.monitor.outputs, *buttons, self.earlier, *self.queue.outputs]


def build(forge: Forge) -> TrainTab:
    tab = TrainTab()
    form = tab.form
    attach_form(forge, form)
    attach_verdict(forge, form, tab.verdict)
    _attach_runs(forge, tab)
    attach_log(forge, tab.monitor, tab.run_id)
    attach_queue(forge, tab.queue, tab.run_id, tab.refresh, tab.shown)
    attach_sweep(forge, form, tab.sweep, tab.refresh, tab.shown)

    def show_recipe(*values: Any) -> list[str]:
        if not form.is_open(*values):
            return ["", "", ""]
        try:
            recipe = form.read(forge, *values)
        except ModelForgeError as error:
            return [html.note(str(error), "bad"), "", ""]
        changed = f"modelforge train recipe.yaml --set dataset={shlex.quote(recipe.dataset)}"
        return ["", recipe.to_yaml(), changed]

    def try_out(*values: Any) -> Iterator[str]:
        yield from try_rewards(forge, form.read(forge, *values))

    listen_all([each.change for each in form.inputs], show_recipe, form.inputs, [tab.problem, tab.recipe, tab.command])
    listen(form.rewards.preview.click, try_out, form.inputs, form.rewards.tried)
    return tab


def _attach_runs(forge: Forge, tab: TrainTab) -> None:  # noqa: PLR0915 - handlers beside the widgets that they serve
    views = Views(forge)

    def start(*values: Any) -> list[Any]:
        recipe = tab.form.read(forge, *values)
        warmup.wait()
        return begin(recipe)

    def begin(recipe: Recipe) -> list[Any]:
        run = forge.runs.start(recipe)
        if run.state is RunState.queued and forge.runs.current().id != run.id:  # type: ignore[union-attr]
            gr.Info("Another run is in progress. This one waits in the queue and starts by itself.")
        return refresh(run.id, None)

    def retry(run_id: str) -> list[Any]:
        """Start a run that ran out of memory again, with what makes it need less."""
        record = forge.runs.get(run_id)
        remedy = find_remedy(forge, read_stored(record.recipe, record.recipe_version).recipe)
        if remedy is None:
            raise RecipeError("Nothing is left to make it smaller.", fix="Choose a smaller base model.")
        title, recipe = remedy
        shown = begin(recipe)
        gr.Info(f"Started again: {html.text(title)}")
        return shown

    def stop(run_id: str) -> list[Any]:
        if not run_id:
            raise RunStateError("No run is in progress.", fix="Start one first.")
        forge.runs.stop(run_id)
        return refresh(run_id, None)

    def pause(run_id: str) -> list[Any]:
        forge.runs.pause(run_id)
        return refresh(run_id, None)

    def resume(run_id: str) -> list[Any]:
        warmup.wait()
        forge.runs.resume(run_id)
        return refresh(run_id, None)

    def refresh(run_id: str, seen: Any, waiting: str | None = None) -> list[Any]:
        """Everything that shows the run, or nothing new. waiting: the one that is chosen of those that wait."""
        known = {record.id: record for record in forge.runs.all()}
        if run_id not in known:
            current = forge.runs.current() or next(iter(known.values()), None)
            if current is None:
                quiet = seen == "nothing"
                nothing = ["", "nothing", *show_nothing(), *_buttons(None), *list_runs(), *show_queue(forge, waiting)]
                return [gr.skip()] * len(tab.shown) if quiet else nothing
            run_id = current.id
        record = known[run_id]
        view = views.refreshed(run_id)
        states = [record.state.value, *describe_state(forge)]
        now_seen = [run_id, view.cursor, states]
        if now_seen == seen:
            return [gr.skip()] * len(tab.shown)
        changed = not seen or [seen[0], seen[2]] != [run_id, states]
        lists = (
            [*list_runs(run_id), *show_queue(forge, waiting)] if changed else [gr.skip()] * (1 + len(tab.queue.outputs))
        )
        return [run_id, now_seen, *show_run(record, view), *_buttons(record), *lists]

    def list_runs(chosen: str = "") -> list[Any]:
        runs = forge.runs.all()
        choices = [
            (f"{html.date(run.created)} · {run.recipe.get('name') or run.id} · {run.state.value}", run.id)
            for run in runs
        ]
        ids = [run.id for run in runs]
        return [gr.Dropdown(choices=choices, value=chosen if chosen in ids else next(iter(ids), None))]

    def forget(run_id: str | None) -> list[Any]:
        forge.runs.delete(run_id or "")
        return [*refresh("", None), gr.Button(visible=True), gr.Button(visible=False)]

    tab.refresh, tab.list_runs = refresh, list_runs
    listen(tab.start.click, start, tab.form.inputs, tab.shown, show_progress="minimal")
    listen(tab.retry.click, retry, tab.run_id, tab.shown)
    listen(tab.stop.click, stop, tab.run_id, tab.shown)
    listen(tab.pause.click, pause, tab.run_id, tab.shown)
    listen(tab.resume.click, resume, tab.run_id, tab.shown)
    listen(tab.timer.tick, refresh, [tab.run_id, tab.seen, tab.queue.chosen], tab.shown, trigger_mode="once")
    listen(tab.earlier.input, lambda run_id: refresh(run_id, None), tab.earlier, tab.shown)
    asking = [tab.forget, tab.forget_really]
    listen(tab.forget.click, lambda: [gr.Button(visible=False), gr.Button(visible=True)], None, asking)
    listen(tab.forget_really.click, forget, tab.earlier, [*tab.shown, *asking])


def _buttons(record: RunRecord | None) -> list[Any]:
    """[start, stop, pause, resume, retry, next_row] for a run as it is."""
    state = record.state if record else None
    stoppable = state in (RunState.queued, RunState.preparing, RunState.running)
    busy = state is not None and state.active
    is_too_large = bool(record and record.error and "memory" in record.error["kind"] and state is RunState.failed)
    return [
        gr.Button("Queue another" if busy else "Start training"),
        gr.Button(interactive=stoppable),
        gr.Button(interactive=stoppable),
        gr.Button(visible=bool(state and state.resumable) and not is_too_large),
        gr.Button(visible=is_too_large),
        gr.Row(visible=bool(record and record.model_id)),
    ]
