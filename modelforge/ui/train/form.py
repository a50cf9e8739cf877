"""The form of the Train tab: its widgets, how they depend on each other, and how they are read as a Recipe.

What they offer is decided in `offers`.
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

_OF_THE_FILE = {"columns", "repairs", "dataset_config", "dataset_split"}  # fixed once the dataset is in the library
OWN_PLACE = {
    "dataset", "eval_dataset", "base_model", "task", "name", "method", "tuning.type", "parent", "grpo.rewards",
    *_OF_THE_FILE,
}  # fmt: skip
HELD_OUT = ("A held-out share of the dataset", "")
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
    settings from the planner's advice, which a proposal must not undo."""

    def __init__(self) -> None:
        self.parent = gr.State("")
        self.case = gr.State(Case())
        self.advised = gr.State({})
        with gr.Column(visible=False) as self.parent_row:
            self.parent_note = gr.HTML("", elem_id="train-parent")
            self.leave_parent = gr.Button("Start from a base model instead", size="sm", elem_id="train-leave-parent")
        # Their choices change, and a running handler can still send the value from before. Gradio would reject it with
        # an error unless custom values are allowed; `fit_form` corrects what is not offered.
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
            info="What training starts from. You can also type a Hub id or a folder.",
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
        self.name = gr.Textbox(label="Name of the model", info="Default: made from the dataset's name.", max_length=120)

    def build_settings(self) -> None:
        """The widgets of all other settings, in the place where this is called."""
        # chosen, not typed: users of a shared app must not name files of this machine
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
        """Setting -> widget, except the rewards."""
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
        """The outputs of `fit_form`."""
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
    """Update the widgets that depend on others."""

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
        describe_base_model,
        [form.base_model, form.case],
        form.base_note,
    )
    listen(form.leave_parent.click, lambda: "", None, form.parent)
    for row in form.rewards.rows:
        listen(row.kind.change, rewards.show_fields, row.kind, row.fields)
    boxes = [row.box for row in form.rewards.rows]
    listen(form.rewards.more.click, rewards.show_more, form.rewards.shown_rows, [form.rewards.shown_rows, *boxes])


@dataclass(frozen=True)
class Choices:
    """What can be chosen with a dataset (or a parent), and in `case` what is chosen of it."""

    case: Case
    examples: offers.Examples
    parent: ModelRecord | None
    datasets: list[tuple[str, str]]
    methods: list[tuple[str, str]]
    bases: list[tuple[str, str]]
    tunings: list[tuple[str, str]]


def fit_form(forge: Forge, form: TrainForm, *values: Any) -> list[Any]:
    """Values of `TrainForm.fitted`: what can be chosen with the selected dataset (or parent), and settings proposed for
    it; no change where they were already proposed for exactly this."""
    *chosen, before, advised = values
    unchanged = [gr.skip()] * len(form.fitted)
    if not chosen[0]:
        return unchanged
    choices = _find_choices(forge, chosen, before)
    case = choices.case
    if case == before:
        return unchanged
    changed = {name for name, value in vars(case).items() if value != getattr(before, name)}
    advised = advised if changed <= {"base_model", "tuning"} else {}
    has_references = choices.examples.has_references
    default_rewards = rewards.show_default(visible=case.method == "grpo", has_references=has_references)
    return [
        case,
        advised,
        case.parent,
        *_show_choices(choices, chosen),
        *_show_settings(forge, form, choices, advised),
        *(default_rewards if changed & {"dataset", "method"} else [gr.skip()] * len(default_rewards)),
    ]


def _find_choices(forge: Forge, chosen: list[Any], before: Case) -> Choices:
    """chosen: dataset, method, base model, tuning, goal and parent as the widgets show them. What does not go with the
    dataset is replaced."""
    dataset, method, base, tuning, goal, parent_id = chosen
    parent = _find_parent(forge, parent_id)
    datasets, picked = offers.list_datasets(forge, dataset, parent)
    if parent and parent.id == before.parent and picked != dataset:  # another one was saved in the meantime
        parent = None
        datasets, picked = offers.list_datasets(forge, dataset)
    examples = offers.find_examples(forge, picked)
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
        kept = examples.task.value == before.task and not before.parent  # a parent's base model leaves with it
        base = offers.choose_base_model(base, bases, task=examples.task, method=method, kept=kept)
    case = Case(picked, method, base, tuning, goal, parent.id if parent else "", examples.task.value)
    return Choices(case, examples, parent, datasets, methods, bases, tunings)


def _show_choices(choices: Choices, chosen: list[Any]) -> list[Any]:
    """[parent_row, parent_note, dataset, what, method, base_model, tuning]."""
    case, parent = choices.case, choices.parent
    dataset, method, base, tuning = chosen[:4]
    about = METHODS[case.method]
    return [
        gr.Column(visible=parent is not None),
        _describe_parent(parent),
        gr.update(choices=choices.datasets, **_corrected(dataset, case.dataset)),
        html.aside(f"{choices.examples.sentence} {about.title}: {about.sentence}"),
        gr.update(
            choices=choices.methods,
            visible=len(choices.methods) > 1,
            info=about.sentence,
            **_corrected(method, case.method),
        ),
        gr.update(choices=choices.bases, interactive=parent is None, **_corrected(base, case.base_model)),
        gr.update(
            choices=choices.tunings,
            interactive=parent is None,
            info=TUNINGS[case.tuning].sentence,
            **_corrected(tuning, case.tuning),
        ),
    ]


def _show_settings(forge: Forge, form: TrainForm, choices: Choices, advised: dict[str, Any]) -> list[Any]:
    """Updates of the groups of settings, then of the settings: proposed ones, overridden by the parent's and by what
    the planner has advised."""
    case, examples = choices.case, choices.examples
    architecture, parameters = offers.describe_base(case.base_model, examples.task)
    proposed = offers.propose_settings(
        case.goal, examples, method=case.method, tuning=case.tuning, architecture=architecture, parameters=parameters
    )
    wanted = {**proposed, **_settings_of_parent(forge, choices.parent), **advised}
    is_further = choices.parent is not None
    groups = [
        gr.update(visible=widgets.is_applied(group, case.method, case.tuning, is_further=is_further))
        for group in form.groups
    ]
    eval_datasets = [HELD_OUT, *offers.list_measuring(forge, examples)]
    settings = [_update(name, wanted[name], architecture) for name in form.settings]
    settings[0] = gr.update(choices=eval_datasets, value=wanted["eval_dataset"])
    return [*groups, *settings]


def _corrected(given: Any, wanted: Any) -> dict[str, Any]:
    """A value only where it must change. It would otherwise undo what the user has chosen in the meantime, and the two
    updates would then undo each other forever."""
    return {} if given == wanted else {"value": wanted}


def describe_base_model(name: str | None, case: Case) -> str:
    """What is known about the base model, shown below its field: the Hub can take seconds to answer."""
    if not name or not case.task:
        return ""
    found = offers.look_at(name, Task(case.task))
    kind = {"good": "aside", "bad": "bad", "unknown": "warning"}[found.verdict]
    return html.aside(found.sentence) if kind == "aside" else html.note(found.sentence, kind)


def offer_datasets(forge: Forge, chosen: str | None = None, parent_id: str = "") -> Any:
    """The datasets that can be chosen, with one selected; the rest of the form follows from it."""
    values, picked = offers.list_datasets(forge, chosen, _find_parent(forge, parent_id))
    return gr.Dropdown(choices=values, value=picked)


def _find_parent(forge: Forge, parent_id: str) -> ModelRecord | None:
    """The model to train further; None where it, or its files, are missing."""
    try:
        parent = forge.models.find(parent_id) if parent_id else None
    except ModelForgeError:
        return None
    return None if parent is None or forge.models.find_problem(parent) else parent


def _describe_parent(parent: ModelRecord | None) -> str:
    if parent is None:
        return ""
    return html.note(
        f"Training {parent.name} further. Its base model and tuning cannot be changed. The result is a new model; "
        f"{parent.name} is kept."
    )


def _settings_of_parent(forge: Forge, parent: ModelRecord | None) -> dict[str, Any]:
    """The settings of its adapter, which stays the same."""
    if parent is None:
        return {}
    manifest = forge.models.manifest(parent)
    tuning = read_stored(manifest["recipe"], manifest.get("recipe_version", 1)).recipe.tuning
    return {f"tuning.{name}": value for name, value in tuning if name != "type"}


def _update(name: str, value: Any, architecture: str) -> Any:
    if name not in widgets.OF_ARCHITECTURES:
        return gr.update(value=value)
    return gr.update(value=value, visible=architecture in widgets.OF_ARCHITECTURES[name])
