from __future__ import annotations

import numpy as np
import pytest

from modelforge.data.duplicates.groups import Groups


def join_one_by_one(count, pairs):
    numbers = list(range(count))
    for one, other in pairs:
        low, high = sorted((numbers[one], numbers[other]))
        numbers = [low if each == high else each for each in numbers]
    return numbers


@pytest.mark.parametrize("amount", [0, 5, 60, 150, 400])
def test_rows_have_the_first_row_of_their_group_in_whatever_order_they_are_joined(amount):
    draw = np.random.default_rng(amount)
    pairs = draw.integers(0, 200, (amount, 2))
    groups = Groups(200)
    for part in np.array_split(pairs, 3):
        groups.join(part[:, 0], part[:, 1])
    assert groups.numbers.tolist() == join_one_by_one(200, pairs.tolist())


def test_a_long_chain_is_one_group():
    groups = Groups(5000)
    order = np.random.default_rng(0).permutation(4999)
    groups.join(order, order + 1)
    assert not groups.numbers.any()
    assert not groups.are_apart(np.array([17]), np.array([4999])).any()
