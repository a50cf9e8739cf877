"""The form of the Train tab: its widgets, how they follow from each other, and how they are read as a Recipe.

What is offered in them is decided in `train_offers`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import gradio as gr

from modelforge.choices.methods import METHODS
from modelforge.choices.tunings import TUNINGS
from modelforge.errors import ModelForgeError
from modelforge.forge import Forge
from modelforge.goals import goals
from modelforge.recipe import Recipe, Task, fields, read_stored
from modelforge.store import ModelRecord
from modelforge.ui.look import fields as widgets
from modelforge.ui.look import html
from modelforge.ui.look.events import listen, listen_all
from modelforge.ui.train import offers, rewards

_OF_THE_FILE = {"columns", "repairs", "dataset_config", "dataset_split"}  # settled once the dataset is in the library
OWN_PLACE = {
    "dataset", "eval_dataset", "base_model", "task", "name", "method", "tuning.type", "parent", "grpo.rewards",
    *_OF_THE_FILE,
}  # fmt: skip
HELD_OUT = ("A share of the dataset, held out", "")
FIRST_GOAL = "quick"


@dataclass(frozen=True)
class Case:
    """What the settings in the form were last proposed for."""

    dataset: str = ""
    method: str = ""
    base_model: str = ""
    tuning: str = ""
    goal: str = ""
    parent: str = ""
    task: str = ""


class TrainForm:
    """Its components. `parent` is the id of a model to train further, `case` what was last proposed for, `advised` the
    settings that the planner's advice has put in and a proposal must not undo."""

    def __init__(self) -> None:
        self.parent = gr.State("")
        self.case = gr.State(Case())
        self.advised = gr.State({})
        with gr.Column(visible=False) as self.parent_row:
            self.parent_note = gr.HTML("", elem_id="train-parent")
            self.leave_parent = gr.Button("Start from a base model instead", size="sm", elem_id="train-leave-parent")
        # Their choices change, and a handler under way may still bring the one made before: Gradio would refuse that
        # with an error of its own, but for custom values. What is not on offer is put right by `fit_form`.
        self.dataset = gr.Dropdown(
            [],
            label="Dataset",
            info="Your datasets and the samples.",
            allow_custom_value=True,
            elem_id="train-dataset",
        )
        self.what = gr.HTML("", elem_id="train-what")
        self.method = gr.Dropdown([], label="Method", visible=False, allow_custom_value=True, elem_id="train-method")
        self.base_model = gr.Dropdown(
            [],
            label="Base model",
            info="What training starts from; a Hub id or a folder can be typed too.",
            allow_custom_value=True,
            elem_id="train-base-model",
        )
        self.base_note = gr.HTML("", elem_id="train-base-note")
        self.tuning = gr.Radio(
            offers.list_tunings(),
            value="lora",
            label="Tuning",
            info=TUNINGS["lora"].sentence,
            elem_id="train-tuning",
        )
        self.goal = gr.Radio(
            [(f"{goal.title}: {goal.sentence}", key) for key, goal in goals().items()],
            value=FIRST_GOAL,
            label="Goal",
            elem_id="train-goal",
        )
        self.rewards = rewards.RewardEditor()
        self.name = gr.Textbox(
            label="Name of the model", info="Left empty, one is made from the dataset.", max_length=120
        )

    def build_settings(self) -> None:
        """The widgets of all other settings, in the place where this is called."""
        # chosen, not typed: on an app that is shared nobody names files of this machine
        measured_with = gr.Dropdown(
            [HELD_OUT],
            value="",
            allow_custom_value=True,  # as above; only datasets of the library are taken
            label="eval_dataset",
            info=fields()["eval_dataset"].description,
            elem_id="set-eval_dataset",
        )
        made = widgets.build_widgets(OWN_PLACE)
        self.groups = made.groups
        self.settings: dict[str, Any] = {"eval_dataset": measured_with, **made}

    @property
    def named(self) -> dict[str, Any]:
        """Setting -> widget, but for the rewards."""
        chosen = {"dataset": self.dataset, "base_model": self.base_model, "name": self.name, "parent": self.parent}
        return {**chosen, "method": self.method, "tuning.type": self.tuning, **self.settings}

    @property
    def inputs(self) -> list[Any]:
        """What `read` takes the values of."""
        return [*self.named.values(), *self.rewards.inputs]

    @property
    def case_inputs(self) -> list[Any]:
        return [
            self.dataset,
            self.method,
            self.base_model,
            self.tuning,
            self.goal,
            self.parent,
            self.case,
            self.advised,
        ]

    @property
    def fitted(self) -> list[Any]:
        """What `fit` gives values for."""
        return [
            self.case,
            self.advised,
            self.parent,
            self.parent_row,
            self.parent_note,
            self.dataset,
            self.what,
            self.method,
            self.base_model,
            self.tuning,
            *self.groups.values(),
            *self.settings.values(),
            *self.rewards.outputs,
        ]

    def is_open(self, *values: Any) -> bool:
        """False while the page is still filling in its choices."""
        given = dict(zip(self.named, values, strict=False))
        return bool(given["dataset"] and given["base_model"] and given["method"])

    def read(self, forge: Forge, *values: Any) -> Recipe:
        """The recipe that the form shows. Raises RecipeError, NotFoundError."""
        count = len(self.named)
        given = dict(zip(self.named, values[:count], strict=True))
        examples = offers.find_examples(forge, given["dataset"])
        measured_with = given["eval_dataset"]
        given |= {
            "task": examples.task.value,
            "dataset": examples.name,  # never a path
            "eval_dataset": forge.datasets.find(measured_with).id if measured_with else "",
        }
        if given["method"] == "grpo":
            given["grpo.rewards"] = rewards.read_rewards(values[count:])
        return Recipe().with_settings(given)


def attach_form(forge: Forge, form: TrainForm) -> None:
    """Let the widgets follow from each other."""

    def fit(*values: Any) -> list[Any]:
        return fit_form(forge, form, *values)

    listen_all(
        [each.change for each in (form.dataset, form.method, form.base_model, form.tuning, form.goal, form.parent)],
        fit,
        form.case_inputs,
        form.fitted,
    )
    listen_all(
        [form.base_model.change, form.case.change],
        look,
        [form.base_model, form.case],
        form.base_note,
    )
    listen(form.leave_parent.click, lambda: "", None, form.parent)
    for row in form.rewards.rows:
        listen(row.kind.change, rewards.show_fields, row.kind, row.fields)
    boxes = [row.box for row in form.rewards.rows]
    listen(form.rewards.more.click, rewards.show_more, form.rewards.shown_rows, [form.rewards.shown_rows, *boxes])


def fit_form(forge: Forge, form: TrainForm, *values: Any) -> list[Any]:
    """Values of `TrainForm.fitted`: what can be chosen with the dataset (or the parent) that is chosen, and settings
    proposed for it; nothing where they were proposed for just this already."""
    dataset, method, base, tuning, goal, parent_id, before, advised = values
    given = Case(dataset, method, base, tuning)
    if not dataset:
        return [gr.skip()] * len(form.fitted)
    parent = _find_parent(forge, parent_id)
    offered, picked = offers.list_datasets(forge, dataset, parent)
    if (
        parent and parent.id == before.parent and picked != dataset
    ):  # another one was saved meanwhile, for something else
        parent = None
        offered, picked = offers.list_datasets(forge, dataset)
    dataset = picked
    examples = offers.find_examples(forge, dataset)
    methods = offers.list_methods(examples)
    method = method if method in examples.shape.methods else examples.shape.methods[0]
    tunings = offers.list_tunings()
    if tuning not in [name for _, name in tunings]:
        tuning = tunings[0][1]
    if parent:
        tuning, base = parent.tuning, parent.base_model
        bases = [(base, base)]
    else:
        bases = offers.list_base_models(examples.task, method, tuning)
        kept = examples.task.value == before.task and not before.parent  # that of a parent goes with it
        base = offers.choose_base_model(base, bases, task=examples.task, method=method, kept=kept)
    case = Case(dataset, method, base, tuning, goal, parent.id if parent else "", examples.task.value)
    if case == before:
        return [gr.skip()] * len(form.fitted)

    changed = {name for name, value in vars(case).items() if value != getattr(before, name)}
    advised = advised if changed <= {"base_model", "tuning"} else {}
    architecture, parameters = offers.describe_base(base, examples.task)
    proposed = offers.propose_settings(
        goal, examples, method=method, tuning=tuning, architecture=architecture, parameters=parameters
    )
    wanted = {**proposed, **_settings_of_parent(forge, parent), **advised}
    shown = [
        gr.update(visible=widgets.is_applied(group, method, tuning, is_further=parent is not None))
        for group in form.groups
    ]
    settings = [_update(name, wanted[name], architecture) for name in form.settings]
    settings[0] = gr.update(choices=[HELD_OUT, *offers.list_measuring(forge, examples)], value=wanted["eval_dataset"])
    default_rewards = rewards.show_default(visible=method == "grpo", has_references=examples.has_references)
    return [
        case,
        advised,
        case.parent,
        gr.Column(visible=parent is not None),
        _describe_parent(parent),
        gr.update(choices=offered, **_corrected(given.dataset, dataset)),
        html.aside(f"{examples.sentence} {METHODS[method].title}: {METHODS[method].sentence}"),
        gr.update(
            choices=methods,
            visible=len(methods) > 1,
            info=METHODS[method].sentence,
            **_corrected(given.method, method),
        ),
        gr.update(choices=bases, interactive=parent is None, **_corrected(given.base_model, base)),
        gr.update(
            choices=tunings,
            interactive=parent is None,
            info=TUNINGS[tuning].sentence,
            **_corrected(given.tuning, tuning),
        ),
        *shown,
        *settings,
        *(default_rewards if changed & {"dataset", "method"} else [gr.skip()] * len(default_rewards)),
    ]


def _corrected(given: Any, wanted: Any) -> dict[str, Any]:
    """A value only where it has to be another one. Whoever has chosen again meanwhile would see the choice undone, and
    the two answers would then undo each other for ever."""
    return {} if given == wanted else {"value": wanted}


def look(name: str | None, case: Case) -> str:
    """What can be said of the base model, below its field: the Hub may take some seconds to answer."""
    if not name or not case.task:
        return ""
    found = offers.look_at(name, Task(case.task))
    kind = {"good": "aside", "bad": "bad", "unknown": "warning"}[found.verdict]
    return html.aside(found.sentence) if kind == "aside" else html.note(found.sentence, kind)


def offer_datasets(forge: Forge, chosen: str | None = None, parent_id: str = "") -> Any:
    """What can be chosen, with a sound choice made; the rest of the form follows from it."""
    values, picked = offers.list_datasets(forge, chosen, _find_parent(forge, parent_id))
    return gr.Dropdown(choices=values, value=picked)


def _find_parent(forge: Forge, parent_id: str) -> ModelRecord | None:
    """The model to train further; None where it is gone."""
    try:
        return forge.models.find(parent_id) if parent_id else None
    except ModelForgeError:
        return None


def _describe_parent(parent: ModelRecord | None) -> str:
    if parent is None:
        return ""
    return html.note(
        f"Training further: {parent.name}. Its base model and tuning stay as they are, and it stays too: "
        "what comes out is a model of its own."
    )


def _settings_of_parent(forge: Forge, parent: ModelRecord | None) -> dict[str, Any]:
    """The settings of its adapter, which goes on as it is."""
    if parent is None:
        return {}
    manifest = forge.models.manifest(parent)
    tuning = read_stored(manifest["recipe"], manifest.get("recipe_version", 1)).recipe.tuning
    return {f"tuning.{name}": value for name, value in tuning if name != "type"}


def _update(name: str, value: Any, architecture: str) -> Any:
    if name not in widgets.OF_ARCHITECTURES:
        return gr.update(value=value)
    return gr.update(value=value, visible=architecture in widgets.OF_ARCHITECTURES[name])
