"""Faster answers on a processor: projections that read the same input are one product, adapters are added into it.

A step that writes one token reads every weight once, and each product wakes the other cores: a few large products are
faster than many small ones. The values are those of the plain layers up to rounding (the tests compare them).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch

from modelforge.compat.peft import adapter_weights, is_off, lora_layers, plain_adapter
from modelforge.compat.torch import set_forwards
from modelforge.compute.fused import linear_forwards, norm_forwards
from modelforge.compute.product import multiply

SIBLINGS = (("q_proj", "k_proj", "v_proj"), ("gate_proj", "up_proj"))
"""Names of layers that read the same input one after another, in Llama and the many models built like it."""
MOST_ROWS = 64
"""Tokens side by side up to which reading the weights is what takes the time."""


class Group:
    """Layers with the same input. The first one that is called computes for all of them; the weights become parts of
    one matrix, and take no more memory. To be used by one thread at a time."""

    def __init__(self, layers: Sequence[Any]) -> None:
        bases = [getattr(layer, "base_layer", layer) for layer in layers]
        self.layers, self.sizes = layers, [base.out_features for base in bases]
        self.weight = torch.cat([base.weight.data for base in bases])  # (O, I), O of all layers
        self.bias = torch.cat([base.bias.data for base in bases]) if bases[0].bias is not None else None
        for base, part in zip(bases, self.weight.split(self.sizes), strict=True):
            base.weight.data = part
        adapters = [adapter_weights(layer, plain_adapter(layer) or "") for layer in layers if layer not in bases]
        self.a = torch.cat([a.data for a, _, _ in adapters]) if adapters else None  # (R, I), R of all ranks
        self.b = torch.block_diag(*(b.data * scaling for _, b, scaling in adapters)).t() if adapters else None  # (R, O)
        self._given: Any = None
        self._parts: tuple[Any, ...] = ()

    def compute(self, x: Any) -> tuple[Any, ...]:
        """x (..., I) -> the result of each layer (..., O of it)."""
        rows = x.reshape(-1, x.shape[-1])
        out = multiply(rows, self.weight.t(), bias=self.bias)
        if self.a is not None and not is_off(self.layers[0]):
            out.addmm_(rows @ self.a.t(), self.b)
        return tuple(out.view(*x.shape[:-1], -1).split(self.sizes, dim=-1))

    def forward_of(self, place: int) -> Callable[..., Any]:
        """What the layer at that place computes with."""
        plain = self.layers[place].forward

        def forward(x: Any, *args: Any, **kwargs: Any) -> Any:
            if torch.is_grad_enabled() or args or kwargs or x.numel() > MOST_ROWS * x.shape[-1]:
                return plain(x, *args, **kwargs)
            if self._given is not x:
                self._given, self._parts = x, self.compute(x)
            part = self._parts[place]
            if place == len(self.layers) - 1:
                self._given, self._parts = None, ()
            return part

        return forward


def speed_up(model: Any) -> int:
    """Let a model in eval mode, with or without an adapter, answer faster for as long as it is loaded. Returns how many
    layers compute otherwise than before. Layers that are quantised, or whose adapter is not a plain one, stay."""
    forwards: dict[Any, Callable[..., Any]] = norm_forwards(model) | linear_forwards(model)
    for group in _find_groups(model):
        forwards |= {layer: group.forward_of(place) for place, layer in enumerate(group.layers)}
    rest = [layer for layer in lora_layers(model) if layer not in forwards and _has_plain_adapter(layer)]
    forwards |= {layer: Group([layer]).forward_of(0) for layer in rest}
    set_forwards(forwards)
    return len(forwards)


def _find_groups(model: Any) -> list[Group]:
    found = []
    for module in model.modules():
        children = dict(module.named_children())
        for names in SIBLINGS:
            layers = [children[name] for name in names if name in children]
            if len(layers) == len(names) and _fit_together(layers):
                found.append(Group(layers))
    return found


def _fit_together(layers: Sequence[Any]) -> bool:
    bases = [getattr(layer, "base_layer", layer) for layer in layers]
    if any(type(base) is not torch.nn.Linear for base in bases):
        return False
    kinds = {(base.in_features, base.weight.dtype, base.weight.device, base.bias is None) for base in bases}
    adapted = [layer for layer, base in zip(layers, bases, strict=True) if layer is not base]
    plain = all(hasattr(layer, "lora_A") and _has_plain_adapter(layer) for layer in adapted)
    return len(kinds) == 1 and plain and len(adapted) in (0, len(layers))


def _has_plain_adapter(layer: Any) -> bool:
    name = plain_adapter(layer)
    return name is not None and adapter_weights(layer, name)[0].dtype == layer.base_layer.weight.dtype
