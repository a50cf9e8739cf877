"""What a model's chat template makes of a chat: the text that the model sees, in pieces, and what it leaves out of it.

It owns the rendering. It knows nothing of token ids, which `encode` makes of the pieces, and nothing of files.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from functools import cached_property
from typing import TYPE_CHECKING, Any

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
"""For a base model that was never taught a chat format."""

_STAND_IN = "modelforge-answer-2b9e"
_STAND_IN_CALL = {"id": "2b9e2b9e2", "type": "function", "function": {"name": _STAND_IN, "arguments": {}}}
_WRITTEN_ARGUMENTS = '{"a": "b"}'

Piece = tuple[str, bool]
"""(text, trained): a trained piece comes without the end-of-text token that follows it."""


class ChatTemplate:
    """The chat template of one tokenizer; one without is given PLAIN_TEMPLATE, so that it is saved with the model."""

    def __init__(self, tokenizer: PreTrainedTokenizerBase) -> None:
        if not tokenizer.chat_template:
            tokenizer.chat_template = (
                "{{- bos_token -}}\n" + PLAIN_TEMPLATE if begins_with_bos(tokenizer) else PLAIN_TEMPLATE
            )
        self._tokenizer = tokenizer
        self._eos = str(tokenizer.eos_token)

    def render(self, messages: Sequence[Message], tools: Sequence[Any] = (), *, asking: bool = False) -> str:
        """The chat as text; asking: with the header of the answer that is to come.

        Raises DatasetError where the template refuses it.
        """
        from jinja2 import TemplateError

        try:
            text = self._tokenizer.apply_chat_template(
                self._with_readable_calls(messages),
                tools=list(tools) or None,
                tokenize=False,
                add_generation_prompt=asking,
            )
        except (TemplateError, TypeError, ValueError) as error:
            raise DatasetError(
                f"The model's chat template refuses a chat: {error}.", fix=_name_fix(messages, tools)
            ) from error
        return str(text)

    def render_answered(self, messages: Sequence[Message], tools: Sequence[Any] = ()) -> str:
        """The chat as text up to its last answer; "" where there is none."""
        last = _find_last_answer(messages)
        return self.render(messages[: last + 1], tools) if last >= 0 else ""

    def render_pieces(
        self, messages: Sequence[Message], tools: Sequence[Any] = (), *, learn_from: int = 0
    ) -> Iterator[Piece]:
        """Pieces of the rendered chat up to its last answer; answers before turn `learn_from` are not trained.

        An answer begins where the rendered chat leaves the prompt that inference would send for it. Some templates
        render an answer otherwise than they ask for it (thoughts are dropped from earlier turns, a header differs);
        there, what the two have in common is the prompt. A call of tools that the template leaves out is no answer: the
        model would learn to say nothing.
        """
        last = _find_last_answer(messages)
        whole = self.render_answered(messages, tools)
        position = end = 0
        for turn, message in enumerate(messages[: last + 1]):
            if message["role"] != "assistant" or turn < learn_from:
                continue
            prompt = self.render(messages[:turn], tools, asking=True)
            start = max(position, _count_common(whole, prompt))
            if message.get("tool_calls"):
                content_end, turn_end = start, self._find_calls_end(whole, messages[: last + 1], turn, tools)
                answer_end = whole.rfind(self._eos, start, turn_end)
            else:
                content_end, turn_end = self._find_content_end(whole, messages[: turn + 1], tools, start)
                answer_end = whole.find(self._eos, content_end, turn_end)
            if answer_end >= 0:
                after = answer_end + len(self._eos)
            else:  # the template closes a turn with a sign of its own, or not at all
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
        """One sentence on each thing that this template leaves out of such a chat: the text is the same without it."""
        calling = [bool(message.get("tool_calls")) for message in messages]
        talking = [calls and bool(message["content"]) for calls, message in zip(calling, messages, strict=True)]
        answering = [message["role"] == "tool" for message in messages]
        if not (tools or any(calling) or any(answering)):
            return []
        whole = self.render(messages, tools)

        def is_left_out(where: Sequence[bool], change: dict[str, Any], offered: Sequence[Any] = tools) -> bool:
            pairs = zip(messages, where, strict=True)
            changed = [{**message, **change} if chosen else message for message, chosen in pairs]
            try:
                return self.render(changed, offered) == whole
            except DatasetError:  # it was read, and missed
                return False

        says = "The chat template of this base model leaves out"
        losses = []
        if tools and is_left_out([False] * len(messages), {}, ()):
            losses.append(f"{says} the tools on offer, so the model does not see them.")
        if any(calling) and is_left_out(calling, {"tool_calls": [_STAND_IN_CALL]}):
            losses.append(f"{says} calls of tools, so they are not learnt.")
        if any(talking) and is_left_out(talking, {"content": _STAND_IN}):
            losses.append(f"{says} what is said beside a call of tools, so it is not learnt.")
        if any(answering) and is_left_out(answering, {"content": _STAND_IN}):
            losses.append(f"{says} what tools answer, so the model does not see it.")
        return losses

    def _find_content_end(
        self, whole: str, upto: Sequence[Message], tools: Sequence[Any], start: int
    ) -> tuple[int, int]:
        """(where the last answer of `upto` ends in `whole`, where the template has closed its turn)."""
        # A stand-in for the answer shows what the template puts around it, whatever the answer says.
        stand_in = {"role": "assistant", "content": _STAND_IN}
        head, _, tail = self.render([*upto[:-1], stand_in], tools).rpartition(_STAND_IN)
        content_end = _find_end(whole, upto[-1]["content"], len(head) if whole.startswith(head) else start)
        return content_end, content_end + _count_common(whole[content_end:], tail)

    def _find_calls_end(self, whole: str, messages: Sequence[Message], turn: int, tools: Sequence[Any]) -> int:
        """Where the template has closed a turn that calls tools, whose rendering is its own secret."""
        upto = self.render(messages[: turn + 1], tools)
        if whole.startswith(upto):
            return len(upto)
        # Rendered otherwise once the chat goes on: the turn ends before what the next one says.
        following = {**messages[turn + 1], "content": _STAND_IN}
        other = self.render([*messages[: turn + 1], following, *messages[turn + 2 :]], tools)
        return _count_common(whole, other)

    def _with_readable_calls(self, messages: Sequence[Message]) -> list[Message]:
        """The arguments of calls as the template takes them: OpenAI writes them as JSON text, most templates want the
        object and would put the text into quotes once more. vLLM does the same."""
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
        """Whether arguments that are JSON text stand in the chat as they were written: tried with a call."""
        from jinja2 import TemplateError

        call = {**_STAND_IN_CALL, "function": {"name": _STAND_IN, "arguments": _WRITTEN_ARGUMENTS}}
        chat = [{"role": "user", "content": "-"}, {"role": "assistant", "content": "", "tool_calls": [call]}]
        try:
            return _WRITTEN_ARGUMENTS in str(self._tokenizer.apply_chat_template(chat, tokenize=False))
        except (TemplateError, TypeError, ValueError):
            return False


def begins_with_bos(tokenizer: PreTrainedTokenizerBase) -> bool:
    """Whether this tokenizer opens each text with its begin-of-text token."""
    return tokenizer.bos_token is not None and tokenizer("a")["input_ids"][0] == tokenizer.bos_token_id


def _read_arguments(call: Any) -> Any:
    """A call whose arguments are an object where they were the JSON text of one; else the call itself."""
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


def _find_end(whole: str, content: str, start: int) -> int:
    """Where an answer's own text ends in the rendered chat, if it begins at `start`; some templates strip it."""
    for text in (content, content.strip()):
        if whole.startswith(text, start):
            return start + len(text)
    found = whole.find(content.strip(), start)
    return found + len(content.strip()) if found >= 0 else start


def _count_common(text: str, other: str) -> int:
    """How many characters the two have in common at their beginning."""
    if text.startswith(other):
        return len(other)
    pairs = enumerate(zip(text, other, strict=False))
    return next((index for index, (one, two) in pairs if one != two), min(len(text), len(other)))


def _name_fix(messages: Sequence[Message], tools: Sequence[Any]) -> str:
    roles = {message["role"] for message in messages}
    parts = [
        ("the system turn", "system" in roles),
        ("the tools and what concerns them", bool(tools) or "tool" in roles),
    ]
    named = " or ".join(name for name, there in parts if there)
    return f"Leave out {named}, or choose another base model." if named else "Choose another base model."
