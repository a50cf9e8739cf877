"""Encodes a question and its context for an encoder, long contexts in overlapping windows.

Finding an answer with a model is in `models/spans.py`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

NOWHERE = 0
"""The position that stands for "no answer here": the first token, as in SQuAD 2.0 (arXiv 1806.03822)."""

_LEAST_CONTEXT = 8  # tokens of context in each window, however long the question is


@dataclass(frozen=True)
class Window:
    """One window. inputs: what the model takes, lists of the window's length without padding. spans: of each token the
    (first, one past the last) character of the context; None for tokens outside the context. start, end: the
    answer's first and last token, or NOWHERE."""

    inputs: dict[str, list[int]]
    spans: list[tuple[int, int] | None]
    start: int
    end: int


class WindowEncoder:
    """Encodes rows ``{"context", "question", "answers"}`` for one tokenizer.

    max_length: tokens of a window, with question and special tokens. doc_stride: tokens that two windows share.
    """

    def __init__(self, tokenizer: Any, max_length: int, doc_stride: int) -> None:
        self.tokenizer = tokenizer
        self.max_length = max_length
        self.doc_stride = doc_stride
        self._around = tokenizer.num_special_tokens_to_add(pair=True)

    def encode_row(self, row: Mapping[str, Any]) -> tuple[list[Window], int]:
        """(the windows of a row, in order; how many tokens of the question were cut off)."""
        question, cut = self._fit_question(row["question"])
        ids = self.tokenizer(question, add_special_tokens=False, verbose=False)["input_ids"]
        room = self.max_length - self._around - len(ids)
        encoded = self.tokenizer(
            question,
            row["context"],
            truncation="only_second",
            max_length=self.max_length,
            stride=min(self.doc_stride, max(room - 1, 0) // 2),  # each window must have new tokens
            return_overflowing_tokens=True,
            return_offsets_mapping=True,
            return_attention_mask=False,
        )
        answers = row.get("answers") or {"text": [], "answer_start": []}
        first = next(zip(answers["answer_start"], answers["text"], strict=True), None)
        windows = []
        for index, offsets in enumerate(encoded["offset_mapping"]):
            parts = encoded.sequence_ids(index)
            spans = [
                tuple(span) if part == 1 and span[1] > span[0] else None
                for span, part in zip(offsets, parts, strict=True)
            ]
            inputs = {
                name: list(encoded[name][index])
                for name in self.tokenizer.model_input_names
                if name in encoded and name != "attention_mask"
            }
            windows.append(Window(inputs, spans, *_locate(spans, first)))
        return windows, cut

    def _fit_question(self, question: str) -> tuple[str, int]:
        """The question, cut at its end if it leaves no room for the context; and by how many tokens."""
        room = max(self.max_length - self._around - max(_LEAST_CONTEXT, self.max_length // 2), 1)
        encoded = self.tokenizer(question, add_special_tokens=False, return_offsets_mapping=True, verbose=False)
        offsets = encoded["offset_mapping"]
        if len(offsets) <= room:
            return question, 0
        return question[: offsets[room - 1][1]], len(offsets) - room


def _locate(spans: list[tuple[int, int] | None], answer: tuple[int, str] | None) -> tuple[int, int]:
    """The first and the last token of an answer (its start, its text), if all of it is in the window."""
    if answer is None:
        return NOWHERE, NOWHERE
    begin, end = answer[0], answer[0] + len(answer[1])
    places = [index for index, span in enumerate(spans) if span and span[1] > begin and span[0] < end]
    whole = places and spans[places[0]][0] <= begin and spans[places[-1]][1] >= end  # type: ignore[index]
    return (places[0], places[-1]) if whole else (NOWHERE, NOWHERE)
