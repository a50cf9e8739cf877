"""The feed-forward part of a T5, without the cast to the dtype of its weights.

T5 casts what it multiplies by its second matrix to float32, the dtype of the trained weights, and autocast casts it
back: two passes over the widest tensor of a layer, and two of its gradient, that change no number.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import nn

from modelforge.compat.torch import replace_forward, threshold_backward
from modelforge.compute.encoders.dropout import draw_kept, keep
from modelforge.compute.fused import autocast_dtype


class ReluDropout(torch.autograd.Function):
    """max(x, 0), of which a share of p is dropped, the others scaled by 1 / (1 - p). What is not 0 was kept, so that no
    mask is held until the backward pass."""

    @staticmethod
    def forward(ctx: Any, x: Any, p: float) -> Any:
        out = keep(torch.relu(x).mul_(1 / (1 - p)), draw_kept(x.shape, p))
        ctx.save_for_backward(out)
        ctx.scale = 1 / (1 - p)
        return out

    @staticmethod
    def backward(ctx: Any, grad: Any) -> Any:
        (out,) = ctx.saved_tensors
        return threshold_backward(grad * ctx.scale, out), None


@contextlib.contextmanager
def fused_feed_forward(model: Any, device: str) -> Iterator[int]:
    """Let the feed-forward parts of a T5 on a processor compute so for a while; yields how many do."""
    forwards = {part: _forward_of(part, part.forward) for part in model.modules() if device == "cpu" and _is_t5(part)}
    with replace_forward(forwards):
        yield len(forwards)


def _is_t5(part: Any) -> bool:
    return type(part).__name__.endswith(("T5DenseActDense", "T5DenseGatedActDense"))


def _forward_of(part: Any, plain: Callable[[Any], Any]) -> Callable[[Any], Any]:
    def forward(x: Any) -> Any:
        if autocast_dtype(x) is None:
            return plain(x)
        if hasattr(part, "wi_0"):
            return part.wo(part.dropout(part.act(part.wi_0(x)) * part.wi_1(x)))
        wide, p = part.wi(x), part.dropout.p
        if type(part.act) is nn.ReLU and part.training and 0 < p < 1:
            return part.wo(ReluDropout.apply(wide, p))
        return part.wo(part.dropout(part.act(wide)))

    return forward
