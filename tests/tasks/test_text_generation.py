from __future__ import annotations

from modelforge.tasks.shapes.chat import SHAPE, to_messages


def test_prompt_and_response_become_a_chat():
    assert to_messages({"prompt": "a", "response": "b"}) == [
        {"role": "user", "content": "a"},
        {"role": "assistant", "content": "b"},
    ]


def test_prompt_alone_becomes_the_question_that_inference_sends():
    assert to_messages({"prompt": "a", "system": "s"}) == [
        {"role": "system", "content": "s"},
        {"role": "user", "content": "a"},
    ]


def test_input_is_joined_after_a_blank_line_unless_blank():
    assert to_messages({"prompt": "a", "input": "b"})[0]["content"] == "a\n\nb"
    assert to_messages({"prompt": "a", "input": " "})[0]["content"] == "a"
    assert to_messages({"prompt": "a", "input": None})[0]["content"] == "a"


def test_sharegpt_turns_become_roles():
    row, faults = SHAPE.map_row(
        {"messages": [{"from": "human", "value": "a"}, {"from": "gpt", "value": "b"}], "system": "be kind"}
    )
    assert faults == []
    assert row == {
        "messages": [
            {"role": "system", "content": "be kind"},
            {"role": "user", "content": "a"},
            {"role": "assistant", "content": "b"},
        ]
    }


def test_system_turn_of_the_chat_wins_over_the_column():
    chat = [
        {"role": "system", "content": "own"},
        {"role": "user", "content": "a"},
        {"role": "assistant", "content": "b"},
    ]
    row, _ = SHAPE.map_row({"messages": chat, "system": "column"})
    assert row == {"messages": chat}


def test_wrong_type_of_an_optional_value_is_an_error():
    row, faults = SHAPE.map_row({"prompt": "a", "response": "b", "input": 5})
    assert row is None
    assert [fault.role for fault in faults] == ["input"]


def test_chat_without_turns_is_an_error_though_there_is_a_system_prompt():
    row, faults = SHAPE.map_row({"messages": [], "system": "Be kind."})
    assert row is None
    assert [(fault.role, fault.severity) for fault in faults] == [("messages", "error")]
