from __future__ import annotations

import pytest

from modelforge.errors import RecipeError
from modelforge.recipe import Recipe, Task, parse_task
from modelforge.tasks import TASKS, check_trainable


def test_every_task_is_declared_under_its_own_name():
    assert list(TASKS) == list(Task)
    assert all(spec.task is task for task, spec in TASKS.items())
    assert all(spec.title and spec.sentence.endswith(".") for spec in TASKS.values())


def test_every_role_has_a_sentence_and_accepts_its_own_name():
    for spec in TASKS.values():
        for role in spec.roles:
            assert role.help.endswith(".")
            assert role.name in role.accepts


def test_audit_02_one_name_for_a_task_and_one_alias():
    assert parse_task("question-answering") is Task.EXTRACTIVE_QUESTION_ANSWERING
    assert Recipe.build({"task": "question-answering"}).task is Task.EXTRACTIVE_QUESTION_ANSWERING
    assert TASKS[parse_task("question-answering")].task.value == "extractive-question-answering"
    for task in Task:
        assert parse_task(task.value) is task


@pytest.mark.parametrize("name", ["translation", "", "seq2seq", "text generation"])
def test_audit_02_unknown_task_lists_exactly_the_accepted_names(name):
    with pytest.raises(RecipeError) as caught:
        parse_task(name)
    accepted = "text-generation, summarization, extractive-question-answering, question-answering"
    assert caught.value.fix == f"Accepted are: {accepted}."


def test_missing_roles_are_the_required_ones_without_a_column():
    spec = TASKS[Task.TEXT_GENERATION]
    assert [role.name for role in spec.missing_roles([])] == ["prompt", "response"]
    assert [role.name for role in spec.missing_roles(["prompt"])] == ["response"]
    assert spec.missing_roles(["messages"]) == ()


def test_method_that_cannot_train_a_task_is_refused_with_what_can():
    check_trainable(Task.TEXT_GENERATION, "sft")
    with pytest.raises(RecipeError, match="summarization"):
        check_trainable(Task.EXTRACTIVE_QUESTION_ANSWERING, "sft")
