"""Renders a chat with a model's chat template: as text, as trained and untrained parts, and what it leaves out.

Token ids are made from these parts in `encode`.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from functools import cached_property
from typing import TYPE_CHECKING, Any

from modelforge.data.template_renderer import RENDERER, bound_templates
from modelforge.errors import DatasetError
from modelforge.tasks.base import Message

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

PLAIN_TEMPLATE = """\
{%- if tools -%}{{ '### Tools:\\n' + (tools | tojson) + '\\n\\n' }}{%- endif -%}
{%- for message in messages -%}
{%- if message['role'] == 'system' -%}{{ message['content'] + '\\n\\n' }}
{%- elif message['role'] == 'user' -%}{{ '### User:\\n' + message['content'] + '\\n\\n' }}
{%- elif message['role'] == 'tool' -%}{{ '### Tool:\\n' + message['content'] + '\\n\\n' }}
{%- else -%}{{ '### Assistant:\\n' + message['content'] }}
{%- if message['tool_calls'] -%}{{ '\\n### Call:\\n' + (message['tool_calls'] | tojson) }}{%- endif -%}
{{- eos_token + '\\n\\n' }}
{%- endif -%}
{%- endfor -%}
{%- if add_generation_prompt -%}{{ '### Assistant:\\n' }}{%- endif -%}"""
"""For a base model without a chat format."""

_STAND_IN = "modelforge-answer-2b9e"
_STAND_IN_CALL = {"id": "2b9e2b9e2", "type": "function", "function": {"name": _STAND_IN, "arguments": {}}}
_WRITTEN_ARGUMENTS = '{"a": "b"}'

_AT_ONCE = 8  # chats

Chat = tuple[Sequence[Message], bool]
"""(messages, whether the header of the next answer follows)."""
Part = tuple[str, bool]
"""(text, trained): a trained part comes without the end-of-text token that follows it."""


class ChatTemplate:
    """The chat template of a tokenizer. A tokenizer without one gets PLAIN_TEMPLATE, which is saved with the model."""

    def __init__(self, tokenizer: PreTrainedTokenizerBase) -> None:
        bound_templates()
        if not tokenizer.chat_template:
            tokenizer.chat_template = (
                "{{- bos_token -}}\n" + PLAIN_TEMPLATE if begins_with_bos(tokenizer) else PLAIN_TEMPLATE
            )
        self._tokenizer = tokenizer
        self._eos = str(tokenizer.eos_token)

    def render(self, messages: Sequence[Message], tools: Sequence[Any] = (), *, for_answer: bool = False) -> str:
        """The chat as text. for_answer: with the header of the next answer.

        Raises DatasetError if the template rejects the chat, BaseModelError if it takes too much.
        """
        return self._render_each([(messages, for_answer)], tools)[0]

    def _render_each(self, chats: Sequence[Chat], tools: Sequence[Any]) -> list[str]:
        """What `apply_chat_template` gives; a few at once, as the way to the renderer takes longer than rendering."""
        from jinja2 import TemplateError

        offered = list(tools) or None
        shared = {"tools": offered, "documents": None, **self._tokenizer.special_tokens_map}
        texts: list[str] = []
        try:
            if not all(isinstance(tool, Mapping) for tool in tools):
                raise ValueError("tools should be JSON schemas")
            template = self._tokenizer.get_chat_template(tools=offered)
            for start in range(0, len(chats), _AT_ONCE):
                few = [
                    {**shared, "messages": self._with_readable_calls(messages), "add_generation_prompt": for_answer}
                    for messages, for_answer in chats[start : start + _AT_ONCE]
                ]
                texts += RENDERER.render(template, few)
        except (TemplateError, TypeError, ValueError) as error:
            raise DatasetError(
                f"The model's chat template rejects a chat: {error}.", fix=_name_fix(chats[0][0], tools)
            ) from error
        return texts

    def render_answered(self, messages: Sequence[Message], tools: Sequence[Any] = ()) -> str:
        """The chat as text up to its last answer; "" if it has none."""
        last = _find_last_answer(messages)
        return self.render(messages[: last + 1], tools) if last >= 0 else ""

    def render_parts(
        self, messages: Sequence[Message], tools: Sequence[Any] = (), *, learn_from: int = 0
    ) -> Iterator[Part]:
        """Parts of the rendered chat up to its last answer; answers before turn `learn_from` are not trained.

        An answer begins where the rendered chat departs from the prompt that inference would send for it. Some
        templates render past answers differently (without thoughts, or with another header); then their common prefix
        is the prompt. A tool call that the template leaves out is not trained: the model would learn to say nothing.
        """
        answered = messages[: _find_last_answer(messages) + 1]
        turns = [turn for turn in range(learn_from, len(answered)) if answered[turn]["role"] == "assistant"]
        if not turns:
            return
        chats: list[Chat] = [(answered, False)]
        for turn in turns:
            # A placeholder answer shows what the template puts around any answer.
            calls = answered[turn].get("tool_calls")
            closed = answered[turn] if calls else {**answered[turn], "content": _STAND_IN}
            chats += [(answered[:turn], True), ([*answered[:turn], closed], False)]
        whole, *pairs = self._render_each(chats, tools)
        position = end = 0
        for turn, prompt, upto in zip(turns, pairs[::2], pairs[1::2], strict=True):
            message = answered[turn]
            start = max(position, _count_common(whole, prompt))
            if message.get("tool_calls"):
                content_end, turn_end = start, self._find_calls_end(whole, upto, answered, turn, tools)
                answer_end = whole.rfind(self._eos, start, turn_end)
            else:
                content_end, turn_end = _find_content_end(whole, upto, message["content"], start)
                answer_end = whole.find(self._eos, content_end, turn_end)
            if answer_end >= 0:
                after = answer_end + len(self._eos)
            else:  # the template ends a turn with another token, or with none
                answer_end = after = content_end + len(whole[content_end:turn_end].rstrip())
            end = after
            if message.get("tool_calls") and not whole[start:answer_end].strip():
                continue
            yield whole[position:start], False
            yield whole[start:answer_end], True
            position = after
        if end > position:
            yield whole[position:end], False

    def find_losses(self, messages: Sequence[Message], tools: Sequence[Any] = ()) -> list[str]:
        """One sentence for each part of the chat that this template leaves out: the text is the same without it."""
        calling = [bool(message.get("tool_calls")) for message in messages]
        talking = [calls and bool(message["content"]) for calls, message in zip(calling, messages, strict=True)]
        answering = [message["role"] == "tool" for message in messages]
        thinking = [bool(message.get("reasoning_content")) for message in messages]
        if not (tools or any(calling) or any(answering) or any(thinking)):
            return []
        whole = self.render(messages, tools)

        def is_left_out(where: Sequence[bool], change: dict[str, Any], offered: Sequence[Any] = tools) -> bool:
            pairs = zip(messages, where, strict=True)
            changed = [{**message, **change} if chosen else message for message, chosen in pairs]
            try:
                return self.render(changed, offered) == whole
            except DatasetError:  # the template needs it
                return False

        says = "The chat template of this base model leaves out"
        losses = []
        if tools and is_left_out([False] * len(messages), {}, ()):
            losses.append(f"{says} the available tools, so the model does not see them.")
        if any(calling) and is_left_out(calling, {"tool_calls": [_STAND_IN_CALL]}):
            losses.append(f"{says} tool calls, so they are not trained.")
        if any(talking) and is_left_out(talking, {"content": _STAND_IN}):
            losses.append(f"{says} the text next to a tool call, so it is not trained.")
        if any(answering) and is_left_out(answering, {"content": _STAND_IN}):
            losses.append(f"{says} tool results, so the model does not see them.")
        if any(thinking) and is_left_out(thinking, {"reasoning_content": ""}):
            losses.append(f"{says} reasoning, so it is not trained.")
        return losses

    def _find_calls_end(
        self, whole: str, upto: str, messages: Sequence[Message], turn: int, tools: Sequence[Any]
    ) -> int:
        """Where the template ends a turn with tool calls, which each template renders in its own way. upto: the chat
        up to that turn."""
        if whole.startswith(upto):
            return len(upto)
        # Rendered differently within a longer chat: the turn ends before the content of the next one.
        following = {**messages[turn + 1], "content": _STAND_IN}
        other = self.render([*messages[: turn + 1], following, *messages[turn + 2 :]], tools)
        return _count_common(whole, other)

    def _with_readable_calls(self, messages: Sequence[Message]) -> list[Message]:
        """Tool-call arguments as the template expects them. OpenAI writes them as JSON text, but most templates expect
        an object and would quote the text again. vLLM does the same."""
        if not any(message.get("tool_calls") for message in messages) or self._takes_written_arguments:
            return list(messages)
        return [
            {**message, "tool_calls": [_read_arguments(call) for call in message["tool_calls"]]}
            if message.get("tool_calls")
            else message
            for message in messages
        ]

    @cached_property
    def _takes_written_arguments(self) -> bool:
        """Whether the template inserts JSON-text arguments unchanged, tried with one call."""
        from jinja2 import TemplateError

        call = {**_STAND_IN_CALL, "function": {"name": _STAND_IN, "arguments": _WRITTEN_ARGUMENTS}}
        chat = [{"role": "user", "content": "-"}, {"role": "assistant", "content": "", "tool_calls": [call]}]
        try:
            return _WRITTEN_ARGUMENTS in str(self._tokenizer.apply_chat_template(chat, tokenize=False))
        except (TemplateError, TypeError, ValueError):
            return False


def begins_with_bos(tokenizer: PreTrainedTokenizerBase) -> bool:
    """Whether this tokenizer adds its begin-of-text token to each text."""
    return tokenizer.bos_token is not None and tokenizer("a")["input_ids"][0] == tokenizer.bos_token_id


def _read_arguments(call: Any) -> Any:
    """The call with its arguments parsed if they are the JSON text of an object; else unchanged."""
    function = call.get("function", call) if isinstance(call, dict) else None
    if not isinstance(function, dict) or not isinstance(written := function.get("arguments"), str):
        return call
    try:
        arguments = json.loads(written)
    except (ValueError, RecursionError):
        return call
    if not isinstance(arguments, dict):
        return call
    read = {**function, "arguments": arguments}
    return {**call, "function": read} if "function" in call else read


def _find_last_answer(messages: Sequence[Message]) -> int:
    return max((turn for turn, message in enumerate(messages) if message["role"] == "assistant"), default=-1)


def _find_content_end(whole: str, upto: str, content: str, start: int) -> tuple[int, int]:
    """(where an answer ends in `whole`, where the template has closed its turn). upto: the chat up to that turn, with
    the placeholder as its answer."""
    head, _, tail = upto.rpartition(_STAND_IN)
    content_end = _find_end(whole, content, len(head) if whole.startswith(head) else start)
    return content_end, content_end + _count_common(whole[content_end:], tail)


def _find_end(whole: str, content: str, start: int) -> int:
    """Where an answer's text that begins at `start` ends in the rendered chat; some templates strip it."""
    for text in (content, content.strip()):
        if whole.startswith(text, start):
            return start + len(text)
    found = whole.find(content.strip(), start)
    return found + len(content.strip()) if found >= 0 else start


def _count_common(text: str, other: str) -> int:
    """The length of the common prefix."""
    if text.startswith(other):
        return len(other)
    pairs = enumerate(zip(text, other, strict=False))
    return next((index for index, (one, two) in pairs if one != two), min(len(text), len(other)))


def _name_fix(messages: Sequence[Message], tools: Sequence[Any]) -> str:
    roles = {message["role"] for message in messages}
    parts = [
        ("the system turn", "system" in roles),
        ("the tools and their calls and results", bool(tools) or "tool" in roles),
    ]
    named = " or ".join(name for name, there in parts if there)
    return f"Remove {named}, or choose another base model." if named else "Choose another base model."
