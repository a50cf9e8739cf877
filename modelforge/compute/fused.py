"""The places where a plain LoRA step on a processor wastes most: adapters, the output matrix, the norms.

All give the values and gradients of the plain computation (the tests compare them); they differ in how often memory is
walked through.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any

import torch
from torch.nn import functional

CHUNK_ROWS = 128  # rows of logits at once: 128 x 49,152 x 4 bytes = 25 MB stays near the processor


class LoraProduct(torch.autograd.Function):
    """y = x W' + s (x A') B', adding the adapter's part into the frozen part's result in place.

    x (..., I), W (O, I) and bias (O) frozen, A (r, I), B (O, r), s a number -> y (..., O). PEFT's own layer makes two
    more passes over (..., O) and keeps one more copy of it.
    """

    @staticmethod
    def forward(ctx: Any, x: Any, weight: Any, bias: Any, a: Any, b: Any, scaling: float) -> Any:  # noqa: PLR0917
        rows = x.reshape(-1, x.shape[-1])
        inner = rows @ a.t()  # (T, r)
        out = functional.linear(rows, weight, bias)  # (T, O)
        out.addmm_(inner, b.t(), alpha=scaling)
        ctx.save_for_backward(rows, weight, a, b, inner)
        ctx.scaling, ctx.shape = scaling, x.shape
        return out.view(*x.shape[:-1], -1)

    @staticmethod
    def backward(ctx: Any, grad: Any) -> Any:
        rows, weight, a, b, inner = ctx.saved_tensors
        grad_rows = grad.reshape(-1, grad.shape[-1])
        grad_inner = (grad_rows @ b).mul_(ctx.scaling)  # (T, r)
        grad_b = (grad_rows.t() @ inner).mul_(ctx.scaling)
        grad_a = grad_inner.t() @ rows
        grad_x = None
        if ctx.needs_input_grad[0]:
            grad_x = grad_rows @ weight
            grad_x.addmm_(grad_inner, a)
            grad_x = grad_x.view(ctx.shape)
        return grad_x, None, None, grad_a, grad_b, None


class AnswerLoss(torch.autograd.Function):
    """Sum of cross entropies of a frozen output matrix, without ever holding all logits.

    hidden (N, D) at the labelled positions, weight (V, D), labels (N) -> scalar. The gradient for `hidden` is computed
    in the same walk over the logits, chunk by chunk, as in Cut Your Losses (arXiv 2411.09009) and Liger Kernel.
    """

    @staticmethod
    def forward(ctx: Any, hidden: Any, weight: Any, labels: Any) -> Any:
        grad = torch.empty_like(hidden) if ctx.needs_input_grad[0] else None
        total = hidden.new_zeros((), dtype=torch.float32)
        for start in range(0, len(hidden), CHUNK_ROWS):
            chunk, wanted = hidden[start : start + CHUNK_ROWS], labels[start : start + CHUNK_ROWS, None]
            logits = (chunk @ weight.t()).float()  # (C, V)
            right = logits.gather(1, wanted)
            highest = logits.amax(1, keepdim=True)
            logits.sub_(highest).exp_()
            normaliser = logits.sum(1, keepdim=True)
            total += (normaliser.log() + highest - right).sum()
            if grad is not None:
                logits.div_(normaliser)
                logits.scatter_add_(1, wanted, torch.full_like(right, -1.0))
                grad[start : start + CHUNK_ROWS] = logits.to(weight.dtype) @ weight
        if grad is not None:
            ctx.save_for_backward(grad)
        return total

    @staticmethod
    def backward(ctx: Any, grad_total: Any) -> Any:
        return ctx.saved_tensors[0] * grad_total, None, None


@contextlib.contextmanager
def fused_lora(model: Any) -> Iterator[int]:
    """Let every plain LoRA layer of `model` compute by `LoraProduct` for a while; yields how many do.

    A layer with dropout, DoRA, a quantised base or mixed dtypes keeps PEFT's own forward.
    """
    from peft.tuners.lora.layer import Linear

    layers = [layer for layer in model.modules() if type(layer) is Linear and _is_plain(layer)]
    for layer in layers:
        layer.forward = _fused_forward(layer, layer.forward)
    try:
        yield len(layers)
    finally:
        for layer in layers:
            del layer.__dict__["forward"]


@contextlib.contextmanager
def fused_norms(model: Any) -> Iterator[int]:
    """Let every plain RMS norm of `model` compute by torch's own function for a while; yields how many do.

    Architectures differ (some add one to the weight), so a layer is taken only if both agree on random numbers.
    """
    layers = [layer for layer in model.modules() if type(layer).__name__.endswith("RMSNorm") and _is_rms_norm(layer)]
    for layer in layers:
        layer.forward = _rms_norm_of(layer)
    try:
        yield len(layers)
    finally:
        for layer in layers:
            del layer.__dict__["forward"]


def _is_rms_norm(layer: Any) -> bool:
    weight = getattr(layer, "weight", None)
    if weight is None or weight.dim() != 1 or weight.dtype != torch.float32 or not hasattr(layer, "variance_epsilon"):
        return False
    generator = torch.Generator().manual_seed(0)
    given = torch.randn(4, len(weight), generator=generator).to(weight.device)
    with torch.no_grad():
        return bool(torch.allclose(layer(given), _rms_norm_of(layer)(given), rtol=1e-4, atol=1e-6))


def _rms_norm_of(layer: Any) -> Any:
    def forward(x: Any) -> Any:
        return functional.rms_norm(x, layer.weight.shape, layer.weight, layer.variance_epsilon)

    return forward


def _is_plain(layer: Any) -> bool:
    base = layer.base_layer
    parts = [layer.lora_A["default"].weight, layer.lora_B["default"].weight] if "default" in layer.lora_A else []
    return (
        bool(parts)
        and type(base) is torch.nn.Linear
        and not base.weight.requires_grad
        and not layer.use_dora.get("default", False)
        and not layer.lora_bias.get("default", False)
        and isinstance(layer.lora_dropout["default"], torch.nn.Identity)
        and all(part.dtype == base.weight.dtype for part in parts)
    )


def _fused_forward(layer: Any, plain: Any) -> Any:
    def forward(x: Any, *args: Any, **kwargs: Any) -> Any:
        if layer.disable_adapters or layer.merged or not torch.is_grad_enabled() or args or kwargs:
            return plain(x, *args, **kwargs)
        base = layer.base_layer
        a, b = layer.lora_A["default"].weight, layer.lora_B["default"].weight
        return LoraProduct.apply(x, base.weight, base.bias, a, b, layer.scaling["default"])

    return forward
