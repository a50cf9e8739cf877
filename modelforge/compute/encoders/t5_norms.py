"""The norm of a T5 on a processor, inside autocast: its result is in the dtype of the products that read it.

The plain norm gives float32, which each of up to a dozen products casts for itself, and whose gradients are cast back
and added up one by one.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from typing import Any

import torch

from modelforge.compat.torch import replace_forward
from modelforge.compute.fused import autocast_dtype


class LowNorm(torch.autograd.Function):
    """x / sqrt(mean(x^2) + epsilon) * weight, in `dtype`: x (..., D), weight (D), both float32."""

    @staticmethod
    def forward(ctx: Any, x: Any, weight: Any, epsilon: float, dtype: Any) -> Any:
        size = torch.linalg.vector_norm(x, dim=-1, keepdim=True)
        scale = size.square_().div_(x.shape[-1]).add_(epsilon).rsqrt_()
        ctx.save_for_backward(x, weight, scale)
        return (x * scale).mul_(weight).to(dtype)

    @staticmethod
    def backward(ctx: Any, grad: Any) -> Any:
        x, weight, scale = ctx.saved_tensors
        normed, grad = x * scale, grad.to(x.dtype)
        shares = grad * normed
        grad_weight = shares.flatten(0, -2).sum(0) if ctx.needs_input_grad[1] else None
        mean = (shares @ weight).div_(x.shape[-1]).unsqueeze(-1)
        grad_x = (grad * weight).sub_(normed.mul_(mean)).mul_(scale)
        return grad_x, grad_weight, None, None


@contextlib.contextmanager
def low_t5_norms(model: Any, device: str) -> Iterator[int]:
    """Let the norms of a T5 on a processor compute by `LowNorm` for a while; yields how many do."""
    parts = [part for part in model.modules() if device == "cpu" and type(part).__name__.endswith("T5LayerNorm")]
    with replace_forward({part: _norm_forward(part, part.forward) for part in parts}):
        yield len(parts)


def _norm_forward(part: Any, plain: Callable[[Any], Any]) -> Callable[[Any], Any]:
    def forward(x: Any) -> Any:
        dtype = autocast_dtype(x)
        if dtype is None or not x.dtype == part.weight.dtype == torch.float32:
            return plain(x)
        return LowNorm.apply(x, part.weight, part.variance_epsilon, dtype)

    return forward
