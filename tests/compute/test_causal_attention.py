"""Attention by blocks gives what torch's attention gives, in values and in gradients."""

from __future__ import annotations

import pytest
import torch
from torch.nn import functional

from modelforge.compute import causal_attention
from modelforge.compute.causal_attention import attend, attend_backward

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
    assert torch.allclose(attend(*given).view_as(expected), expected)
    found = attend_backward(grad.reshape(given[0].shape), *given)
    for part, of_part in zip((q, k, v), found, strict=True):
        assert part.grad is not None
        assert torch.allclose(of_part.view_as(part), part.grad)
