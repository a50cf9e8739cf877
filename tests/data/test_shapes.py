"""Every form that examples come in is recognised without being told, and becomes the row that TRL knows."""

from __future__ import annotations

import json

import pyarrow
import pyarrow.parquet
import pytest

from modelforge.data.checks import check
from modelforge.errors import DatasetError, RecipeError
from modelforge.tasks.summarization import INSTRUCTION


def user(content):
    return {"role": "user", "content": content}


def assistant(content):
    return {"role": "assistant", "content": content}


def system(content):
    return {"role": "system", "content": content}


def said(speaker, value):
    return {"from": speaker, "value": value}


WEATHER = {
    "type": "function",
    "function": {
        "name": "get_weather",
        "description": "The weather of a city.",
        "parameters": {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]},
    },
}
CALL = {"id": "call_1", "type": "function", "function": {"name": "get_weather", "arguments": '{"city": "Bremen"}'}}
TOOL_CHAT = [
    system("You tell the weather."),
    user("How is it in Bremen?"),
    {"role": "assistant", "content": None, "tool_calls": [CALL]},
    {"role": "tool", "tool_call_id": "call_1", "name": "get_weather", "content": '{"sky": "rain"}'},
    assistant("It rains."),
]
MAPPED_TOOL_CHAT = [*TOOL_CHAT[:2], {"role": "assistant", "content": "", "tool_calls": [CALL]}, *TOOL_CHAT[3:]]
BLOCKS = [
    user([{"type": "text", "text": "How is it in Bremen?"}]),
    assistant(
        [
            {"type": "thinking", "thinking": "I do not know, so I look.", "signature": "x"},
            {"type": "text", "text": "Let me look."},
            {"type": "tool_use", "id": "toolu_1", "name": "get_weather", "input": {"city": "Bremen"}},
        ]
    ),
    user(
        [
            {"type": "tool_result", "tool_use_id": "toolu_1", "content": [{"type": "text", "text": "rain"}]},
            {"type": "text", "text": "And now?"},
        ]
    ),
    assistant([{"type": "text", "text": "It rains."}]),
]
MAPPED_BLOCKS = [
    user("How is it in Bremen?"),
    {
        **assistant("Let me look."),
        "tool_calls": [
            {"id": "toolu_1", "type": "function", "function": {"name": "get_weather", "arguments": {"city": "Bremen"}}}
        ],
        "reasoning_content": "I do not know, so I look.",
    },
    {"role": "tool", "content": "rain", "tool_call_id": "toolu_1", "name": "get_weather"},
    user("And now?"),
    assistant("It rains."),
]
PASSAGE = "The lighthouse of Norderkoog was built in 1884 by Ida Petersen."

# Name, a row as it comes, the shape, role -> column, and the row that training takes.
FORMS = [
    (
        "input and output",
        {"input": "Name a river.", "output": "The Weser."},
        "chat",
        {"prompt": "input", "response": "output"},
        {"messages": [user("Name a river."), assistant("The Weser.")]},
    ),
    (
        "prompt and completion",
        {"prompt": "Name a river.", "completion": " The Weser."},
        "chat",
        {"prompt": "prompt", "response": "completion"},
        {"messages": [user("Name a river."), assistant(" The Weser.")]},
    ),
    (
        "spreadsheet of a customer service",
        {"No": "17", "Customer Question": "Do you ship to Graz?", "Our answer": "Yes, within a week."},
        "chat",
        {"prompt": "Customer Question", "response": "Our answer"},
        {"messages": [user("Do you ship to Graz?"), assistant("Yes, within a week.")]},
    ),
    (
        "alpaca",
        {"instruction": "Translate.", "input": "Guten Tag", "output": "Good day"},
        "chat",
        {"prompt": "instruction", "input": "input", "response": "output"},
        {"messages": [user("Translate.\n\nGuten Tag"), assistant("Good day")]},
    ),
    (
        "alpaca without input",
        {"instruction": "Name a river.", "input": "", "output": "The Weser.", "text": "Below is an instruction."},
        "chat",
        {"prompt": "instruction", "input": "input", "response": "output"},
        {"messages": [user("Name a river."), assistant("The Weser.")]},
    ),
    (
        "alpaca with a system prompt",
        {"system": "Be brief.", "instruction": "Name a river.", "output": "The Weser."},
        "chat",
        {"system": "system", "prompt": "instruction", "response": "output"},
        {"messages": [system("Be brief."), user("Name a river."), assistant("The Weser.")]},
    ),
    (
        "sharegpt",
        {
            "id": "a-1",
            "system": "Be kind.",
            "conversations": [said("human", "Hi"), said("gpt", "Ho"), said("human", "Hm"), said("gpt", "Ha")],
        },
        "chat",
        {"messages": "conversations", "system": "system"},
        {"messages": [system("Be kind."), user("Hi"), assistant("Ho"), user("Hm"), assistant("Ha")]},
    ),
    (
        "sharegpt with its system turn",
        {"conversations": [said("system", "Be kind."), said("human", "Hi"), said("gpt", "Ho")]},
        "chat",
        {"messages": "conversations"},
        {"messages": [system("Be kind."), user("Hi"), assistant("Ho")]},
    ),
    (
        "OpenAI",
        {"messages": [system("Be kind."), user("Hi"), assistant("Ho")]},
        "chat",
        {"messages": "messages"},
        {"messages": [system("Be kind."), user("Hi"), assistant("Ho")]},
    ),
    (
        "OpenAI with the developer's turn",
        {"messages": [{"role": "developer", "content": "Be kind."}, user("Hi"), assistant("Ho")]},
        "chat",
        {"messages": "messages"},
        {"messages": [system("Be kind."), user("Hi"), assistant("Ho")]},
    ),
    (
        "OpenAI with tools",
        {"messages": TOOL_CHAT, "tools": [WEATHER]},
        "chat",
        {"messages": "messages", "tools": "tools"},
        {"messages": MAPPED_TOOL_CHAT, "tools": [WEATHER]},
    ),
    (
        "tools written as text",
        {"messages": TOOL_CHAT, "tools": json.dumps([WEATHER])},
        "chat",
        {"messages": "messages", "tools": "tools"},
        {"messages": MAPPED_TOOL_CHAT, "tools": [WEATHER]},
    ),
    (
        "content in parts",
        {
            "messages": [
                user([{"type": "text", "text": "Name a river"}, {"type": "text", "text": " near Bremen."}]),
                assistant([{"type": "text", "text": "The Weser."}]),
            ]
        },
        "chat",
        {"messages": "messages"},
        {"messages": [user("Name a river near Bremen."), assistant("The Weser.")]},
    ),
    (
        "sharegpt in parts, and parts by value",
        {
            "conversations": [
                said("human", [{"type": "text", "value": "Name a river."}]),
                said("gpt", [{"type": "text", "text": "The "}, {"type": "text", "value": "Weser."}]),
            ]
        },
        "chat",
        {"messages": "conversations"},
        {"messages": [user("Name a river."), assistant("The Weser.")]},
    ),
    (
        "blocks of Anthropic: thinking, a call of a tool and its result",
        {
            "messages": BLOCKS,
            "tools": [{"name": "get_weather", "description": "It.", "input_schema": {"type": "object"}}],
        },
        "chat",
        {"messages": "messages", "tools": "tools"},
        {
            "messages": MAPPED_BLOCKS,
            "tools": [
                {
                    "type": "function",
                    "function": {"name": "get_weather", "description": "It.", "parameters": {"type": "object"}},
                }
            ],
        },
    ),
    (
        "reasoning beside the content",
        {"messages": [user("Name a river."), {**assistant("The Weser."), "reasoning_content": "Bremen is near."}]},
        "chat",
        {"messages": "messages"},
        {"messages": [user("Name a river."), {**assistant("The Weser."), "reasoning_content": "Bremen is near."}]},
    ),
    (
        "preferences in parts",
        {
            "prompt": [user([{"type": "text", "text": "Name a river."}])],
            "chosen": [assistant([{"type": "reasoning", "text": "Bremen."}, {"type": "text", "text": "The Weser."}])],
            "rejected": [{"type": "text", "text": "No"}, {"type": "text", "text": "."}],
        },
        "preference",
        {"prompt": "prompt", "chosen": "chosen", "rejected": "rejected"},
        {
            "prompt": [user("Name a river.")],
            "chosen": [{**assistant("The Weser."), "reasoning_content": "Bremen."}],
            "rejected": [assistant("No.")],
        },
    ),
    ("plain text", {"text": PASSAGE}, "text", {"text": "text"}, {"text": PASSAGE}),
    (
        "plain text with where it is from",
        {"text": PASSAGE, "meta": {"set": "web"}, "url": "https://example.org/1"},
        "text",
        {"text": "text"},
        {"text": PASSAGE},
    ),
    (
        "preference in texts",
        {"prompt": "Name a river.", "chosen": "The Weser.", "rejected": "Bremen."},
        "preference",
        {"prompt": "prompt", "chosen": "chosen", "rejected": "rejected"},
        {"prompt": [user("Name a river.")], "chosen": [assistant("The Weser.")], "rejected": [assistant("Bremen.")]},
    ),
    (
        "preference with a system prompt",
        {"system": "Be brief.", "question": "Name a river.", "chosen": "The Weser.", "rejected": "Bremen."},
        "preference",
        {"system": "system", "prompt": "question", "chosen": "chosen", "rejected": "rejected"},
        {
            "prompt": [system("Be brief."), user("Name a river.")],
            "chosen": [assistant("The Weser.")],
            "rejected": [assistant("Bremen.")],
        },
    ),
    (
        "preference in turns",
        {
            "prompt": [system("Be brief."), user("Hi"), assistant("Ho"), user("Name a river.")],
            "chosen": [assistant("The Weser.")],
            "rejected": [assistant("Bremen.")],
        },
        "preference",
        {"prompt": "prompt", "chosen": "chosen", "rejected": "rejected"},
        {
            "prompt": [system("Be brief."), user("Hi"), assistant("Ho"), user("Name a river.")],
            "chosen": [assistant("The Weser.")],
            "rejected": [assistant("Bremen.")],
        },
    ),
    (
        "preference in whole chats",
        {
            "chosen": [user("Hi"), assistant("Ho"), user("Name a river."), assistant("The Weser.")],
            "rejected": [user("Hi"), assistant("Ho"), user("Name a river."), assistant("Bremen.")],
            "score_chosen": 8.5,
            "score_rejected": 3.0,
        },
        "preference",
        {"chosen": "chosen", "rejected": "rejected"},
        {
            "prompt": [user("Hi"), assistant("Ho"), user("Name a river.")],
            "chosen": [assistant("The Weser.")],
            "rejected": [assistant("Bremen.")],
        },
    ),
    (
        "preference in whole chats, with the prompt beside them",
        {
            "prompt": "Name a river.",
            "chosen": [user("Name a river."), assistant("The Weser.")],
            "rejected": [user("Name a river."), assistant("Bremen.")],
        },
        "preference",
        {"prompt": "prompt", "chosen": "chosen", "rejected": "rejected"},
        {"prompt": [user("Name a river.")], "chosen": [assistant("The Weser.")], "rejected": [assistant("Bremen.")]},
    ),
    (
        "preference of sharegpt",
        {
            "conversations": [said("human", "Name a river.")],
            "chosen": said("gpt", "The Weser."),
            "rejected": said("gpt", "Bremen."),
        },
        "preference",
        {"prompt": "conversations", "chosen": "chosen", "rejected": "rejected"},
        {"prompt": [user("Name a river.")], "chosen": [assistant("The Weser.")], "rejected": [assistant("Bremen.")]},
    ),
    ("prompts", {"prompt": "Name a river."}, "prompts", {"prompt": "prompt"}, {"prompt": [user("Name a river.")]}),
    (
        "prompts in turns",
        {"prompt": [system("Be brief."), user("Name a river.")]},
        "prompts",
        {"prompt": "prompt"},
        {"prompt": [system("Be brief."), user("Name a river.")]},
    ),
    (
        "prompts with what is right",
        {"prompt": "What is 6 times 7?", "ground_truth": "42"},
        "prompts",
        {"prompt": "prompt", "reference": "ground_truth"},
        {"prompt": [user("What is 6 times 7?")], "reference": "42"},
    ),
    *(
        (
            f"{document} and {summary}",
            {document: PASSAGE, summary: "Ida Petersen built it.", "id": "x-1"},
            "summary",
            {"document": document, "summary": summary},
            {"messages": [user(f"{INSTRUCTION}\n\n{PASSAGE}"), assistant("Ida Petersen built it.")]},
        )
        for document, summary in (
            ("document", "summary"),
            ("article", "highlights"),
            ("dialogue", "summary"),
            ("text", "summary"),
            ("report", "abstract"),
            ("content", "tldr"),
        )
    ),
    (
        "SQuAD",
        {
            "id": "56be",
            "title": "Norderkoog",
            "context": PASSAGE,
            "question": "Who built it?",
            "answers": {"text": ["Ida Petersen", "Petersen"], "answer_start": [50, 54]},
        },
        "span",
        {"context": "context", "question": "question", "answers": "answers"},
        {
            "context": PASSAGE,
            "question": "Who built it?",
            "answers": {"text": ["Ida Petersen", "Petersen"], "answer_start": [50, 54]},
        },
    ),
    (
        "context, question and answer",
        {"context": PASSAGE, "question": "When?", "answer": "1884"},
        "span",
        {"context": "context", "question": "question", "answers": "answer"},
        {"context": PASSAGE, "question": "When?", "answers": {"text": ["1884"], "answer_start": [42]}},
    ),
    (
        "context, question, answer and start",
        {"context": PASSAGE, "question": "When?", "answer_text": "1884", "answer_start": 42},
        "span",
        {"context": "context", "question": "question", "answers": "answer_text", "answer_start": "answer_start"},
        {"context": PASSAGE, "question": "When?", "answers": {"text": ["1884"], "answer_start": [42]}},
    ),
    (
        "answers as a list of objects",
        {"context": PASSAGE, "question": "When?", "answers": [{"text": "1884", "answer_start": 42}]},
        "span",
        {"context": "context", "question": "question", "answers": "answers"},
        {"context": PASSAGE, "question": "When?", "answers": {"text": ["1884"], "answer_start": [42]}},
    ),
]


@pytest.mark.parametrize(("row", "shape", "columns", "mapped"), [form[1:] for form in FORMS], ids=[f[0] for f in FORMS])
def test_form_is_recognised_and_becomes_the_row_that_training_takes(write_jsonl, row, shape, columns, mapped):
    report = check(write_jsonl([row] * 3))
    assert not [problem for problem in report.problems if problem.row and problem.severity == "error"]
    assert (report.shape.name, dict(report.mapping.columns)) == (shape, columns)
    assert report.task is report.shape.task
    assert list(report.mapped_rows) == [mapped] * 3
    assert report.mapping.reasons.keys() == columns.keys()
    assert not any(repr(column) in report.mapping.reasons[role] for role, column in columns.items())
    assert all(reason.endswith(".") for reason in report.mapping.reasons.values())
    assert set(report.unused_columns) == set(row) - set(columns.values())


@pytest.mark.parametrize(("row", "shape", "mapped"), [(f[1], f[2], f[4]) for f in FORMS], ids=[f[0] for f in FORMS])
def test_form_is_the_same_when_it_is_named_and_when_it_comes_as_parquet(tmp_path, row, shape, mapped):
    path = tmp_path / "rows.parquet"
    pyarrow.parquet.write_table(pyarrow.Table.from_pylist([row] * 3), path)
    report = check(path, shape=shape)
    assert report.shape.name == shape
    assert without_nulls(report.mapped_rows[0]) == without_nulls(mapped)


def without_nulls(value):
    """A column of Parquet has one type, so that a key that one turn lacks is null there."""
    if isinstance(value, dict):
        return {key: without_nulls(inner) for key, inner in value.items() if inner is not None}
    return [without_nulls(inner) for inner in value] if isinstance(value, list) else value


def test_unused_columns_are_named_in_the_order_of_the_file(write_jsonl):
    rows = [{"id": f"{n}", "prompt": f"q{n}", "topic": "t", "response": f"a{n}", "Date": "d"} for n in range(20)]
    assert check(write_jsonl(rows)).unused_columns == ("id", "topic", "Date")


def test_what_the_user_says_has_its_reason_too(write_jsonl):
    rows = [{"a": f"q{n}", "response": f"a{n}"} for n in range(20)]
    mapping = check(write_jsonl(rows), columns={"prompt": "a"}).mapping
    assert mapping.reasons == {
        "prompt": "Chosen by you.",
        "response": "Its name is common for the response.",
    }


def test_column_that_shall_play_no_role_is_left_out(write_jsonl):
    rows = [{"instruction": f"q{n}", "input": "more", "output": f"a{n}"} for n in range(20)]
    report = check(write_jsonl(rows), columns={"input": ""})
    assert report.mapped_rows[0]["messages"][0] == user("q0")
    assert report.unused_columns == ("input",)


def test_prompts_are_not_guessed_where_another_column_holds_text_that_could_be_the_answer(write_jsonl):
    rows = [{"prompt": f"Name river {n}.", "what we say": f"It is the river {n}."} for n in range(20)]
    report = check(write_jsonl(rows))
    assert (report.shape.name, [role.name for role in report.mapping.missing]) == ("chat", ["response"])
    assert check(write_jsonl(rows), shape="prompts").ok


@pytest.mark.parametrize(
    ("task", "shape", "said"),
    [
        (None, "poem", r"chat, preference, labelled, good_answers, prompts, text, summary, span"),
        ("summarization", "chat", r"The shapes are: summary\."),
    ],
)
def test_unknown_shape_is_refused_with_those_there_are(write_jsonl, task, shape, said):
    with pytest.raises(DatasetError, match=said):
        check(write_jsonl([{"prompt": "a", "response": "b"}]), task, shape=shape)


def test_unknown_task_is_refused_before_the_file_is_read(tmp_path):
    with pytest.raises(RecipeError):
        check(tmp_path / "nothing.jsonl", "poetry")


RIVER = {"prompt": "Name a river.", "chosen": "The Weser.", "rejected": "Bremen."}
CHOSEN = [user("Name a river."), assistant("The Weser.")]


@pytest.mark.parametrize(
    ("row", "column", "said"),
    [
        (RIVER | {"rejected": "The Weser."}, "rejected", "are identical"),
        (RIVER | {"chosen": ""}, "chosen", "blank"),
        (RIVER | {"rejected": None}, "rejected", "null"),
        (RIVER | {"rejected": 7}, "rejected", "number"),
        (RIVER | {"prompt": " "}, "prompt", "blank"),
        (RIVER | {"prompt": None}, "prompt", "no prompt"),
        (RIVER | {"prompt": []}, "prompt", "no prompt"),
        (RIVER | {"prompt": CHOSEN}, "prompt", "ends with a turn of the assistant"),
        (RIVER | {"chosen": [user("The Weser.")]}, "chosen", "does not begin with a turn of the assistant"),
        (RIVER | {"rejected": []}, "rejected", "does not begin with a turn of the assistant"),
        (
            RIVER | {"prompt": None, "chosen": CHOSEN, "rejected": CHOSEN},
            "rejected",
            "are identical",
        ),
        (
            RIVER | {"prompt": None, "chosen": CHOSEN, "rejected": CHOSEN[:1]},
            "rejected",
            "does not begin with a turn of the assistant",
        ),
        (RIVER | {"prompt": None, "chosen": [assistant("a")], "rejected": [assistant("b")]}, "prompt", "no prompt"),
        (RIVER | {"chosen": [{"role": "wizard", "content": "a"}]}, "chosen", "'wizard'"),
    ],
)
def test_pair_that_teaches_nothing_is_an_error_of_its_row(write_jsonl, row, column, said):
    rows = [
        {"prompt": f"Name river {n}.", "chosen": f"It is {n}.", "rejected": f"I do not know {n}."} for n in range(20)
    ]
    report = check(write_jsonl([*rows, row]))
    errors = [problem for problem in report.problems if problem.severity == "error"]
    assert [(problem.row, problem.column) for problem in errors] == [(21, column)]
    assert said in errors[0].problem
    assert len(report.mapped_rows) == 20


@pytest.mark.parametrize(
    ("prompt", "said"),
    [(CHOSEN, "ends with a turn of the assistant"), ("", "blank"), (None, "null"), ([], "ends|no turn|no prompt")],
)
def test_prompt_that_asks_nothing_is_an_error_of_its_row(write_jsonl, prompt, said):
    import re

    rows = [{"prompt": [user(f"Name river {n}.")]} for n in range(20)]
    report = check(write_jsonl([*rows, {"prompt": prompt}]))
    (problem,) = report.problems
    assert (problem.severity, problem.row, problem.column) == ("error", 21, "prompt")
    assert re.search(said, problem.problem)


@pytest.mark.parametrize("tools", ["not json", '{"a": 1}', 7, {"name": "f"}, "[" * 10_000])
def test_tools_that_are_no_list_are_an_error_of_their_row(write_jsonl, tools):
    rows = [{"messages": [user(f"q{n}"), assistant(f"a{n}")], "tools": [WEATHER]} for n in range(20)]
    report = check(write_jsonl([*rows, {"messages": [user("q"), assistant("a")], "tools": tools}]))
    (problem,) = report.problems
    assert (problem.severity, problem.row, problem.column) == ("error", 21, "tools")


@pytest.mark.parametrize("tools", [None, "", [], "[]"])
def test_row_without_tools_is_a_chat_without_them(write_jsonl, tools):
    rows = [{"messages": [user(f"q{n}"), assistant(f"a{n}")], "tools": [WEATHER]} for n in range(20)]
    report = check(write_jsonl([*rows, {"messages": [user("q"), assistant("a")], "tools": tools}]))
    assert report.ok
    assert report.mapped_rows[-1] == {"messages": [user("q"), assistant("a")]}


@pytest.mark.parametrize("levels", [100, 260, 900])
def test_tools_that_are_nested_deep_are_read_or_are_an_error_of_their_row(write_file, levels):
    rows = [{"messages": [user(f"q{n}"), assistant(f"a{n}")], "tools": [WEATHER]} for n in range(20)]
    deep = (
        '{"messages": [{"role": "user", "content": "q"}, {"role": "assistant", "content": "a", "tool_calls": [%s]}], '
    )
    deep = (deep + '"tools": [%s]}') % (("[" * levels + "]" * levels,) * 2)
    report = check(write_file("rows.jsonl", "\n".join([*map(json.dumps, rows), deep])))
    assert [problem.row for problem in report.problems] in ([], [21])
    assert report.ok == (len(list(report.mapped_rows)) == 21)
