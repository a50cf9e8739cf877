"""Real micro-steps on this machine: a model of the same shape with two and with four layers and random weights takes
a few steps with rows of the mean length, in a separate process. The seconds that each layer adds are carried over to
all layers.

The result is cached; a plan works without it. Packed weights are not calibrated: outcomes correct those. (Memory is not
measured so: the noise of a few layers grew with all of them, and what `simulation` counts was nearer.)
"""

from __future__ import annotations

import hashlib
import json
import logging
import subprocess
import sys
from dataclasses import asdict
from typing import Any

from modelforge.compute.compute import Compute
from modelforge.hardware import Probe
from modelforge.planner.duration import SEQUENCES, speed_by_work
from modelforge.planner.memory import weight_bytes
from modelforge.processes import python_command
from modelforge.recipe import Recipe
from modelforge.store.cache import read_cache, write_cache

log = logging.getLogger("modelforge")

FILE = "calibration.json"
LAYERS = (2, 4)
FEWEST_STEPS, STEPS, SECONDS = 2, 8, 4.0  # the fastest counts: a busy machine makes single steps slow
CHEAP_SECONDS = 5.0  # of one micro-step, by its work
_PATIENCE_SECONDS = 60
_SETTINGS = {"method", "tuning", "task", "per_device_train_batch_size", "max_target_length", "dpo"}


def measured_speed(
    recipe: Recipe, compute: Compute, config: Any, length: int, *, probe: Probe, take: bool = False
) -> float | None:
    """Tokens a second of steps with rows of that length in tokens. take: measure it now unless it is cached. None where
    that is not possible, as for another machine than this one."""
    layers = getattr(config.get_text_config(), "num_hidden_layers", 0) or 0
    if compute.quantised or recipe.method == "grpo" or recipe.tuning.top_layers or layers < max(LAYERS):
        return None
    shape = {
        "config": json.loads(config.to_json_string(use_diff=False)),
        "recipe": recipe.model_dump(mode="json", include=_SETTINGS),
        "compute": {**asdict(compute), "reasons": ()},
        "length": length,
    }
    key = hashlib.sha256(f"{probe.name}{json.dumps(shape, sort_keys=True)}".encode()).hexdigest()[:24]
    known = read_cache(FILE)
    if isinstance(known.get(key), float):
        return float(known[key])
    speed = _measure_apart(shape, layers) if take else None
    if speed:
        write_cache(FILE, {**known, key: speed})
    return speed


def is_cheap(recipe: Recipe, compute: Compute, config: Any, length: int, *, probe: Probe, free_bytes: int) -> bool:
    """Whether micro-steps of that length take seconds and little memory, so that nothing else suffers from them."""
    from modelforge.planner.skeleton import shorten

    weights = weight_bytes(shorten(config, max(LAYERS)).get_text_config(), dtype="float32")
    tokens = recipe.per_device_train_batch_size * length * SEQUENCES[recipe.method]
    seconds = tokens / speed_by_work(recipe, compute, probe, weights // 4)
    return compute.device == "cpu" and weights < free_bytes / 8 and seconds < CHEAP_SECONDS


def _measure_apart(shape: dict[str, Any], layers: int) -> float | None:
    command = python_command("modelforge.planner.calibration")
    try:
        done = subprocess.run(
            command, input=json.dumps(shape), capture_output=True, text=True, timeout=_PATIENCE_SECONDS, check=True
        )
        few, more = json.loads(done.stdout.splitlines()[-1])
    except (subprocess.SubprocessError, OSError, ValueError, IndexError) as error:
        log.info("No micro-steps: %s", type(error).__name__)  # too little memory, or too slow
        return None
    times = (layers - LAYERS[0]) / (LAYERS[1] - LAYERS[0])
    tokens = shape["recipe"]["per_device_train_batch_size"] * shape["length"] * SEQUENCES[shape["recipe"]["method"]]
    return float(tokens / max(few + times * max(more - few, 0), 1e-6))


def measure(shape: dict[str, Any]) -> list[float]:
    """Seconds of the fastest step with each number of LAYERS."""
    from modelforge.architecture import recognise
    from modelforge.compute import memory
    from modelforge.compute.compute import Compute
    from modelforge.planner.skeleton import shorten

    memory.share_one_arena()
    import transformers

    values = dict(shape["config"])
    architecture, _ = recognise(values)
    config = transformers.AutoConfig.for_model(values.pop("model_type"), **values)
    recipe = Recipe.build(shape["recipe"])
    compute = Compute(**{**shape["compute"], "reasons": ()})
    return [_time_steps(shorten(config, count), architecture, recipe, compute, shape["length"]) for count in LAYERS]


def _time_steps(config: Any, architecture: Any, recipe: Recipe, compute: Compute, length: int) -> float:
    import time

    import torch
    import transformers

    from modelforge.compute import memory
    from modelforge.compute.fused_model import fused_model
    from modelforge.compute.kernels.build import load_kernels
    from modelforge.compute.kernels.use import using
    from modelforge.compute.tune import tune
    from modelforge.planner import steps
    from modelforge.planner.skeleton import ready_to_train

    auto_class = getattr(transformers, architecture.auto_class)
    model = auto_class.from_config(
        config, dtype=getattr(torch, compute.weights), attn_implementation=compute.attention
    ).to(compute.device)
    model = ready_to_train(tune(model, recipe, architecture), recipe, compute)
    trained = [part for part in model.parameters() if part.requires_grad]
    optimizer = torch.optim.AdamW(trained, lr=1e-6, fused=compute.optimizer == "adamw_torch_fused")
    seconds: list[float] = []
    kept = memory.kept_blocks(but_large=compute.gradient_checkpointing)
    kernels = load_kernels(compute.dtype) if compute.device == "cpu" else None
    with kept, using(kernels), fused_model(model, compute.device):
        loss_of = steps.prepare(model, architecture, recipe, compute)
        while len(seconds) < FEWEST_STEPS or (len(seconds) < STEPS and sum(seconds) < SECONDS):
            start = time.perf_counter()
            loss_of(recipe.per_device_train_batch_size, length).backward()
            torch.nn.utils.clip_grad_norm_(trained, 1.0)
            optimizer.step()
            optimizer.zero_grad()
            seconds.append(time.perf_counter() - start)
    return min(seconds)


if __name__ == "__main__":
    print(json.dumps(measure(json.load(sys.stdin))))
