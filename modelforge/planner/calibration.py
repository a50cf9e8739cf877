"""Real training steps on this machine: models of the same shape with two and with four layers and random weights take
two steps each, in a separate process. The bytes and seconds that each layer adds are extrapolated to all layers.

It takes some seconds, and the result is cached; a plan works without. Packed weights are not calibrated: outcomes
correct those.
"""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
from collections.abc import Callable
from dataclasses import asdict, dataclass
from functools import partial
from typing import Any

from modelforge.compute.compute import Compute
from modelforge.hardware import Probe
from modelforge.planner.outcomes import read_cache, write_cache
from modelforge.recipe import Recipe

FILE = "calibration.json"
LAYERS = (2, 4)
STEPS = 2  # the first grows the heap most, the second the rest (a third added 0 to 0.5%)
_PATIENCE_SECONDS = 120
_SETTINGS = {"method", "tuning", "task", "per_device_train_batch_size", "max_target_length", "dpo"}


@dataclass(frozen=True)
class Calibration:
    """growth_bytes: what steps need in addition to the weights, gradients and optimizer included.
    tokens_per_second: of a step."""

    growth_bytes: int
    tokens_per_second: float


def calibrated(
    recipe: Recipe, compute: Compute, config: Any, *, length: int, probe: Probe, take: bool = False
) -> Calibration | None:
    """The measurement for such a step; take: measure it if there is none. None if it cannot be measured."""
    layers = getattr(config.get_text_config(), "num_hidden_layers", 0) or 0
    if compute.quantised or recipe.method == "grpo" or recipe.tuning.top_layers or layers < max(LAYERS):
        return None
    decided = {**asdict(compute), "reasons": ()}
    asked = {
        "config": json.loads(config.to_json_string(use_diff=False)),
        "recipe": recipe.model_dump(mode="json", include=_SETTINGS),
        "compute": decided,
        "length": length,
    }
    key = hashlib.sha256(f"{probe.name}{json.dumps(asked, sort_keys=True)}".encode()).hexdigest()[:24]
    known = read_cache(FILE)
    try:
        if key in known:
            return Calibration(**known[key])
    except TypeError:
        known = {}
    if not take:
        return None
    found = _measure_apart(asked, layers)
    if found:
        write_cache(FILE, {**known, key: asdict(found)})
    return found


def _measure_apart(asked: dict[str, Any], layers: int) -> Calibration | None:
    command = [sys.executable, "-m", "modelforge.planner.calibration"]
    try:
        done = subprocess.run(
            command,
            input=json.dumps(asked),
            capture_output=True,
            text=True,
            timeout=_PATIENCE_SECONDS,
            check=True,
        )
        few, more = json.loads(done.stdout.splitlines()[-1])
    except (subprocess.SubprocessError, OSError, ValueError, IndexError):
        return None  # not enough memory even for this, or too slow
    times = (layers - LAYERS[0]) / (LAYERS[1] - LAYERS[0])
    growth = few["bytes"] + times * max(more["bytes"] - few["bytes"], 0)
    seconds = few["seconds"] + times * max(more["seconds"] - few["seconds"], 0)
    return Calibration(round(growth), few["tokens"] / max(seconds, 1e-6))


def measure(asked: dict[str, Any]) -> list[dict[str, float]]:
    """[{bytes, seconds, tokens}] for each of LAYERS: growth of this process from the built model to its last step."""
    from modelforge.architecture import recognise
    from modelforge.compute import memory
    from modelforge.compute.compute import Compute
    from modelforge.planner.skeleton import shorten

    memory.share_one_arena()
    import transformers
    import trl  # noqa: F401 - loaded before anything is measured, as it is in a run

    values = dict(asked["config"])
    architecture, _ = recognise(values)
    config = transformers.AutoConfig.for_model(values.pop("model_type"), **values)
    recipe = Recipe.build(asked["recipe"])
    compute = Compute(**{**asked["compute"], "reasons": ()})
    return [
        _in_fork(partial(_measure_layers, shorten(config, count), architecture, recipe, compute, asked["length"]))
        for count in LAYERS
    ]


def _in_fork(call: Callable[[], dict[str, float]]) -> dict[str, float]:
    """Call it in a fork of this process where possible: a heap that has already grown would hide the growth."""
    if not sys.platform.startswith("linux"):
        return call()
    reader, writer = os.pipe()
    child = os.fork()  # before torch has started a thread
    if child == 0:
        try:
            os.write(writer, json.dumps(call()).encode())
        finally:
            os._exit(0)
    os.close(writer)
    with os.fdopen(reader, encoding="utf-8") as answer:
        found: dict[str, float] = json.loads(answer.read())
    os.waitpid(child, 0)
    return found


def _measure_layers(config: Any, architecture: Any, recipe: Recipe, compute: Compute, length: int) -> dict[str, float]:
    import gc
    import time

    import torch
    import transformers

    from modelforge.compute import memory
    from modelforge.compute.fused import fused_lora, fused_norms
    from modelforge.compute.tune import tune
    from modelforge.planner import steps

    auto_class = getattr(transformers, architecture.auto_class)
    model = auto_class.from_config(
        config, dtype=getattr(torch, compute.weights), attn_implementation=compute.attention
    ).to(compute.device)
    model = tune(model, recipe, architecture).train()
    trained = [part for part in model.parameters() if part.requires_grad]
    for part in trained:
        part.data = part.data.float()
    if compute.gradient_checkpointing:
        model.gradient_checkpointing_enable({"use_reentrant": False})
        if recipe.tuning.has_adapter:
            model.enable_input_require_grads()
    optimizer = torch.optim.AdamW(trained, lr=1e-6)
    rows = recipe.per_device_train_batch_size
    fastest = float("inf")
    gc.collect()
    with memory.kept_blocks(), fused_lora(model), fused_norms(model):
        loss_of = steps.prepare(model, architecture, recipe, compute)
        with memory.PeakMeter(compute.device) as meter:
            before = memory.used_bytes(compute.device)
            for _ in range(STEPS):
                start = time.perf_counter()
                loss_of(rows, length).backward()
                torch.nn.utils.clip_grad_norm_(trained, 1.0)
                optimizer.step()
                optimizer.zero_grad()
                fastest = min(fastest, time.perf_counter() - start)
    tokens = rows * length * steps.SEQUENCES[recipe.method]
    return {"bytes": meter.peak_bytes - before, "seconds": fastest, "tokens": tokens}


if __name__ == "__main__":
    print(json.dumps(measure(json.load(sys.stdin))))
