"""Prompts and answers: a prompt and its response in columns, or a whole chat in one."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from modelforge.recipe import Task
from modelforge.tasks.base import Exchange, MappedRow, Message, Role, Shape, Texts
from modelforge.tasks.faults import Faults, is_absent, name_type
from modelforge.tasks.labels import LABEL_NAMES, refuse_bad_answer
from modelforge.tasks.turns import begin_with, check_answered, find_last_answer, read_turns, say

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
        # "input" comes late: beside an instruction it is alpaca's second part.
        ("prompt", "instruction", "question", "query", "user", "human", "request", "source", "input", "text"),
    ),
    Role(
        "response",
        "What the model should answer.",
        ("response", "output", "completion", "answer", "target", "reply", "assistant", "solution"),
    ),
    Role("input", "More text for the prompt, added after a blank line.", ("input", "context"), False),
    Role("system", "Standing instructions that come before the chat.", ("system", "system_prompt"), False),
    Role(
        "label",
        "Whether the answer is a good one; a bad one is not learned.",
        LABEL_NAMES,
        False,
        holds="label",
    ),
    Role("tools", "The tools that the model can call, as OpenAI describes them.", ("tools",), False, holds="tools"),
)


def to_messages(values: Mapping[str, Any]) -> list[Message]:
    """The chat of prompt, input, response and system. Without a response it ends with the prompt."""
    system, extra = values.get("system"), values.get("input")
    prompt = f"{values['prompt']}\n\n{extra}" if extra and not is_absent(extra) else values["prompt"]
    chat = [{"role": "system", "content": system}] if system and not is_absent(system) else []
    chat.append({"role": "user", "content": prompt})
    if "response" in values:
        chat.append({"role": "assistant", "content": values["response"]})
    return chat


def read_row(values: Mapping[str, Any], faults: Faults) -> MappedRow:
    system = faults.read_optional_text("system", values.get("system"))
    if "messages" in values:
        messages = read_turns("messages", values["messages"], faults)
        if not faults.are_fatal:
            check_answered("messages", messages, faults)
        messages = begin_with(system, messages)
    else:
        texts = {"system": system, "prompt": faults.read_text("prompt", values["prompt"])}
        texts["input"] = faults.read_optional_text("input", values.get("input"))
        texts["response"] = faults.read_text("response", values["response"])
        messages = to_messages(texts)
    if "label" in values:
        refuse_bad_answer("label", values["label"], faults)
    tools = _read_tools(values.get("tools"), faults)
    return {"messages": messages, **({"tools": tools} if tools else {})}


def fill(texts: Mapping[str, Any]) -> tuple[Any, ...]:
    """Arrays of system, user and assistant, of arrays by role."""
    import pyarrow as pa
    import pyarrow.compute as pc

    prompts = texts["prompt"]
    if "input" in texts:
        longer = pc.binary_join_element_wise(prompts, texts["input"], "\n\n")
        prompts = pc.if_else(pc.equal(texts["input"], ""), prompts, longer)
    nothing = pa.nulls(len(prompts), pa.string()).fill_null("")
    return texts.get("system", nothing), prompts, texts["response"]


def read_texts(row: MappedRow) -> Texts:
    messages = row["messages"]
    system = messages[0]["content"] if messages[0]["role"] == "system" else ""
    turns = messages[1:] if system else messages
    first = next((index for index, turn in enumerate(turns) if turn["role"] == "assistant"), len(turns))
    return Texts(system, "\n".join(map(say, turns[:first])), "\n".join(map(say, turns[first:])))


def read_exchange(row: MappedRow) -> Exchange | None:
    """The chat up to its last answer; None where that is a call of tools, which is not text to compare."""
    return find_last_answer(row["messages"], row.get("tools") or ())


def _read_tools(tools: Any, faults: Faults) -> list[Any]:
    """The list of tools, also one that is written as JSON text, as sharegpt does."""
    fix = "Write a JSON list of tools."
    if isinstance(tools, str) and tools.strip():
        import json

        try:
            tools = json.loads(tools)
        except (ValueError, RecursionError):
            faults.note("error", "tools", "This is text that is not JSON.", fix)
            return []
    if is_absent(tools):
        return []
    if not isinstance(tools, list):
        faults.note("error", "tools", f"This is {name_type(tools)} where a list of tools belongs.", fix)
        return []
    return [_describe_tool(tool) for tool in tools]


def _describe_tool(tool: Any) -> Any:
    """A tool as OpenAI describes it; Anthropic's description has the same content."""
    if not isinstance(tool, Mapping) or "function" in tool or tool.get("input_schema") is None:
        return tool
    named = {key: tool[key] for key in ("name", "description") if key in tool}
    return {"type": "function", "function": {**named, "parameters": tool["input_schema"]}}


SHAPE = Shape(
    name="chat",
    title="Prompts and answers",
    sentence="Each row is a prompt with the answer to learn, or a whole chat.",
    task=Task.TEXT_GENERATION,
    roles=ROLES,
    methods=("sft",),
    read_row=read_row,
    fill=fill,
    form="exchange",
)
