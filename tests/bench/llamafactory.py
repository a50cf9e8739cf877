"""Rows a second of LoRA fine-tuning beside LLaMA-Factory at its best.

Only when asked for (`BENCH=llamafactory`): it needs other versions of transformers and TRL, and so an environment of
its own, of some gigabytes, made in the cache.

Its settings are those of `training`: bfloat16 where that is fast, no gradient checkpointing.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from importlib.metadata import version
from pathlib import Path
from typing import Any

import yaml

from tests.bench import corpora
from tests.bench.figures import Figure, Options, Row, Skipped, alternate, summarise
from tests.bench.processes import call, environment_of, has_fast_bfloat16, open_home, train
from tests.bench.training import HELD_OUT, TRAINED, judge, measure_losses, recipe_for

VERSION = "0.9.5"
SPEED = Row("LoRA, rows as alpaca's, in turns", f"LLaMA-Factory {VERSION} at its best", "rows/s", 4, "higher")
ROWS = (SPEED,)
BEST = {"disable_gradient_checkpointing": True, "group_by_length": True}


def measure(options: Options) -> list[Figure | Skipped]:
    """Three pairs."""
    count = options.rows or TRAINED
    python = make_environment()
    with open_home() as home, tempfile.TemporaryDirectory() as folder:
        place, made = Path(folder), corpora.make_rows(count + HELD_OUT, options.data)
        file = corpora.write_rows(place / "rows.jsonl", made[:count])
        held_out = corpora.write_rows(place / "held_out.jsonl", made[count:])
        (place / "rows.json").write_text(json.dumps(made[:count]), encoding="utf-8")
        (place / "dataset_info.json").write_text(json.dumps({"rows": {"file_name": "rows.json"}}), encoding="utf-8")
        runs, seconds = alternate(
            options.pairs(3), lambda: train(recipe_for(file), home), lambda: train_rival(python, place, home)
        )
        folders = {"ours": runs[-1].folder, "LLaMA-Factory": place / "stock"}
        losses = call(measure_losses, home, held_out=held_out, adapters=folders)
    fault = judge(losses, "LLaMA-Factory")
    return [summarise(SPEED, [count / run.seconds for run in runs], [count / each for each in seconds], fault)]


def make_environment() -> Path:
    """The Python of the environment, installed once."""
    from modelforge import paths

    folder = paths.make_folder(paths.cache_dir()) / "bench" / f"llamafactory-{VERSION}"
    done = folder / "installed"
    python = folder / ("Scripts" if sys.platform == "win32" else "bin") / "python"
    if not done.exists():
        print(f"Installing LLaMA-Factory {VERSION} in {folder} ...", flush=True)
        subprocess.run([sys.executable, "-m", "venv", "--clear", str(folder)], check=True)
        pip = [str(python), "-m", "pip"]
        wanted = [f"llamafactory=={VERSION}", f"torch=={version('torch').partition('+')[0]}"]  # the same torch as ours
        subprocess.run([*pip, "install", "--quiet", *wanted], check=True)
        # Only pictures need it, and beside torch's build for processors it fails when it is imported.
        subprocess.run([*pip, "uninstall", "--quiet", "--yes", "torchvision"], check=True)
        done.touch()
    return python


def train_rival(python: Path, place: Path, home: Path) -> float:
    """Seconds that LLaMA-Factory's trainer reports; the adapter is left in `place`/stock."""
    from modelforge import starter
    from modelforge.recipe import STARTER

    settings: dict[str, Any] = {
        "model_name_or_path": str(starter.ensure(STARTER)), "stage": "sft", "do_train": True, "template": "smollm2",
        "finetuning_type": "lora", "lora_rank": 16, "lora_alpha": 32, "lora_target": "all", "dataset": "rows",
        "dataset_dir": str(place), "cutoff_len": 512, "per_device_train_batch_size": 4, "learning_rate": 2e-4,
        "gradient_accumulation_steps": 1, "num_train_epochs": 1, "save_strategy": "no", "report_to": "none",
        "output_dir": str(place / "stock"), "overwrite_output_dir": True, "bf16": has_fast_bfloat16(), **BEST,
    }  # fmt: skip
    config = place / "config.yaml"
    config.write_text(yaml.safe_dump(settings), encoding="utf-8")
    command = [str(python), "-m", "llamafactory.cli", "train", str(config)]
    done = subprocess.run(command, env=environment_of(home), capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(f"LLaMA-Factory ended with {done.returncode}: {done.stderr[-3000:]}")
    results = json.loads((place / "stock" / "train_results.json").read_text(encoding="utf-8"))
    return float(results["train_runtime"])
