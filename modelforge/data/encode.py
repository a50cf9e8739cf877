"""What the model sees: a row as token ids, with a label on each token that is trained; for an encoder-decoder a source
text and its target, as separate input and labels.

The text of a chat comes from the model's chat template (`template`); how ids are displayed is in `token_text`. It does
not pad, batch or read files.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

from modelforge.data.pieces import divide_tokens
from modelforge.data.template import ChatTemplate, Part, begins_with_bos
from modelforge.data.token_text import Token, split_tokens
from modelforge.errors import BaseModelError

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

IGNORED = -100
"""The label of a token without loss, which torch's cross_entropy and transformers ignore."""

_LEAST_PIECE = 4  # tokens; a shorter one is no context to learn from
_CHARACTERS_AT_ONCE = 1_000_000  # a fast tokenizer keeps about 100 bytes a token while it works on a batch


@dataclass(frozen=True)
class Encoded:
    """input_ids and labels have the same length; a label is the token id or IGNORED. cut: tokens cut off."""

    input_ids: list[int]
    labels: list[int]
    cut: int


class ChatEncoder:
    """Encodes mapped rows for one tokenizer, cut to max_length tokens.

    A tokenizer without a chat template gets a plain one, which is saved with the model. Raises BaseModelError for a
    tokenizer without an end-of-text token: a model could not learn where to stop.
    """

    def __init__(self, tokenizer: PreTrainedTokenizerBase, max_length: int) -> None:
        if tokenizer.eos_token is None:
            fix = "Choose another base model, or set eos_token in its tokenizer_config.json."
            raise BaseModelError("The tokenizer of this base model has no end-of-text token.", fix=fix)
        self.template = ChatTemplate(tokenizer)
        self.tokenizer = tokenizer
        self.max_length = max_length
        self._end = int(tokenizer.eos_token_id)
        self.text_begin = [tokenizer.bos_token_id] if begins_with_bos(tokenizer) else []

    def encode_row(self, row: Mapping[str, Any]) -> Encoded:
        """Token ids of a mapped row.

        ``{"messages", "tools"}``: the chat up to its last answer, with loss on each answer and the end-of-text token
        after it. Up to the first answer the ids are those of ``apply_chat_template(..., add_generation_prompt=True)``;
        an uncut row ends in a labelled end-of-text token. ``{"text"}``: the text and an end-of-text token, all of it
        labelled except the begin-of-text token, if the tokenizer adds one. ``{"prompt", "chosen"}``: the chat of both,
        with loss on the chosen answer; likewise ``{"prompt", "completion"}``. ``{"prompt", "tools"}``: what inference
        sends, without loss. Raises DatasetError if the template rejects the chat."""
        input_ids, labels = self._label(row)
        cut = max(0, len(input_ids) - self.max_length)
        return Encoded(input_ids[: self.max_length], labels[: self.max_length], cut)

    def encode_pieces(self, row: Mapping[str, Any]) -> list[Encoded]:
        """As `encode_row`, but a text that is too long is divided into pieces that fit (`pieces`), and nothing is cut.
        Only the last piece ends with the end-of-text token."""
        room = self.max_length - len(self.text_begin)
        if "text" not in row or room < _LEAST_PIECE:
            return [self.encode_row(row)]
        pieces = divide_tokens(self.tokenizer, row["text"], room)
        pieces[-1] = [*pieces[-1], self._end]
        begin = self.text_begin
        return [Encoded(begin + ids, [IGNORED] * len(begin) + ids, 0) for ids in pieces]

    def preview_pieces(self, row: Mapping[str, Any]) -> list[list[Token]]:
        """The pieces of a row, decoded token by token; only a text can have more than one."""
        pieces = self.encode_pieces(row) if "text" in row else []
        if len(pieces) < 2:
            return [self.preview_tokens(row)]
        return [
            split_tokens(piece.input_ids, [label != IGNORED for label in piece.labels], self.max_length, self._decode)
            for piece in pieces
        ]

    def preview_tokens(self, row: Mapping[str, Any]) -> list[Token]:
        """The uncut row decoded token by token; the joined texts are the whole decoded text."""
        input_ids, labels = self._label(row)
        trained = [label != IGNORED for label in labels]
        return split_tokens(input_ids, trained, self.max_length, self._decode)

    def losses(self, row: Mapping[str, Any]) -> list[str]:
        """One sentence for each part of the row that the model's chat template leaves out."""
        if "messages" in row:
            return self.template.find_losses(row["messages"], row.get("tools") or ())
        chats = [[*row.get("prompt", ()), *row[side]] for side in ("chosen", "rejected", "completion") if side in row]
        return list(dict.fromkeys(sentence for chat in chats for sentence in self.template.find_losses(chat)))

    def count_tokens(self, texts: Sequence[str]) -> list[int]:
        """The number of tokens of each text on its own, computed in batches."""
        counts: list[int] = []
        batch: list[str] = []
        characters = 0
        for text in texts:
            batch.append(text)
            characters += len(text)
            if characters > _CHARACTERS_AT_ONCE:
                counts += self._count_batch(batch)
                batch, characters = [], 0
        return counts + self._count_batch(batch)

    def _label(self, row: Mapping[str, Any]) -> tuple[list[int], list[int]]:
        """(token ids, labels) of the row, uncut."""
        if "text" in row:
            ids = [*self._ids(row["text"]), self._end]
            return self.text_begin + ids, [IGNORED] * len(self.text_begin) + ids
        input_ids: list[int] = []
        labels: list[int] = []
        before = ""
        for text, trained in self._parts(row):
            ids = self._tokenize(text, before)
            before = text[-1:]
            if trained:
                ids.append(self._end)
                before = str(self.tokenizer.eos_token)
            input_ids += ids
            labels += ids if trained else [IGNORED] * len(ids)
        return input_ids, labels

    def _parts(self, row: Mapping[str, Any]) -> list[Part]:
        if "messages" in row:
            return list(self.template.render_parts(row["messages"], row.get("tools") or ()))
        prompt = row["prompt"]
        for answer in ("chosen", "completion"):
            if answer in row:
                whole, tools = [*prompt, *row[answer]], row.get("tools") or ()
                return list(self.template.render_parts(whole, tools, learn_from=len(prompt)))
        return [(self.template.render(prompt, row.get("tools") or (), for_answer=True), False)]

    def _tokenize(self, text: str, before: str = "") -> list[int]:
        """Token ids of one part, without the space that SentencePiece adds before its first word.

        before: the character before this part. Where both together are one token, the part is encoded on its own,
        since inference splits there as well.
        """
        alone = self._ids(text)
        if not before:
            return alone
        lead, both = self._ids(before), self._ids(before + text)
        return both[len(lead) :] if both[: len(lead)] == lead else alone

    def _ids(self, text: str) -> list[int]:
        # The template carries the special tokens; the tokenizer must not add its own.
        return list(self.tokenizer(text, add_special_tokens=False, verbose=False)["input_ids"])

    def _count_batch(self, texts: list[str]) -> list[int]:
        if not texts:
            return []
        encoded = self.tokenizer(
            texts,
            add_special_tokens=False,
            return_attention_mask=False,
            return_token_type_ids=False,
            verbose=False,
        )
        return [len(ids) for ids in encoded["input_ids"]]

    def _decode(self, ids: Sequence[int]) -> str:
        text = self.tokenizer.decode(list(ids), skip_special_tokens=False, clean_up_tokenization_spaces=False)
        return str(text)


class Pair(NamedTuple):
    """Token ids of both sides with special tokens. cut: tokens cut off, both sides together."""

    input_ids: list[int]
    labels: list[int]
    cut: int


class PairEncoder:
    """Encodes (source, target) for one tokenizer. Both sides keep the end-of-text token, even if cut."""

    def __init__(self, tokenizer: Any, max_length: int, max_target_length: int) -> None:
        self.tokenizer = tokenizer
        self.max_length = max_length
        self.max_target_length = max_target_length

    def encode(self, source: str, target: str) -> Pair:
        input_ids, cut_source = self._fit(self.encode_whole(source), self.max_length)
        labels, cut_target = self._fit(
            list(self.tokenizer(text_target=target, verbose=False)["input_ids"]), self.max_target_length
        )
        return Pair(input_ids, labels, cut_source + cut_target)

    def encode_whole(self, source: str) -> list[int]:
        """Token ids of a source, uncut."""
        return list(self.tokenizer(source, verbose=False)["input_ids"])

    def losses(self, source: str, target: str) -> list[str]:
        """One sentence if the tokenizer cannot encode some characters of the texts."""
        unknown = self.tokenizer.unk_token_id
        if unknown is None:
            return []
        ids = self.encode_whole(source) + self.encode_whole(target)
        if unknown not in ids:
            return []
        return ["The tokenizer of this base model does not know some characters of these texts, and leaves them out."]

    def _fit(self, ids: list[int], most: int) -> tuple[list[int], int]:
        """At most `most` token ids, keeping the special token at the end; and how many were cut off."""
        cut = len(ids) - most
        if cut <= 0:
            return ids, 0
        ending = [ids[-1]] if ids[-1] == self.tokenizer.eos_token_id else []
        return ids[: most - len(ending)] + ending, cut
