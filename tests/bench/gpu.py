"""Trains on a CUDA card and on the processor, and compares: `make gpu-check`. Without a card it says so and exits 0.

Each way of training starts from the same tiny model, made here, and the same rows, by the command line in a process of
its own. Where the starter is on this machine, it is trained too, against TRL's SFTTrainer in bfloat16. Nothing is
downloaded. Under eight minutes.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import yaml

from tests import tiny
from tests.bench import training

STEPS = 12
SETTINGS: dict[str, Any] = {
    "num_train_epochs": 1, "max_steps": STEPS, "max_length": 128, "dtype": "auto", "eval_split": 0.25, "seed": 7,
    "per_device_train_batch_size": 4, "learning_rate": 1e-3,
}  # fmt: skip
GRPO = {"num_generations": 4, "max_completion_length": 16, "rewards": [{"type": "length", "least": 3, "most": 8}]}
WAYS: dict[str, tuple[str, dict[str, Any], float]] = {
    "SFT, LoRA": ("chat", {}, 0.03),
    "SFT, QLoRA": ("chat", {"tuning": {"type": "qlora"}}, 0.15),
    "DPO": ("preference", {"method": "dpo"}, 0.05),
    "GRPO": ("prompts", {"method": "grpo", "grpo": GRPO}, 0.0),
}
"""Name -> the shape of the rows, settings, and how far the mean loss may be from the processor's, as a share: 4 bits
are stored otherwise there. 0: not compared, since the answers that it learns from are drawn on the device."""
NO_CARD = "There is no CUDA device here: nothing to check."


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--on", choices=("cuda", "cpu"), default="cuda", help="cpu: to try this script without a card")
    on = parser.parse_args().on
    import torch

    if on == "cuda" and not torch.cuda.is_available():
        print(NO_CARD)
        return 0
    failed: list[str] = []
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        base = tiny.write_base(folder / "tiny")
        for name, (shape, settings, most) in WAYS.items():
            file = tiny.write_jsonl(folder / f"{shape}.jsonl", tiny.user_rows(shape, 16))
            recipe = folder / "recipe.yaml"
            chosen = {"base_model": str(base), "dataset": str(file), **SETTINGS, **settings}
            recipe.write_text(yaml.safe_dump(chosen), encoding="utf-8")
            here, there = train(recipe, folder / on, on), train(recipe, folder / "processor", "cpu")
            print(describe(name, here, there))
            away = abs(here["loss"] / there["loss"] - 1) if most and there["loss"] else 0.0
            if away > most:
                failed.append(f"{name}: its loss is {away:.0%} from the processor's; at most {most:.0%}")
    compare_with_trl(256 if on == "cuda" else 16, bf16=on == "cuda")
    for reason in failed:
        print(f"FAILED  {reason}")
    return int(bool(failed))


def train(recipe: Path, home: Path, device: str) -> dict[str, float]:
    """Mean loss, tokens a second, peak and predicted bytes of one run, in a home for each device."""
    environment = {**os.environ, "MODELFORGE_HOME": str(home), "HF_HUB_OFFLINE": "1"}
    if device == "cpu":
        environment["CUDA_VISIBLE_DEVICES"] = ""
    planned = json.loads(call(environment, "plan", str(recipe), "--json"))
    events = [json.loads(line) for line in call(environment, "train", str(recipe), "--json").splitlines()]
    steps = [event for event in events if event["type"] == "progress"]
    return {
        "loss": sum(abs(event["loss"]) for event in steps) / len(steps),
        "tokens_per_second": steps[-1]["tokens_per_second"],
        "peak_bytes": max(event["memory_bytes"] for event in steps),
        "planned_bytes": (planned["memory"] or {}).get("total", 0),
    }


def call(environment: dict[str, str], *arguments: str) -> str:
    """What a command prints. Raises CalledProcessError, after its errors were shown."""
    command = [sys.executable, "-m", "modelforge.cli", *arguments]
    done = subprocess.run(command, env=environment, stdout=subprocess.PIPE, text=True, check=True)
    return done.stdout


def describe(name: str, here: dict[str, float], there: dict[str, float]) -> str:
    return (
        f"{name:12} loss {here['loss']:.4f}, processor {there['loss']:.4f}; {here['tokens_per_second']:,.0f} tokens/s, "
        f"processor {there['tokens_per_second']:,.0f}; memory {here['peak_bytes'] / 1e9:.2f} GB, predicted "
        f"{here['planned_bytes'] / 1e9:.2f}"
    )


def compare_with_trl(rows: int, *, bf16: bool) -> None:
    """The rates of matrix products that the device reaches, and the starter's training beside TRL's."""
    from modelforge import hardware, starter
    from modelforge.recipe import STARTER

    rates = hardware.probe().gigaflops
    print("Matrix products: " + ", ".join(f"{name} {rate / 1e3:.2f} TFLOP/s" for name, rate in rates.items()))
    if not starter.is_fetched(STARTER):
        print("The starter is not on this machine (modelforge starter): not compared with TRL.")
        return
    stock, ours = training.compare_once(rows, bf16=bf16)
    print(f"LoRA on the starter, {rows} rows, beside TRL in {'bfloat16' if bf16 else 'float32'}:")
    for name, seconds, peak_bytes in (
        ("TRL", stock["seconds"], stock["peak_bytes"]),
        ("ModelForge", ours.seconds, ours.peak_bytes),
    ):
        print(f"  {name:12} {rows / seconds:.2f} rows/s, peak memory {peak_bytes / 1e9:.2f} GB")
    print(f"  {stock['seconds'] / ours.seconds:.2f} times as fast")


if __name__ == "__main__":
    sys.exit(main())
