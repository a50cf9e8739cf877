"""Tuning of the top layers alone beside our own full depth, from the second epoch on: by then the output of the frozen
layers may be kept."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import fmean
from typing import Any

from tests.bench import corpora
from tests.bench.figures import Figure, Options, Row, Skipped, summarise
from tests.bench.processes import Trained, call, open_home, train
from tests.bench.training import HELD_OUT, measure_losses, recipe_for

TOP = Row("Quick tuning, from the second epoch", "our own full depth", "rows/s", 2.5, "higher")
ROWS = (TOP,)
QUICK: Mapping[str, Any] = {"tuning": {"type": "lora", "top_layers": 10}, "learning_rate": 5e-4}
USUAL, OTHER = "rows as alpaca's", "the bundled questions"
EPOCHS = {USUAL: 3, OTHER: 2}
"""One of Quick's takes five seconds, in which a machine may be a sixth slower than in the next five."""
WORSE = 0.03


def measure(options: Options) -> list[Figure | Skipped]:
    """Two datasets with three seeds each: the speed on the first, the mean held-out loss on both."""
    count = options.rows or 32
    sets = {
        USUAL: (corpora.make_rows(count + HELD_OUT, options.data), count),
        OTHER: (corpora.read_questions(), 44),
    }
    found = {}
    with open_home() as home:
        for name, (rows, trained) in sets.items():
            found[name] = train_both(rows[:trained], rows[trained:], home, range(options.pairs(3)), EPOCHS[name])
            print(f"  {name}: held-out loss {found[name][1]:+.1%} beside full depth", flush=True)
    later = count * (EPOCHS[USUAL] - 1)
    ours, full = ([later / seconds_after_first(run) for run in each] for each in found[USUAL][0])
    faults = [f"held-out loss of {name} {change:+.1%}" for name, (_, change) in found.items() if change > WORSE]
    return [summarise(TOP, ours, full, "; ".join(faults))]


def train_both(
    rows: Sequence[Mapping[str, str]],
    held_out: Sequence[Mapping[str, str]],
    home: Path,
    seeds: Sequence[int],
    epochs: int,
) -> tuple[list[list[Trained]], float]:
    """The runs of Quick and of full depth, and how much higher Quick's mean loss on held-out rows is, as a share."""
    ways: Mapping[str, Mapping[str, Any]] = {"quick": QUICK, "full": {}}
    with tempfile.TemporaryDirectory() as folder:
        file = corpora.write_rows(Path(folder) / "rows.jsonl", rows)
        asked = corpora.write_rows(Path(folder) / "held_out.jsonl", held_out)
        runs: dict[str, list[Trained]] = {way: [] for way in ways}
        for seed in seeds:
            for way, settings in ways.items():
                runs[way].append(train(recipe_for(file, num_train_epochs=epochs, seed=seed, **settings), home))
        adapters = {f"{way}-{seed}": run.folder for way in ways for seed, run in zip(seeds, runs[way], strict=True)}
        losses = call(measure_losses, home, held_out=asked, adapters=adapters)
    mean = {way: fmean(losses[f"{way}-{seed}"] for seed in seeds) for way in ways}
    return [*runs.values()], mean["quick"] / mean["full"] - 1


def seconds_after_first(run: Trained) -> float:
    """Of all epochs but the first."""
    first = max(seconds for epoch, seconds in run.epochs if epoch <= 1.0)
    return run.seconds - first
