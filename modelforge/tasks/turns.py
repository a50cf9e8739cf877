"""Reads the turns of a chat, in OpenAI's form (role, content, tool_calls) or in sharegpt's (from, value)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from modelforge.tasks.base import Exchange, Fault, Message, Repairs, name_type
from modelforge.tasks.texts import is_absent, read_text

SPEAKERS = {
    "system": "system",
    "developer": "system",
    "user": "user",
    "human": "user",
    "prompter": "user",
    "assistant": "assistant",
    "gpt": "assistant",
    "chatgpt": "assistant",
    "model": "assistant",
    "bot": "assistant",
    "function_call": "assistant",
    "tool": "tool",
    "function": "tool",
    "observation": "tool",
}
# Who may speak after whom ("" is the beginning). Several tools that are called at once answer in separate turns.
_FOLLOWS = {
    "": ("system", "user"),
    "system": ("user",),
    "user": ("assistant",),
    "assistant": ("user", "tool"),
    "tool": ("assistant", "tool"),
}


def read_turns(role: str, turns: Any, repairs: Repairs, faults: list[Fault]) -> list[Message]:
    """The turns of a chat; only the first wrong turn is reported, as it causes faults in those after it."""
    if not isinstance(turns, list):
        problem = f"This is {name_type(turns)} where a list of turns belongs."
        faults.append(Fault("error", role, problem, "Choose another column."))
        return []
    messages: list[Message] = []
    for number, turn in enumerate(turns, start=1):
        message = _read_turn(role, number, turn, repairs, faults)
        if message is None or not _check_order(role, number, message, messages, faults):
            return []
        messages.append(message)
    return messages


def check_answered(role: str, messages: list[Message], faults: list[Fault]) -> None:
    """Add a fault where no turn is the assistant's, or where nothing answers the last one."""
    speakers = [message["role"] for message in messages]
    if "assistant" not in speakers:
        problem = "The chat has no turn of the assistant."
        faults.append(Fault("error", role, problem, "Add the answer to learn, or remove the row."))
    elif speakers[-1] != "assistant":
        whose = "the user's" if speakers[-1] == "user" else "a tool's"
        problem = f"Turn {len(speakers)}, the last, is {whose}: nothing answers it, so it is not trained on."
        faults.append(Fault("warning", role, problem, "Add the answer, or remove the turn."))


def find_last_answer(messages: Sequence[Message], tools: Sequence[Any] = ()) -> Exchange | None:
    """The last turn of the assistant as the answer to all before it; None where there is none or it calls tools."""
    answers = [turn for turn, message in enumerate(messages) if message["role"] == "assistant"]
    if not answers or messages[answers[-1]].get("tool_calls"):
        return None
    return Exchange(messages[: answers[-1]], messages[answers[-1]]["content"], tools)


def _read_turn(role: str, number: int, turn: Any, repairs: Repairs, faults: list[Fault]) -> Message | None:
    if not isinstance(turn, Mapping):
        problem = f"Turn {number} is {name_type(turn)}, not an object."
        faults.append(Fault("error", role, problem, "Give each turn a role and a content."))
        return None
    given = turn.get("role", turn.get("from"))
    speaker = SPEAKERS.get(given.strip().lower()) if isinstance(given, str) else None
    if speaker is None:
        problem = f"Turn {number} has the unknown role {str(given)[:40]!r}."
        faults.append(Fault("error", role, problem, "Roles are system, user, assistant, tool."))
        return None
    content = _join_parts(turn.get("content", turn.get("value")))
    calls = turn.get("tool_calls")
    if speaker == "assistant" and isinstance(calls, list) and calls:
        return {"role": speaker, "content": "" if is_absent(content) else content, "tool_calls": calls}
    before = len(faults)
    text = read_text(role, content, repairs, faults, place=f"Turn {number} ({speaker}): ")
    if any(fault.severity == "error" and not fault.mended for fault in faults[before:]):
        return None
    message: Message = {"role": speaker, "content": text}
    if speaker == "tool":
        message |= {key: turn[key] for key in ("name", "tool_call_id") if isinstance(turn.get(key), str)}
    return message


def _join_parts(content: Any) -> Any:
    """OpenAI also writes a content as a list of parts; those of type text are joined, others are left to the check."""
    if isinstance(content, list) and content and all(isinstance(part, Mapping) and "text" in part for part in content):
        texts = [part["text"] for part in content]
        return "".join(texts) if all(isinstance(text, str) for text in texts) else content
    return content


def _check_order(role: str, number: int, message: Message, before: list[Message], faults: list[Fault]) -> bool:
    last = before[-1]["role"] if before else ""
    if message["role"] in _FOLLOWS[last]:
        return True
    place = f"follows {last}" if last else "opens the chat"
    problem = f"The roles are out of order: turn {number} is {message['role']} and {place}."
    faults.append(Fault("error", role, problem, f"Let {' or '.join(_FOLLOWS[last])} come there, or remove the row."))
    return False
