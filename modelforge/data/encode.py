"""What the model sees: a chat as token ids, with a label wherever the model is to learn.

It owns the rendering through the model's chat template. It does not pad or batch, and it knows nothing of files.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from modelforge.errors import BaseModelError, DatasetError
from modelforge.tasks.base import Message

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

IGNORED = -100
"""The label of a token that carries no loss; the value that torch's cross_entropy and transformers ignore."""

PLAIN_TEMPLATE = """\
{%- for message in messages -%}
{%- if message['role'] == 'system' -%}{{ message['content'] + '\\n\\n' }}
{%- elif message['role'] == 'user' -%}{{ '### User:\\n' + message['content'] + '\\n\\n' }}
{%- else -%}{{ '### Assistant:\\n' + message['content'] + eos_token + '\\n\\n' }}
{%- endif -%}
{%- endfor -%}
{%- if add_generation_prompt -%}{{ '### Assistant:\\n' }}{%- endif -%}"""
"""For a base model that was never taught a chat format."""

_HALF_CHARACTER = "\ufffd"
_STAND_IN = "modelforge-answer-2b9e"


@dataclass(frozen=True)
class Encoded:
    """input_ids and labels are as long as each other; a label is the token id or IGNORED. cut: tokens cut off."""

    input_ids: list[int]
    labels: list[int]
    cut: int


class ChatEncoder:
    """Encodes chats for one tokenizer, cut to max_length tokens.

    A tokenizer without a chat template is given PLAIN_TEMPLATE, so that it is saved with the model. Raises
    BaseModelError for a tokenizer without an end-of-text token: a model could not learn with it where to stop.
    """

    def __init__(self, tokenizer: PreTrainedTokenizerBase, max_length: int) -> None:
        if tokenizer.eos_token is None:
            fix = "Choose another base model, or set eos_token in its tokenizer_config.json."
            raise BaseModelError("The tokenizer of this base model has no end-of-text token.", fix=fix)
        if not tokenizer.chat_template:
            tokenizer.chat_template = _make_plain_template(tokenizer)
        self.tokenizer = tokenizer
        self.max_length = max_length

    def encode(self, messages: Sequence[Message]) -> Encoded:
        """Token ids of a chat, up to its last answer; loss on each answer and the end-of-text token after it.

        Up to the first answer the ids are those of ``apply_chat_template(..., add_generation_prompt=True)``; an uncut
        row ends in a labelled end-of-text token. Raises DatasetError where the template refuses the chat.
        """
        input_ids: list[int] = []
        labels: list[int] = []
        before = ""
        for text, trained in self._render_pieces(messages):
            ids = self._tokenize(text, before)
            before = text[-1:]
            if trained:
                ids.append(self.tokenizer.eos_token_id)
                before = str(self.tokenizer.eos_token)
            input_ids += ids
            labels += ids if trained else [IGNORED] * len(ids)
        cut = max(0, len(input_ids) - self.max_length)
        return Encoded(input_ids[: self.max_length], labels[: self.max_length], cut)

    def preview(self, messages: Sequence[Message]) -> list[tuple[str, bool]]:
        """The same as text, decoded from the ids, in spans of (text, whether the model learns it)."""
        encoded = self.encode(messages)
        spans: list[tuple[list[int], bool]] = []
        for token, label in zip(encoded.input_ids, encoded.labels, strict=True):
            trained = label != IGNORED
            if not spans or spans[-1][1] != trained:
                spans.append(([], trained))
            spans[-1][0].append(token)
        # Whole spans are decoded, not tokens: an emoji takes several tokens, and each alone is no text.
        texts = [(self._decode(ids), trained) for ids, trained in spans]
        if encoded.cut and texts:
            texts[-1] = (texts[-1][0].rstrip(_HALF_CHARACTER), texts[-1][1])
        return texts

    def _render_pieces(self, messages: Sequence[Message]) -> Iterator[tuple[str, bool]]:
        """Pieces of the rendered chat, in order: (text, trained). A trained piece comes without its end-of-text token.

        An answer begins where the rendered chat leaves the prompt that inference would send for it. Some templates
        render an answer otherwise than they ask for it (thoughts are dropped from earlier turns, a header differs);
        there, what the two have in common is the prompt.
        """
        eos = str(self.tokenizer.eos_token)
        last = max((i for i, message in enumerate(messages) if message["role"] == "assistant"), default=-1)
        whole = self._render(messages[: last + 1]) if last >= 0 else ""
        position = 0
        for turn, message in enumerate(messages[: last + 1]):
            if message["role"] != "assistant":
                continue
            prompt = self._render(messages[:turn], asking=True)
            # A stand-in for the answer shows what the template puts around it, whatever the answer says.
            stand_in = {"role": "assistant", "content": _STAND_IN}
            head, _, tail = self._render([*messages[:turn], stand_in]).rpartition(_STAND_IN)
            start = max(position, _count_common(whole, prompt))
            content_end = _find_end(whole, message["content"], len(head) if whole.startswith(head) else start)
            turn_end = content_end + _count_common(whole[content_end:], tail)
            answer_end = whole.find(eos, content_end, turn_end)
            if answer_end >= 0:
                after = answer_end + len(eos)
            else:  # the template closes a turn with a sign of its own, or not at all
                answer_end = after = content_end + len(whole[content_end:turn_end].rstrip())
            yield whole[position:start], False
            yield whole[start:answer_end], True
            position = after

    def _render(self, messages: Sequence[Message], *, asking: bool = False) -> str:
        from jinja2 import TemplateError

        try:
            text = self.tokenizer.apply_chat_template(list(messages), tokenize=False, add_generation_prompt=asking)
        except TemplateError as error:
            fix = "Leave out the system turn, or choose another base model."
            raise DatasetError(f"The model's chat template refuses a chat: {error}.", fix=fix) from error
        return str(text)

    def _tokenize(self, text: str, before: str = "") -> list[int]:
        """Token ids of a piece by itself, but without the blank that SentencePiece puts before the first word of it.

        before: what stands just before the piece. Where the two make a common token, the piece is left alone, since
        inference cuts there as well.
        """
        alone = self._ids(text)
        if not before:
            return alone
        lead, both = self._ids(before), self._ids(before + text)
        return both[len(lead) :] if both[: len(lead)] == lead else alone

    def _ids(self, text: str) -> list[int]:
        # The template carries the special tokens; the tokenizer must not add its own.
        return list(self.tokenizer(text, add_special_tokens=False, verbose=False)["input_ids"])

    def _decode(self, ids: list[int]) -> str:
        text = self.tokenizer.decode(ids, skip_special_tokens=False, clean_up_tokenization_spaces=False)
        return str(text)


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
    return next((index for index, (one, two) in pairs if one != two), len(text))


def _make_plain_template(tokenizer: PreTrainedTokenizerBase) -> str:
    """PLAIN_TEMPLATE, opened by the begin-of-text token where this tokenizer puts one before each text."""
    begins = tokenizer.bos_token is not None and tokenizer("a")["input_ids"][0] == tokenizer.bos_token_id
    return "{{- bos_token -}}\n" + PLAIN_TEMPLATE if begins else PLAIN_TEMPLATE
