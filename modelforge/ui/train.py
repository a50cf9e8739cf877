"""Train tab: three choices and one button; all else folded away. While a run goes on, the same page is its monitor."""

from __future__ import annotations

import shlex
from collections.abc import Callable
from typing import Any

import gradio as gr

from modelforge import catalog, hardware
from modelforge.data.samples import samples
from modelforge.errors import ModelForgeError, RunStateError
from modelforge.forge import Forge
from modelforge.goals import goals
from modelforge.recipe import STARTER, Recipe, Task, fields
from modelforge.store import RunState
from modelforge.tasks import SHAPES, TASKS
from modelforge.ui import fields as widgets
from modelforge.ui import html, warmup
from modelforge.ui.events import listen, listen_all
from modelforge.ui.monitor import Monitor, Views, show_nothing, show_run

_OF_THE_FILE = {"columns", "repairs", "dataset_config", "dataset_split"}  # settled once the dataset is in the library
OWN_PLACE = {"dataset", "eval_dataset", "base_model", "task", "name", "method", "tuning.type", *_OF_THE_FILE}
HELD_OUT = ("A share of the dataset, held out", "")
FIRST_GOAL = "quick"


class TrainTab:
    """Its components. `run_id` is the run this page looks at; `seen` what it has shown of it."""

    def __init__(self) -> None:
        offered = goals()
        self.refresh: Callable[..., list[Any]]
        self.list_runs: Callable[..., list[Any]]
        self.run_id = gr.State("")
        self.seen = gr.State(None)
        gr.HTML(
            html.title("Train", "Everything is chosen already: press Start training, or change what you like first.")
        )
        with gr.Row():
            with gr.Column(scale=2, min_width=320):
                self.dataset = gr.Dropdown(
                    [], label="Dataset", info="Your datasets and the samples.", elem_id="train-dataset"
                )
                self.base_model = gr.Dropdown(
                    [],
                    label="Base model",
                    info="What training starts from; a Hub id or a folder can be typed too.",
                    allow_custom_value=True,
                    elem_id="train-base-model",
                )
                self.goal = gr.Radio(
                    [(f"{goal.title}: {goal.sentence}", key) for key, goal in offered.items()],
                    value=FIRST_GOAL,
                    label="Goal",
                    elem_id="train-goal",
                )
                self.name = gr.Textbox(
                    label="Name of the model", info="Left empty, one is made from the dataset.", max_length=120
                )
                with gr.Row(elem_classes="mf-actions"):
                    self.start = gr.Button("Start training", variant="primary", size="lg", elem_id="train-start")
                    self.stop = gr.Button(
                        "Stop and save", variant="stop", size="lg", interactive=False, elem_id="train-stop"
                    )
                self.problem = gr.HTML("", elem_id="train-problem")
                with gr.Accordion("Advanced: every setting", open=False):
                    # chosen, not typed: on an app that is shared nobody names files of this machine
                    measured_with = gr.Dropdown(
                        [HELD_OUT],
                        value="",
                        label="eval_dataset",
                        info=fields()["eval_dataset"].description,
                        elem_id="set-eval_dataset",
                    )
                    self.settings = {"eval_dataset": measured_with, **widgets.build_widgets(OWN_PLACE)}
                with gr.Accordion("The same as a recipe and on the command line", open=False):
                    gr.HTML("<p>What the form shows is what trains. Saved as recipe.yaml, it trains on a terminal.</p>")
                    self.recipe = gr.Code(
                        language="yaml", label="recipe.yaml", interactive=False, elem_id="train-recipe"
                    )
                    self.command = gr.Code(
                        language="shell", label="Terminal", interactive=False, lines=1, wrap_lines=True
                    )
            with gr.Column(scale=3, min_width=320):
                self.monitor = Monitor()
                with gr.Row(visible=False, elem_classes="mf-actions") as self.next_row:
                    self.chat = gr.Button("Chat with it →", variant="primary", elem_id="train-chat")
                    self.look = gr.Button("See it in Models", variant="secondary")
        gr.HTML("<h3>Earlier runs</h3>")
        with gr.Row(elem_classes="mf-actions"):
            self.earlier = gr.Dropdown([], label="Show the run", scale=3, min_width=260, elem_id="train-earlier")
            self.forget = gr.Button("Delete this run…", variant="secondary", scale=0, min_width=190)
            self.forget_really = gr.Button("Yes, delete its log", variant="stop", visible=False, scale=0, min_width=190)
        self.timer = gr.Timer(1.0)

    @property
    def form(self) -> dict[str, Any]:
        """Setting -> widget, of the whole form."""
        return {"dataset": self.dataset, "base_model": self.base_model, "name": self.name, **self.settings}

    @property
    def shown(self) -> list[Any]:
        return [self.run_id, self.seen, *self.monitor.outputs, self.start, self.stop, self.next_row, self.earlier]


def build(forge: Forge) -> TrainTab:  # noqa: PLR0915 - handlers beside the widgets that they serve
    tab = TrainTab()
    views = Views(forge)
    names, inputs = list(tab.form), list(tab.form.values())

    def read_form(*values: Any) -> Recipe:
        """The recipe that the form shows."""
        given = dict(zip(names, values, strict=True))
        return Recipe().with_settings({**given, "task": _task_of(forge, given["dataset"])})

    def start(*values: Any) -> list[Any]:
        recipe = read_form(*values)
        warmup.wait()
        run = forge.runs.start(recipe)
        if run.state is RunState.queued and forge.runs.current().id != run.id:  # type: ignore[union-attr]
            gr.Info("Another run is in progress. This one waits in the queue and starts by itself.")
        return refresh(run.id, None)

    def stop(run_id: str) -> list[Any]:
        if not run_id:
            raise RunStateError("No run is in progress.", fix="Start one first.")
        forge.runs.stop(run_id)
        return refresh(run_id, None)

    def refresh(run_id: str, seen: Any) -> list[Any]:
        """Everything that shows the run, or nothing new."""
        known = {record.id: record for record in forge.runs.all()}
        if run_id not in known:
            current = forge.runs.current() or next(iter(known.values()), None)
            if current is None:
                quiet = seen == "nothing"
                nothing = ["", "nothing", *show_nothing(), *_buttons(None, None), *list_runs()]
                return [gr.skip()] * len(tab.shown) if quiet else nothing
            run_id = current.id
        record = known[run_id]
        view = views.refreshed(run_id)
        now_seen = [run_id, view.cursor, record.state.value]
        if now_seen == seen:
            return [gr.skip()] * len(tab.shown)
        changed = not seen or [seen[0], seen[2]] != [run_id, record.state.value]
        runs = list_runs(run_id) if changed else [gr.skip()]
        return [run_id, now_seen, *show_run(record, view), *_buttons(record.state, record.model_id), *runs]

    def list_runs(chosen: str = "") -> list[Any]:
        runs = forge.runs.all()
        choices = [
            (f"{html.date(run.created)} · {run.recipe.get('name') or run.id} · {run.state.value}", run.id)
            for run in runs
        ]
        ids = [run.id for run in runs]
        return [gr.Dropdown(choices=choices, value=chosen if chosen in ids else next(iter(ids), None))]

    def propose(goal: str, dataset: str) -> list[Any]:
        """The goal's settings in the widgets, and those that the dataset asks for; the others go back to their
        defaults."""
        defaults = {name: fields()[name].default for name in tab.settings}
        wanted = {**defaults, **goals()[goal].propose(_rows_of(forge, dataset)), **_settings_of(forge, dataset)}
        more = {"eval_dataset": {"choices": [HELD_OUT, *list_datasets(forge, None)[0]]}}
        return [gr.update(value=wanted[name], **more.get(name, {})) for name in tab.settings]

    def show_recipe(*values: Any) -> list[str]:
        if not (values[names.index("dataset")] and values[names.index("base_model")]):
            return ["", "", ""]  # the page is still opening
        try:
            recipe = read_form(*values)
        except ModelForgeError as error:
            return [html.note(str(error), "bad"), "", ""]
        changed = f"modelforge train recipe.yaml --set dataset={shlex.quote(recipe.dataset)}"
        return ["", recipe.to_yaml(), changed]

    def forget(run_id: str | None) -> list[Any]:
        forge.runs.delete(run_id or "")
        return [*refresh("", None), gr.Button(visible=True), gr.Button(visible=False)]

    tab.refresh, tab.list_runs = refresh, list_runs
    listen(tab.start.click, start, inputs, tab.shown, show_progress="minimal")
    listen(tab.stop.click, stop, tab.run_id, tab.shown)
    listen(tab.timer.tick, refresh, [tab.run_id, tab.seen], tab.shown, trigger_mode="once")
    listen_all([tab.goal.input, tab.dataset.change], propose, [tab.goal, tab.dataset], list(tab.settings.values()))
    listen_all([widget.change for widget in inputs], show_recipe, inputs, [tab.problem, tab.recipe, tab.command])
    listen(tab.earlier.input, lambda run_id: refresh(run_id, None), tab.earlier, tab.shown)
    listen(
        tab.forget.click,
        lambda: [gr.Button(visible=False), gr.Button(visible=True)],
        None,
        [tab.forget, tab.forget_really],
    )
    listen(tab.forget_really.click, forget, tab.earlier, [*tab.shown, tab.forget, tab.forget_really])
    return tab


def offer_choices(forge: Forge, chosen: str | None = None) -> list[Any]:
    """[dataset, base model]: what can be chosen, with a sound choice made."""
    values, picked = list_datasets(forge, chosen)
    return [gr.Dropdown(choices=values, value=picked), offer_base_models(forge, picked)]


def list_datasets(forge: Forge, chosen: str | None) -> tuple[list[tuple[str, str]], str]:
    """(choices, the one picked): own datasets first, then the samples, as far as they can be trained."""
    own = [
        (f"{each.name} ({each.rows} rows)", each.id)
        for each in forge.datasets.all()
        if _is_trainable(Task(each.task), each.shape)
    ]
    bundled = [
        (f"Sample: {sample.name} ({sample.rows} rows)", sample.name)
        for sample in samples()
        if _is_trainable(sample.task)
    ]
    choices = own + bundled
    known = {value for _, value in choices}
    return choices, chosen if chosen in known else bundled[0][1]


def offer_base_models(forge: Forge, dataset: str) -> Any:
    """Base models that fit this machine and the dataset's task, offline ones first."""
    from modelforge.recipe import parse_task

    names = catalog.recommended(hardware.detect(), parse_task(_task_of(forge, dataset)))
    known = {entry.id: entry for entry in catalog.entries()}
    size = hardware.describe_parameters
    choices = [
        (f"{name} ({size(known[name].parameters)}{', works offline' if known[name].offline else ''})", name)
        for name in names
    ]
    return gr.Dropdown(choices=choices, value=names[0] if names else STARTER)


def _buttons(state: RunState | None, model_id: str | None) -> list[Any]:
    """[start, stop, next_row] for a run in that state."""
    stoppable = state in (RunState.queued, RunState.preparing, RunState.running)
    busy = state is not None and state.active
    return [
        gr.Button("Queue another" if busy else "Start training"),
        gr.Button(interactive=stoppable),
        gr.Row(visible=model_id is not None),
    ]


def _task_of(forge: Forge, dataset: str | None) -> str:
    for sample in samples():
        if sample.name == dataset:
            return sample.task.value
    return forge.datasets.find(dataset or "").task


def _rows_of(forge: Forge, dataset: str | None) -> int:
    for sample in samples():
        if sample.name == dataset:
            return sample.rows
    return forge.datasets.find(dataset or "").rows


def _settings_of(forge: Forge, dataset: str) -> dict[str, Any]:
    """What follows from a dataset of the library: the one to measure with, and a max_length that leaves its rows
    whole."""
    known = {record.id: record for record in forge.datasets.all()}
    if dataset not in known:
        return {}
    record = known[dataset]
    return {
        "eval_dataset": record.eval_dataset if record.eval_dataset in known else "",
        "max_length": record.max_length or Recipe().max_length,
    }


def _is_trainable(task: Task, shape: str = "") -> bool:
    return bool(SHAPES[shape].methods if shape in SHAPES else TASKS[task].methods)
