"""Predicted against measured peak memory of six recipes on this machine, each in a process of its own.

The prediction is made before, in another process, from the config and micro-steps of two and four layers; measured is
the most that the process holds while the whole run goes, from loading to saving: rows as long as max_length, so that
the worst batch is met.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

QUESTION_ANSWERING = {"task": "extractive-question-answering", "tuning": {"type": "full"}, "max_length": 384}
RECIPES: Mapping[str, Mapping[str, Any]] = {
    "LoRA, 4 x 512": {"dtype": "float32"},
    "LoRA, 1 x 512": {"dtype": "float32", "per_device_train_batch_size": 1},
    "LoRA, 4 x 512, checkpointing": {"dtype": "float32", "gradient_checkpointing": "on"},
    "LoRA, 2 x 512, number format found out": {"per_device_train_batch_size": 2},
    "full, 1 x 256": {
        "dtype": "float32",
        "tuning": {"type": "full"},
        "per_device_train_batch_size": 1,
        "max_length": 256,
    },
    "QLoRA, 4 x 512": {"tuning": {"type": "qlora"}},
    "DPO, LoRA, 2 x 512": {"dtype": "float32", "method": "dpo", "per_device_train_batch_size": 2},
    "span head, full, 8 x 384": {**QUESTION_ANSWERING, "dtype": "float32", "per_device_train_batch_size": 8},
}


def report() -> None:
    print("\nPeak memory, predicted and measured (GB)")
    errors = []
    with tempfile.TemporaryDirectory() as folder:
        from modelforge import paths, starter

        for name in starter.STARTERS:
            starter.ensure(name)
        home = Path(folder) / "home"
        (home / "cache").mkdir(parents=True)
        (home / "cache" / "starters").symlink_to(paths.cache_dir() / "starters", target_is_directory=True)
        for name, settings in RECIPES.items():
            predicted = _call("predict", settings, home)
            measured = _call("measure", settings, home)
            errors.append(predicted["peak_bytes"] / measured["peak_bytes"] - 1)
            print(
                f"  {name:40} {predicted['peak_bytes'] / 1e9:6.2f} {measured['peak_bytes'] / 1e9:6.2f}"
                f"  {errors[-1]:+6.1%}   ({predicted['activations'] / 1e9:.2f} of it activations)",
                flush=True,
            )
    print(f"  largest error {max(map(abs, errors)):.1%} (at most 15% wanted)")


def _call(what: str, settings: Mapping[str, Any], home: Path) -> dict[str, float]:
    command = [sys.executable, "-m", "tests.bench.memory", what, json.dumps(settings)]
    environment = {**os.environ, "MODELFORGE_HOME": str(home), "HF_HUB_OFFLINE": "1"}
    done = subprocess.run(command, check=False, capture_output=True, text=True, env=environment)
    if done.returncode:
        raise RuntimeError(done.stderr[-2000:])
    figures: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    return figures


def _recipe(settings: Mapping[str, Any]) -> Any:
    from modelforge.recipe import Recipe

    return Recipe.build({"max_steps": 2, "eval_split": 0.0, "name": "bench", **settings})


def _predict(settings: Mapping[str, Any]) -> dict[str, float]:
    from modelforge.planner.plan import plan

    memory = plan(_recipe(settings), calibrate=True).memory
    assert memory
    return {"peak_bytes": memory.total, "activations": memory.activations}


def _measure(settings: Mapping[str, Any]) -> dict[str, float]:
    from modelforge.compute import memory

    memory.share_one_arena()
    from modelforge.training import samples
    from modelforge.training.run import Job, train

    samples.ANSWER_TOKENS = 4  # answers are shown before and after: here they only take time
    recipe = _recipe(settings)
    text = "the lamp of house seven is green and " * 100
    if recipe.task.value == "extractive-question-answering":
        answers = {"text": ["green"], "answer_start": [text.index("green")]}
        row = {"question": "Which colour?", "context": text, "answers": answers}
    elif recipe.method == "dpo":
        asked, told = {"role": "user", "content": "Say it."}, {"role": "assistant", "content": text}
        row = {"prompt": [asked], "chosen": [told], "rejected": [{**told, "content": text.upper()}]}
    else:
        row = {"messages": [{"role": "user", "content": "Say it."}, {"role": "assistant", "content": text}]}
    rows = [row] * (2 * recipe.per_device_train_batch_size)
    with tempfile.TemporaryDirectory() as folder, memory.PeakMeter("cpu") as meter:
        train(Job("run-000000000000", recipe, rows, {}, Path(folder), lambda *_, **__: None, lambda: False))
    return {"peak_bytes": meter.peak_bytes}


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("what", choices=["predict", "measure"])
    parser.add_argument("settings", type=json.loads)
    given = parser.parse_args()
    print(json.dumps({"predict": _predict, "measure": _measure}[given.what](given.settings)))
