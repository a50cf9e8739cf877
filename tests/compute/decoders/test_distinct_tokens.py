"""What of a batch is computed is known for one batch, in one thread, and left out only where that pays."""

from __future__ import annotations

import random
import threading
from collections.abc import Sequence

import pytest
import torch

from modelforge.compute.decoders.distinct_tokens import (
    Places,
    describe,
    find_distinct,
    forget_batch,
    note_batch,
    noted_batch,
    place_gradients,
    put_back,
    sum_gradients,
    take_tokens,
)

Rows = Sequence[Sequence[int]]
BATCHES: dict[str, Rows] = {
    "padding": [[1, 2, 3, 4, 5], [2, 3, 4], [3]],
    "one beginning": [[1, 2, 3], [1, 2, 4], [1, 2, 5]],
    "two beginnings": [[1, 2, 3, 4], [7, 8, 9], [1, 2, 5], [7, 8, 1, 1]],
    "a beginning within another": [[1, 2, 3, 4], [1, 2, 3, 5], [1, 9], [1, 2, 8]],
    "equal rows": [[1, 2, 3], [1, 2, 3], [1, 2]],
    "an empty row": [[1, 2, 3], [], [1, 2]],
}


def pad(rows: Rows) -> tuple[torch.Tensor, torch.Tensor]:
    longest = max(map(len, rows))
    return torch.tensor([[*row, *[0] * (longest - len(row))] for row in rows]), torch.tensor([*map(len, rows)])


def random_rows(seed: int) -> Rows:
    """Of two kinds of token, so that many begin alike."""
    draw = random.Random(seed)
    return [[draw.randrange(2) for _ in range(draw.randrange(1, 12))] for _ in range(6)]


def describe_both(rows: Rows, multiple: int = 1) -> list[tuple[Places, Rows]]:
    """Where tokens are in a batch, and in attention, with the rows in the order that each has them in."""
    ids, lengths = pad(rows)
    distinct = describe(ids.tolist(), lengths.tolist(), multiple)
    assert distinct
    longest_first = sorted(rows, key=len, reverse=True)
    assert list(distinct.lengths) == list(map(len, longest_first))
    return [(distinct.in_batch, rows), (distinct.in_attention, longest_first)]


@pytest.mark.parametrize("order", [0, 1])
@pytest.mark.parametrize("rows", [*BATCHES.values(), *map(random_rows, range(20))])
def test_each_beginning_is_computed_once_and_shown_where_it_was(rows: Rows, order: int) -> None:
    places, rows = describe_both(rows)[order]
    ids, lengths = pad(rows)
    beginnings = {tuple(row[: place + 1]) for row in rows for place in range(len(row))}
    assert len(places.own) == len(beginnings)
    assert not places.added
    of_beginning = {beginning: torch.randn(3).tolist() for beginning in beginnings}
    values = torch.full((*ids.shape, 3), 7.0)
    for number, row in enumerate(rows):
        for place in range(len(row)):
            values[number, place] = torch.tensor(of_beginning[tuple(row[: place + 1])])
    found = put_back(take_tokens(values, places), places, len(rows))
    is_token = torch.arange(ids.shape[1]) < lengths[:, None]
    assert torch.equal(found[is_token], values[is_token])


@pytest.mark.parametrize("order", [0, 1])
@pytest.mark.parametrize("rows", [*BATCHES.values(), *map(random_rows, range(20))])
def test_gradients_are_those_of_autograd(rows: Rows, order: int) -> None:
    places, rows = describe_both(rows)[order]
    ids, lengths = pad(rows)
    is_token = (torch.arange(ids.shape[1]) < lengths[:, None])[..., None]
    tokens = torch.randn(len(places.own), 3, requires_grad=True)
    grad = torch.randn(*ids.shape, 3) * is_token
    put_back(tokens, places, len(rows)).backward(grad)
    assert tokens.grad is not None
    assert torch.allclose(sum_gradients(grad.clone(), places), tokens.grad, atol=1e-6)
    x, grad = torch.randn(*ids.shape, 3, requires_grad=True), torch.randn(len(places.own), 3)
    take_tokens(x, places).backward(grad)
    assert x.grad is not None
    assert torch.equal(place_gradients(grad, places, len(rows)), x.grad)


@pytest.mark.parametrize("order", [0, 1])
def test_tokens_that_make_them_a_multiple_are_shown_nowhere_and_have_no_gradient(order: int) -> None:
    rows: Rows = [[1, 2, 3, 4, 5, 6, 7, 8], [1, 2, 3, 9], [4, 5]]  # 8 + 1 + 2 of 24 places
    places, rows = describe_both(rows, 4)[order]
    ids, lengths = pad(rows)
    assert (len(places.own), places.added) == (12, 1)
    tokens = torch.randn(12, 3, requires_grad=True)
    shown = put_back(tokens, places, 3)
    is_token = (torch.arange(8) < lengths[:, None])[..., None]
    grad = torch.randn(3, 8, 3) * is_token
    shown.backward(grad)
    assert tokens.grad is not None
    assert not tokens.grad[-1].any()
    assert torch.allclose(sum_gradients(grad.clone(), places), tokens.grad, atol=1e-6)
    x = torch.randn(3, 8, 3, requires_grad=True)
    of_tokens = torch.randn(12, 3)
    of_tokens[-1] = 0
    take_tokens(x, places).backward(of_tokens)
    assert x.grad is not None
    assert torch.equal(place_gradients(of_tokens, places, 3), x.grad)
    assert describe(ids.tolist(), lengths.tolist(), 23) is None  # so many that nothing is left out


def test_without_anything_to_leave_out_all_places_are_tokens() -> None:
    x = torch.randn(2, 5, 3)
    assert torch.equal(put_back(take_tokens(x, None), None, 2), x)
    assert torch.equal(place_gradients(sum_gradients(x, None), None, 2), x)


def test_only_this_batch_in_this_thread_is_known() -> None:
    ids, lengths = pad([list(range(50)), [1, 2], [3]])
    x = torch.randn(3, 50, 4)
    assert find_distinct(x) is None
    with noted_batch(ids, lengths):
        distinct = find_distinct(x)
        assert distinct and len(distinct.in_batch.own) == 64
        assert find_distinct(x) is distinct
        assert find_distinct(torch.randn(3, 60, 4)) is None  # another batch
        assert find_distinct(torch.randn(2, 50, 4)) is None
        found: list[object] = []
        other = threading.Thread(target=lambda: found.append(find_distinct(x)))
        other.start()
        other.join()
        assert found == [None]
        note_batch(*pad([list(range(50)), list(range(50)), list(range(46))]))
        again = find_distinct(x)
        assert again and len(again.in_batch.own) == 64 and again.in_batch.added == 14
        forget_batch()
        assert find_distinct(x) is None


def test_little_that_can_be_left_out_stays() -> None:
    ids = torch.arange(200).view(2, 100)
    assert describe(ids.tolist(), [100, 99]) is None
