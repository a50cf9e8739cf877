"""Finds duplicates and near-duplicates by fingerprint, without comparing every pair of rows.

Candidates come from banded MinHash sketches (J. Leskovec, A. Rajaraman, J. Ullman, "Mining of Massive Datasets",
chapter 3): rows that agree in a band are sorted next to each other, and neighbours are compared word by word. What
follows (a warning, a repair, a split) is decided by the callers.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from modelforge.data.fingerprints import SKETCH, Fingerprints, Hashes, Sketches, hash_whole, normalise
from modelforge.tasks.base import Texts
from modelforge.text import find_all

SIMILAR_ROW = 0.88
"""Rows with at least this share of words in common are near-duplicates: one word in nine may differ."""
SIMILAR_TEXT = 0.9
"""The same for questions and contexts, where each word matters more: one in ten may differ."""

# Two rows are candidates if three neighbouring numbers of their sketches agree (24 bands, in a circle). This finds 99%
# of the rows that share 0.64 of their word pairs (one word in nine differs), and 99.9% of those that share 0.7.
_BAND = 3
_MANY_ROWS = 100_000  # from here on only every second band is used
_SPREAD = np.uint64(0x9E3779B97F4A7C15)  # 2**64 over the golden ratio, for multiplicative hashing
_LIKELY = 0.34  # share of equal numbers from which a pair is compared word by word
_WORD = re.compile(r"\w+|[^\w\s]")

Indices = NDArray[np.int64]
ReadTexts = Callable[[int], Texts]


def find_first(hashes: Hashes) -> Indices:
    """For each row, the index of the first row with the same hash (its own if it is the first)."""
    first = np.arange(len(hashes))
    some = _find_repeated(hashes)
    if len(some):
        _, places, inverse = np.unique(hashes[some], return_index=True, return_inverse=True)
        first[some] = some[places[inverse]]
    return first


def _find_repeated(hashes: Hashes) -> Indices:
    """Rows whose hash occurs more than once. Only those that share a slot of a table are sorted, which is faster."""
    rows = np.arange(len(hashes), dtype=np.int32)
    bits = len(hashes).bit_length() + 3
    slots = (hashes * _SPREAD >> np.uint64(64 - bits)).view(np.int64)
    table = np.empty(1 << bits, np.int32)
    table[slots] = rows
    shared = np.zeros(1 << bits, np.bool_)
    shared[slots[table[slots] != rows]] = True
    some = np.flatnonzero(shared[slots])
    order = some[np.argsort(hashes[some])]
    same = np.flatnonzero(hashes[order][1:] == hashes[order][:-1])
    return np.union1d(order[same], order[same + 1])


def hash_whole_texts(prints: Fingerprints, read: ReadTexts) -> Fingerprints:
    """The same fingerprints, with hashes of whole texts where hashes of shortened texts are equal."""
    asked, answered = prints.asked.copy(), prints.answered.copy()
    repeated = np.zeros(len(prints), np.bool_)
    for hashes in (prints.whole, asked):
        present = np.flatnonzero(hashes)  # 0: no text, which can be all rows
        repeated[present[_find_repeated(hashes[present])]] = True
    for row in np.flatnonzero(repeated & (prints.asked_cut | prints.answered_cut)).tolist():
        texts = read(row)
        if prints.asked_cut[row]:
            asked[row] = hash_whole(texts.asked)
        if prints.answered_cut[row]:
            answered[row] = hash_whole(texts.answered)
    return replace(prints, asked=asked, answered=answered)


def have_same_words(one: Texts, other: Texts) -> bool:
    """Whether two rows are identical except for case, white space and Unicode form."""
    return all(normalise(left) == normalise(right) for left, right in zip(one[:3], other[:3], strict=True))


def find_near_duplicates(prints: Fingerprints, read: ReadTexts) -> Iterator[tuple[int, int]]:
    """Pairs (row, earlier row) of near-duplicates in the same setting, each later row at most once."""
    yield from _find_similar(
        prints.whole_sketch, prints.whole, read, _are_similar_rows, setting=prints.setting, once=True
    )


def find_conflicts(prints: Fingerprints, kept: NDArray[np.bool_]) -> Iterator[tuple[int, int]]:
    """Pairs (row, earlier row) of kept rows with the same question in the same setting and different answers."""
    rows = np.flatnonzero(kept & (prints.asked != 0))
    asked, answered = (prints.asked * np.uint64(3) + prints.setting)[rows], prints.answered[rows]
    first = find_first(asked)
    for index in np.flatnonzero((first != np.arange(len(first))) & (answered != answered[first])).tolist():
        yield int(rows[index]), int(rows[first[index]])


def group_rows(prints: Fingerprints, read: ReadTexts) -> tuple[Indices, NDArray[np.bool_]]:
    """(n,) the group of each row, named by its first row: a split must not separate rows of one group. And (n,) which
    rows could not be grouped with their near-duplicates.

    A group contains, transitively, rows with the same or a similar question, rows with the same or a similar context,
    and near-duplicates. If similarity joins more than half of all rows, as with rows made from one template, nothing
    could be held out; these are grouped by what is identical.
    """
    groups = _Union(len(prints))
    for hashes in (prints.whole, np.where(prints.together == 0, prints.asked, 0), prints.together):  # 0: no text
        first = find_first(hashes)
        for row in np.flatnonzero((hashes != 0) & (first != np.arange(len(first)))).tolist():
            groups.join(row, int(first[row]))
    strict = groups.numbers()
    for row, other in find_links(prints, read):
        groups.join(row, other)
    numbers = groups.numbers()
    too_large = np.bincount(numbers, minlength=1)[numbers] > len(prints) / 2
    return np.where(too_large, strict, numbers), too_large


def find_links(
    prints: Fingerprints, read: ReadTexts, held_out: NDArray[np.bool_] | None = None
) -> Iterator[tuple[int, int]]:
    """Pairs of rows that are similar but not identical: as rows, in their question, or in their context. With held_out,
    pairs (held-out row, training row), a held-out row at most once for each."""
    asked = np.where(prints.together == 0, prints.asked, 0)
    yield from _find_similar(
        prints.whole_sketch, prints.whole, read, _are_similar_rows, setting=prints.setting, held_out=held_out
    )
    yield from _find_similar(prints.asked_sketch, asked, read, _are_similar_questions, held_out=held_out)
    yield from _find_similar(prints.together_sketch, prints.together, read, _are_similar_contexts, held_out=held_out)


def _are_similar_rows(one: Texts, other: Texts) -> bool:
    return _share_words(f"{one.asked}\n{one.answered}", f"{other.asked}\n{other.answered}") >= SIMILAR_ROW


def _are_similar_questions(one: Texts, other: Texts) -> bool:
    return _share_words(one.asked, other.asked) >= SIMILAR_TEXT


def _are_similar_contexts(one: Texts, other: Texts) -> bool:
    return _share_words(one.together, other.together) >= SIMILAR_TEXT


def _share_words(one: str, other: str) -> float:
    """The number of common words over the words of the longer text, from 0 to 1."""
    left, right = find_all(_WORD, normalise(one)), find_all(_WORD, normalise(other))
    longer = max(len(left), len(right))
    if not longer or min(len(left), len(right)) < SIMILAR_ROW * longer:
        return 0.0
    return (Counter(left) & Counter(right)).total() / longer


def _find_similar(
    sketches: Sketches,
    hashes: Hashes,
    read: ReadTexts,
    agree: Callable[[Texts, Texts], bool],
    *,
    setting: Hashes | None = None,
    held_out: NDArray[np.bool_] | None = None,
    once: bool = False,
) -> Iterator[tuple[int, int]]:
    """Pairs of different texts for which `agree` is true; with `once` or `held_out`, at most one for each later row.

    Of rows with the same hash only the first is compared (with held_out: the first of each side); rows with hash 0 are
    left out.
    """
    side = np.zeros(len(hashes), np.uint64) if held_out is None else held_out.astype(np.uint64)
    first = find_first(hashes * np.uint64(2) + side)
    rows = np.flatnonzero((first == np.arange(len(first))) & (hashes != 0))
    once = once or held_out is not None
    found: set[int] = set()
    seen: set[tuple[int, int]] = set()
    for left, right in _find_candidates(
        sketches if len(rows) == len(hashes) else sketches[:, rows], None if held_out is None else held_out[rows]
    ):
        for row, other in zip(rows[left].tolist(), rows[right].tolist(), strict=True):
            late, early = (row, other) if held_out is not None or row > other else (other, row)
            if (late, early) in seen or (once and late in found):
                continue
            seen.add((late, early))
            if (setting is None or setting[late] == setting[early]) and agree(read(late), read(early)):
                found.add(late)
                yield late, early


def _find_candidates(sketches: Sketches, held_out: NDArray[np.bool_] | None) -> Iterator[tuple[Indices, Indices]]:
    """Pairs of rows that agree in a band and are similar in the whole sketch, band by band."""
    rows = np.ascontiguousarray(sketches.T)
    bands = range(0, SKETCH, 1 if len(rows) < _MANY_ROWS else 2)
    with ThreadPoolExecutor(2, "modelforge-similar") as threads:  # numpy releases the GIL
        for found in threads.map(lambda band: _find_in_band(band, sketches, rows, held_out), bands):
            yield from found


def _find_in_band(
    band: int, sketches: Sketches, rows: Sketches, held_out: NDArray[np.bool_] | None
) -> list[tuple[Indices, Indices]]:
    """sketches: (SKETCH, n); rows: the same as (n, SKETCH)."""
    keys = np.zeros(len(rows), np.uint64)
    for step in range(_BAND):
        keys += sketches[(band + step) % SKETCH]
        keys *= _SPREAD
    some = _find_repeated(keys)
    if len(some) < 2:
        return []
    order = some[np.lexsort((sketches[(band + _BAND) % SKETCH][some], keys[some]))]
    opens = np.concatenate(([True], keys[order][1:] != keys[order][:-1]))
    place = np.arange(len(order))
    bucket = np.maximum.accumulate(np.where(opens, place, 0))  # where the bucket of each row begins
    found = []
    for left, right in _neighbours(order, bucket, held_out):
        likely = (rows[left] == rows[right]).mean(axis=1) >= _LIKELY
        found.append((left[likely], right[likely]))
    return found


def _neighbours(
    order: Indices, bucket: Indices, held_out: NDArray[np.bool_] | None
) -> Iterator[tuple[Indices, Indices]]:
    """Pairs of neighbours in one bucket; with held_out, each held-out row and the nearest training rows."""
    place = np.arange(len(order))
    if held_out is None:
        inside = place != bucket
        yield order[inside], order[place[inside] - 1]
        yield order[inside], order[bucket[inside]]
        return
    is_training = ~held_out[order]
    before = np.maximum.accumulate(np.where(is_training, place, -1))
    after = np.minimum.accumulate(np.where(is_training, place, len(order))[::-1])[::-1]
    for near in (before, after):
        valid = ~is_training & (near >= 0) & (near < len(order))
        valid[valid] = bucket[near[valid]] == bucket[valid]
        yield order[valid], order[near[valid]]


class _Union:
    """Sets that are joined one pair at a time (union-find)."""

    def __init__(self, count: int) -> None:
        self._parent = list(range(count))

    def join(self, one: int, other: int) -> None:
        one, other = self._root(one), self._root(other)
        self._parent[max(one, other)] = min(one, other)

    def numbers(self) -> Indices:
        return np.fromiter((self._root(row) for row in range(len(self._parent))), np.int64, len(self._parent))

    def _root(self, row: int) -> int:
        while self._parent[row] != row:
            self._parent[row] = row = self._parent[self._parent[row]]
        return row
