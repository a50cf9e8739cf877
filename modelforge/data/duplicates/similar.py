"""Finds duplicates and near-duplicates: `candidates` finds pairs by fingerprint, `common_words` compares their words.

What follows (a warning, a repair, a split) is decided by the callers.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Generator, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from modelforge.data.duplicates.candidates import MANY_ROWS, Indices, Pairs, find_candidates, find_first, find_repeated
from modelforge.data.duplicates.common_words import LEAST_SHARE, MOST_PAIRS, share_words, share_words_of_pairs
from modelforge.data.duplicates.fingerprints import Fingerprints, Sketches
from modelforge.data.duplicates.groups import Groups
from modelforge.data.duplicates.text_buffers import normalise
from modelforge.data.duplicates.word_hashes import Hashes, hash_texts
from modelforge.data.row_texts import RowTexts, divide, is_long
from modelforge.tasks.base import Texts

SIMILAR_ROW = LEAST_SHARE
"""Rows with at least this share of words in common are near-duplicates: one word in nine may differ."""
SIMILAR_TEXT = 0.9
"""The same for questions and contexts, where each word matters more: one in ten may differ."""

Found = tuple[Indices, Indices, NDArray[np.bool_]]
Shares = NDArray[np.float64]
Wanted = Callable[[Indices, Indices], NDArray[np.bool_]]

_LIKE_LENGTHS = 1.2
"""Of many rows, pairs are compared whose lengths differ by no more than this factor: of 122 pairs that were
near-duplicates in 200,000 rows it left out two, and of 324,000 candidates five sixths."""
_AHEAD = 2  # parts of candidates that are compared at the same time


@dataclass(frozen=True)
class _Measure:
    """Which texts of two rows are compared together, and the share of common words of similar ones."""

    fields: tuple[str, ...]
    least: float

    def read(self, texts: RowTexts, row: int) -> str:
        found = texts.read(row)
        return "\n".join(getattr(found, field) for field in self.fields)

    def take(self, texts: RowTexts, rows: Indices) -> Any:
        return pc.binary_join_element_wise(*texts.take(rows, self.fields), "\n")


_ROWS = _Measure(("asked", "answered"), SIMILAR_ROW)
_QUESTIONS = _Measure(("asked",), SIMILAR_TEXT)
_CONTEXTS = _Measure(("together",), SIMILAR_TEXT)


def hash_whole_texts(prints: Fingerprints, texts: RowTexts) -> Fingerprints:
    """The same fingerprints, with hashes of whole texts where hashes of shortened texts are equal: of questions that
    are asked more than once, and of answers in rows that are alike in all texts."""
    asked, answered = prints.asked.copy(), prints.answered.copy()
    are_alike = find_repeated(prints.whole) & (prints.whole != 0)
    asked_cut = (are_alike | find_repeated(asked) & (asked != 0)) & prints.asked_cut
    answered_cut = are_alike & prints.answered_cut
    with ThreadPoolExecutor(_AHEAD, "modelforge-hash") as threads:
        for hashes, cut, field in ((asked, asked_cut, "asked"), (answered, answered_cut, "answered")):
            rows = np.flatnonzero(cut)
            rows = rows[np.argsort(hashes[rows].astype(np.uint16), kind="stable")]  # equal texts come into one part
            parts = [np.sort(rows[part]) for part in divide(texts.weigh(rows), len(rows))]
            for some, found in zip(parts, threads.map(partial(_hash_field, texts, field), parts), strict=True):
                hashes[some] = found
    return replace(prints, asked=asked, answered=answered)


def _hash_field(texts: RowTexts, field: str, rows: Indices) -> Hashes:
    (column,) = texts.take(rows, (field,))
    return hash_texts(column)


def have_same_words(one: Texts, other: Texts) -> bool:
    """Whether two rows are identical except for case, white space and Unicode form."""
    return all(normalise(left) == normalise(right) for left, right in zip(one[:3], other[:3], strict=True))


def find_near_duplicates(prints: Fingerprints, texts: RowTexts) -> Generator[Found, None, None]:
    """Near-duplicates in the same setting, some at a time: rows, an earlier row for each, and whether both are
    identical except for case, white space and Unicode form. No row comes twice."""
    for late, early, shares in _find_similar(
        prints.whole_sketch, prints.whole, texts, _ROWS, setting=prints.setting, once=True
    ):
        same = shares == 1
        for place in np.flatnonzero(same).tolist():  # few: equal hashes have shown almost all of them
            same[place] = have_same_words(texts.read(int(late[place])), texts.read(int(early[place])))
        yield late, early, same


def find_conflicts(prints: Fingerprints, kept: NDArray[np.bool_]) -> Pairs:
    """Kept rows with the same question in the same setting as an earlier kept row, and another answer; and those
    rows."""
    rows = np.flatnonzero(kept & (prints.asked != 0))
    asked, answered = (prints.asked * np.uint64(3) + prints.setting)[rows], prints.answered[rows]
    first = find_first(asked)
    index = np.flatnonzero((first != np.arange(len(first))) & (answered != answered[first]))
    return rows[index], rows[first[index]]


def group_rows(prints: Fingerprints, texts: RowTexts) -> tuple[Indices, NDArray[np.bool_]]:
    """(n,) the group of each row, named by its first row: a split must not separate rows of one group. And (n,) which
    rows could not be grouped with their near-duplicates.

    A group contains, transitively, rows with the same or a similar question, rows with the same or a similar context,
    and near-duplicates. If similarity joins more than half of all rows, as with rows made from one template, nothing
    could be held out; these are grouped by what is identical.
    """
    groups = Groups(len(prints))
    for hashes in (prints.whole, np.where(prints.together == 0, prints.asked, 0), prints.together):  # 0: no text
        first = find_first(hashes)
        rows = np.flatnonzero((hashes != 0) & (first != np.arange(len(first))))
        groups.join(rows, first[rows])
    strict = groups.numbers.copy()
    for late, early in find_links(prints, texts, wanted=groups.are_apart):
        groups.join(late, early)
    too_large = np.bincount(groups.numbers, minlength=1)[groups.numbers] > len(prints) / 2
    return np.where(too_large, strict, groups.numbers), too_large


def find_links(
    prints: Fingerprints,
    texts: RowTexts,
    held_out: NDArray[np.bool_] | None = None,
    wanted: Wanted | None = None,
) -> Iterator[Pairs]:
    """Pairs of rows that are similar but not identical, some at a time: as rows, in their question, or in their
    context. With held_out, pairs (held-out row, training row), a held-out row at most once for each. wanted: which
    pairs matter; the others are not compared."""
    asked = np.where(prints.together == 0, prints.asked, 0)
    for sketches, hashes, measure, setting in (
        (prints.whole_sketch, prints.whole, _ROWS, prints.setting),
        (prints.asked_sketch, asked, _QUESTIONS, None),
        (prints.together_sketch, prints.together, _CONTEXTS, None),
    ):
        for late, early, _ in _find_similar(
            sketches, hashes, texts, measure, setting=setting, held_out=held_out, wanted=wanted
        ):
            yield late, early


def _find_similar(
    sketches: Sketches,
    hashes: Hashes,
    texts: RowTexts,
    measure: _Measure,
    *,
    setting: Hashes | None = None,
    held_out: NDArray[np.bool_] | None = None,
    once: bool = False,
    wanted: Wanted | None = None,
) -> Iterator[tuple[Indices, Indices, Shares]]:
    """Pairs of different texts that are similar by this measure, and the share of words in common, some at a time,
    perhaps none; with `once` or `held_out`, at most one for each later row.

    Of rows with the same hash only the first is compared (with held_out: the first of each side); rows with hash 0 are
    left out.
    """
    side = np.zeros(len(hashes), np.uint64) if held_out is None else held_out.astype(np.uint64)
    first = find_first(hashes * np.uint64(2) + side)
    rows = np.flatnonzero((first == np.arange(len(first))) & (hashes != 0))
    once = once or held_out is not None
    done = np.zeros(len(rows), np.bool_)
    part_side = None if held_out is None else held_out[rows]
    bands = find_candidates(sketches if len(rows) == len(hashes) else sketches[:, rows], done, part_side)

    def divide_bands() -> Iterator[Pairs]:
        seen = np.zeros(0, np.uint64)
        for candidates in bands:
            later, earlier = _choose(rows, *candidates, setting, wanted)
            if len(rows) >= MANY_ROWS and measure is _ROWS:
                like = _have_like_lengths(texts, rows[later], rows[earlier])
                later, earlier = later[like], earlier[like]
            later, earlier, seen = _leave_out_seen(later, earlier, seen)
            weights = texts.weigh(rows[later]) + texts.weigh(rows[earlier])
            if not len(later):
                yield later, earlier  # after every band a caller may stop
            for part in divide(weights, MOST_PAIRS):
                late, early = later[part], earlier[part]
                matters = ~done[late] if wanted is None else wanted(rows[late], rows[early])
                yield late[matters], early[matters]

    with ThreadPoolExecutor(_AHEAD, "modelforge-compare") as threads:
        compare = partial(_share_words, texts, measure, rows)
        for late, early, shares in _compare_ahead(threads, compare, divide_bands()):
            similar = np.flatnonzero(shares >= measure.least)
            if once:
                similar = _keep_first(late, similar, done)
            yield rows[late[similar]], rows[early[similar]], shares[similar]


def _compare_ahead(
    threads: ThreadPoolExecutor, compare: Callable[[Indices, Indices], Shares], parts: Iterator[Pairs]
) -> Iterator[tuple[Indices, Indices, Shares]]:
    """Parts of pairs and their shares, in order. A part is taken when all but a few before it have been used."""
    waiting: deque[tuple[Indices, Indices, Future[Shares]]] = deque()
    for part in parts:
        waiting.append((*part, threads.submit(compare, *part)))
        if len(waiting) > _AHEAD:
            late, early, compared = waiting.popleft()
            yield late, early, compared.result()
    for late, early, compared in waiting:
        yield late, early, compared.result()


def _choose(rows: Indices, later: Indices, earlier: Indices, setting: Hashes | None, wanted: Wanted | None) -> Pairs:
    """The pairs that matter."""
    chosen = np.ones(len(later), np.bool_) if wanted is None else wanted(rows[later], rows[earlier])
    if setting is not None:
        chosen &= setting[rows[later]] == setting[rows[earlier]]
    return later[chosen], earlier[chosen]


def _have_like_lengths(texts: RowTexts, left: Indices, right: Indices) -> NDArray[np.bool_]:
    one, other = texts.weigh(left), texts.weigh(right)
    like: NDArray[np.bool_] = np.maximum(one, other) <= _LIKE_LENGTHS * np.minimum(one, other)
    return like


def _leave_out_seen(later: Indices, earlier: Indices, seen: Hashes) -> tuple[Indices, Indices, Hashes]:
    """The pairs that are not among those seen, each once, in their order; and all pairs seen by now."""
    keys = later.astype(np.uint64) << np.uint64(32) | earlier.astype(np.uint64)
    known = pc.unique(pa.array(np.concatenate((seen, keys)))).to_numpy()
    new = known[len(seen) :]
    return (new >> np.uint64(32)).astype(np.int64), (new & np.uint64(2**32 - 1)).astype(np.int64), known


def _keep_first(late: Indices, places: Indices, done: NDArray[np.bool_]) -> Indices:
    """Of the pairs at some places, the first of each later row that is not done; these rows are done now."""
    places = places[~done[late[places]]]
    places = np.sort(places[np.unique(late[places], return_index=True)[1]])
    done[late[places]] = True
    return places


def _share_words(texts: RowTexts, measure: _Measure, known: Indices, late: Indices, early: Indices) -> Shares:
    """The share of words that the rows of each pair have in common; exact up to the least of the measure. known: the
    rows that late and early are places in."""
    if not len(late):
        return np.zeros(0)
    late, early = known[late], known[early]
    rows, places = np.unique(np.concatenate((late, early)), return_inverse=True)
    if is_long(texts.weigh(rows)):  # a single pair
        one, other = (measure.read(texts, int(row)) for row in (late[0], early[0]))
        return np.array([share_words(one, other)])
    left, right = np.split(places, 2)
    return share_words_of_pairs(measure.take(texts, rows), left, right, measure.least)
