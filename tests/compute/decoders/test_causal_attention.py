"""Attention by blocks gives what torch's attention gives, in values and in gradients."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest
import torch
from torch.nn import functional

from modelforge.compute.decoders import causal_attention
from modelforge.compute.decoders.causal_attention import attend, attend_backward, count_weights

ROWS, KEY_HEADS, SIZE = 2, 2, 8


@pytest.mark.parametrize("length", [1, 5, 64, 65, 150])
@pytest.mark.parametrize("groups", [1, 3])
@pytest.mark.parametrize("block_scores", [1, 40_000, 10**9])  # the shortest blocks, some, one for all
def test_blocks_give_what_torch_gives(
    length: int, groups: int, block_scores: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(causal_attention, "BLOCK_SCORES", block_scores)
    monkeypatch.setattr(causal_attention, "SHORTEST_BLOCK", 16)
    torch.manual_seed(0)
    q = torch.randn(ROWS, KEY_HEADS, length, groups, SIZE, dtype=torch.float64, requires_grad=True)
    k, v = (torch.randn(ROWS, KEY_HEADS, length, SIZE, dtype=torch.float64, requires_grad=True) for _ in "kv")
    heads = q.permute(0, 1, 3, 2, 4).reshape(ROWS, KEY_HEADS * groups, length, SIZE)
    expected = functional.scaled_dot_product_attention(heads, k, v, is_causal=True, scale=1.0, enable_gqa=True)
    expected = expected.view(ROWS, KEY_HEADS, groups, length, SIZE).permute(0, 1, 3, 2, 4)
    grad = torch.randn_like(expected)
    expected.backward(grad)

    given = [part.detach().reshape(ROWS * KEY_HEADS, -1, SIZE) for part in (q, k, v)]
    for keeps in (False, True):
        attended, kept = attend(*given, keeps=keeps)
        assert torch.allclose(attended.view_as(expected), expected)
        counted = count_weights(ROWS * KEY_HEADS, groups, length)
        assert sum(weights.numel() for weights in kept) == (counted if keeps else 0)
        found = differentiate(grad.reshape(given[0].shape), *given, kept=kept)
        for part, of_part in zip((q, k, v), found, strict=True):
            assert part.grad is not None
            assert torch.allclose(of_part.view_as(part), part.grad)


def differentiate(
    grad: Any, *given: Any, lengths: Sequence[int] = (), kept: Sequence[Any] = ()
) -> tuple[Any, Any, Any]:
    found = tuple(torch.full_like(part, torch.nan) for part in given)
    attend_backward(grad, *given, lengths, kept=kept, out=found)
    return found


@pytest.mark.parametrize("block_scores", [1, 1_500, 10**9])
@pytest.mark.parametrize("lengths", [(40, 40, 40), (40, 17, 16), (40, 33, 1), (40, 3, 0)])
def test_rows_that_have_ended_change_nothing(
    lengths: tuple[int, ...], block_scores: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(causal_attention, "BLOCK_SCORES", block_scores)
    monkeypatch.setattr(causal_attention, "SHORTEST_BLOCK", 16)
    torch.manual_seed(0)
    groups, heads = 3, len(lengths) * KEY_HEADS
    q, k, v = (torch.randn(heads, 40 * per, SIZE, dtype=torch.float64) for per in (groups, 1, 1))
    grad = torch.randn_like(q)
    counts = [length for length in lengths for _ in range(KEY_HEADS)]
    for head, count in enumerate(counts):
        grad[head, count * groups :] = 0
    attended, kept = attend(q, k, v, lengths, keeps=True)
    assert sum(weights.numel() for weights in kept) == count_weights(heads, groups, 40, lengths)
    found = differentiate(grad, q, k, v, lengths=lengths)
    for part, of_part in zip(found, differentiate(grad, q, k, v, lengths=lengths, kept=kept), strict=True):
        torch.testing.assert_close(of_part, part, rtol=0, atol=0, equal_nan=True)
    for head, count in enumerate(counts):
        alone = [part[head : head + 1, : count * per] for part, per in ((q, groups), (k, 1), (v, 1))]
        if count:
            assert torch.allclose(attended[head, : count * groups], attend(*alone)[0][0])
            expected = differentiate(grad[head : head + 1, : count * groups].clone(), *alone)
            for part, of_part, per in zip(found, expected, (groups, 1, 1), strict=True):
                assert torch.allclose(part[head, : count * per], of_part[0])
