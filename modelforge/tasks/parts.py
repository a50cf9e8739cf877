"""A message's content written as a list of parts (OpenAI, Anthropic, AI SDK), as the messages that chat templates take.

Text is joined. Reasoning becomes `reasoning_content`, a tool call one of `tool_calls`, a tool result a message of the
role `tool`: the names of transformers' chat templates. A part that is no text is an error that a repair can leave out.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from modelforge.tasks.faults import Faults, name_type

LEAVE_OUT_PARTS = "leave_out_parts"

_TEXT = {"text", "input_text", "output_text", "refusal"}
_REASONING = {"thinking", "reasoning", "reasoning_text"}
_CALLS = {"tool_use", "tool_call", "function_call"}
_RESULTS = {"tool_result", "function_call_output"}
_MEDIA = ("image", "audio", "video", "file", "document")
_PLACES = ("text", "value", "content", "refusal", "thinking", "reasoning", "summary")  # where a part has its text


def read_parts(role: str, speaker: str, parts: Sequence[Any], faults: Faults, place: str) -> list[dict[str, Any]]:
    """The messages of one turn, in order: usually one; each tool result is one of its own. Their contents are joined
    texts, still to be checked. place: the turn, such as "Turn 3 (user): "."""
    messages: list[dict[str, Any]] = []
    joins = False  # whether the next part belongs to the last message
    for number, part in enumerate(parts, start=1):
        where = f"{place}Part {number} "
        kind = _name_kind(part)
        if kind in _RESULTS:
            messages.append(_make_result(role, part, faults, where))
            joins = False
            continue
        if not joins and kind in _TEXT | _REASONING | _CALLS:
            messages.append({"role": speaker, "content": ""})
            joins = True
        if kind in _CALLS:
            messages[-1].setdefault("tool_calls", []).append(_make_call(part))
        elif kind in _TEXT | _REASONING:
            text = _find_text(part)
            if text is None:
                faults.note("error", role, f"{where}has no text.", "Write its text, or remove the part.")
                continue
            name = "reasoning_content" if kind in _REASONING else "content"
            messages[-1][name] = messages[-1].get(name, "") + text
        else:
            _refuse(role, kind, faults, where)
    return messages or [{"role": speaker, "content": ""}]


def are_parts(value: Any) -> bool:
    """Whether a list holds parts of one content rather than turns of a chat."""
    return (
        isinstance(value, list)
        and bool(value)
        and all(isinstance(part, Mapping) and _is_given(part, "type") for part in value)
        and not any(_is_given(part, "role") or _is_given(part, "from") for part in value)
    )


def read_reasoning(turn: Mapping[str, Any]) -> str:
    """What a turn has of reasoning beside its content; "" for none."""
    found = (turn.get(name) for name in ("reasoning_content", "reasoning", "thinking"))
    return next((text for text in found if isinstance(text, str) and text.strip()), "")


def _name_kind(part: Any) -> str:
    """The part's type with underscores; of one without a type, what it holds."""
    if isinstance(part, str):
        return "text"
    if not isinstance(part, Mapping):
        return name_type(part)
    if isinstance(kind := part.get("type"), str) and kind.strip():
        return kind.strip().lower().replace("-", "_")
    held = [name for name, value in part.items() if value is not None]
    if any(name in ("text", "value") for name in held):
        return "text"
    return next((str(name) for name in held), "empty")


def _find_text(part: Any) -> str | None:
    if isinstance(part, str):
        return part
    for name in _PLACES:
        value = part.get(name)
        if isinstance(value, Mapping):  # OpenAI's assistants write {"text": {"value": ...}}
            value = value.get("value")
        if isinstance(value, list):  # a summary of reasoning is a list of texts
            texts = [_find_text(each) for each in value if isinstance(each, str | Mapping)]
            value = "\n".join(text for text in texts if text) or None
        if isinstance(value, str):
            return value
    return None


def _make_call(part: Mapping[str, Any]) -> dict[str, Any]:
    """The call as OpenAI and transformers write it."""
    if isinstance(inner := part.get("function"), Mapping):
        part = {**part, **inner}
    name = _first(part, "name", "toolName", "tool_name")
    arguments = _first(part, "arguments", "input", "args")
    function = {"name": str(name or ""), "arguments": {} if arguments is None else arguments}
    return {"id": str(_first(part, "id", "call_id", "toolCallId") or ""), "type": "function", "function": function}


def _make_result(role: str, part: Mapping[str, Any], faults: Faults, where: str) -> dict[str, Any]:
    content = _first(part, "content", "output", "result")
    if isinstance(content, list):
        texts = []
        for inner in content:
            kind = _name_kind(inner)
            text = _find_text(inner) if kind in _TEXT else None
            if text is None:
                _refuse(role, kind, faults, f"{where}(a tool result) ")
            texts.append(text or "")
        content = "".join(texts)
    elif content is not None and not isinstance(content, str):
        content = json.dumps(content, ensure_ascii=False, default=str)
    named = {"tool_call_id": _first(part, "tool_use_id", "call_id", "toolCallId"), "name": _first(part, "toolName")}
    return {"role": "tool", "content": content or "", **{key: str(value) for key, value in named.items() if value}}


def _refuse(role: str, kind: str, faults: Faults, where: str) -> None:
    """Note a part that is no text, by its name."""
    media = next((name for name in _MEDIA if name in kind), "")
    if media:
        article = "an" if media[0] in "aio" else "a"
        what = "audio" if media == "audio" else f"{article} {media}"
    else:
        what = f"of the type {kind[:40]!r}"
    fix = "Remove the part, or allow parts that are not text to be left out."
    faults.note("error", role, f"{where}is {what}, and only text is trained.", fix, LEAVE_OUT_PARTS)


def name_results(messages: Sequence[dict[str, Any]]) -> Iterator[dict[str, Any]]:
    """The messages; a tool result that gives only the id of its call gets the name of the tool too, as some chat
    templates need it."""
    names: dict[str, str] = {}
    for message in messages:
        for call in message.get("tool_calls") or ():
            function = call.get("function") if isinstance(call, Mapping) else None
            if isinstance(function, Mapping) and isinstance(call.get("id"), str):
                names[call["id"]] = str(function.get("name", ""))
        found = names.get(message.get("tool_call_id", "")) if message["role"] == "tool" else None
        yield {**message, "name": found} if found and "name" not in message else message


def _first(part: Mapping[str, Any], *names: str) -> Any:
    return next((part[name] for name in names if part.get(name) is not None), None)


def _is_given(part: Mapping[str, Any], name: str) -> bool:
    return part.get(name) is not None
