"""Text generation: a prompt in, a response out; or a whole chat, in OpenAI's form or in sharegpt's."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from modelforge.recipe import Task
from modelforge.tasks.base import (
    Fault,
    MappedRow,
    Message,
    Role,
    TaskSpec,
    describe_text_fault,
    find_text_faults,
    is_absent,
    name_type,
)

ROLES = (
    Role(
        "messages",
        "A whole chat: a list of turns, each with role and content (or from and value).",
        ("messages", "conversations", "conversation", "chat", "turns", "dialog"),
        holds="turns",
        replaces=("prompt", "input", "response"),
    ),
    Role(
        "prompt",
        "What the user says to the model.",
        # "input" comes last: beside an instruction it is alpaca's second part.
        ("prompt", "instruction", "question", "query", "user", "human", "request", "source", "input"),
    ),
    Role(
        "response",
        "What the model shall answer.",
        ("response", "output", "completion", "answer", "target", "reply", "assistant"),
    ),
    Role("input", "More text for the prompt, put after it with a blank line between.", ("input", "context"), False),
    Role("system", "Standing instructions that come before the chat.", ("system", "system_prompt"), False),
)

_SPEAKERS = {
    "system": "system",
    "developer": "system",
    "user": "user",
    "human": "user",
    "assistant": "assistant",
    "gpt": "assistant",
    "chatgpt": "assistant",
    "model": "assistant",
    "bot": "assistant",
}


def to_messages(values: Mapping[str, Any]) -> list[Message]:
    """The chat of prompt, input, response and system, or of messages. Without a response it ends with the prompt."""
    system = values.get("system")
    opening = [] if is_absent(system) else [{"role": "system", "content": str(system)}]
    if "messages" in values:
        turns = [_read_turn(turn) for turn in values["messages"]]
        return turns if turns and turns[0]["role"] == "system" else opening + turns
    extra = values.get("input")
    prompt = values["prompt"] if is_absent(extra) else f"{values['prompt']}\n\n{extra}"
    chat = [*opening, {"role": "user", "content": prompt}]
    return [*chat, {"role": "assistant", "content": values["response"]}] if "response" in values else chat


def map_row(values: Mapping[str, Any]) -> tuple[MappedRow | None, list[Fault]]:
    if "messages" in values:
        system_faults = find_text_faults(tuple(role for role in ROLES if role.name == "system"), values)
        faults = system_faults + _find_chat_faults(values["messages"])
    else:
        faults = find_text_faults(ROLES, values)
    usable = not any(fault.severity == "error" for fault in faults)
    return ({"messages": to_messages(values)} if usable else None), faults


def _find_chat_faults(turns: Any) -> list[Fault]:
    """What is wrong with a chat; the first wrong turn is named, as those after it follow from it."""
    if not isinstance(turns, list):
        return [_error(f"This is {name_type(turns)} where a list of turns belongs.", "Choose another column.")]
    speakers: list[str] = []
    for number, turn in enumerate(turns, start=1):
        fault = _find_turn_fault(number, turn, before=speakers[-1] if speakers else "")
        if fault:
            return [fault]
        speakers.append(_speaker(turn))
    if "assistant" not in speakers:
        return [_error("The chat has no turn of the assistant.", "Add the answer to learn, or remove the row.")]
    if speakers[-1] == "user":
        problem = f"Turn {len(turns)}, the last, is the user's: nothing answers it, so it is not trained on."
        return [Fault("warning", "messages", problem, "Add the answer, or remove the turn.")]
    return []


def _find_turn_fault(number: int, turn: Any, *, before: str) -> Fault | None:
    if not isinstance(turn, dict):
        return _error(f"Turn {number} is {name_type(turn)}, not an object.", "Give each turn a role and a content.")
    speaker = _speaker(turn)
    if not speaker:
        said = turn.get("role", turn.get("from"))
        return _error(f"Turn {number} has the role {said!r}, which is not known.", "Roles are system, user, assistant.")
    if described := describe_text_fault(turn.get("content", turn.get("value"))):
        return _error(f"Turn {number} ({speaker}): {described[0]}", described[1])
    # system may only open the chat; after that user and assistant take turns, and the user begins
    allowed = {"": ("system", "user"), "system": ("user",), "user": ("assistant",), "assistant": ("user",)}[before]
    if speaker not in allowed:
        place = f"follows {before}" if before else "opens the chat"
        return _error(
            f"The roles are out of order: turn {number} is {speaker} and {place}.",
            f"Let {' or '.join(allowed)} come there, or remove the row.",
        )
    return None


def _speaker(turn: Mapping[str, Any]) -> str:
    said = turn.get("role", turn.get("from"))
    return _SPEAKERS.get(said.strip().lower(), "") if isinstance(said, str) else ""


def _read_turn(turn: Mapping[str, Any]) -> Message:
    return {"role": _speaker(turn), "content": turn.get("content", turn.get("value", ""))}


def _error(problem: str, fix: str) -> Fault:
    return Fault("error", "messages", problem, fix)


SPEC = TaskSpec(
    task=Task.TEXT_GENERATION,
    title="Text generation",
    sentence="Answers a prompt with text, as in your examples.",
    roles=ROLES,
    methods=("sft",),
    map_row=map_row,
    to_messages=to_messages,
)
