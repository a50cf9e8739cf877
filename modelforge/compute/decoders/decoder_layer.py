"""A whole layer of a Llama-like decoder with a LoRA adapter as one step of autograd, for training on a processor.

Most of a plain step is not matrix products: autograd keeps and passes over every intermediate result, each adapter is
two small products beside a large one, and attention is slow. Here layers that read the same input are one product with
their adapters; only what the backward pass cannot cheaply compute again is kept; what is computed element by element
is done in place where possible. In the last layer, what follows attention is computed for tokens alone whose result is
used. Values and gradients are those of the plain layer up to rounding (the tests compare them).

Shapes: B rows, T tokens, N = B T, M of them chosen, D the hidden size, H query heads, K key heads, G = H / K of them
for each key head, d numbers a head, R the sum of the ranks of a product's adapters.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from itertools import pairwise
from typing import Any

import torch

from modelforge.compat.torch import replace_forward
from modelforge.compute.decoders.attention_heads import HeadOrder, KnownOrder, Shape
from modelforge.compute.decoders.causal_attention import attend, attend_backward
from modelforge.compute.decoders.distinct_tokens import (
    Places,
    find_distinct,
    find_used,
    place_gradients,
    put_back,
    sum_gradients,
    take_tokens,
)
from modelforge.compute.decoders.joined_product import JoinedProduct
from modelforge.compute.fused import autocast_dtype
from modelforge.compute.kernels.use import kernels_for

LAYERS = ("LlamaDecoderLayer", "MistralDecoderLayer", "Qwen2DecoderLayer")
"""Classes of transformers that compute what `LayerStep` does."""
UNDERSTOOD = {"position_embeddings", "position_ids", "num_items_in_batch"}
"""What may be passed to a layer: its rotary embeddings, and what changes nothing in it. With more, it stays plain."""


class FusedLayer:
    """What a layer computes with: its four products, two norms and the shape of its heads. orders: of all layers.
    is_last: whether no other layer reads what it gives, so that after attention only tokens count that are used.
    passes_on: whether another such layer reads what it gives, which need not have the places of the batch then."""

    def __init__(self, layer: Any, orders: KnownOrder, *, is_last: bool = False) -> None:
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
        self.orders = orders
        self.is_last = is_last
        self.passes_on = False

    @property
    def products(self) -> tuple[JoinedProduct, ...]:
        return self.qkv, self.out, self.gate_up, self.down

    @property
    def is_joined(self) -> bool:
        """Whether every product can be one."""
        return all(product.is_joined for product in self.products)

    @property
    def is_same(self) -> bool:
        """Whether the adapters that are active are still those that it was built with."""
        return all(product.is_same for product in self.products)

    @property
    def is_off(self) -> bool:
        """Whether the adapters are off now."""
        return any(product.is_off for product in self.products)

    def trained(self) -> list[Any]:
        """A and B of each adapter, in the order of the products."""
        return [weight for product in self.products for weight in product.trained()]

    def find_order(self, x: Any, *, shares_positions: bool) -> HeadOrder:
        """Of the batch that x (B, T, D) is, or (N, D), as the layer before has passed it on."""
        if x.dim() == 2:
            known: HeadOrder = self.orders.known
            return known
        distinct = find_distinct(x) if shares_positions else None
        batch, length, _ = x.shape
        shape = Shape(batch, length, self.key_heads, self.groups, self.head_size)
        return self.orders.find(shape, distinct, find_used(x), x)

    def computes_in(self, x: Any) -> bool:
        """Whether the frozen weights are in the dtype in which x is to be multiplied."""
        dtype = autocast_dtype(x) or x.dtype
        return x.dtype == dtype and all(product.dtype == dtype for product in self.products)


class LayerStep(torch.autograd.Function):
    """x (B, T, D), cos and sin (1 or B, T, d) -> (B, T, D). x may be (N, D), its tokens that are computed, and the
    result is where passes_on.

    order: which tokens are computed, and where attention has them. keeps: whether intermediate results are kept for the
    backward pass, or computed again then (gradient checkpointing). Results then get their place before what is freed
    again: among it they would leave holes, a third more memory. adapters: those of the layer's products, in order.
    """

    @staticmethod
    def forward(  # noqa: PLR0917
        ctx: Any,
        x: Any,
        cos: Any,
        sin: Any,
        layer: FusedLayer,
        order: HeadOrder,
        keeps: bool,
        passes_on: bool,
        *adapters: Any,
    ) -> Any:
        shape = (len(order.columns),) if passes_on else (order.shape.batch, order.shape.length)
        place = None if keeps else x.new_empty(*shape, x.shape[-1])
        with torch.autocast("cpu", enabled=False):
            result, kept = _compute(layer, x, cos, sin, order, keeps=keeps)
        if not passes_on:
            result = put_back(result, _describe(order)[0], order.shape.batch)
        if place is not None:
            result = place.copy_(result)
        ctx.save_for_backward(*(kept if keeps else (x, cos, sin)))
        ctx.layer, ctx.order, ctx.keeps, ctx.is_passed_on = layer, order, keeps, x.dim() == 2
        return result

    @staticmethod
    def backward(ctx: Any, grad: Any) -> Any:
        kept = ctx.saved_tensors
        if not ctx.keeps:
            x, cos, sin = kept
            places = [torch.empty_like(x), *(torch.empty_like(weight) for weight in ctx.layer.trained())]
            kept = _compute(ctx.layer, x, cos, sin, ctx.order, keeps=True)[1]
        grad_x, of_adapters = _differentiate(ctx.layer, kept, grad, ctx.order, needs_input=ctx.needs_input_grad[0])
        if grad_x is not None and not ctx.is_passed_on:
            grad_x = place_gradients(grad_x, _describe(ctx.order)[0], ctx.order.shape.batch)
        found = grad_x, *of_adapters
        if not ctx.keeps:
            found = tuple(
                each if each is None else place.copy_(each) for place, each in zip(places, found, strict=True)
            )
        return found[0], None, None, None, None, None, None, *found[1:]


def _compute(
    layer: FusedLayer, x: Any, cos: Any, sin: Any, order: HeadOrder, *, keeps: bool
) -> tuple[Any, tuple[Any, ...]]:
    """The layer's result (N, D), and what `_differentiate` needs. keeps: whether that is kept."""
    batch, lengths = _describe(order)
    chosen = order.chosen if layer.is_last else None
    rows = x if x.dim() == 2 else take_tokens(x, batch)
    kernels = kernels_for(rows)
    first, second = layer.norms
    room, normed = layer.qkv.make_room(rows)
    first_scale = kernels.normalise(first, rows, normed)
    qkv, qkv_inner = layer.qkv.compute(room)
    q, k, v = order.split(order.to_attention(qkv, order.turns(cos, sin, layer.scaling)))
    attended, weights = attend(q, k, v, lengths, keeps=keeps and order.keeps_weights)
    attended = _choose(order.from_attention(attended), chosen)
    room, place = layer.out.make_room(attended)
    place.copy_(attended)
    middle, out_inner = layer.out.compute(room, _choose(rows, chosen))
    room, normed = layer.gate_up.make_room(middle)
    second_scale = kernels.normalise(second, middle, normed)
    gate_up, gate_up_inner = layer.gate_up.compute(room)
    room, hidden = layer.down.make_room(middle)
    kernels.open_gate(gate_up, hidden)
    result, down_inner = layer.down.compute(room, middle)
    of_attention = (rows, first_scale, qkv_inner, cos, sin, q, k, v, attended, out_inner)
    return _spread(result, chosen, len(rows)), (
        *of_attention, middle, second_scale, gate_up_inner, gate_up, down_inner, *weights,
    )  # fmt: skip


def _differentiate(
    layer: FusedLayer, kept: Any, grad: Any, order: HeadOrder, *, needs_input: bool
) -> tuple[Any, list[Any]]:
    """The gradients of x (N, D), if it needs one, and of the adapters."""
    rows, first_scale, qkv_inner, cos, sin, q, k, v, attended, out_inner, *of_mlp = kept
    middle, second_scale, gate_up_inner, gate_up, down_inner, *weights = of_mlp
    first, second = (first_scale, layer.norms[0].weight), (second_scale, layer.norms[1].weight)
    batch, lengths = _describe(order)
    chosen = order.chosen if layer.is_last else None
    kernels = kernels_for(rows)
    if grad.dim() == 3:
        grad = sum_gradients(grad.clone() if batch and batch.begun else grad, batch)
    grad = _choose(grad, chosen)
    hidden = gate_up.new_empty(len(gate_up), gate_up.shape[1] // 2)
    opened = kernels.open_gate(gate_up, hidden)
    grad_hidden, of_down = layer.down.differentiate(grad, hidden, down_inner)
    grad_gate_up = kernels.gate_gradient(grad_hidden, gate_up, opened)
    grad_normed, of_gate_up = layer.gate_up.differentiate(grad_gate_up, middle, gate_up_inner, norm=second)
    grad_middle = kernels.add_norm_gradient(second, grad_normed, middle, grad)
    grad_attended, of_out = layer.out.differentiate(grad_middle, attended, out_inner)
    grads = q.new_empty(q.numel() + k.numel() + v.numel()).view(-1, q.shape[-1])
    grad_attended = order.place_gradients(_spread(grad_attended, chosen, len(rows)))
    attend_backward(grad_attended, q, k, v, lengths, kept=weights, out=order.split(grads))
    grad_qkv = order.sum_gradients(grads, order.turns(cos, sin, layer.scaling))
    grad_normed, of_qkv = layer.qkv.differentiate(grad_qkv, rows, qkv_inner, norm=first, needs_input=needs_input)
    grad_x = None
    if needs_input:
        passed = _spread(grad_middle, chosen, len(rows))
        grad_x = kernels.add_norm_gradient(first, grad_normed, rows, passed)
    return grad_x, [*of_qkv, *of_out, *of_gate_up, *of_down]


@contextlib.contextmanager
def fused_layers(model: Any, device: str) -> Iterator[list[FusedLayer]]:
    """Let every layer of a decoder on a processor that `LayerStep` knows compute by it for a while, where it is called
    without a mask or a cache; yields them."""
    orders = KnownOrder()
    lists = [[*parts] for parts in model.modules() if isinstance(parts, torch.nn.ModuleList) and len(parts)]
    known = [part for part in model.modules() if device == "cpu" and _is_known(part)]
    last = [parts[-1] for parts in lists]
    found = {part: FusedLayer(part, orders, is_last=part in last) for part in known}
    forwards = {part: _layer_forward(layer, part) for part, layer in found.items() if layer.is_joined}
    for part, following in (pair for parts in lists for pair in pairwise(parts)):
        if part in forwards and following in forwards:
            found[part].passes_on = True
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
        is_same = layer.is_same and layer.computes_in(hidden_states)
        if not is_known or not is_same or (layer.is_off and torch.is_grad_enabled()):
            if hidden_states.dim() == 2:
                order = layer.orders.known
                hidden_states = put_back(hidden_states, _describe(order)[0], order.shape.batch)
            return plain(hidden_states, attention_mask=attention_mask, **options)
        cos, sin = options["position_embeddings"]
        order = layer.find_order(hidden_states, shares_positions=len(cos) == 1)
        passes_on = layer.passes_on and torch.is_grad_enabled() and order.distinct is not None
        adapters = layer.trained()
        keeps = not (part.gradient_checkpointing and part.training)
        return LayerStep.apply(hidden_states, cos, sin, layer, order, keeps, passes_on, *adapters)

    return forward


def _describe(order: HeadOrder) -> tuple[Places | None, tuple[int, ...]]:
    """Where tokens are in the batch, and the lengths of the rows in attention."""
    return (order.distinct.in_batch, order.distinct.lengths) if order.distinct else (None, ())


def _choose(tokens: Any, chosen: Any) -> Any:
    """(N, D) -> (M, D), the M chosen ones; all where chosen is None."""
    return tokens if chosen is None else tokens.index_select(0, chosen)


def _spread(tokens: Any, chosen: Any, count: int) -> Any:
    """(M, D) -> (N, D), 0 where a token was not chosen."""
    return tokens if chosen is None else tokens.new_zeros(count, tokens.shape[1]).index_copy_(0, chosen, tokens)
