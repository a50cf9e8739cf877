"""One training step with fake tensors: every allocation and release is counted, nothing is computed.

The idea is that of torch.distributed._tools.MemTracker. It does not see the workspace of kernels, nor how the allocator
rounds and splits; `calibration` and `outcomes` correct for that.
"""

from __future__ import annotations

import weakref
from dataclasses import dataclass
from typing import Any

import torch

from modelforge.architecture import Architecture
from modelforge.compat.torch import TorchDispatchMode, tree_leaves
from modelforge.compute.compute import Compute
from modelforge.compute.fused_model import fused_model
from modelforge.planner import skeleton, steps
from modelforge.recipe import Recipe


@dataclass(frozen=True)
class StepBytes:
    """weights: parameters and buffers. trained: how many parameters are trained, float32 each. largest: the
    size of the largest of them. peak: the most that the step holds at once, gradients included, without weights and
    optimizer. is_fused: whether whole layers are one step of autograd."""

    weights: int
    trained: int
    largest: int
    peak: int
    is_fused: bool


def simulate(
    config: Any, architecture: Architecture, recipe: Recipe, compute: Compute, *, rows: int, length: int
) -> StepBytes:
    """What a step of `rows` examples of `length` tokens takes. Raises RecipeError for layers that do not exist."""
    layers = getattr(config.get_text_config(), "num_hidden_layers", 0) or 0
    if layers <= 6 or recipe.tuning.top_layers or not recipe.tuning.has_adapter:
        return _simulate_whole(config, architecture, recipe, compute, rows=rows, length=length)
    one, two = (
        _simulate_whole(skeleton.shorten(config, count), architecture, recipe, compute, rows=rows, length=length)
        for count in (1, 2)
    )
    more = layers - 2
    guessed = StepBytes(
        two.weights + more * (two.weights - one.weights),
        two.trained + more * (two.trained - one.trained),
        two.largest,
        two.peak + more * (two.peak - one.peak),
        two.is_fused,
    )
    frozen = guessed.weights - 4 * guessed.trained
    if not compute.quantised and frozen != skeleton.count_bytes(config, architecture, compute):
        # The layers differ from each other.
        return _simulate_whole(config, architecture, recipe, compute, rows=rows, length=length)
    return guessed


def _simulate_whole(
    config: Any, architecture: Architecture, recipe: Recipe, compute: Compute, *, rows: int, length: int
) -> StepBytes:
    model = skeleton.build(config, architecture, recipe, compute)
    with fused_model(model, compute.device) as layers, skeleton.fake_tensors(model):
        loss_of = steps.prepare(model, architecture, recipe, compute)
        held = {*model.parameters(), *model.buffers()}
        trained = [part.numel() for part in held if part.requires_grad]
        joined = {product.pack() for layer in layers for product in layer.products}
        with LiveBytes(held | joined) as live:
            loss_of(rows, length).backward()
        return StepBytes(sum(part.nbytes for part in held), sum(trained), max(trained), live.peak, bool(layers))


class LiveBytes(TorchDispatchMode):
    """Counts the bytes of storages while they live. `peak`: the most at once, without those of `held` tensors."""

    def __init__(self, held: set[Any]) -> None:
        super().__init__()
        self.now = self.peak = 0
        self._known: dict[int, Any] = {id(part.untyped_storage()): part.untyped_storage() for part in held}

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        out = func(*args, **(kwargs or {}))
        for each in tree_leaves(out):
            if isinstance(each, torch.Tensor):
                self._count(each.untyped_storage())
        return out

    def _count(self, storage: Any) -> None:
        key, size = id(storage), storage.nbytes()
        if key in self._known:
            return

        def forget(_: Any) -> None:
            if self._known.pop(key, None) is not None:
                self.now -= size

        self._known[key] = weakref.ref(storage, forget)
        self.now += size
        self.peak = max(self.peak, self.now)
