from __future__ import annotations

import pytest

from modelforge.data.columns import apply, guess
from modelforge.errors import DatasetError, RecipeError
from modelforge.recipe import Task

CHAT = [{"role": "user", "content": "hi"}, {"role": "assistant", "content": "ho"}]


@pytest.mark.parametrize(
    ("row", "task", "mapping"),
    [
        ({"input": "a", "output": "b"}, "text-generation", {"prompt": "input", "response": "output"}),
        ({"prompt": "a", "completion": "b"}, "text-generation", {"prompt": "prompt", "response": "completion"}),
        ({"Question": "a", "Answer": "b"}, "text-generation", {"prompt": "Question", "response": "Answer"}),
        (
            {"Customer question": "a", "ourAnswer": "b", "prompt_id": "c"},
            "text-generation",
            {"prompt": "Customer question", "response": "ourAnswer"},
        ),
        (
            {"instruction": "a", "input": "", "output": "b"},
            "text-generation",
            {"prompt": "instruction", "input": "input", "response": "output"},
        ),
        ({"messages": CHAT, "id": "1"}, "text-generation", {"messages": "messages"}),
        ({"prompt": "a", "response": "b", "messages": CHAT}, "text-generation", {"messages": "messages"}),
        (
            {"conversations": [{"from": "human", "value": "a"}], "system": "s"},
            "text-generation",
            {"messages": "conversations", "system": "system"},
        ),
        ({"article": "a", "highlights": "b"}, "summarization", {"document": "article", "summary": "highlights"}),
        (
            {"context": "a", "question": "b", "answers": {"text": ["a"]}, "id": "7"},
            "extractive-question-answering",
            {"context": "context", "question": "question", "answers": "answers"},
        ),
    ],
)
def test_task_and_mapping_are_found_out_with_reasons(row, task, mapping):
    found = guess(list(row), [row])
    assert (found.task, found.columns, found.missing) == (Task(task), mapping, ())
    assert found.reasons.keys() == found.columns.keys()
    assert all(reason.endswith(".") for reason in found.reasons.values())


def test_given_task_is_kept_and_its_alias_accepted():
    columns = ["context", "question", "answer"]
    assert guess(columns, [], "question-answering").task is Task.EXTRACTIVE_QUESTION_ANSWERING
    mapping = guess(columns, [], Task.TEXT_GENERATION)
    assert mapping.columns == {"prompt": "question", "response": "answer", "input": "context"}


def test_names_that_say_nothing_are_not_guessed():
    mapping = guess(["foo", "bar"], [{"foo": "a", "bar": "b"}])
    assert mapping.columns == {}
    assert [role.name for role in mapping.missing] == ["prompt", "response"]


def test_choice_of_the_user_stands_and_the_rest_is_guessed():
    mapping = guess(["question", "answer", "foo"], [], columns={"response": "foo"})
    assert mapping.columns == {"prompt": "question", "response": "foo"}
    assert mapping.reasons["response"] == "Chosen by you."
    assert guess(["a", "b"], [], columns={"document": "a", "summary": "b"}).task is Task.SUMMARIZATION


@pytest.mark.parametrize(
    ("columns", "said"),
    [
        ({"reply": "a"}, r"no role 'reply'.*prompt.*summary"),
        ({"prompt": "zzz"}, r"no column 'zzz'.*a, b"),
        ({"prompt": "a", "summary": "b"}, "No task has all"),
    ],
)
def test_unknown_role_or_column_is_refused_with_what_there_is(columns, said):
    with pytest.raises(DatasetError, match=said):
        guess(["a", "b"], [], columns=columns)


def test_unknown_task_is_refused():
    with pytest.raises(RecipeError, match="text-generation, summarization"):
        guess(["a"], [], "translation")


def test_apply_reports_a_missing_column_and_what_else_is_wrong():
    mapping = guess(["input", "output"], [])
    row, faults = apply(mapping, {"input": " "})
    assert row is None
    assert [(fault.role, fault.severity) for fault in faults] == [("response", "error"), ("prompt", "error")]


def test_apply_maps_a_row_unchanged():
    mapping = guess(["instruction", "input", "output"], [])
    row, faults = apply(mapping, {"instruction": " a ", "input": "b\n", "output": "{c}"})
    assert {fault.severity for fault in faults} == {"hint"}  # white space around a text is counted, and stays
    assert row == {"messages": [{"role": "user", "content": " a \n\nb\n"}, {"role": "assistant", "content": "{c}"}]}
