"""Reads the turns of a chat, in OpenAI's form (role, content, tool_calls) or in sharegpt's (from, value)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from modelforge.tasks.base import Exchange, Message
from modelforge.tasks.faults import Faults, is_absent, name_type

_SPEAKERS = {
    "system": ("system", "developer"),
    "user": ("user", "human", "prompter"),
    "assistant": ("assistant", "gpt", "chatgpt", "model", "bot", "function_call"),
    "tool": ("tool", "function", "observation"),
}
_ROLES = {name: role for role, names in _SPEAKERS.items() for name in names}
# Who may speak after whom ("" is the beginning). Several tools that are called at once answer in separate turns.
_FOLLOWS = {
    "": ("system", "user"),
    "system": ("user",),
    "user": ("assistant",),
    "assistant": ("user", "tool"),
    "tool": ("assistant", "tool"),
}


def read_turns(role: str, turns: Any, faults: Faults) -> list[Message]:
    """The turns of a chat; only the first wrong turn is reported, as it causes faults in those after it."""
    if not isinstance(turns, list):
        problem = f"This is {name_type(turns)} where a list of turns belongs."
        faults.note("error", role, problem, "Choose another column.")
        return []
    messages: list[Message] = []
    for number, turn in enumerate(turns, start=1):
        message = _read_turn(role, number, turn, faults)
        if message is None or not _check_order(role, number, message, messages, faults):
            return []
        messages.append(message)
    return messages


def read_chat(role: str, value: Any, speaker: str, faults: Faults) -> list[Message]:
    """Turns as they are; one turn, or plain text, as a chat of one turn of that speaker."""
    if isinstance(value, Mapping):
        value = [value]
    if not isinstance(value, list):
        return [{"role": speaker, "content": faults.read_text(role, value)}]
    if len(value) == 1 and isinstance(value[0], Mapping):  # an answer alone is not a valid chat: add a turn before it
        found = Faults(faults.repairs)
        turns = read_turns(role, [{"role": "user", "content": "-"}, *value], found)
        if not found.are_fatal:
            faults += found
            return turns[1:]
    return read_turns(role, value, faults)


def begin_with(system: str, messages: list[Message]) -> list[Message]:
    """The chat after standing instructions, unless there are none or it has its own."""
    if not system or not messages or messages[0]["role"] == "system":
        return messages
    return [{"role": "system", "content": system}, *messages]


def check_answered(role: str, messages: list[Message], faults: Faults) -> None:
    """Note a fault where no turn is the assistant's, or where nothing answers the last one."""
    speakers = [message["role"] for message in messages]
    if "assistant" not in speakers:
        fix = "Add the answer to learn, or remove the row."
        faults.note("error", role, "The chat has no turn of the assistant.", fix)
    elif speakers[-1] != "assistant":
        whose = "the user's" if speakers[-1] == "user" else "a tool's"
        problem = f"Turn {len(speakers)}, the last, is {whose}: nothing answers it, so it is not trained on."
        faults.note("warning", role, problem, "Add the answer, or remove the turn.")


def find_last_answer(messages: Sequence[Message], tools: Sequence[Any] = ()) -> Exchange | None:
    """The last turn of the assistant as the answer to all before it; None where there is none or it calls tools."""
    answers = [turn for turn, message in enumerate(messages) if message["role"] == "assistant"]
    if not answers or messages[answers[-1]].get("tool_calls"):
        return None
    return Exchange(messages[: answers[-1]], messages[answers[-1]]["content"], tools)


def _read_turn(role: str, number: int, turn: Any, faults: Faults) -> Message | None:
    if not isinstance(turn, Mapping):
        problem = f"Turn {number} is {name_type(turn)}, not an object."
        faults.note("error", role, problem, "Give each turn a role and a content.")
        return None
    given = turn.get("role", turn.get("from"))
    speaker = _ROLES.get(given.strip().lower()) if isinstance(given, str) else None
    if speaker is None:
        problem = f"Turn {number} has the unknown role {str(given)[:40]!r}."
        faults.note("error", role, problem, "Roles are system, user, assistant, tool.")
        return None
    content = _join_parts(turn.get("content", turn.get("value")))
    calls = turn.get("tool_calls")
    if speaker == "assistant" and isinstance(calls, list) and calls:
        return {"role": speaker, "content": "" if is_absent(content) else content, "tool_calls": calls}
    before = len(faults)
    text = faults.read_text(role, content, place=f"Turn {number} ({speaker}): ")
    if any(fault.is_fatal for fault in faults[before:]):
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


def _check_order(role: str, number: int, message: Message, before: list[Message], faults: Faults) -> bool:
    last = before[-1]["role"] if before else ""
    if message["role"] in _FOLLOWS[last]:
        return True
    place = f"follows {last}" if last else "opens the chat"
    problem = f"The roles are out of order: turn {number} is {message['role']} and {place}."
    faults.note("error", role, problem, f"Let {' or '.join(_FOLLOWS[last])} come there, or remove the row.")
    return False
