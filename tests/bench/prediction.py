"""What `modelforge plan` predicts of runs on this machine beside what they take: memory, and seconds.

A figure is how far the prediction is off, as a factor: 1.08 is 8%, above or below. Memory: of six recipes with rows as
long as max_length, so that the worst batch is met. Time: of a run on short rows and of one on rows as alpaca's, from
its `started` event to its end, with answers, evaluations and verdict.
"""

from __future__ import annotations

import random
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from tests import tiny
from tests.bench import corpora
from tests.bench.figures import Figure, Options, Row, Skipped, summarise
from tests.bench.processes import open_home, plan, train

MEMORY = Row("predicted memory, the worst of six recipes", "", "times off", 1.1, "lower", judged="value")
TIME = Row("predicted time, the worse of two runs", "", "times off", 1.25, "lower", judged="value")
ROWS = (MEMORY, TIME)
READING = {"task": "extractive-question-answering", "tuning": {"type": "full"}, "max_length": 384}
RECIPES: Mapping[str, Mapping[str, Any]] = {
    "LoRA, 4 x 512": {},
    "LoRA, 4 x 512, checkpointing": {"dtype": "float32", "gradient_checkpointing": "on"},
    "full, 1 x 256": {
        "dtype": "float32", "tuning": {"type": "full"}, "per_device_train_batch_size": 1, "max_length": 256,
    },
    "QLoRA, 4 x 512": {"tuning": {"type": "qlora"}},
    "DPO, LoRA, 2 x 512": {"method": "dpo", "per_device_train_batch_size": 2},
    "span head, full, 8 x 384": {**READING, "per_device_train_batch_size": 8},
}  # fmt: skip


def measure(options: Options) -> list[Figure | Skipped]:
    """Each once: a prediction is what a user is told, not a median of several."""
    with tempfile.TemporaryDirectory() as folder:
        place = Path(folder)
        memory = [measure_memory(name, settings, place) for name, settings in RECIPES.items()]
        times = [
            measure_time("short rows", corpora.write_rows(place / "short.jsonl", corpora.read_questions())),
            measure_time(
                "rows as alpaca's", corpora.write_rows(place / "as.jsonl", corpora.make_rows(24, options.data))
            ),
        ]
    return [take_worst(MEMORY, memory), take_worst(TIME, times)]


def take_worst(row: Row, factors: Sequence[float]) -> Figure:
    return summarise(row, [max(factors)])


def measure_memory(name: str, settings: Mapping[str, Any], place: Path) -> float:
    """Each in a home of its own, so that no run corrects the prediction for the next."""
    with open_home() as home:
        steps = {"max_steps": 2, "eval_split": 0.0, **settings}
        recipe = {"dataset": str(write_longest(place / "longest.jsonl", settings)), **steps}
        predicted, measured = plan(recipe, home)["memory"]["total"], train(recipe, home).peak_bytes
    print(f"  {name:30} {predicted / 1e9:.2f} GB predicted, {measured / 1e9:.2f} measured", flush=True)
    return off(predicted, measured)


def measure_time(name: str, file: Path) -> float:
    """With everything that a run does: answers, evaluations, the verdict."""
    with open_home() as home:
        recipe = {"dataset": str(file), "num_train_epochs": 1, "early_stopping_patience": 0}
        predicted, measured = plan(recipe, home)["seconds"], train(recipe, home).whole
    print(f"  {name:30} {predicted:.0f} s predicted, {measured:.0f} measured", flush=True)
    return off(predicted, measured)


def off(predicted: float, measured: float) -> float:
    return max(predicted / measured, measured / predicted)


def write_longest(file: Path, settings: Mapping[str, Any]) -> Path:
    """Rows that are cut at max_length, enough for two steps."""
    sentences, draw = corpora.read_sentences(), random.Random(5)
    return tiny.write_jsonl(file, [_make_row(settings, corpora.make_text(800, sentences, draw)) for _ in range(24)])


def _make_row(settings: Mapping[str, Any], text: str) -> dict[str, Any]:
    if settings.get("method") == "dpo":
        return {"prompt": "Tell me more.", "chosen": text, "rejected": text.upper()}
    if "task" in settings:
        answer = text.split(maxsplit=1)[0]
        return {"question": "How does it begin?", "context": text, "answers": {"text": [answer], "answer_start": [0]}}
    return {"prompt": "Tell me more.", "response": text}
