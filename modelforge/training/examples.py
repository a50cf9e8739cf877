"""From a dataset to what the trainer is given: encoded rows to train on and to measure with, and what was cut."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from modelforge.data.encode import ChatEncoder
from modelforge.data.split import split
from modelforge.errors import TrainingError
from modelforge.recipe import Recipe


@dataclass(frozen=True)
class Examples:
    """Encoded rows: dicts of input_ids and labels (lists of token ids, -100 where nothing is learnt).

    `shown` are mapped rows to show answers to: held-out ones, or training ones where none are held out. cut_rows were
    longer than max_length; left_out rows had nothing left to learn after the cut.
    """

    train: list[dict[str, list[int]]]
    evaluation: list[dict[str, list[int]]]
    shown: list[Mapping[str, Any]]
    cut_rows: int
    cut_tokens: int
    left_out: int

    @property
    def counts(self) -> dict[str, int]:
        return {"train_rows": len(self.train), "eval_rows": len(self.evaluation)}

    @property
    def warnings(self) -> list[str]:
        """What was lost on the way, one sentence each."""
        found = []
        if self.cut_rows:
            found.append(
                f"{self.cut_rows} examples were longer than max_length: {self.cut_tokens} tokens were cut off."
            )
        if self.left_out:
            found.append(f"{self.left_out} examples were left out: nothing of their answer lies within max_length.")
        if not self.evaluation:
            found.append("No examples were held out, so nothing will say whether the model got better.")
        return found


def encode_examples(rows: Sequence[Mapping[str, Any]], tokenizer: Any, recipe: Recipe) -> Examples:
    """Split and encode mapped rows. Raises TrainingError when nothing is left to train on."""
    encoder = ChatEncoder(tokenizer, recipe.max_length)
    train_indices, eval_indices = split(rows, recipe.eval_split, recipe.seed)
    cut_rows = cut_tokens = left_out = 0

    def encode(indices: Sequence[int]) -> list[dict[str, list[int]]]:
        nonlocal cut_rows, cut_tokens, left_out
        kept = []
        for index in indices:
            encoded = encoder.encode(rows[index]["messages"])
            cut_rows += encoded.cut > 0
            cut_tokens += encoded.cut
            if any(label != -100 for label in encoded.labels[1:]):
                kept.append({"input_ids": list(encoded.input_ids), "labels": list(encoded.labels)})
            else:
                left_out += 1
        return kept

    train, evaluation = encode(train_indices), encode(eval_indices)
    if not train:
        raise TrainingError(
            f"Nothing is left to train on: in every example the answer lies beyond {recipe.max_length} tokens.",
            where="setting max_length",
            fix="Raise max_length, or shorten the prompts.",
        )
    shown = [rows[index] for index in (eval_indices or train_indices)]
    return Examples(train, evaluation, shown, cut_rows, cut_tokens, left_out)
