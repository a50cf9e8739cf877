"""A base model as its config describes it, tuned as a recipe says, without data.

It is built on the meta device, which needs neither a download nor memory, and computes with fake tensors: they have
a shape, a dtype and a device, so autocast treats them as real ones, but no data.
"""

from __future__ import annotations

import contextlib
import copy
import warnings
from collections.abc import Iterator
from functools import partial
from typing import Any

import torch
import transformers

from modelforge.architecture import ENCODER, Architecture
from modelforge.building import BUILDING
from modelforge.compat.torch import FakeTensorMode, replace_tensors
from modelforge.compute.compute import Compute
from modelforge.compute.tune import tune
from modelforge.loading import head_modules
from modelforge.planner import attention
from modelforge.recipe import Recipe

# NF4: 4 bits, and for each block of 64 weights a scale of 8 bits, whose own scales are a float32 for each 256 of them
# (double quantisation: QLoRA, arXiv 2305.14314, section 3): 0.5 + 1/64 + 4/(64 x 256) = 0.516 bytes a weight.
PACKED_BYTES = 0.5 + 1 / 64 + 4 / (64 * 256)

_LAYER_COUNTS = ("num_hidden_layers", "num_layers", "num_decoder_layers", "encoder_layers", "decoder_layers")


def shorten(config: Any, layers: int) -> Any:
    """A copy of the config with that many layers in each stack."""
    short = copy.deepcopy(config)
    for part in {id(each): each for each in (short, short.get_text_config())}.values():
        full = getattr(part, "num_hidden_layers", 0)
        for name in _LAYER_COUNTS:
            if isinstance(getattr(part, name, None), int):
                setattr(part, name, layers)
        for name, value in list(vars(part).items()):
            if isinstance(value, list) and len(value) == full:  # one entry for each layer, such as layer_types
                setattr(part, name, value[:layers])
    return short


def build(config: Any, architecture: Architecture, recipe: Recipe, compute: Compute) -> Any:
    """The model on the meta device: with its adapter, packed weights and checkpointing, ready to train.

    Raises RecipeError if the adapter does not match any layer of this model.
    """
    auto_class = getattr(transformers, architecture.auto_class)
    kept_dtype = compute.dtype if compute.quantised else compute.weights
    with BUILDING, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        with torch.device("meta"):
            make = partial(_make, auto_class, config, dtype=getattr(torch, kept_dtype))
            try:
                model = make(attn_implementation=attention.choose(compute))
            except _NotBuiltError:  # Falcon and GPT-Neo have a class for each attention, none for a registered one
                model = make(attn_implementation=compute.attention)
        kept = set(head_modules(model)) if architecture is ENCODER else set()
        model = tune(model, recipe, architecture)
        if compute.quantised:
            _pack(model, kept, getattr(torch, compute.dtype))
        return ready_to_train(model, recipe, compute)


class _NotBuiltError(ValueError):
    """transformers cannot build a model of this config."""


def _make(auto_class: Any, config: Any, **options: Any) -> Any:
    try:
        return auto_class.from_config(copy.deepcopy(config), **options)
    except Exception as error:  # of wrong values anything may come
        raise _NotBuiltError(f"{type(error).__name__}: {error}") from error


def ready_to_train(model: Any, recipe: Recipe, compute: Compute) -> Any:
    """A tuned model as its trainer changes it: trained weights in float32, and checkpointing."""
    for part in model.parameters():
        if part.requires_grad:
            part.data = part.data.float()
    if compute.gradient_checkpointing:
        model.gradient_checkpointing_enable({"use_reentrant": False, "preserve_rng_state": False})
        if recipe.tuning.has_adapter:
            model.enable_input_require_grads()
    return model.train()


def count_bytes(config: Any, architecture: Architecture, compute: Compute) -> int:
    """The bytes of the base model's weights and buffers, without an adapter, unpacked."""
    with torch.device("meta"):
        model = _make(getattr(transformers, architecture.auto_class), config, dtype=getattr(torch, compute.weights))
    return sum(part.nbytes for part in {*model.parameters(), *model.buffers()})


@contextlib.contextmanager
def fake_tensors(model: Any) -> Iterator[None]:
    """Give a model on the meta device fake tensors on the processor; tensors made in the block are fake too."""
    with FakeTensorMode():
        replace_tensors(model, lambda tensor: torch.empty(tensor.shape, dtype=tensor.dtype, device="cpu"))
        yield


class PackedProduct(torch.autograd.Function):
    """The memory of bitsandbytes' MatMul4Bit: the packed weight is kept, an unpacked copy is temporary."""

    @staticmethod
    def forward(ctx: Any, x: Any, packed: Any, shape: Any, dtype: Any) -> Any:
        ctx.save_for_backward(packed)
        ctx.shape, ctx.dtype = shape, dtype
        return torch.nn.functional.linear(x.to(dtype), torch.empty(shape, dtype=dtype, device=x.device))

    @staticmethod
    def backward(ctx: Any, grad: Any) -> Any:
        unpacked = torch.empty(ctx.shape, dtype=ctx.dtype, device=grad.device)
        return grad.to(ctx.dtype) @ unpacked, None, None, None


def _pack(model: Any, kept: set[str], dtype: Any) -> None:
    head = model.get_output_embeddings() if hasattr(model, "get_output_embeddings") else None
    for name, part in model.named_modules():
        is_adapter = any(word in name for word in ("lora_A", "lora_B"))
        if type(part) is not torch.nn.Linear or part is head or is_adapter or kept & set(name.split(".")):
            continue
        shape = tuple(part.weight.shape)
        packed = torch.empty(round(shape[0] * shape[1] * PACKED_BYTES), dtype=torch.uint8, device="meta")
        part.weight = torch.nn.Parameter(packed, requires_grad=False)
        part.forward = _packed_forward(part, shape, dtype)


def _packed_forward(layer: Any, shape: tuple[int, ...], dtype: Any) -> Any:
    def forward(x: Any) -> Any:
        out = PackedProduct.apply(x, layer.weight, shape, dtype)
        return out if layer.bias is None else out + layer.bias.to(dtype)

    return forward
