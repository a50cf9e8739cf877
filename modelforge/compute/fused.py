"""Faster forms of the layers where a plain LoRA step on a processor wastes most: adapters and norms.

They give the values and gradients of the plain computation (the tests compare them) with fewer passes over memory.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any

import torch
from torch.nn import functional

from modelforge.compat.peft import adapter_weights, is_off, lora_layers, plain_adapter
from modelforge.compat.torch import replace_forward
from modelforge.compute.product import is_large, multiply

_WRITTEN_ROWS = 16


def autocast_dtype(x: Any) -> Any:
    """The dtype that autocast gives products of this tensor; None outside of autocast."""
    kind = x.device.type
    return torch.get_autocast_dtype(kind) if torch.is_autocast_enabled(kind) else None


class LoraProduct(torch.autograd.Function):
    """y = x W' + s (x A') B', adding the adapter's part into the frozen part's result in place.

    x (..., I), W (O, I) and bias (O) frozen, A (r, I), B (O, r), s a number -> y (..., O). PEFT's own layer makes two
    more passes over (..., O) and keeps one more copy of it.
    """

    @staticmethod
    def forward(ctx: Any, x: Any, weight: Any, bias: Any, a: Any, b: Any, scaling: float) -> Any:  # noqa: PLR0917
        rows = x.reshape(-1, x.shape[-1])
        inner = rows @ a.t()  # (T, r)
        out = multiply(rows, weight.t(), bias=bias)  # (T, O)
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
            grad_x = multiply(grad_rows, weight)
            grad_x.addmm_(grad_inner, a)
            grad_x = grad_x.view(ctx.shape)
        return grad_x, None, None, grad_a, grad_b, None


class LinearProduct(torch.autograd.Function):
    """x (N, I), weight (O, I) and bias (O) or None, frozen or not -> x W' + bias (N, O), by `multiply`."""

    @staticmethod
    def forward(ctx: Any, x: Any, weight: Any, bias: Any) -> Any:
        ctx.save_for_backward(x if ctx.needs_input_grad[1] else None, weight)
        return multiply(x, weight.t(), bias=bias)

    @staticmethod
    def backward(ctx: Any, grad: Any) -> Any:
        x, weight = ctx.saved_tensors
        needs_x, needs_weight, needs_bias = ctx.needs_input_grad
        return (
            multiply(grad, weight) if needs_x else None,
            grad.t() @ x if needs_weight else None,
            grad.sum(0) if needs_bias else None,
        )


@contextlib.contextmanager
def fused_linear(model: Any) -> Iterator[int]:
    """Let every large plain linear layer of `model` compute by `LinearProduct` for a while; yields how many do."""
    with replace_forward(forwards := linear_forwards(model)):
        yield len(forwards)


def linear_forwards(model: Any) -> dict[Any, Any]:
    """Every large linear layer in float32, and what computes the same faster on a processor."""
    layers = [layer for layer in model.modules() if type(layer) is torch.nn.Linear and is_large(layer.weight)]
    return {layer: _linear_forward(layer, layer.forward) for layer in layers}


def _linear_forward(layer: Any, plain: Any) -> Any:
    def forward(x: Any) -> Any:
        if x.dtype != torch.float32 or x.device.type != "cpu" or autocast_dtype(x) is not None:
            return plain(x)
        rows = x.reshape(-1, x.shape[-1])
        return LinearProduct.apply(rows, layer.weight, layer.bias).view(*x.shape[:-1], -1)

    return forward


@contextlib.contextmanager
def fused_lora(model: Any) -> Iterator[int]:
    """Let every plain LoRA layer of `model` compute by `LoraProduct` for a while; yields how many do.

    A layer with dropout, DoRA, a quantised base, several active adapters or, outside of autocast, mixed dtypes keeps
    PEFT's own forward.
    """
    layers = [layer for layer in lora_layers(model) if plain_adapter(layer)]
    with replace_forward({layer: _lora_forward(layer, layer.forward) for layer in layers}):
        yield len(layers)


@contextlib.contextmanager
def fused_norms(model: Any) -> Iterator[int]:
    """Let every plain RMS norm of `model`, which may be on the meta device, compute by torch's own function for a
    while; yields how many do.

    Architectures differ (some add one to the weight), so a layer is taken only if both agree on random numbers.
    """
    with replace_forward(forwards := norm_forwards(model)):
        yield len(forwards)


def norm_forwards(model: Any) -> dict[Any, Any]:
    """Every plain RMS norm of a model, and what computes the same faster."""
    layers = [layer for layer in model.modules() if type(layer).__name__.endswith("RMSNorm") and _is_rms_norm(layer)]
    return {layer: _norm_forward(layer) for layer in layers}


def _is_rms_norm(layer: Any) -> bool:
    weight = getattr(layer, "weight", None)
    if weight is None or weight.dim() != 1 or weight.dtype != torch.float32 or not hasattr(layer, "variance_epsilon"):
        return False
    generator = torch.Generator().manual_seed(0)
    x, scale = torch.randn(4, len(weight), generator=generator), torch.randn(len(weight), generator=generator)
    with torch.no_grad():
        plain = torch.func.functional_call(layer, {"weight": scale}, (x,))
        return bool(torch.allclose(plain, _rms_norm(x, scale, layer.variance_epsilon), rtol=1e-4, atol=1e-6))


def _norm_forward(layer: Any) -> Any:
    return lambda x: _rms_norm(x, layer.weight, layer.variance_epsilon)


def _rms_norm(x: Any, weight: Any, epsilon: float) -> Any:
    # Inside autocast x may be the bfloat16 result of a product; the plain norm computes in float32 and returns that.
    return functional.rms_norm(x.to(weight.dtype), weight.shape, weight, epsilon)


def _lora_forward(layer: Any, plain: Any) -> Any:
    def forward(x: Any, *args: Any, **kwargs: Any) -> Any:
        if is_off(layer) or args or kwargs or (name := plain_adapter(layer)) is None:
            return plain(x, *args, **kwargs)
        if not torch.is_grad_enabled():
            return _write_by_lora(layer, name, x) if _is_written(x) else plain(x)
        weight, bias = layer.base_layer.weight, layer.base_layer.bias
        a, b, scaling = adapter_weights(layer, name)
        dtype = autocast_dtype(x)
        if dtype is not None:
            x, weight, a, b = x.to(dtype), weight.to(dtype), a.to(dtype), b.to(dtype)
            bias = None if bias is None else bias.to(dtype)
        elif not x.dtype == weight.dtype == a.dtype == b.dtype:
            return plain(x)
        return LoraProduct.apply(x, weight, bias, a, b, scaling)

    return forward


def _is_written(x: Any) -> bool:
    """Whether these are the few rows of tokens that are being written, on a processor."""
    return bool(x.device.type == "cpu" and x.numel() <= _WRITTEN_ROWS * x.shape[-1])


def _write_by_lora(layer: Any, name: str, x: Any) -> Any:
    """The same for a few rows without gradients: the adapter's part in its own float32. In bfloat16 its four small
    products and casts would take as long as the frozen ones."""
    a, b, scaling = adapter_weights(layer, name)
    weight, bias = layer.base_layer.weight, layer.base_layer.bias
    dtype, rows = autocast_dtype(x) or weight.dtype, x.reshape(-1, x.shape[-1])
    with torch.autocast(x.device.type, enabled=False):
        part = functional.linear(functional.linear(rows.to(a.dtype), a), b)
        out = multiply(rows.to(dtype), weight.t().to(dtype), bias=None if bias is None else bias.to(dtype))
        return out.add_(part.to(dtype), alpha=scaling).view(*x.shape[:-1], -1)
