"""Padding is known for one batch, in one thread, and left out only where that pays."""

from __future__ import annotations

import threading

import pytest
import torch

from modelforge.compute.padding import Lengths, find_lengths, padded_to, put_back, take_tokens


def batch(rows: int, longest: int) -> torch.Tensor:
    return torch.randn(rows, longest, 4, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize("lengths", [(5, 3, 1), (1, 5, 5), (5, 0, 2)])
def test_tokens_come_back_to_their_places(lengths: Lengths) -> None:
    x = batch(3, 5)
    tokens = take_tokens(x, lengths)
    assert len(tokens) == sum(lengths)
    found = put_back(tokens, lengths, 3)
    is_token = torch.arange(5) < torch.tensor(lengths)[:, None]
    assert torch.equal(found, x * is_token[..., None])
    assert torch.equal(put_back(take_tokens(x, None), None, 3), x)


def test_lengths_are_those_of_this_batch_alone() -> None:
    assert find_lengths(batch(3, 5)) is None
    with padded_to([5, 3, 1]):
        assert find_lengths(batch(3, 5)) == (5, 3, 1)
        assert find_lengths(batch(3, 6)) is None  # another batch
        assert find_lengths(batch(2, 5)) is None
        found: list[object] = []
        other = threading.Thread(target=lambda: found.append(find_lengths(batch(3, 5))))
        other.start()
        other.join()
        assert found == [None]
    assert find_lengths(batch(3, 5)) is None


def test_little_padding_stays() -> None:
    with padded_to([100, 99]):
        assert find_lengths(batch(2, 100)) is None
