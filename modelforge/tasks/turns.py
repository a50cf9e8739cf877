"""Reads the turns of a chat, in OpenAI's form (role, content, tool_calls) or in sharegpt's (from, value); a content
that is a list of parts is read by `parts`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from modelforge.tasks.base import Exchange, Message
from modelforge.tasks.faults import Faults, is_absent, name_type
from modelforge.tasks.parts import are_parts, name_results, read_parts, read_reasoning

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
    has_results = False
    for number, turn in enumerate(turns, start=1):
        found = _read_turn(role, number, turn, faults)
        if not found or not _check_order(role, number, found[0], messages, faults):
            return []
        messages += found
        has_results = has_results or any(message["role"] == "tool" for message in found)
    return list(name_results(messages)) if has_results else messages


def read_chat(role: str, value: Any, speaker: str, faults: Faults) -> list[Message]:
    """Turns as they are; one turn, parts of one, or plain text, as a chat of one turn of that speaker."""
    if isinstance(value, Mapping):
        value = [value]
    if are_parts(value):
        value = [{"role": speaker, "content": value}]
        if speaker == "user":
            return read_turns(role, value, faults)
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


def say(turn: Message) -> str:
    """All that a turn says, for comparing it with others."""
    calls = turn.get("tool_calls")
    thought = turn.get("reasoning_content")
    return "\n".join([*([thought] if thought else []), str(turn["content"]), *([str(calls)] if calls else [])])


def _read_turn(role: str, number: int, turn: Any, faults: Faults) -> list[Message]:
    """The messages of one turn: usually one, more where it has the results of tools; none where it is wrong."""
    if not isinstance(turn, Mapping):
        problem = f"Turn {number} is {name_type(turn)}, not an object."
        faults.note("error", role, problem, "Give each turn a role and a content.")
        return []
    given = turn.get("role", turn.get("from"))
    speaker = _ROLES.get(given.strip().lower()) if isinstance(given, str) else None
    if speaker is None:
        problem = f"Turn {number} has the unknown role {str(given)[:40]!r}."
        faults.note("error", role, problem, "Roles are system, user, assistant, tool.")
        return []
    place, before = f"Turn {number} ({speaker}): ", len(faults)
    content = turn["content"] if turn.get("content") is not None else turn.get("value")
    if not isinstance(content, list) or not content:
        message = _finish_message(role, {"role": speaker, "content": content}, turn, faults, place)
        return [] if any(fault.is_fatal for fault in faults[before:]) else [message]
    messages = read_parts(role, speaker, content, faults, place)
    if not any(fault.is_fatal for fault in faults[before:]):
        messages = [_finish_message(role, message, turn, faults, place) for message in messages]
    return [] if any(fault.is_fatal for fault in faults[before:]) else messages


def _finish_message(role: str, message: Message, turn: Mapping[str, Any], faults: Faults, place: str) -> Message:
    """The message with its text checked, and with what the turn has beside its content."""
    speaker, content = message["role"], message["content"]
    calls = message.get("tool_calls") or (turn.get("tool_calls") if speaker == "assistant" else None)
    if speaker == "assistant" and isinstance(calls, list) and calls:
        message = {**message, "content": "" if is_absent(content) else content, "tool_calls": calls}
    else:
        message = {**message, "content": faults.read_text(role, content, place=place)}
    if speaker == "tool":
        message = {**{key: turn[key] for key in ("name", "tool_call_id") if isinstance(turn.get(key), str)}, **message}
    thought = message.pop("reasoning_content", "") or read_reasoning(turn)
    return {**message, "reasoning_content": thought} if speaker == "assistant" and thought.strip() else message


def _check_order(role: str, number: int, message: Message, before: list[Message], faults: Faults) -> bool:
    last = before[-1]["role"] if before else ""
    if message["role"] in _FOLLOWS[last]:
        return True
    place = f"follows {last}" if last else "opens the chat"
    problem = f"The roles are out of order: turn {number} is {message['role']} and {place}."
    faults.note("error", role, problem, f"Let {' or '.join(_FOLLOWS[last])} come there, or remove the row.")
    return False
