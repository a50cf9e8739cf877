from __future__ import annotations

import numpy as np
import pytest

from modelforge.data.duplicates.candidates import find_candidates, find_first, find_repeated
from modelforge.data.duplicates.fingerprints import SKETCH

draw = np.random.default_rng(3)


@pytest.mark.parametrize("kinds", [1, 5, 300, 10**9])
def test_repeated_hashes_and_the_first_row_of_each_are_found(kinds):
    hashes = draw.integers(0, kinds, 1000).astype(np.uint64) * np.uint64(0x9E3779B97F4A7C15)
    listed = hashes.tolist()
    assert find_first(hashes).tolist() == [listed.index(each) for each in listed]
    assert find_repeated(hashes).tolist() == [listed.count(each) > 1 for each in listed]


def test_no_hashes_repeat_none():
    assert find_repeated(np.zeros(0, np.uint64)).tolist() == []


def alike(rows):
    """Sketches of rows that all share the phrases of three bands, and nothing else."""
    sketches = draw.integers(0, 2**32, (SKETCH, rows), np.uint32)
    sketches[:9] = np.arange(9)[:, None]
    return sketches


def test_phrase_of_thousands_of_rows_gives_a_few_pairs_for_each():
    rows = 5000
    pairs = [len(later) for later, _ in find_candidates(alike(rows), np.zeros(rows, np.bool_))]
    assert len(pairs) == SKETCH
    assert max(pairs) <= 2 * rows


def test_pairs_are_a_later_and_an_earlier_row_and_rows_that_are_done_get_none():
    done = np.zeros(300, np.bool_)
    done[::2] = True
    for later, earlier in find_candidates(alike(300), done):
        assert (later > earlier).all()
        assert not done[later].any()


def test_rows_marked_on_the_way_get_no_pairs_any_more():
    done = np.zeros(300, np.bool_)
    bands = find_candidates(alike(300), done)
    assert len(next(bands)[0])
    done[:] = True
    assert sum(len(later) for later, _ in bands) <= 600  # of the band that had begun


def test_held_out_rows_are_paired_with_training_rows_only():
    held_out = np.arange(300) % 3 == 0
    found = 0
    for later, earlier in find_candidates(alike(300), np.zeros(300, np.bool_), held_out):
        assert held_out[later].all()
        assert not held_out[earlier].any()
        found += len(later)
    assert found
