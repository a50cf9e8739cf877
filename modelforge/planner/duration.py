"""How long a run takes: from the speed of the last run of its kind, from micro-steps, else from work and probe."""

from __future__ import annotations

import math

from modelforge.compute.compute import Compute
from modelforge.hardware import DeviceKind, Probe
from modelforge.recipe import Recipe

EFFICIENCY: dict[DeviceKind, float] = {"cpu": 0.45, "mps": 0.4, "cuda": 0.35}
"""Share of a bare matrix product's rate that a whole step reaches: measured on a processor, usual on cards."""
SHARE_OF_LENGTH = 0.5  # of max_length, where nothing is known of the rows: most are far shorter


def count_batches(recipe: Recipe, rows: int | None) -> int:
    """Batches that go through the model; where the rows are not counted and no max_steps is set, 0."""
    if recipe.max_steps:
        return recipe.max_steps * recipe.gradient_accumulation_steps
    kept = (rows or 0) * (1 - (0 if recipe.eval_dataset else recipe.eval_split))
    return math.ceil(recipe.num_train_epochs * math.ceil(kept / recipe.per_device_train_batch_size))


def tokens_per_batch(recipe: Recipe, length: int, mean_tokens: float | None) -> float:
    each = min(mean_tokens, length) if mean_tokens else SHARE_OF_LENGTH * length
    return recipe.per_device_train_batch_size * each * (2 if recipe.method == "dpo" else 1)


def speed_by_work(recipe: Recipe, compute: Compute, probe: Probe, parameters: int) -> float:
    """Tokens a second: forward 2 operations for each weight and token, backward 2 for the input, and 2 more where the
    weights are trained (Kaplan et al., arXiv 2001.08361, section 2.1); checkpointing goes forward twice."""
    work = 2 + 2 + (0 if recipe.tuning.has_adapter else 2) + (2 if compute.gradient_checkpointing else 0)
    work += 2 if recipe.method == "dpo" else 0  # the reference
    rate = probe.gigaflops.get(compute.dtype, probe.gigaflops["float32"]) * 1e9 * EFFICIENCY[compute.device]
    return rate / (work * max(parameters, 1))
