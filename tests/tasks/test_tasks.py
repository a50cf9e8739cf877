from __future__ import annotations

import pytest

from modelforge.errors import RecipeError
from modelforge.recipe import Recipe, Task, parse_task
from modelforge.scores.metrics import METRICS, PERPLEXITY
from modelforge.tasks import SHAPES, TASKS, read_exchange, read_texts


def test_every_task_is_declared_under_its_own_name():
    assert list(TASKS) == list(Task)
    assert all(spec.task is task for task, spec in TASKS.items())
    assert all(spec.title and spec.sentence.endswith(".") for spec in TASKS.values())


def test_every_task_declares_metrics_that_there_are():
    for spec in TASKS.values():
        assert spec.metrics and set(spec.metrics) <= {*METRICS, PERPLEXITY, "loss"}


def test_every_shape_is_declared_under_its_own_name_and_belongs_to_its_task():
    assert {name: shape.name for name, shape in SHAPES.items()} == {name: name for name in SHAPES}
    assert [shape for spec in TASKS.values() for shape in spec.shapes] == list(SHAPES.values())
    for task, spec in TASKS.items():
        assert all(shape.task is task for shape in spec.shapes)
        assert spec.methods == tuple(dict.fromkeys(method for shape in spec.shapes for method in shape.methods))
    assert all(shape.title and shape.sentence.endswith(".") for shape in SHAPES.values())


@pytest.mark.parametrize("shape", SHAPES.values(), ids=SHAPES)
def test_every_role_has_a_sentence_and_accepts_its_own_name(shape):
    names = [role.name for role in shape.roles]
    assert len(set(names)) == len(names)
    for role in shape.roles:
        assert role.help.endswith(".")
        assert role.name in role.accepts
        assert set(role.replaces) <= set(names)


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
    shape = SHAPES["chat"]
    assert [role.name for role in shape.missing_roles([])] == ["prompt", "response"]
    assert [role.name for role in shape.missing_roles(["prompt"])] == ["response"]
    assert shape.missing_roles(["messages"]) == ()


@pytest.mark.parametrize("shape", SHAPES.values(), ids=SHAPES)
def test_no_shape_is_complete_without_a_column(shape):
    assert shape.missing_roles([])


CHAT = [{"role": "system", "content": "s"}, {"role": "user", "content": "q"}]
ANSWER = {"role": "assistant", "content": "a"}


@pytest.mark.parametrize(
    ("row", "texts"),
    [
        ({"messages": [*CHAT, ANSWER]}, ("s", "q", "a", "")),
        ({"messages": [CHAT[1], ANSWER, CHAT[1], ANSWER]}, ("", "q", "a\nq\na", "")),
        ({"text": "t"}, ("", "", "t", "")),
        ({"prompt": CHAT, "chosen": [ANSWER], "rejected": [ANSWER | {"content": "b"}]}, ("s", "q", "a\nb", "")),
        ({"prompt": CHAT, "completion": [ANSWER], "label": False}, ("s", "q", "a\nbad", "")),
        ({"prompt": CHAT}, ("s", "q", "", "")),
        ({"prompt": CHAT, "reference": "r"}, ("s", "q", "r", "")),
        ({"context": "c", "question": "q", "answers": {"text": ["a", "b"]}}, ("c", "q", "a\nb", "c")),
    ],
)
def test_texts_of_a_mapped_row_are_read_whatever_its_form(row, texts):
    assert read_texts(row) == texts


CALL = {"role": "assistant", "content": "", "tool_calls": [{"function": {"name": "weather", "arguments": {}}}]}


@pytest.mark.parametrize(
    ("row", "exchange"),
    [
        ({"messages": [*CHAT, ANSWER]}, (CHAT, "a", ())),
        ({"messages": [*CHAT, ANSWER, CHAT[1]]}, (CHAT, "a", ())),
        ({"messages": [*CHAT, ANSWER, CHAT[1], ANSWER], "tools": [1]}, ([*CHAT, ANSWER, CHAT[1]], "a", [1])),
        ({"messages": [*CHAT, CALL], "tools": [1]}, None),
        ({"text": "t"}, None),
        ({"prompt": CHAT, "chosen": [ANSWER], "rejected": [ANSWER | {"content": "b"}]}, (CHAT, "a", ())),
        ({"prompt": CHAT, "completion": [ANSWER], "label": True}, (CHAT, "a", ())),
        ({"prompt": CHAT, "completion": [ANSWER], "label": False}, None),
        ({"prompt": CHAT}, None),
        ({"prompt": CHAT, "reference": "r"}, (CHAT, "r", ())),
        ({"context": "c", "question": "q", "answers": {"text": ["a"]}}, None),
    ],
)
def test_a_row_asks_for_its_last_answer_in_text(row, exchange):
    assert read_exchange(row) == exchange


def test_what_a_tool_is_called_with_is_part_of_what_a_chat_says():
    def call(city):
        calls = [{"function": {"name": "weather", "arguments": {"city": city}}}]
        return {"messages": [CHAT[1], {"role": "assistant", "content": "", "tool_calls": calls}]}

    assert read_texts(call("Bremen")).answered != read_texts(call("Graz")).answered
