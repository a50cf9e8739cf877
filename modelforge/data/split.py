"""Splits rows into training and held-out rows, computed from rows, share and seed and never stored. Finds rows of an
evaluation file that are also in the training data, where scores are misleadingly high.

Duplicates, near-duplicates, rows with the same question and rows with the same context go to the same side
(`similar.group_rows`), so that held-out rows are new to the model.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from modelforge.data.duplicates.fingerprints import Fingerprints, fingerprint_texts
from modelforge.data.duplicates.similar import find_links, group_rows, hash_whole_texts, have_same_words
from modelforge.data.duplicates.word_hashes import Hashes
from modelforge.data.forms import dump_row
from modelforge.data.row_texts import ListedTexts
from modelforge.recipe import Recipe
from modelforge.tasks import read_texts
from modelforge.tasks.base import Texts

SAME = "identical row"
SAME_WORDS = "identical except for case and white space"
SAME_QUESTION = "same question"
SAME_CONTEXT = "same context"
SIMILAR = "near-duplicate"
IDENTICAL = (SAME, SAME_WORDS)
"""Kinds of leaks in which a row as a whole is also in the training data."""


LARGEST_SHARE = 4  # at most one row in so many is held out only to have enough of them


def divide(rows: Sequence[Mapping[str, Any]], recipe: Recipe) -> tuple[list[int], list[int]]:
    """The `split` that a recipe asks for, and of its training rows the share that it trains on."""
    training, held_out = split(rows, recipe.eval_split, recipe.seed, recipe.min_eval_rows)
    return keep_share(training, recipe), held_out


def keep_share(training: Sequence[int], recipe: Recipe) -> list[int]:
    """The recipe's `train_share` of the training rows, at least one, in their order. A smaller share is a part of a
    larger one."""
    if recipe.train_share >= 1:
        return list(training)

    def draw(index: int) -> bytes:
        return hashlib.sha256(f"{recipe.seed}\0{index}".encode()).digest()

    return sorted(sorted(training, key=draw)[: max(1, round(recipe.train_share * len(training)))])


def count_held_out(rows: int, eval_split: float, least: int = 0) -> int:
    """How many of so many rows are to be held out: their share, and at least `least` where that is at most a
    quarter."""
    return max(round(rows * eval_split), min(least, rows // LARGEST_SHARE), 1) if rows and eval_split > 0 else 0


def split(
    rows: Sequence[Mapping[str, Any]], eval_split: float, seed: int, least: int = 0
) -> tuple[list[int], list[int]]:
    """Indices of the training rows and of the held-out rows, both in rising order, together all rows.

    With eval_split > 0 and at least two groups of similar rows, at least one row is held out, and never all. least: as
    in `count_held_out`.
    """
    everything = list(range(len(rows)))
    if eval_split <= 0 or len(rows) < 2:
        return everything, []
    texts = [read_texts(dict(row)) for row in rows]
    listed = ListedTexts(texts.__getitem__)
    prints = hash_whole_texts(fingerprint_texts(texts), listed)
    groups: dict[int, list[int]] = {}
    numbers, inseparable = group_rows(prints, listed)
    for index, group in enumerate(numbers.tolist()):
        groups.setdefault(group, []).append(index)
    if len(groups) < 2:
        return everything, []
    held_out = _choose(groups, prints, count_held_out(len(rows), eval_split, least), seed)
    mask = np.zeros(len(rows), np.bool_)
    mask[list(held_out)] = True
    # Grouping can miss a pair of similar rows; a held-out row that is still similar to a training row moves to the
    # training side.
    late = {row for rows, _ in find_links(prints, listed, mask) for row in rows[~inseparable[rows]].tolist()}
    return [index for index in everything if index in late or index not in held_out], sorted(held_out - late)


def _choose(groups: Mapping[int, list[int]], prints: Fingerprints, wanted: int, seed: int) -> set[int]:
    """Whole groups in an order drawn from seed and content, up to the wanted number of rows; at least the smallest
    group."""

    def draw(group: int) -> bytes:
        # By a hash of the content: independent of any random generator, and added rows do not move others.
        content = int(prints.asked[group] or prints.whole[group])
        return hashlib.sha256(f"{seed}\0{content}".encode()).digest()

    held_out: set[int] = set()
    for group in sorted(groups, key=draw):
        if len(held_out) + len(groups[group]) <= wanted:
            held_out.update(groups[group])
    smallest = min(groups, key=lambda group: len(groups[group]))
    return held_out or set(groups[smallest])


@dataclass(frozen=True)
class Leak:
    """A row of the evaluation file and the training row that it repeats; both count usable rows from 1."""

    evaluation_row: int
    training_row: int
    kind: str


def find_leaks(training: Sequence[Mapping[str, Any]], evaluation: Sequence[Mapping[str, Any]]) -> list[Leak]:
    """The strongest leak of each leaked evaluation row, in the order of these rows."""
    count = len(training)

    def read(index: int) -> Texts:
        return read_texts(dict(training[index] if index < count else evaluation[index - count]))

    texts = ListedTexts(read)
    prints = hash_whole_texts(fingerprint_texts(map(read, range(count + len(evaluation)))), texts)
    found: dict[int, tuple[int, str]] = {}
    same = {hash(dump_row(dict(row))): index for index, row in reversed(list(enumerate(training)))}
    for index, row in enumerate(evaluation):
        if (known := same.get(hash(dump_row(dict(row))))) is not None:
            found[index] = (known, SAME)
    asked = np.where(prints.together == 0, prints.asked, 0)
    for hashes, kind in ((prints.whole, SAME_WORDS), (asked, SAME_QUESTION), (prints.together, SAME_CONTEXT)):
        for index, known in _find_equal(hashes[:count], hashes[count:]):
            found.setdefault(index, (known, kind))
    for some, others in find_links(prints, texts, np.arange(len(prints)) >= count):
        for late, known in zip(some.tolist(), others.tolist(), strict=True):
            kind = SAME_WORDS if have_same_words(read(late), read(known)) else SIMILAR
            found.setdefault(late - count, (known, kind))
    return [Leak(index + 1, known + 1, kind) for index, (known, kind) in sorted(found.items())]


def _find_equal(training: Hashes, evaluation: Hashes) -> list[tuple[int, int]]:
    """(evaluation index, first training index) of equal hashes; 0 never matches."""
    known, first = np.unique(training, return_index=True)
    if not len(known):
        return []
    places = np.minimum(np.searchsorted(known, evaluation), len(known) - 1)
    hits = np.flatnonzero((known[places] == evaluation) & (evaluation != 0))
    return [(int(index), int(first[places[index]])) for index in hits]
