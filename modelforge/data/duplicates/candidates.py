"""Finds rows with equal fingerprints, and pairs of rows whose sketches agree, without comparing every pair.

Candidates come from banded MinHash sketches (J. Leskovec, A. Rajaraman, J. Ullman, "Mining of Massive Datasets",
chapter 3): rows that agree in a band are sorted next to each other, and each row is paired with its neighbour and with
the first row of its bucket only, so that a phrase shared by thousands of rows gives thousands of pairs, not millions.
Their texts are compared in `similar`.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from modelforge.data.duplicates.fingerprints import SKETCH, Sketches
from modelforge.data.duplicates.word_hashes import Hashes

# Two rows are candidates if three neighbouring numbers of their sketches agree (24 bands, in a circle). This finds 99%
# of the rows that share 0.64 of their word pairs (one word in nine differs), and 99.9% of those that share 0.7.
_BAND = 3
MANY_ROWS = 50_000
"""From here on only every second band is used."""
_SPREAD = np.uint64(0x9E3779B97F4A7C15)  # 2**64 over the golden ratio, for multiplicative hashing
_BYTES_OF_ONE = np.uint64(0x0101010101010101)
_LIKELY, _LIKELY_OF_MANY = 9, 10
"""Of 24 numbers: so many are equal in a pair that is compared word by word. Ten left out a quarter of the candidates in
200,000 rows, and 3 of 122 near-duplicates."""
_THREADS = 2
_PAIRS_A_STEP = 1 << 12

Indices = NDArray[np.int64]
Pairs = tuple[Indices, Indices]


def find_first(hashes: Hashes) -> Indices:
    """For each row, the index of the first row with the same hash (its own if it is the first)."""
    some, numbers = _number_shared(hashes)
    opening = np.empty(len(some), np.int64)
    opening[numbers[::-1]] = some[::-1]  # the last one that is written stays
    first = np.arange(len(hashes))
    first[some] = opening[numbers]
    return first


def find_repeated(hashes: Hashes) -> NDArray[np.bool_]:
    """(n,) whether the hash of each row occurs more than once."""
    some, numbers = _number_shared(hashes)
    repeated = np.zeros(len(hashes), np.bool_)
    repeated[some] = (np.bincount(numbers) > 1)[numbers]
    return repeated


def _number_shared(hashes: Hashes) -> tuple[Indices, NDArray[np.int32]]:
    """Some rows, among them all whose hash occurs more than once; and the number of the hash of each, in the order in
    which they occur. Most rows of most files are left out, since they share no slot of a table; for the others Arrow's
    table is faster than sorting."""
    rows = np.arange(len(hashes), dtype=np.int32)
    bits = len(hashes).bit_length() + 3
    slots = (hashes * _SPREAD >> np.uint64(64 - bits)).view(np.int64)
    table = np.empty(1 << bits, np.int32)
    table[slots] = rows
    shared = np.zeros(1 << bits, np.bool_)
    shared[slots[table[slots] != rows]] = True
    some = np.flatnonzero(shared[slots])
    return some, pc.dictionary_encode(pa.array(hashes[some])).indices.to_numpy()


def find_candidates(
    sketches: Sketches, done: NDArray[np.bool_], held_out: NDArray[np.bool_] | None = None
) -> Iterator[Pairs]:
    """Pairs (later row, earlier row) that agree in a band and are similar in the whole sketch, a band at a time.

    done: (n,) rows that need no earlier row any more; the caller may mark more of them on the way. held_out: pairs are
    (held-out row, training row).
    """
    rows = np.ascontiguousarray(sketches.T)
    bands = deque(range(0, SKETCH, 1 if len(rows) < MANY_ROWS else 2))
    waiting: deque[Future[Pairs]] = deque()
    with ThreadPoolExecutor(_THREADS, "modelforge-similar") as threads:  # numpy releases the GIL

        def begin() -> None:
            if bands:
                waiting.append(threads.submit(_find_in_band, bands.popleft(), sketches, rows, done, held_out))

        for _ in range(_THREADS):
            begin()
        while waiting:
            yield waiting.popleft().result()
            begin()  # now that the caller has marked rows as done


def _find_in_band(
    band: int, sketches: Sketches, rows: Sketches, done: NDArray[np.bool_], held_out: NDArray[np.bool_] | None
) -> Pairs:
    """sketches: (SKETCH, n); rows: the same as (n, SKETCH)."""
    keys = np.zeros(len(rows), np.uint64)
    for step in range(_BAND):
        keys += sketches[(band + step) % SKETCH]
        keys *= _SPREAD
    order, opens = _sort_buckets(*_number_shared(keys), sketches[(band + _BAND) % SKETCH])
    bucket = np.maximum.accumulate(np.where(opens, np.arange(len(order)), 0))  # where the bucket of each row begins
    later, earlier = [], []
    for left, right in _neighbours(order, bucket, held_out):
        late, early = (left, right) if held_out is not None else (np.maximum(left, right), np.minimum(left, right))
        likely = np.flatnonzero(~done[late])
        likely = likely[_are_likely(rows, late[likely], early[likely])]
        later.append(late[likely])
        earlier.append(early[likely])
    return np.concatenate(later), np.concatenate(earlier)


def _sort_buckets(
    some: Indices, buckets: NDArray[np.int32], numbers: NDArray[np.uint32]
) -> tuple[Indices, NDArray[np.bool_]]:
    """Of some rows, those that share a bucket with others, by bucket, then by a number, then as they are; and which of
    them are the first of a bucket. buckets: of these rows; numbers: of all rows.

    All three are packed into 64 bits, which numpy sorts ten times as fast as by three keys; of millions of rows the
    last bits of the numbers are left out.
    """
    is_shared = (np.bincount(buckets) > 1)[buckets]
    some, buckets = some[is_shared], buckets[is_shared]
    bits = len(numbers).bit_length()
    left_out = max(2 * bits - 32, 0)
    packed = buckets.astype(np.uint64) << np.uint64(32 - left_out)
    packed |= numbers[some] >> np.uint64(left_out)
    packed = packed << np.uint64(bits) | some.astype(np.uint64)
    packed.sort()
    order = (packed & np.uint64((1 << bits) - 1)).astype(np.int64)
    bucket = packed >> np.uint64(bits + 32 - left_out)
    opens = np.ones(len(order), np.bool_)
    opens[1:] = bucket[1:] != bucket[:-1]
    return order, opens


def _are_likely(rows: Sketches, left: Indices, right: Indices) -> NDArray[np.bool_]:
    """Whether the sketches of each pair agree in enough numbers."""
    least = _LIKELY if len(rows) < MANY_ROWS else _LIKELY_OF_MANY
    likely = np.empty(len(left), np.bool_)
    for start in range(0, len(left), _PAIRS_A_STEP):  # a step fits into the processor's cache
        part = slice(start, start + _PAIRS_A_STEP)
        equal = np.take(rows, left[part], axis=0) == np.take(rows, right[part], axis=0)
        likely[part] = _count_true(equal) >= least
    return likely


def _count_true(flags: NDArray[np.bool_]) -> Hashes:
    """(n,) how many of some flags, a multiple of eight, are true. Eight bytes are added at once, in a fifth of the time
    of `np.count_nonzero`."""
    eights = flags.view(np.uint64)
    sums = eights[:, 0].copy()
    for column in range(1, eights.shape[1]):
        sums += eights[:, column]
    return sums * _BYTES_OF_ONE >> np.uint64(56)  # the highest byte is the sum of all


def _neighbours(order: Indices, bucket: Indices, held_out: NDArray[np.bool_] | None) -> Iterator[Pairs]:
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
