"""Which rows say the same, or nearly the same, found through their fingerprints without comparing each with each.

Candidates come from banded MinHash sketches (J. Leskovec, A. Rajaraman, J. Ullman, "Mining of Massive Datasets",
chapter 3): rows that agree in a band are sorted side by side, and neighbours are then compared word by word. What is
done about it (a warning, a repair, a split) is not decided here.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from modelforge.data.fingerprints import SKETCH, Hashes, Prints, Sketches, hash_exactly, normalise
from modelforge.tasks.base import Texts

ALIKE_ROW = 0.88
"""Rows with at least this share of their words in common are nearly the same: one word of nine may differ."""
ALIKE_TEXT = 0.9
"""The same for questions and contexts, where one word tells more: one of ten may differ."""

# Two rows are candidates where three neighbouring numbers of their sketches agree (24 bands, in a circle). Of rows that
# share 0.64 of their word pairs (they differ in one word of nine) 99% are seen so, of those that share 0.7 99.9%.
_BAND = 3
_MANY_ROWS = 100_000  # from which every second band has to do
_SPREAD = np.uint64(0x9E3779B97F4A7C15)  # 2**64 over the golden ratio: multiplied by it, near numbers are far apart
_LIKELY = 0.34  # share of equal numbers from which a pair is compared word by word
_WORD = re.compile(r"\w+|[^\w\s]")

Indices = NDArray[np.int64]
ReadTexts = Callable[[int], Texts]


def find_first(hashes: Hashes) -> Indices:
    """For each row, the index of the first one with the same hash (its own, where it is the first)."""
    first = np.arange(len(hashes))
    some = _find_repeated(hashes)
    if len(some):
        _, places, inverse = np.unique(hashes[some], return_index=True, return_inverse=True)
        first[some] = some[places[inverse]]
    return first


def _find_repeated(hashes: Hashes) -> Indices:
    """Rows whose hash stands more than once. Only those that share a slot of a table are sorted, which is much
    faster."""
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


def sharpen(prints: Prints, read: ReadTexts) -> Prints:
    """The same prints, with hashes of whole texts where shortened ones are equal to others."""
    asked, answered = prints.asked.copy(), prints.answered.copy()
    repeated = np.zeros(len(prints), np.bool_)
    for hashes in (prints.whole, asked):
        said = np.flatnonzero(hashes)  # 0 says nothing, and all rows can say nothing of one kind
        repeated[said[_find_repeated(hashes[said])]] = True
    for row in np.flatnonzero(repeated & (prints.asked_cut | prints.answered_cut)).tolist():
        texts = read(row)
        if prints.asked_cut[row]:
            asked[row] = hash_exactly(texts.asked)
        if prints.answered_cut[row]:
            answered[row] = hash_exactly(texts.answered)
    return replace(prints, asked=asked, answered=answered)


def say_same(one: Texts, other: Texts) -> bool:
    """Whether two rows are the same but for case, white space and Unicode form."""
    return all(normalise(left) == normalise(right) for left, right in zip(one[:3], other[:3], strict=True))


def find_alike_rows(prints: Prints, read: ReadTexts) -> Iterator[tuple[int, int]]:
    """Pairs (row, earlier row) that are nearly or quite the same, a later row once; only rows of one setting."""
    yield from _find_alike(prints.whole_sketch, prints.whole, read, _are_alike_rows, setting=prints.setting, once=True)


def find_conflicts(prints: Prints, kept: NDArray[np.bool_]) -> Iterator[tuple[int, int]]:
    """Pairs (row, earlier row), of those that are kept, that ask the same in the same setting and are answered
    otherwise."""
    rows = np.flatnonzero(kept & (prints.asked != 0))
    asked, answered = (prints.asked * np.uint64(3) + prints.setting)[rows], prints.answered[rows]
    first = find_first(asked)
    for index in np.flatnonzero((first != np.arange(len(first))) & (answered != answered[first])).tolist():
        yield int(rows[index]), int(rows[first[index]])


def group_rows(prints: Prints, read: ReadTexts) -> tuple[Indices, NDArray[np.bool_]]:
    """(n,) the number of each row's group, which is its first row; rows of one group must not be parted by a split. And
    (n,) which rows could not be kept from rows that are nearly the same.

    Together are rows that ask the same or nearly the same, rows with the same or nearly the same context, and rows that
    are nearly the same as a whole; and so on along the chain. Where more than half of all rows hang together by being
    nearly the same, as rows made from one template do, nothing could be held out: those go by what is quite the same.
    """
    groups = _Union(len(prints))
    for hashes in (prints.whole, np.where(prints.together == 0, prints.asked, 0), prints.together):  # 0 says nothing
        first = find_first(hashes)
        for row in np.flatnonzero((hashes != 0) & (first != np.arange(len(first)))).tolist():
            groups.join(row, int(first[row]))
    strict = groups.numbers()
    for row, other in _find_links(prints, read):
        groups.join(row, other)
    numbers = groups.numbers()
    too_large = np.bincount(numbers, minlength=1)[numbers] > len(prints) / 2
    return np.where(too_large, strict, numbers), too_large


def find_leaks(prints: Prints, read: ReadTexts, held_out: NDArray[np.bool_]) -> Iterator[tuple[int, int]]:
    """Pairs (held-out row, training row) that are alike without being the same: as rows, in what they ask, or in their
    context; a held-out row once for each of the three."""
    yield from _find_links(prints, read, held_out)


def _find_links(
    prints: Prints, read: ReadTexts, held_out: NDArray[np.bool_] | None = None
) -> Iterator[tuple[int, int]]:
    asked = np.where(prints.together == 0, prints.asked, 0)
    yield from _find_alike(
        prints.whole_sketch, prints.whole, read, _are_alike_rows, setting=prints.setting, held_out=held_out
    )
    yield from _find_alike(prints.asked_sketch, asked, read, _ask_alike, held_out=held_out)
    yield from _find_alike(prints.together_sketch, prints.together, read, _share_context, held_out=held_out)


def _are_alike_rows(one: Texts, other: Texts) -> bool:
    return _share_words(f"{one.asked}\n{one.answered}", f"{other.asked}\n{other.answered}") >= ALIKE_ROW


def _ask_alike(one: Texts, other: Texts) -> bool:
    return _share_words(one.asked, other.asked) >= ALIKE_TEXT


def _share_context(one: Texts, other: Texts) -> bool:
    return _share_words(one.together, other.together) >= ALIKE_TEXT


def _share_words(one: str, other: str) -> float:
    """The share of words that two texts have in common, of the longer one's, from 0 to 1."""
    left, right = _WORD.findall(normalise(one)), _WORD.findall(normalise(other))
    longer = max(len(left), len(right))
    if not longer or min(len(left), len(right)) < ALIKE_ROW * longer:
        return 0.0
    return (Counter(left) & Counter(right)).total() / longer


def _find_alike(
    sketches: Sketches,
    hashes: Hashes,
    read: ReadTexts,
    agree: Callable[[Texts, Texts], bool],
    *,
    setting: Hashes | None = None,
    held_out: NDArray[np.bool_] | None = None,
    once: bool = False,
) -> Iterator[tuple[int, int]]:
    """Pairs of different texts for which `agree` holds; with `once` or `held_out`, no more than one for a later row.

    Of the rows with one hash only the first is looked at (with held_out: the first of either side); those with hash 0
    say nothing and are left out.
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
    """Pairs of rows that agree in a band and look alike on the whole sketch, band by band."""
    rows = np.ascontiguousarray(sketches.T)
    bands = range(0, SKETCH, 1 if len(rows) < _MANY_ROWS else 2)
    with ThreadPoolExecutor(2, "modelforge-similar") as threads:  # numpy leaves the other core to the other one
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
    bucket = np.maximum.accumulate(np.where(opens, place, 0))  # where each one's bucket begins
    found = []
    for left, right in _neighbours(order, bucket, held_out):
        likely = (rows[left] == rows[right]).mean(axis=1) >= _LIKELY
        found.append((left[likely], right[likely]))
    return found


def _neighbours(
    order: Indices, bucket: Indices, held_out: NDArray[np.bool_] | None
) -> Iterator[tuple[Indices, Indices]]:
    """Pairs of rows that stand side by side in one bucket; with held_out, a held-out one and the nearest training
    ones."""
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
