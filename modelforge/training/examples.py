"""A dataset's rows encoded for the trainer: what to train on, what to evaluate on, and what was cut.

How a row is encoded is up to each method (`methods/`).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from modelforge.data.lengths import longest_row
from modelforge.data.split import IDENTICAL, divide, find_leaks, keep_share
from modelforge.errors import TrainingError
from modelforge.recipe import Recipe

MOST_SHOWN = 100  # rows; a few of them are prompted

Feature = dict[str, Any]
"""One item of a batch: input_ids, labels and so on, as lists of token ids."""


def count_tokens(feature: Feature) -> int:
    """How many tokens the trainer reads at once; 0 for a prompt whose answers are not generated yet."""
    if "completion_ids" in feature:
        return len(feature["prompt_ids"]) + len(feature["completion_ids"])
    if "prompt_ids" in feature:
        return len(feature["prompt_ids"]) + max(len(feature["chosen_ids"]), len(feature["rejected_ids"]))
    return len(feature.get("input_ids", ()))


class Encoding(NamedTuple):
    """An encoded row. features: none if nothing is left to learn, several if the row is read in windows. cut: tokens
    cut off. losses: a sentence for each thing that the chat template cannot show the base model."""

    features: list[Feature]
    cut: int
    losses: list[str]


@dataclass(frozen=True)
class Examples:
    """Encoded examples to train on and to evaluate on.

    shown: mapped rows for sample answers, held-out ones if there are any. cut_rows: rows longer than max_length.
    left_out: rows with nothing left to learn after the cut. divided_rows: texts longer than max_length; pieces: how
    many they were divided into. lost: `Encoding.losses` with the number of rows. leaked: evaluation rows that are also
    trained on. train_rows, eval_rows: the mapped rows that the features come from. eval_numbers: of eval_rows, from 1,
    in their dataset. known: the numbers of those that are identical to training rows.
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
    eval_numbers: Sequence[int] = ()
    known: frozenset[int] = frozenset()
    divided_rows: int = 0
    pieces: int = 0

    @property
    def counts(self) -> dict[str, int]:
        return {"train_rows": len(self.train_rows), "eval_rows": len(self.eval_rows)}

    @property
    def sizes(self) -> dict[str, Any]:
        """For the planner: tokens of the longest example and their mean; for prompts, estimated from characters."""
        lengths = [count_tokens(feature) for feature in self.train]
        longest = max(lengths) or longest_row(self.train_rows) or None
        return {"longest": longest, "mean_tokens": sum(lengths) / len(lengths) or None}

    @property
    def warnings(self) -> list[str]:
        """A sentence for each thing that the user should know about these examples."""
        found = [f"{sentence} This affects {_count(rows)}." for sentence, rows in self.lost.items()]
        if self.divided_rows:
            texts = "1 long text was" if self.divided_rows == 1 else f"{self.divided_rows:,} long texts were"
            found.append(f"{texts} divided into {self.pieces:,} pieces of at most max_length; nothing was cut off.")
        if self.cut_rows:
            found.append(f"Cut {_count(self.cut_rows)} to max_length: {self.cut_tokens:,} tokens removed.")
        if self.left_out:
            found.append(f"Left out {_count(self.left_out)}: nothing within max_length to learn from.")
        if self.leaked:
            found.append(
                f"Evaluation rows that are in the training data, or near-duplicates of rows there: {self.leaked:,}. "
                "The metrics will look better than they are."
            )
        labels = {feature.get("label") for feature in self.evaluation}
        if labels in ({True}, {False}):
            which = "good" if True in labels else "bad"
            found.append(f"All held-out answers are labelled {which}, so there is no reward margin to measure.")
        if not self.evaluation:
            found.append("No examples were held out, so there will be no metrics to show whether the model got better.")
        return found


def _count(rows: int) -> str:
    return "1 example" if rows == 1 else f"{rows:,} examples"


def encode_examples(
    rows: Sequence[Mapping[str, Any]],
    encode: Callable[[Mapping[str, Any]], Encoding],
    recipe: Recipe,
    eval_rows: Sequence[Mapping[str, Any]] | None = None,
) -> Examples:
    """Encode mapped rows to train on and to evaluate on.

    encode: the method's. eval_rows: to evaluate on; without them a share of `rows` is held out. Raises TrainingError if
    nothing is left to train on, DatasetError if the chat template refuses a row.
    """
    if eval_rows is None:
        train_indices, eval_indices = divide(rows, recipe)
        train_rows, eval_rows = ([rows[index] for index in indices] for indices in (train_indices, eval_indices))
        leaks = []
    else:
        train_rows = [rows[index] for index in keep_share(range(len(rows)), recipe)]
        eval_indices = [*range(len(eval_rows))]
        leaks = find_leaks(train_rows, eval_rows) if eval_rows else []
    counts: Counter[str] = Counter()
    lost: Counter[str] = Counter()
    train, train_places = _encode_each(train_rows, encode, counts, lost)
    evaluation, eval_places = _encode_each(eval_rows, encode, counts, lost)
    train_kept, eval_kept = [train_rows[place] for place in train_places], [eval_rows[place] for place in eval_places]
    if not train:
        raise _nothing_left(recipe, lost)
    return Examples(
        train,
        evaluation,
        (eval_kept or train_kept)[:MOST_SHOWN],
        cut_rows=counts["cut_rows"],
        cut_tokens=counts["cut_tokens"],
        left_out=counts["left_out"],
        lost=dict(lost),
        leaked=len(leaks),
        train_rows=train_kept,
        eval_rows=eval_kept,
        eval_numbers=[eval_indices[place] + 1 for place in eval_places],
        known=frozenset(leak.evaluation_row for leak in leaks if leak.kind in IDENTICAL),
        divided_rows=counts["divided_rows"],
        pieces=counts["pieces"],
    )


def _encode_each(
    rows: Sequence[Mapping[str, Any]],
    encode: Callable[[Mapping[str, Any]], Encoding],
    counts: Counter[str],
    lost: Counter[str],
) -> tuple[list[Feature], list[int]]:
    """The features, and the places of the rows that gave any. Adds to `counts` what was cut and left out, and to
    `lost`."""
    features: list[Feature] = []
    kept = []
    for place, row in enumerate(rows):
        encoded = encode(row)
        lost.update(encoded.losses)
        counts.update(cut_rows=encoded.cut > 0, cut_tokens=encoded.cut, left_out=not encoded.features)
        if "text" in row and len(encoded.features) > 1:
            counts.update(divided_rows=1, pieces=len(encoded.features))
        features += encoded.features
        if encoded.features:
            kept.append(place)
    return features, kept


def _nothing_left(recipe: Recipe, lost: Mapping[str, int]) -> TrainingError:
    if lost:
        return TrainingError(
            f"Nothing is left to train on. {' '.join(lost)}",
            where="setting base_model",
            fix="Choose a base model whose chat template supports tools, or raise max_length.",
        )
    return TrainingError(
        f"Nothing is left to train on: in every example the answer starts after {recipe.max_length} tokens.",
        where="setting max_length",
        fix="Raise max_length, or shorten the prompts.",
    )
