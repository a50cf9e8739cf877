"""Contents that are lists of parts: which messages they become, and what is refused by name."""

from __future__ import annotations

from typing import Any

import pytest

from modelforge.tasks import SHAPES
from modelforge.tasks.faults import Fault


def read(*turns: dict[str, Any], repairs: frozenset[str] = frozenset()) -> tuple[list[dict[str, Any]], list[Fault]]:
    row, faults = SHAPES["chat"].map_row({"messages": list(turns)}, repairs)
    return (row or {}).get("messages", []), list(faults)


def user(*parts: Any) -> dict[str, Any]:
    return {"role": "user", "content": list(parts)}


def assistant(*parts: Any) -> dict[str, Any]:
    return {"role": "assistant", "content": list(parts)}


def text(content: str) -> dict[str, Any]:
    return {"type": "text", "text": content}


ANSWER = {"role": "assistant", "content": "Yes."}


@pytest.mark.parametrize(
    "part",
    [
        text("Yes."),
        {"type": "text", "value": "Yes."},
        {"type": "output_text", "text": "Yes.", "annotations": []},
        {"type": "text", "text": {"value": "Yes.", "annotations": []}},
        {"type": "refusal", "refusal": "Yes."},
        {"text": "Yes."},
        {"type": "text", "text": "Yes.", "image_url": None},  # as Parquet has it
        "Yes.",
    ],
)
def test_every_way_to_write_a_text_is_read(part: Any) -> None:
    assert read(user(text("Is it?")), assistant(part)) == ([{"role": "user", "content": "Is it?"}, ANSWER], [])


@pytest.mark.parametrize(
    "part",
    [
        {"type": "thinking", "thinking": "Hm."},
        {"type": "reasoning", "text": "Hm."},
        {"type": "reasoning", "summary": [{"type": "summary_text", "text": "Hm."}]},
    ],
)
def test_reasoning_is_kept_apart_from_the_answer(part: Any) -> None:
    messages, faults = read(user(text("Is it?")), assistant(part, text("Yes.")))
    assert (messages[-1], faults) == ({**ANSWER, "reasoning_content": "Hm."}, [])


@pytest.mark.parametrize("name", ["reasoning_content", "reasoning", "thinking"])
def test_reasoning_beside_the_content_is_kept(name: str) -> None:
    messages, _ = read({"role": "user", "content": "Is it?"}, {**ANSWER, name: "Hm."})
    assert messages[-1] == {**ANSWER, "reasoning_content": "Hm."}


@pytest.mark.parametrize(
    ("call", "result"),
    [
        (
            {"type": "tool_use", "id": "1", "name": "add", "input": {"a": 1}},
            {"type": "tool_result", "tool_use_id": "1", "content": "2"},
        ),
        (
            {"type": "tool-call", "toolCallId": "1", "toolName": "add", "args": {"a": 1}},
            {"type": "tool-result", "toolCallId": "1", "toolName": "add", "result": "2"},
        ),
        (
            {"type": "function_call", "call_id": "1", "name": "add", "arguments": {"a": 1}},
            {"type": "function_call_output", "call_id": "1", "output": "2"},
        ),
    ],
)
def test_calls_and_results_become_the_messages_that_templates_take(call: Any, result: Any) -> None:
    messages, faults = read(user(text("Add.")), assistant(call), user(result), assistant(text("Two.")))
    assert not faults
    assert messages[1:3] == [
        {
            "role": "assistant",
            "content": "",
            "tool_calls": [{"id": "1", "type": "function", "function": {"name": "add", "arguments": {"a": 1}}}],
        },
        {"role": "tool", "content": "2", "tool_call_id": "1", "name": "add"},
    ]


@pytest.mark.parametrize(
    ("part", "named"),
    [
        ({"type": "image_url", "image_url": {"url": "x"}}, "an image"),
        ({"type": "image", "text": None}, "an image"),
        ({"type": "input_audio", "input_audio": {}}, "audio"),
        ({"type": "video_url", "video_url": {}}, "a video"),
        ({"type": "file", "file": {}}, "a file"),
        ({"type": "document", "source": {}}, "a document"),
        ({"type": "redacted_thinking", "data": "x"}, "of the type 'redacted_thinking'"),
        ({"image": {"bytes": "x"}}, "an image"),
        (7, "of the type 'a number'"),
    ],
)
def test_what_is_no_text_is_refused_by_name_and_left_out_if_that_is_chosen(part: Any, named: str) -> None:
    turns = user(text("What is it?"), part), ANSWER
    messages, [fault] = read(*turns)
    assert messages == [] and fault.is_fatal
    assert fault.problem == f"Turn 1 (user): Part 2 is {named}, and only text is trained."
    messages, [fault] = read(*turns, repairs=frozenset({"leave_out_parts"}))
    assert fault.fixed and messages[0] == {"role": "user", "content": "What is it?"}


def test_turn_of_nothing_but_an_image_stays_an_error() -> None:
    messages, faults = read(user({"type": "image"}), ANSWER, repairs=frozenset({"leave_out_parts"}))
    assert messages == [] and [fault.problem for fault in faults if fault.is_fatal] == [
        "Turn 1 (user): The text is blank."
    ]


def test_image_in_a_tool_result_and_text_without_a_text_are_refused() -> None:
    result = {"type": "tool_result", "tool_use_id": "1", "content": [{"type": "image"}]}
    call = {"type": "tool_use", "id": "1", "name": "see", "input": {}}
    _, [fault] = read(user(text("See.")), assistant(call), user(result), ANSWER)
    assert fault.problem == "Turn 3 (user): Part 1 (a tool result) is an image, and only text is trained."
    _, [fault] = read(user({"type": "text"}), ANSWER)
    assert fault.problem == "Turn 1 (user): Part 1 has no text."
