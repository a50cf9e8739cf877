"""Attention for fake tensors that takes as much memory as torch's flash attention.

Fake tensors would use torch's plain implementation, which keeps B x H x T x T scores. The functions here are registered
with transformers under names of our own: only models that are built with such a name use them.
"""

from __future__ import annotations

from functools import partial
from typing import Any

import torch
import transformers
from transformers.integrations.sdpa_attention import (
    create_position_bias_mask,
    repeat_kv,
    use_gqa_in_sdpa,
)
from transformers.masking_utils import sdpa_mask

from modelforge.compute.compute import Compute
from modelforge.compute.encoders.dropout import attend

_NAMES = {device: f"modelforge_sdpa_{device}" for device in ("cpu", "cuda")}  # Apple GPUs keep the scores in training


def choose(compute: Compute) -> str:
    """The attn_implementation of a model of fake tensors that stands for one on that device."""
    return _NAMES.get(compute.device, "sdpa") if compute.attention == "sdpa" else compute.attention


class AttentionWithoutScores(torch.autograd.Function):
    """What torch's flash attention keeps: q (B, H, T, D), k and v (B, K, S, D), the result, and a sum for each row."""

    @staticmethod
    def forward(ctx: Any, q: Any, k: Any, v: Any) -> Any:
        rows, heads, length, _ = q.shape  # torch's result is contiguous as (B, T, H, D): no copy follows
        out = torch.empty(rows, length, heads, v.shape[-1], dtype=q.dtype, device=q.device).transpose(1, 2)
        sums = torch.empty(q.shape[:-1], dtype=torch.float32, device=q.device)
        ctx.save_for_backward(q, k, v, out, sums)
        return out

    @staticmethod
    def backward(ctx: Any, grad: Any) -> Any:
        q, k, v, _, _ = ctx.saved_tensors
        return torch.empty_like(q), torch.empty_like(k), torch.empty_like(v)


def attend_without_scores(
    module: Any, query: Any, key: Any, value: Any, mask: Any, *, device: str, dropout: float = 0.0, **more: Any
) -> tuple[Any, None]:
    """As `sdpa_attention_forward` of transformers. query (B, H, T, D), key and value (B, K, S, D) -> (B, T, H, D)"""
    if dropout and device == "cpu":  # as `fused_dropout` has it; what is registered here has another name
        return attend(module, query, key, value, mask, dropout, **more)
    groups = getattr(module, "num_key_value_groups", 1)
    if groups > 1 and not use_gqa_in_sdpa(mask, key, value):
        key, value = repeat_kv(key, groups), repeat_kv(value, groups)
    if more.get("position_bias") is not None:  # held until attention is computed
        is_causal = mask is None and more.get("is_causal", module.is_causal)
        mask = create_position_bias_mask(more["position_bias"], mask, is_causal, query, key)
    return AttentionWithoutScores.apply(query, key, value).transpose(1, 2).contiguous(), None


def mask_whole_rows(*, local_size: int | None = None, kv_length: int, use_vmap: bool = False, **more: Any) -> Any:
    """As `sdpa_mask` for rows that are neither padded nor packed: no mask, unless layers see a window of them alone, or
    have a pattern of their own. (transformers looks at the values of positions, which fake tensors do not have.)"""
    if not use_vmap and (local_size is None or kv_length < local_size):
        return None
    return sdpa_mask(local_size=local_size, kv_length=kv_length, use_vmap=use_vmap, **more)


for _device, _name in _NAMES.items():
    transformers.AttentionInterface.register(_name, partial(attend_without_scores, device=_device))
    transformers.AttentionMaskInterface.register(_name, mask_whole_rows)
