"""Real micro-steps on this machine: a model of the same shape with two and with four layers and random weights takes
a few steps, in a separate process. What each layer adds, in bytes and seconds, is carried over to all layers.

Memory is measured with rows as long as the longest, time with rows of the mean length. The result is cached; a plan
works without it. Packed weights are not calibrated: outcomes correct those.
"""

from __future__ import annotations

import hashlib
import json
import logging
import os
import subprocess
import sys
from collections.abc import Callable, Collection
from dataclasses import asdict, dataclass
from functools import partial
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
STEPS = 2  # the first makes most of the heap, the second the rest (a third added 0 to 0.5%)
TIMED_STEPS, TIMED_SECONDS = 8, 4.0  # the fastest counts: a busy machine makes single steps slow
CHEAP_SECONDS = 5.0  # of one micro-step, by its work
_PATIENCE_SECONDS = 60  # for each length
_SETTINGS = {"method", "tuning", "task", "per_device_train_batch_size", "max_target_length", "dpo"}


@dataclass(frozen=True)
class Calibration:
    """growth_bytes: what steps need in addition to the weights, gradients and optimizer included.
    tokens_per_second: of a step."""

    growth_bytes: int
    tokens_per_second: float


def calibrated(
    recipe: Recipe,
    compute: Compute,
    config: Any,
    lengths: Collection[int],
    *,
    probe: Probe,
    take: Collection[int] = (),
) -> dict[int, Calibration]:
    """Length of rows in tokens -> what was measured of steps with such rows. take: those lengths that are measured now
    unless they are cached. Empty where that is not possible, as for another machine than this one."""
    layers = getattr(config.get_text_config(), "num_hidden_layers", 0) or 0
    if compute.quantised or recipe.method == "grpo" or recipe.tuning.top_layers or layers < max(LAYERS):
        return {}
    shape = {
        "config": json.loads(config.to_json_string(use_diff=False)),
        "recipe": recipe.model_dump(mode="json", include=_SETTINGS),
        "compute": {**asdict(compute), "reasons": ()},
    }
    keys = {
        length: hashlib.sha256(
            f"{probe.name}{json.dumps({**shape, 'length': length}, sort_keys=True)}".encode()
        ).hexdigest()[:24]
        for length in {*lengths, *take}
    }
    known = read_cache(FILE)
    try:
        found = {length: Calibration(**known[key]) for length, key in keys.items() if key in known}
    except TypeError:
        known, found = {}, {}
    missing = [length for length in dict.fromkeys(take) if length not in found]
    if missing and (measured := _measure_apart({**shape, "lengths": missing}, layers)):
        found |= measured
        write_cache(FILE, {**known, **{keys[length]: asdict(each) for length, each in measured.items()}})
    return found


def is_cheap(recipe: Recipe, compute: Compute, config: Any, length: int, *, probe: Probe, free_bytes: int) -> bool:
    """Whether micro-steps of that length take seconds and little memory, so that nothing else suffers from them."""
    from modelforge.planner.skeleton import shorten

    weights = weight_bytes(shorten(config, max(LAYERS)).get_text_config(), dtype="float32")
    tokens = recipe.per_device_train_batch_size * length * SEQUENCES[recipe.method]
    seconds = tokens / speed_by_work(recipe, compute, probe, weights // 4)
    return compute.device == "cpu" and weights < free_bytes / 8 and seconds < CHEAP_SECONDS


def _measure_apart(shape: dict[str, Any], layers: int) -> dict[int, Calibration]:
    command = python_command("modelforge.planner.calibration")
    try:
        done = subprocess.run(
            command,
            input=json.dumps(shape),
            capture_output=True,
            text=True,
            timeout=_PATIENCE_SECONDS * len(shape["lengths"]),
            check=True,
        )
        measured = json.loads(done.stdout.splitlines()[-1])
    except (subprocess.SubprocessError, OSError, ValueError, IndexError) as error:
        log.info("No micro-steps: %s", type(error).__name__)  # too little memory, or too slow
        return {}
    times = (layers - LAYERS[0]) / (LAYERS[1] - LAYERS[0])
    found = {}
    for length, (few, more) in zip(shape["lengths"], measured, strict=True):
        growth = few["bytes"] + times * max(more["bytes"] - few["bytes"], 0)
        seconds = few["seconds"] + times * max(more["seconds"] - few["seconds"], 0)
        found[length] = Calibration(round(growth), few["tokens"] / max(seconds, 1e-6))
    return found


def measure(shape: dict[str, Any]) -> list[list[dict[str, float]]]:
    """For each length {bytes, seconds, tokens} for each of LAYERS: growth of this process from the built model to its
    last step, seconds of the fastest step."""
    from modelforge.architecture import recognise
    from modelforge.compute import memory
    from modelforge.compute.compute import Compute
    from modelforge.planner.skeleton import shorten

    memory.share_one_arena()
    import transformers
    import trl  # noqa: F401 - loaded before anything is measured, as it is in a run

    values = dict(shape["config"])
    architecture, _ = recognise(values)
    config = transformers.AutoConfig.for_model(values.pop("model_type"), **values)
    recipe = Recipe.build(shape["recipe"])
    compute = Compute(**{**shape["compute"], "reasons": ()})
    return [
        [
            _in_fork(partial(_measure_layers, shorten(config, count), architecture, recipe, compute, length))
            for count in LAYERS
        ]
        for length in shape["lengths"]
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
    from modelforge.compute.fused_model import fused_model
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
    rows = recipe.per_device_train_batch_size
    fastest = float("inf")
    gc.collect()
    with memory.kept_blocks(), fused_model(model, compute.device):
        loss_of = steps.prepare(model, architecture, recipe, compute)
        with memory.PeakMeter(compute.device) as meter:
            before = memory.used_bytes(compute.device)
            steps_taken, begin = 0, time.perf_counter()
            while steps_taken < STEPS or (steps_taken < TIMED_STEPS and time.perf_counter() - begin < TIMED_SECONDS):
                start = time.perf_counter()
                steps_taken += 1
                loss_of(rows, length).backward()
                torch.nn.utils.clip_grad_norm_(trained, 1.0)
                optimizer.step()
                optimizer.zero_grad()
                fastest = min(fastest, time.perf_counter() - start)
    tokens = rows * length * SEQUENCES[recipe.method]
    return {"bytes": meter.peak_bytes - before, "seconds": fastest, "tokens": tokens}


if __name__ == "__main__":
    print(json.dumps(measure(json.load(sys.stdin))))
