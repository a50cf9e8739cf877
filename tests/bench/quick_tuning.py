"""Tuning of the top layers alone beside our own full depth, from the second epoch on: by then the output of the frozen
layers may be kept."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tests.bench import corpora
from tests.bench.figures import Figure, Options, Row, Skipped, alternate, summarise
from tests.bench.processes import Trained, call, open_home, train
from tests.bench.training import HELD_OUT, measure_losses, recipe_for

TOP = Row("Quick tuning, from the second epoch", "our own full depth", "rows/s", 2.5, "higher")
ROWS = (TOP,)
QUICK: Mapping[str, Any] = {"tuning": {"type": "lora", "top_layers": 10}, "learning_rate": 5e-4}
EPOCHS = 2
WORSE = 0.03


def measure(options: Options) -> list[Figure | Skipped]:
    """Three rounds."""
    count = options.rows or 48
    made = corpora.make_rows(count + HELD_OUT, options.data)
    with open_home() as home, tempfile.TemporaryDirectory() as folder:
        file = corpora.write_rows(Path(folder) / "rows.jsonl", made[:count])
        held_out = corpora.write_rows(Path(folder) / "held_out.jsonl", made[count:])
        ways = (QUICK, {})
        recipes = [recipe_for(file, **{"num_train_epochs": EPOCHS, **settings}) for settings in ways]
        runs = alternate(options.pairs(3), *(lambda recipe=recipe: train(recipe, home) for recipe in recipes))
        folders = {"quick": runs[0][-1].folder, "full": runs[1][-1].folder}
        losses = call(measure_losses, home, held_out=held_out, adapters=folders)
    change = losses["quick"] / losses["full"] - 1
    ours, full = ([count * (EPOCHS - 1) / seconds_after_first(run) for run in each] for each in runs)
    return [summarise(TOP, ours, full, f"held-out loss {change:+.1%}" if change > WORSE else "")]


def seconds_after_first(run: Trained) -> float:
    """Of all epochs but the first."""
    first = max(seconds for epoch, seconds in run.epochs if epoch <= 1.0)
    return run.seconds - first
