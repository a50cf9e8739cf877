"""From a dataset to what the trainer is given: encoded rows to train on and to measure with, and what was cut.

How a row is encoded is each method's own affair (`methods/`).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from modelforge.data.leaks import find_leaks
from modelforge.data.lengths import longest_row
from modelforge.data.split import split
from modelforge.errors import TrainingError
from modelforge.recipe import Recipe

MOST_SHOWN = 100  # rows; a few of them are asked

Feature = dict[str, Any]
"""One thing that a trainer takes into a batch: input_ids, labels and the like, as lists of token ids."""


def count_tokens(feature: Feature) -> int:
    """How many tokens a trainer reads of it at once; 0 for a prompt whose answers are still to be written."""
    if "prompt_ids" in feature:
        return len(feature["prompt_ids"]) + max(len(feature["chosen_ids"]), len(feature["rejected_ids"]))
    return len(feature.get("input_ids", ()))


class Encoding(NamedTuple):
    """A row, encoded. features: none where nothing is left to learn, several where the row is read in windows. cut:
    tokens cut off. losses: what the base model cannot be shown of it, a sentence each."""

    features: list[Feature]
    cut: int
    losses: list[str]


@dataclass(frozen=True)
class Examples:
    """What is trained on and measured with, encoded.

    `shown` are some mapped rows to show answers to: held-out ones, or training ones where none are held out. cut_rows
    were longer than max_length; left_out rows had nothing left to learn after the cut. lost: what the base model cannot
    be shown, a sentence each, with the number of rows. leaked: rows measured with that were seen in training.
    train_rows, eval_rows: the mapped rows behind the features.
    """

    train: list[Feature]
    evaluation: list[Feature]
    shown: list[Mapping[str, Any]]
    cut_rows: int
    cut_tokens: int
    left_out: int
    lost: Mapping[str, int] = field(default_factory=dict)
    leaked: int = 0
    train_rows: Sequence[Mapping[str, Any]] = ()
    eval_rows: Sequence[Mapping[str, Any]] = ()

    @property
    def counts(self) -> dict[str, int]:
        return {"train_rows": len(self.train_rows), "eval_rows": len(self.eval_rows)}

    @property
    def sizes(self) -> dict[str, Any]:
        """What the planner wants to know: tokens of the longest and in the mean; of prompts, by their characters."""
        lengths = [count_tokens(feature) for feature in self.train]
        longest = max(lengths) or longest_row(self.train_rows) or None
        return {"longest": longest, "mean_tokens": sum(lengths) / len(lengths) or None}

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
    encode: Callable[[Mapping[str, Any]], Encoding],
    recipe: Recipe,
    eval_rows: Sequence[Mapping[str, Any]] | None = None,
) -> Examples:
    """Encode mapped rows to train on and to measure with.

    encode: the method's. eval_rows: measured with in place of a share of `rows`, which are then all trained on. Raises
    TrainingError when nothing is left to train on, DatasetError where the chat template refuses a row.
    """
    train_indices: Sequence[int] = range(len(rows))
    eval_indices: Sequence[int] = range(len(eval_rows or ()))
    leaked = len(find_leaks(rows, eval_rows)) if eval_rows else 0
    if eval_rows is None:
        train_indices, eval_indices = split(rows, recipe.eval_split, recipe.seed)
        eval_rows = rows
    lost: Counter[str] = Counter()
    cut_rows = cut_tokens = left_out = 0

    def encode_all(source: Sequence[Mapping[str, Any]], indices: Sequence[int]) -> tuple[list[Feature], list[Any]]:
        nonlocal cut_rows, cut_tokens, left_out
        features: list[Feature] = []
        kept = []
        for index in indices:
            row = source[index]
            encoded = encode(row)
            lost.update(encoded.losses)
            cut_rows += encoded.cut > 0
            cut_tokens += encoded.cut
            features += encoded.features
            if encoded.features:
                kept.append(row)
            else:
                left_out += 1
        return features, kept

    train, train_kept = encode_all(rows, train_indices)
    evaluation, eval_kept = encode_all(eval_rows, eval_indices)
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
    return Examples(
        train,
        evaluation,
        (eval_kept or train_kept)[:MOST_SHOWN],
        cut_rows,
        cut_tokens,
        left_out,
        dict(lost),
        leaked,
        train_rows=train_kept,
        eval_rows=eval_kept,
    )
