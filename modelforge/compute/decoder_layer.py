"""A whole layer of a Llama-like decoder with a LoRA adapter as one step of autograd, for training on a processor.

Most of a plain step is not matrix products: autograd keeps and passes over every intermediate result, each adapter is
two small products beside a large one, and attention is slow. Here layers that read the same input are one product with
their adapters; only what the backward pass cannot cheaply compute again is kept; what is computed element by element
is done in place where possible. Values and gradients are those of the plain layer up to rounding (the tests compare
them).

Shapes: B rows, T tokens, N = B T, D the hidden size, H query heads, K key heads, G = H / K of them for each key head,
d numbers a head, R the sum of the ranks of a product's adapters.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch.nn import functional

from modelforge.compat.torch import replace_forward, silu_backward
from modelforge.compute.causal_attention import attend, attend_backward
from modelforge.compute.distinct_tokens import (
    Distinct,
    find_distinct,
    place_gradients,
    put_back,
    sum_gradients,
    take_tokens,
)
from modelforge.compute.fused import autocast_dtype
from modelforge.compute.joined_product import JoinedProduct

LAYERS = ("LlamaDecoderLayer", "MistralDecoderLayer", "Qwen2DecoderLayer")
"""Classes of transformers that compute what `LayerStep` does."""
UNDERSTOOD = {"position_embeddings", "position_ids", "num_items_in_batch"}
"""What may be passed to a layer: its rotary embeddings, and what changes nothing in it. With more, it stays plain."""


class FusedLayer:
    """What a layer computes with: its four products, two norms and the shape of its heads."""

    def __init__(self, layer: Any) -> None:
        attention, mlp = layer.self_attn, layer.mlp
        self.qkv = JoinedProduct([attention.q_proj, attention.k_proj, attention.v_proj])
        self.out = JoinedProduct([attention.o_proj])
        self.gate_up = JoinedProduct([mlp.gate_proj, mlp.up_proj])
        self.down = JoinedProduct([mlp.down_proj])
        self.norms = (layer.input_layernorm, layer.post_attention_layernorm)
        self.head_size = attention.head_dim
        self.groups = attention.num_key_value_groups
        self.key_heads = self.qkv.sizes[1] // self.head_size
        self.scaling = attention.scaling

    @property
    def products(self) -> tuple[JoinedProduct, ...]:
        return self.qkv, self.out, self.gate_up, self.down

    @property
    def is_joined(self) -> bool:
        """Whether every product is one, and its adapters are still those that it was built with."""
        return all(product.is_joined for product in self.products)

    @property
    def is_off(self) -> bool:
        """Whether the adapters are off now."""
        return any(product.is_off for product in self.products)

    def computes_in(self, x: Any) -> bool:
        """Whether the frozen weights are in the dtype in which x is to be multiplied."""
        dtype = autocast_dtype(x) or x.dtype
        return x.dtype == dtype and all(product.dtype == dtype for product in self.products)


class LayerStep(torch.autograd.Function):
    """x (B, T, D), cos and sin (1 or B, T, d) -> (B, T, D).

    distinct: which tokens are computed; None: all places. keeps: whether intermediate results are kept for the
    backward pass, or computed again then (gradient checkpointing). adapters: those of the layer's products, in order.
    """

    @staticmethod
    def forward(  # noqa: PLR0917
        ctx: Any, x: Any, cos: Any, sin: Any, layer: FusedLayer, distinct: Distinct | None, keeps: bool, *adapters: Any
    ) -> Any:
        with torch.autocast("cpu", enabled=False):
            result, kept = _compute(layer, x, cos, sin, distinct)
        ctx.save_for_backward(*(kept if keeps else (x, cos, sin)))
        ctx.layer, ctx.distinct, ctx.keeps = layer, distinct, keeps
        return result

    @staticmethod
    def backward(ctx: Any, grad: Any) -> Any:
        kept = ctx.saved_tensors
        if not ctx.keeps:
            x, cos, sin = kept
            kept = _compute(ctx.layer, x, cos, sin, ctx.distinct)[1]
        grad_x, of_adapters = _differentiate(ctx.layer, kept, grad, ctx.distinct, needs_input=ctx.needs_input_grad[0])
        return grad_x, None, None, None, None, None, *of_adapters


def _compute(layer: FusedLayer, x: Any, cos: Any, sin: Any, distinct: Distinct | None) -> tuple[Any, tuple[Any, ...]]:
    """The layer's result (B, T, D), and what `_differentiate` needs."""
    rows = take_tokens(x, distinct)
    first, second = layer.norms
    normed, first_scale = _normalise(first, rows)
    qkv, qkv_inner = layer.qkv.compute(normed)
    q, k, v = _split_heads(layer, put_back(qkv, distinct, len(x)), cos, sin)
    attended = take_tokens(_join_heads(layer, attend(q, k, v), len(x)), distinct)
    middle, out_inner = layer.out.compute(attended, rows)
    normed, second_scale = _normalise(second, middle)
    gate_up, gate_up_inner = layer.gate_up.compute(normed)
    gate, up = gate_up.chunk(2, -1)
    result, down_inner = layer.down.compute(functional.silu(gate).mul_(up), middle)
    of_attention = (rows, first_scale, qkv_inner, cos, sin, q, k, v, attended, out_inner)
    return put_back(result, distinct, len(x)), (*of_attention, middle, second_scale, gate_up_inner, gate_up, down_inner)


def _differentiate(
    layer: FusedLayer, kept: Any, grad: Any, distinct: Distinct | None, *, needs_input: bool
) -> tuple[Any, list[Any]]:
    """The gradients of x, if it needs one, and of the adapters."""
    rows, first_scale, qkv_inner, cos, sin, q, k, v, attended, out_inner, *of_mlp = kept
    middle, second_scale, gate_up_inner, gate_up, down_inner = of_mlp
    first, second = (first_scale, layer.norms[0].weight), (second_scale, layer.norms[1].weight)
    batch = len(grad)
    grad = sum_gradients(grad.clone() if distinct and distinct.begun else grad, distinct)
    gate, up = gate_up.chunk(2, -1)
    opened = functional.silu(gate)
    grad_hidden, of_down = layer.down.differentiate(grad, opened * up, down_inner)
    grad_gate_up = torch.empty_like(gate_up)
    grad_gate, grad_up = grad_gate_up.chunk(2, -1)
    torch.mul(grad_hidden, opened, out=grad_up)
    silu_backward(grad_hidden.mul_(up), gate, grad_gate)
    grad_normed, of_gate_up = layer.gate_up.differentiate(grad_gate_up, middle, gate_up_inner, norm=second)
    grad_middle = _add_norm_gradient(second, grad_normed, middle, grad)
    grad_attended, of_out = layer.out.differentiate(grad_middle, attended, out_inner)
    grads = attend_backward(_order_heads(layer, place_gradients(grad_attended, distinct, batch)), q, k, v)
    grad_qkv = sum_gradients(_join_gradients(layer, grads, cos, sin, batch), distinct)
    grad_normed, of_qkv = layer.qkv.differentiate(grad_qkv, rows, qkv_inner, norm=first, needs_input=needs_input)
    grad_x = None
    if needs_input:
        grad_x = place_gradients(_add_norm_gradient(first, grad_normed, rows, grad_middle), distinct, batch)
    return grad_x, [*of_qkv, *of_out, *of_gate_up, *of_down]


@contextlib.contextmanager
def fused_layers(model: Any, device: str) -> Iterator[list[FusedLayer]]:
    """Let every layer of a decoder on a processor that `LayerStep` knows compute by it for a while, where it is called
    without a mask or a cache; yields them."""
    found = {part: FusedLayer(part) for part in model.modules() if device == "cpu" and _is_known(part)}
    forwards = {part: _layer_forward(layer, part) for part, layer in found.items() if layer.is_joined}
    with replace_forward(forwards):
        yield [found[part] for part in forwards]


def _is_known(part: Any) -> bool:
    if type(part).__name__ not in LAYERS:
        return False
    norms = (part.input_layernorm, part.post_attention_layernorm)
    return (
        type(part.mlp.act_fn).__name__ in {"SiLU", "SiLUActivation"}
        and not part.self_attn.attention_dropout
        and not any(norm.weight.requires_grad for norm in norms)
    )


def _layer_forward(layer: FusedLayer, part: Any) -> Callable[..., Any]:
    plain = part.forward  # checkpoints, if transformers is told to

    def forward(hidden_states: Any, attention_mask: Any = None, **options: Any) -> Any:
        given = {name for name, value in options.items() if value is not None and value is not False}
        is_known = attention_mask is None and "position_embeddings" in given and not given - UNDERSTOOD
        is_same = layer.is_joined and layer.computes_in(hidden_states)
        if not is_known or not is_same or (layer.is_off and torch.is_grad_enabled()):
            return plain(hidden_states, attention_mask=attention_mask, **options)
        cos, sin = options["position_embeddings"]
        distinct = find_distinct(hidden_states) if len(cos) == 1 else None  # else rows have positions of their own
        adapters = [weight for product in layer.products for weight in product.trained()]
        keeps = not (part.gradient_checkpointing and part.training)
        return LayerStep.apply(hidden_states, cos, sin, layer, distinct, keeps, *adapters)

    return forward


def _normalise(norm: Any, rows: Any) -> tuple[Any, Any]:
    """The root mean square norm of rows (N, D), computed in float32 at least, and what it multiplied each row by
    (N, 1)."""
    exact = torch.promote_types(rows.dtype, torch.float32)
    lengths = torch.linalg.vector_norm(rows, dim=-1, keepdim=True, dtype=exact)
    scale = (lengths.square_().div_(rows.shape[-1])).add_(norm.variance_epsilon).rsqrt_()
    return (rows * scale).mul_(norm.weight).to(rows.dtype), scale


def _add_norm_gradient(norm: tuple[Any, Any], grad: Any, rows: Any, passed: Any) -> Any:
    """The gradient of rows (N, D) that go through a norm, and past it: from that of the normed rows (N, D), which is
    overwritten, and `passed` (N, D). norm: what it multiplied rows (N, 1) and columns (D) by."""
    scale, weight = norm
    grad = grad.mul_(weight.to(grad.dtype))
    dot = (grad * rows).sum(-1, keepdim=True, dtype=scale.dtype)
    along = (scale.pow(3) * dot).div_(-rows.shape[-1]).to(rows.dtype)
    return torch.addcmul(passed, grad, scale.to(grad.dtype)).addcmul_(rows, along)


def _split_heads(layer: FusedLayer, qkv: Any, cos: Any, sin: Any) -> tuple[Any, Any, Any]:
    """qkv (B, T, (H + 2 K) d) -> q (B K, T G, d), rotated and scaled, k (B K, T, d), rotated, and v (B K, T, d)."""
    batch, length, _ = qkv.shape
    q, k, v = _views(layer, qkv)
    cos, sin = cos[:, None], sin[:, None]  # (B, 1, T, d)
    shape = (batch * layer.key_heads, length, layer.head_size)
    rotated_k, copied_v = torch.empty_like(k, memory_format=torch.contiguous_format), v.reshape(shape)
    rotated_q = torch.empty_like(q, memory_format=torch.contiguous_format)
    _rotate(k, cos, sin, rotated_k)
    _rotate(q, (cos * layer.scaling)[..., None, :], (sin * layer.scaling)[..., None, :], rotated_q)
    return rotated_q.view(shape[0], length * layer.groups, -1), rotated_k.view(shape), copied_v


def _join_gradients(layer: FusedLayer, grads: tuple[Any, Any, Any], cos: Any, sin: Any, batch: int) -> Any:
    """The gradient of what `_split_heads` splits: (B, T, (H + 2 K) d)."""
    joined = grads[0].new_empty(batch, grads[1].shape[1], sum(layer.qkv.sizes))
    q, k, v = _views(layer, joined)
    cos, sin = cos[:, None], -sin[:, None]  # a rotation's transpose turns back
    _rotate(grads[0].view(q.shape), (cos * layer.scaling)[..., None, :], (sin * layer.scaling)[..., None, :], q)
    _rotate(grads[1].view(k.shape), cos, sin, k)
    v.copy_(grads[2].view(v.shape))
    return joined


def _views(layer: FusedLayer, qkv: Any) -> tuple[Any, Any, Any]:
    """The parts of (B, T, (H + 2 K) d): q (B, K, T, G, d), k and v (B, K, T, d)."""
    batch, length, _ = qkv.shape
    q, k, v = qkv.split(layer.qkv.sizes, -1)
    q = q.view(batch, length, layer.key_heads, layer.groups, -1).permute(0, 2, 1, 3, 4)
    return q, *(part.view(batch, length, layer.key_heads, -1).transpose(1, 2) for part in (k, v))


def _rotate(x: Any, cos: Any, sin: Any, out: Any) -> None:
    """Rotary positions (arXiv 2104.09864), as Llama pairs the numbers: x (..., d), the first half with the second."""
    half = x.shape[-1] // 2
    torch.mul(x, cos, out=out)
    out[..., :half].addcmul_(x[..., half:], sin[..., :half], value=-1)
    out[..., half:].addcmul_(x[..., :half], sin[..., half:])


def _join_heads(layer: FusedLayer, attended: Any, batch: int) -> Any:
    """(B K, T G, d) -> (B, T, H d)"""
    heads = attended.view(batch, layer.key_heads, -1, layer.groups, layer.head_size)
    return heads.permute(0, 2, 1, 3, 4).reshape(batch, -1, layer.out.width)


def _order_heads(layer: FusedLayer, joined: Any) -> Any:
    """(B, T, H d) -> (B K, T G, d)"""
    batch, length, _ = joined.shape
    heads = joined.view(batch, length, layer.key_heads, layer.groups, -1).permute(0, 2, 1, 3, 4)
    return heads.reshape(batch * layer.key_heads, length * layer.groups, -1)
