"""The form of the Train tab: its widgets, how they depend on each other, and how they are read as a Recipe.

What they offer is decided in `offers`.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import Any

import gradio as gr

from modelforge.choices.methods import METHODS
from modelforge.choices.tunings import TUNINGS
from modelforge.data.split import count_held_out
from modelforge.errors import ModelForgeError
from modelforge.forge import Forge
from modelforge.goals import goals
from modelforge.recipe import Recipe, Task, fields, read_stored
from modelforge.store import ModelRecord
from modelforge.ui.look import fields as widgets
from modelforge.ui.look import html
from modelforge.ui.look.choices import pick
from modelforge.ui.look.events import listen, listen_all
from modelforge.ui.train import offers, rewards

OWN_PLACE = {
    "dataset", "eval_dataset", "base_model", "task", "name", "method", "tuning.type", "parent", "grpo.rewards",
    "columns", "repairs", "dataset_config", "dataset_split",  # fixed once the dataset is in the library
}  # fmt: skip
HELD_OUT = ("A held-out share of the dataset", "")
FIRST_GOAL = "quick"
VERDICT_SETTINGS = ("verdict_metric", "eval_dataset", "eval_split", "min_eval_rows")


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

    def __init__(self, forge: Forge) -> None:
        self.forge = forge
        self.parent = gr.State("")
        self.case = gr.State(Case())
        self.advised = gr.State({})
        with gr.Column(visible=False) as self.parent_row:
            self.parent_note = gr.HTML("", elem_id="train-parent")
            leave_parent = gr.Button("Start from a base model instead", size="sm", elem_id="train-leave-parent")
            listen(leave_parent.click, lambda: "", None, self.parent)
        # Their choices change, and a running handler can still send the value from before. Gradio would reject it with
        # an error unless custom values are allowed; `fit_form` corrects what is not offered.
        self.dataset = gr.Dropdown(
            [], label="Dataset", info="Your datasets and the samples.", allow_custom_value=True, elem_id="train-dataset"
        )
        self.what = gr.HTML("", elem_id="train-what")
        self.method = gr.Dropdown([], label="Method", visible=False, allow_custom_value=True, elem_id="train-method")
        self.base_model = gr.Dropdown(
            [],
            label="Base model",
            info="What training starts from. You can also type a Hub id or, at this machine, a folder.",
            allow_custom_value=True,
            elem_id="train-base-model",
        )
        self.base_note = gr.HTML("", elem_id="train-base-note")
        self.talk = gr.Button("Chat with the base model →", size="sm", elem_id="train-talk")
        self.tuning = gr.Radio(
            offers.list_tunings(), value="lora", label="Tuning", info=TUNINGS["lora"].sentence, elem_id="train-tuning"
        )
        self.goal = gr.Radio(
            [(f"{goal.title}: {goal.sentence}", key) for key, goal in goals().items()],
            value=FIRST_GOAL,
            label="Goal",
            elem_id="train-goal",
        )
        self.rewards = rewards.RewardEditor()
        self.name = gr.Textbox(label="Name of the model", info="Default: made from the dataset's name.", max_length=120)
        self.verdict_note = gr.HTML("", elem_id="train-verdict-rests")

    def build_settings(self) -> None:
        """The widgets of all other settings, in the place where this is called; then the form is complete.

        named: setting -> widget, except the rewards. inputs: what `read` takes the values of. fitted: what `fit_form`
        changes.
        """
        # chosen, not typed: users of a shared app must not name files of this machine
        measured_with = gr.Dropdown(
            [HELD_OUT],
            value="",
            allow_custom_value=True,  # as above; only datasets of the library are taken
            label="eval_dataset",
            info=fields()["eval_dataset"].description,
            elem_id="set-eval_dataset",
        )
        made, self.groups = widgets.build_widgets(OWN_PLACE)
        self.settings: dict[str, Any] = {"eval_dataset": measured_with, **made}
        self.chosen = [self.dataset, self.method, self.base_model, self.tuning, self.goal, self.parent]
        own = {"dataset": self.dataset, "base_model": self.base_model, "name": self.name, "parent": self.parent}
        self.named: dict[str, Any] = {**own, "method": self.method, "tuning.type": self.tuning, **self.settings}
        self.inputs = [*self.named.values(), *self.rewards.inputs]
        self.fitted = [
            *[self.case, self.advised, self.parent, self.parent_row, self.parent_note, self.dataset, self.what],
            *[self.method, self.base_model, self.tuning, *self.groups.values(), *self.settings.values()],
            *self.rewards.outputs,
        ]
        inputs, about = [*self.chosen, self.case, self.advised], [self.base_model, self.case]
        listen_all([each.change for each in self.chosen], partial(fit_form, self), inputs, self.fitted)
        listen_all([each.change for each in about], describe_base_model, about, self.base_note)
        rests = [self.case, *(self.settings[name] for name in VERDICT_SETTINGS)]
        listen_all([each.change for each in rests], partial(describe_verdict, self.forge), rests, self.verdict_note)

    def read_if_complete(self, *values: Any) -> Recipe | None:
        """`read`, or None while the page is still filling in its choices."""
        given = dict(zip(self.named, values, strict=False))
        return self.read(*values) if given["dataset"] and given["base_model"] and given["method"] else None

    def read(self, *values: Any) -> Recipe:
        """The recipe that the form shows. Raises RecipeError, NotFoundError."""
        count = len(self.named)
        given = dict(zip(self.named, values[:count], strict=True))
        examples = offers.find_examples(self.forge, given["dataset"])
        measured_with = given["eval_dataset"]
        given |= {
            "task": examples.task.value,
            "dataset": examples.name,  # never a path
            "eval_dataset": self.forge.datasets.find(measured_with).id if measured_with else "",
        }
        if given["method"] == "grpo":
            given["grpo.rewards"] = rewards.read_rewards(values[count:])
        return Recipe().with_settings(given)


def fit_form(form: TrainForm, *values: Any) -> Any:
    """Values of `TrainForm.fitted`: what can be chosen with the selected dataset (or parent), and settings proposed for
    it; no change where they were already proposed for exactly this. What somebody has typed stays where only the base
    model or the tuning is another one and its proposal is the same: the answer to that choice can come late."""
    *chosen, before, advised = values
    if not chosen[0]:
        return gr.skip()
    case, parent = _decide_case(form.forge, chosen, before)
    if case == before:
        return gr.skip()
    changed = {name for name, value in vars(case).items() if value != getattr(before, name)}
    is_alike = changed <= {"base_model", "tuning"}
    advised = advised if is_alike else {}
    examples = offers.find_examples(form.forge, case.dataset)
    wanted = {**_propose(case, examples), **_read_tuning(form, parent), **advised}
    shown = _propose(before, examples) if is_alike else {}
    new = {name: value for name, value in wanted.items() if name not in shown or value != shown[name]}
    default_rewards = {}
    if changed & {"dataset", "method"}:
        editor = rewards.show_default(visible=case.method == "grpo", has_references=examples.has_references)
        default_rewards = dict(zip(form.rewards.outputs, editor, strict=True))
    note = parent and html.note(
        f"Training {parent.name} further. Its base model and tuning cannot be changed. The result is a new model; "
        f"{parent.name} is kept."
    )
    return {
        form.case: case,
        form.advised: advised,
        form.parent: case.parent,
        form.parent_row: gr.Column(visible=parent is not None),
        form.parent_note: note or "",
        **_show_choices(form, case, parent, examples, chosen),
        **_show_settings(form, case, parent, examples, new),
        **default_rewards,
    }


def _decide_case(forge: Forge, chosen: list[Any], before: Case) -> tuple[Case, ModelRecord | None]:
    """chosen: dataset, method, base model, tuning, goal and parent as the widgets show them. What does not go with the
    dataset is replaced."""
    dataset, method, base, tuning, goal, parent_id = chosen
    parent = _find_parent(forge, parent_id)
    _, picked = offers.list_datasets(forge, dataset, parent)
    if parent and parent.id == before.parent and picked != dataset:  # another one was saved in the meantime
        parent = None
        _, picked = offers.list_datasets(forge, dataset)
    examples = offers.find_examples(forge, picked)
    method = pick(offers.list_methods(examples), method) or ""
    tuning = parent.tuning if parent else pick(offers.list_tunings(), tuning) or ""
    if parent:
        base = parent.base_model
    else:
        kept = examples.task.value == before.task and not before.parent  # a parent's base model leaves with it
        offered = offers.list_base_models(examples.task, method, tuning)
        base = offers.choose_base_model(base, offered, task=examples.task, method=method, kept=kept)
    return Case(picked, method, base, tuning, goal, parent.id if parent else "", examples.task.value), parent


def _show_choices(
    form: TrainForm, case: Case, parent: ModelRecord | None, examples: offers.Examples, chosen: list[Any]
) -> dict[Any, Any]:
    about = METHODS[case.method]
    methods = offers.list_methods(examples)
    bases = offers.list_base_models(examples.task, case.method, case.tuning)
    shown = [
        gr.update(choices=offers.list_datasets(form.forge, case.dataset, parent)[0]),
        gr.update(choices=methods, visible=len(methods) > 1, info=about.sentence),
        gr.update(choices=[(parent.base_model, parent.base_model)] if parent else bases, interactive=parent is None),
        gr.update(choices=offers.list_tunings(), interactive=parent is None, info=TUNINGS[case.tuning].sentence),
    ]
    # A value only where it must change. It would otherwise undo what the user has chosen in the meantime, and the two
    # updates would then undo each other forever.
    wanted = (case.dataset, case.method, case.base_model, case.tuning)
    shown = [
        update if value == now else {**update, "value": value}
        for update, value, now in zip(shown, wanted, chosen, strict=False)
    ]
    what = html.aside(f"{examples.sentence} {about.title}: {about.sentence}")
    return {form.what: what, **dict(zip(form.chosen, shown, strict=False))}


def _propose(case: Case, examples: offers.Examples) -> dict[str, Any]:
    architecture, parameters = offers.describe_base(case.base_model, examples.task)
    return offers.propose_settings(
        case.goal, examples, method=case.method, tuning=case.tuning, architecture=architecture, parameters=parameters
    )


def _read_tuning(form: TrainForm, parent: ModelRecord | None) -> dict[str, Any]:
    """The settings of a parent's adapter, which stay the same."""
    if parent is None:
        return {}
    manifest = form.forge.models.manifest(parent)
    tuning = read_stored(manifest["recipe"], manifest.get("recipe_version", 1)).recipe.tuning
    return {f"tuning.{name}": value for name, value in tuning if name != "type"}


def _show_settings(
    form: TrainForm, case: Case, parent: ModelRecord | None, examples: offers.Examples, new: dict[str, Any]
) -> dict[Any, Any]:
    """The groups of settings, and the settings; new: the values of those that get another one."""
    architecture, _ = offers.describe_base(case.base_model, examples.task)
    shown = {
        box: gr.update(visible=widgets.is_applied(group, case.method, case.tuning, is_further=parent is not None))
        for group, box in form.groups.items()
    }
    for name, widget in form.settings.items():
        shown[widget] = gr.update(value=new[name]) if name in new else gr.update()
        if name in widgets.OF_ARCHITECTURES:
            shown[widget]["visible"] = architecture in widgets.OF_ARCHITECTURES[name]
    shown[form.settings["eval_dataset"]]["choices"] = [HELD_OUT, *offers.list_measuring(form.forge, examples)]
    return shown


def describe_base_model(name: str | None, case: Case) -> str:
    """What is known about the base model, shown below its field: the Hub can take seconds to answer."""
    if not name or not case.task:
        return ""
    found = offers.look_at(name, Task(case.task))
    if found.verdict == "good":
        return html.aside(found.sentence)
    return html.note(found.sentence, "bad" if found.verdict == "bad" else "warning")


def describe_verdict(forge: Forge, case: Case, *values: Any) -> str:
    """What the verdict on a run will rest on: named before the run. values: of `VERDICT_SETTINGS`."""
    metric, eval_dataset, eval_split, min_eval_rows = values
    if not case.dataset:
        return ""
    examples = offers.find_examples(forge, case.dataset)
    held_out = None if eval_dataset else count_held_out(examples.rows, eval_split or 0, int(min_eval_rows or 0))
    sentence, is_enough = offers.describe_verdict(examples, case.method, metric, held_out)
    return html.aside(sentence) if is_enough else html.note(sentence, "warning")


def offer_datasets(forge: Forge, chosen: str | None = None, parent_id: str = "") -> Any:
    """The datasets that can be chosen, with one selected; the rest of the form follows from it."""
    choices, picked = offers.list_datasets(forge, chosen, _find_parent(forge, parent_id))
    return gr.Dropdown(choices=choices, value=picked)


def _find_parent(forge: Forge, parent_id: str) -> ModelRecord | None:
    """The model to train further; None where it, or its files, are missing."""
    try:
        parent = forge.models.find(parent_id) if parent_id else None
    except ModelForgeError:
        return None
    return None if parent is None or forge.models.find_problem(parent) else parent
