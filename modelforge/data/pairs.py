"""Encodes a source text and its target for an encoder-decoder, as separate input and labels."""

from __future__ import annotations

from typing import Any, NamedTuple


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
