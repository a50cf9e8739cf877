"""From a dataset to what the trainer is given: encoded rows to train on and to measure with, and what was cut."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from modelforge.data.encode import IGNORED, ChatEncoder
from modelforge.data.leaks import find_leaks
from modelforge.data.split import split
from modelforge.errors import TrainingError
from modelforge.recipe import Recipe

MOST_SHOWN = 100  # rows; a few of them are asked


@dataclass(frozen=True)
class Examples:
    """Encoded rows: dicts of input_ids and labels (lists of token ids, -100 where nothing is learnt).

    `shown` are some mapped rows to show answers to: held-out ones, or training ones where none are held out. cut_rows
    were longer than max_length; left_out rows had nothing left to learn after the cut. lost: what the base model's chat
    template leaves out, a sentence each, with the number of rows. leaked: rows measured with that were seen in
    training.
    """

    train: list[dict[str, list[int]]]
    evaluation: list[dict[str, list[int]]]
    shown: list[Mapping[str, Any]]
    cut_rows: int
    cut_tokens: int
    left_out: int
    lost: Mapping[str, int] = field(default_factory=dict)
    leaked: int = 0

    @property
    def counts(self) -> dict[str, int]:
        return {"train_rows": len(self.train), "eval_rows": len(self.evaluation)}

    @property
    def warnings(self) -> list[str]:
        """What was lost on the way, one sentence each."""
        found = [f"{sentence} This concerns {rows} examples." for sentence, rows in self.lost.items()]
        if self.cut_rows:
            found.append(
                f"{self.cut_rows} examples were longer than max_length: {self.cut_tokens} tokens were cut off."
            )
        if self.left_out:
            found.append(f"{self.left_out} examples were left out: nothing to learn lies within max_length.")
        if self.leaked:
            found.append(
                f"{self.leaked} of the rows measured with are in the training data, or like a row there: "
                "what they show is too good."
            )
        if not self.evaluation:
            found.append("No examples were held out, so nothing will say whether the model got better.")
        return found


def encode_examples(
    rows: Sequence[Mapping[str, Any]],
    tokenizer: Any,
    recipe: Recipe,
    eval_rows: Sequence[Mapping[str, Any]] | None = None,
) -> Examples:
    """Encode mapped rows to train on and to measure with.

    eval_rows: measured with in place of a share of `rows`, which are then all trained on. Raises TrainingError when
    nothing is left to train on, DatasetError where the chat template refuses a row.
    """
    train_indices: Sequence[int] = range(len(rows))
    eval_indices: Sequence[int] = range(len(eval_rows or ()))
    leaked = len(find_leaks(rows, eval_rows)) if eval_rows else 0
    if eval_rows is None:
        train_indices, eval_indices = split(rows, recipe.eval_split, recipe.seed)
        eval_rows = rows
    encoder = ChatEncoder(tokenizer, recipe.max_length)
    lost: Counter[str] = Counter()
    cut_rows = cut_tokens = left_out = 0

    def encode(source: Sequence[Mapping[str, Any]], indices: Sequence[int]) -> list[dict[str, list[int]]]:
        nonlocal cut_rows, cut_tokens, left_out
        kept = []
        for index in indices:
            row = source[index]
            encoded = encoder.encode_row(row)
            lost.update(encoder.losses(row))
            cut_rows += encoded.cut > 0
            cut_tokens += encoded.cut
            if any(label != IGNORED for label in encoded.labels[1:]):
                kept.append({"input_ids": list(encoded.input_ids), "labels": list(encoded.labels)})
            else:
                left_out += 1
        return kept

    train, evaluation = encode(rows, train_indices), encode(eval_rows, eval_indices)
    if not train and lost:
        raise TrainingError(
            f"Nothing is left to train on. {' '.join(lost)}",
            where="setting base_model",
            fix="Choose a base model whose chat template knows tools, or raise max_length.",
        )
    if not train:
        raise TrainingError(
            f"Nothing is left to train on: in every example the answer lies beyond {recipe.max_length} tokens.",
            where="setting max_length",
            fix="Raise max_length, or shorten the prompts.",
        )
    source, indices = (eval_rows, eval_indices) if eval_indices else (rows, train_indices)
    shown = [source[index] for index in indices[:MOST_SHOWN]]
    return Examples(train, evaluation, shown, cut_rows, cut_tokens, left_out, dict(lost), leaked)
