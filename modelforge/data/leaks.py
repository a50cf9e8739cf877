"""Finds rows of an evaluation file that are also in the training data, where scores are misleadingly high."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from modelforge.data.fingerprints import Hashes, fingerprint_texts
from modelforge.data.forms import dump_row
from modelforge.data.similar import find_leaks as find_similar
from modelforge.data.similar import hash_whole_texts, have_same_words
from modelforge.tasks import read_texts
from modelforge.tasks.base import Texts

SAME = "identical row"
SAME_WORDS = "identical except for case and white space"
SAME_QUESTION = "same question"
SAME_CONTEXT = "same context"
SIMILAR = "near-duplicate"


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

    prints = hash_whole_texts(fingerprint_texts(map(read, range(count + len(evaluation)))), read)
    found: dict[int, tuple[int, str]] = {}
    same = {hash(dump_row(dict(row))): index for index, row in reversed(list(enumerate(training)))}
    for index, row in enumerate(evaluation):
        if (known := same.get(hash(dump_row(dict(row))))) is not None:
            found[index] = (known, SAME)
    asked = np.where(prints.together == 0, prints.asked, 0)
    for hashes, kind in ((prints.whole, SAME_WORDS), (asked, SAME_QUESTION), (prints.together, SAME_CONTEXT)):
        for index, known in _find_equal(hashes[:count], hashes[count:]):
            found.setdefault(index, (known, kind))
    for late, known in find_similar(prints, read, np.arange(len(prints)) >= count):
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
