"""PEFT: what a LoRA layer computes with, read from the attributes of its class.

PEFT has no description of a layer; these attributes are undocumented. `LoraProduct` computes from them what the layer's
own `forward` does.
"""

from __future__ import annotations

from typing import Any

import torch


def lora_layers(model: Any) -> list[Any]:
    """The LoRA layers of a model around unquantised linear layers; no subclass of PEFT's."""
    from peft.tuners.lora import Linear

    return [part for part in model.modules() if type(part) is Linear]


def plain_adapter(layer: Any) -> str | None:
    """The name of the only active adapter of a LoRA layer, if the layer computes x W' + bias + scaling (x A') B' with a
    frozen W: no dropout, DoRA or bias of the adapter."""
    base = layer.base_layer
    active = [name for name in layer.active_adapters if name in layer.lora_A]
    is_matrix = type(base) is torch.nn.Linear and base.weight.is_floating_point()  # not packed
    if len(active) != 1 or not is_matrix or base.weight.requires_grad:
        return None
    name = active[0]
    is_vanilla = name not in layer.lora_variant and not layer.lora_bias.get(name, False)
    return name if is_vanilla and isinstance(layer.lora_dropout[name], torch.nn.Identity) else None


def is_off(layer: Any) -> bool:
    """Whether a LoRA layer is now to compute without its adapter, or with one that is merged into its weight."""
    return bool(layer.disable_adapters or layer.merged)


def is_active(layer: Any, name: str) -> bool:
    """Whether it is the only one of the layer's adapters that is."""
    return list(layer.active_adapters) == [name]


def adapter_weights(layer: Any, name: str) -> tuple[Any, Any, float]:
    """A (r, I), B (O, r) and the scaling of one adapter of a LoRA layer."""
    return layer.lora_A[name].weight, layer.lora_B[name].weight, layer.scaling[name]
