"""How the form of the Train tab follows the dataset that is chosen, and what it keeps of what was chosen before."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import gradio as gr
import pytest

from modelforge import Forge
from modelforge.data.checks import check
from modelforge.data.samples import samples
from modelforge.recipe import STARTER, STARTERS_BY_TASK, Task
from modelforge.ui.train.form import Case, TrainForm, fit_form


class Form:
    """A form and what its widgets show; `fit` is what happens after a choice."""

    def __init__(self, forge: Forge) -> None:
        self.forge = forge
        with gr.Blocks():
            self.form = TrainForm(forge)
            self.form.build_settings()
        names = ("dataset", "method", "base_model", "tuning", "goal", "parent")
        self.shown: dict[str, Any] = dict(zip(names, ("", "", "", "lora", "quick", ""), strict=True))
        self.case, self.advised = Case(), {}
        self.settings: dict[str, Any] = {}

    def fit(self, **chosen: Any) -> dict[str, Any]:
        """Component -> what it gets, by name; {} where nothing changes."""
        self.shown |= chosen
        values = fit_form(self.form, *self.shown.values(), self.case, self.advised)
        if values == gr.skip():
            return {}
        named = {id(widget): name for name, widget in vars(self.form).items() if not isinstance(widget, dict | list)}
        named |= {id(widget): name for name, widget in self.form.settings.items()}
        named |= {id(box): f"group {name}" for name, box in self.form.groups.items()}
        named[id(self.form.rewards.box)] = "rewards box"
        assert set(values) <= set(self.form.fitted)
        got = {named.get(id(each), ""): value for each, value in values.items()}
        self.case, self.advised, self.shown["parent"] = got["case"], got["advised"], got["parent"]
        for name in ("dataset", "method", "base_model", "tuning"):
            if "value" in got[name]:
                self.shown[name] = got[name]["value"]
        self.settings |= {name: got[name]["value"] for name in self.form.settings if "value" in got[name]}
        return got


@pytest.fixture
def form() -> Form:
    return Form(Forge())


def sample_of(task: Task) -> str:
    return next(sample.name for sample in samples() if sample.task == task)


@pytest.fixture
def prompts(form: Form, tmp_path: Path) -> str:
    """The id of a dataset of prompts with references, which only a reward can train on."""
    path = tmp_path / "prompts.jsonl"
    path.write_text("".join(f'{{"prompt": "Add {n} to {n * n}.", "reference": "{n + n * n}"}}\n' for n in range(30)))
    return form.forge.datasets.add(check(path, None, shape="prompts")).id


def test_without_a_dataset_nothing_changes(form: Form) -> None:
    assert form.fit() == {}


def test_a_dataset_sets_everything_that_a_run_needs(form: Form) -> None:
    got = form.fit(dataset=sample_of(Task.TEXT_GENERATION))
    assert form.shown["method"] == "sft"
    assert form.shown["base_model"] == STARTER
    assert got["group grpo"]["visible"] is False
    assert got["rewards box"].visible is False
    recipe = form.form.read(*(form.shown.get(name, form.settings.get(name)) for name in _names(form)))
    assert (recipe.base_model, recipe.method, recipe.task) == (STARTER, "sft", Task.TEXT_GENERATION)


def _names(form: Form) -> list[str]:
    """The settings in the order of `TrainForm.inputs`, but for the rewards."""
    form.shown |= {"name": "", "tuning.type": form.shown["tuning"]}
    return list(form.form.named)


def test_the_same_choice_is_proposed_for_once(form: Form) -> None:
    assert form.fit(dataset=sample_of(Task.TEXT_GENERATION))
    assert form.fit() == {}


def test_another_task_replaces_the_base_model(form: Form) -> None:
    form.fit(dataset=sample_of(Task.TEXT_GENERATION))
    got = form.fit(dataset=sample_of(Task.EXTRACTIVE_QUESTION_ANSWERING))
    assert form.shown["base_model"] == STARTERS_BY_TASK[Task.EXTRACTIVE_QUESTION_ANSWERING]
    assert got["doc_stride"]["visible"] is True
    got = form.fit(dataset=sample_of(Task.TEXT_GENERATION))
    assert got["doc_stride"]["visible"] is False


def test_what_is_still_right_is_not_sent_again(form: Form) -> None:
    """It would undo what the user has chosen in the meantime."""
    form.fit(dataset=sample_of(Task.TEXT_GENERATION))
    got = form.fit(goal="best")
    assert all("value" not in got[name] for name in ("dataset", "method", "base_model", "tuning"))


def test_what_was_typed_stays_with_another_tuning_and_leaves_with_another_goal_or_dataset(form: Form) -> None:
    form.fit(dataset=sample_of(Task.TEXT_GENERATION))
    form.settings["max_steps"] = 3
    proposed = form.settings["learning_rate"]
    got = form.fit(tuning="full")  # answered late, on a busy machine
    assert form.settings["max_steps"] == 3 and "value" not in got["max_steps"]
    assert form.settings["learning_rate"] != proposed
    form.fit(goal="best")
    assert form.settings["max_steps"] != 3
    form.settings["max_steps"] = 3
    form.fit(dataset=sample_of(Task.SUMMARIZATION))
    assert form.settings["max_steps"] != 3


def test_a_typed_base_model_stays_for_the_same_task_and_leaves_with_it(form: Form, tmp_path: Path) -> None:
    form.fit(dataset=sample_of(Task.TEXT_GENERATION))
    form.fit(base_model=str(tmp_path))
    form.fit(goal="best")
    assert form.shown["base_model"] == str(tmp_path)
    form.fit(dataset=sample_of(Task.EXTRACTIVE_QUESTION_ANSWERING))
    assert form.shown["base_model"] != str(tmp_path)


def test_prompts_are_trained_by_reward_and_open_its_editor(form: Form, prompts: str) -> None:
    form.fit(dataset=sample_of(Task.TEXT_GENERATION))
    got = form.fit(dataset=prompts)
    assert form.shown["method"] == "grpo"
    assert got["rewards box"].visible is True
    assert got["group grpo"]["visible"] is True


def test_advice_is_kept_for_another_model_and_dropped_for_another_goal(form: Form) -> None:
    form.fit(dataset=sample_of(Task.TEXT_GENERATION))
    form.advised = {"max_length": 128}
    form.fit(tuning="full")
    assert form.settings["max_length"] == 128
    form.fit(goal="best")
    assert form.advised == {}
    assert form.settings["max_length"] != 128


def test_settings_of_the_adapter_are_hidden_where_there_is_none(form: Form) -> None:
    assert form.fit(dataset=sample_of(Task.TEXT_GENERATION))["group tuning"]["visible"] is True
    assert form.fit(tuning="full")["group tuning"]["visible"] is False


def test_a_dataset_that_is_gone_is_replaced(form: Form, prompts: str) -> None:
    form.fit(dataset=prompts)
    form.forge.datasets.delete(prompts)
    form.case = Case()
    form.fit()
    assert form.shown["dataset"] in {sample.name for sample in samples()}
