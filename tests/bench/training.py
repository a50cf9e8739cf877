"""Rows a second of LoRA fine-tuning, and the memory that it takes, beside TRL's SFTTrainer three times: in float32, in
its default bfloat16, and at its best.

All train the starter on the same rows with the same settings (r=16 on all linear layers, batches of 4, max_length 512,
one epoch, learning rate 2e-4), ours as `modelforge train`; then the same code measures each on held-out rows.
"""

from __future__ import annotations

import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tests.bench import corpora, rivals
from tests.bench.figures import Figure, Options, Row, Skipped, summarise
from tests.bench.processes import Trained, call, has_fast_bfloat16, open_home, train

NAME, UNIT = "LoRA, rows as alpaca's", "rows/s"
FLOAT32 = Row(NAME, "TRL, float32", UNIT, 5, "higher", main=True)
DEFAULT = Row(NAME, "TRL as it comes, bfloat16", UNIT, 5, "higher")
BEST = Row(NAME, "TRL at its best, bfloat16", UNIT, 4, "higher", main=True)
MEMORY = Row("peak memory of the same", "TRL, float32", "GB", 0.6, "lower", main=True)
ROWS = (FLOAT32, DEFAULT, BEST, MEMORY)
STOCK: Mapping[Row, Mapping[str, Any]] = {
    FLOAT32: {"settings": {"bf16": False}},
    DEFAULT: {"settings": {"bf16": True}},
    BEST: {"settings": rivals.BEST, "model": rivals.BEST_MODEL},
}
TRAINED, HELD_OUT = 20, 16
WORSE = 0.02  # as a share: how much higher our loss on the held-out rows may be
ROUNDS: Mapping[Row, int] = {FLOAT32: 2, DEFAULT: 3, BEST: 5}
"""TRL in float32 takes a minute, and is far from its target."""
SLOW = "this processor has no fast bfloat16: a row would take minutes"


def measure(options: Options) -> list[Figure | Skipped]:
    """Ours in each of five rounds, and each rival in the first of them (`ROUNDS`)."""
    rows = options.rows or TRAINED
    chosen = [row for row in STOCK if options.wants(row) and (row is FLOAT32 or has_fast_bfloat16())]
    with open_home() as home, tempfile.TemporaryDirectory() as folder:
        place, made = Path(folder), corpora.make_rows(rows + HELD_OUT, options.data)
        file = corpora.write_rows(place / "rows.jsonl", made[:rows])
        held_out = corpora.write_rows(place / "held_out.jsonl", made[rows:])
        rounds = {row: options.pairs(ROUNDS[row]) for row in chosen}
        runs: list[Trained] = []
        stocks: dict[Row, list[dict[str, float]]] = {row: [] for row in chosen}
        for turn in range(max(rounds.values())):
            runs.append(train(recipe_for(file), home))
            for row in chosen:
                if turn < rounds[row]:
                    stocks[row].append(train_stock(file, place / row.rival, home, **STOCK[row]))
        folders = {"ours": runs[-1].folder, **{row.rival: place / row.rival for row in chosen}}
        losses = call(measure_losses, home, held_out=held_out, adapters=folders)
    ours = [rows / run.seconds for run in runs]
    found: list[Figure | Skipped] = []
    for row, taken in stocks.items():
        theirs = [rows / each["seconds"] for each in taken]
        found.append(summarise(row, ours[: len(theirs)], theirs, judge(losses, row.rival)))
    stock_bytes = [each["peak_bytes"] / 1e9 for each in stocks[FLOAT32]]
    found.append(summarise(MEMORY, [run.peak_bytes / 1e9 for run in runs[: len(stock_bytes)]], stock_bytes))
    print("held-out loss: " + ", ".join(f"{name} {losses[name]:.4f}" for name in ("before", *folders)))
    return found + [Skipped(row, SLOW) for row in STOCK if options.wants(row) and row not in chosen]


def recipe_for(file: Path, **settings: Any) -> dict[str, Any]:
    """What all rows of the bench train with; nothing is held out, so that all rows are trained on."""
    return {"dataset": str(file), "num_train_epochs": 1, "eval_split": 0.0, **settings}


def train_stock(file: Path, out: Path, home: Path, *, settings: Mapping[str, Any], **more: Any) -> dict[str, float]:
    """TRL on the same rows."""
    from modelforge import starter
    from modelforge.recipe import STARTER

    usual = {"per_device_train_batch_size": 4, "max_length": 512}
    base = starter.ensure(STARTER)
    return call(rivals.train_sft, home, base=base, file=file, settings={**usual, **settings}, out=out, **more)


def judge(losses: Mapping[str, float], rival: str) -> str:
    """The fault of a comparison whose sides did not learn the same; "" if they did."""
    change = losses["ours"] / losses[rival] - 1
    return f"held-out loss {change:+.1%}" if change > WORSE else ""


def measure_losses(held_out: str, adapters: Mapping[str, str]) -> dict[str, float]:
    """Mean loss of all answer tokens by transformers' own loss, in float32: before training, and with each adapter."""
    import json

    from peft import PeftModel
    from transformers import AutoModelForCausalLM

    from modelforge import loading, starter
    from modelforge.data.encode import ChatEncoder
    from modelforge.recipe import STARTER

    base = starter.ensure(STARTER)
    encoder = ChatEncoder(loading.load_tokenizer(base, "starter"), 512)
    lines = [json.loads(line) for line in Path(held_out).read_text(encoding="utf-8").splitlines()]
    encoded = [encoder.encode_row({"messages": _messages(line)}) for line in lines]
    model = AutoModelForCausalLM.from_pretrained(base, dtype="float32").eval()
    losses = {"before": _loss(model, encoded)}
    for name, folder in adapters.items():
        tuned = PeftModel.from_pretrained(model, folder).eval()
        losses[name] = _loss(tuned, encoded)
        model = tuned.unload()
    return losses


def _messages(line: Mapping[str, str]) -> list[dict[str, str]]:
    return [{"role": "user", "content": line["prompt"]}, {"role": "assistant", "content": line["response"]}]


def _loss(model: Any, encoded: Any) -> float:
    import torch

    total = tokens = 0.0
    for row in encoded:
        labels = torch.tensor([row.labels])
        count = int((labels[:, 1:] != -100).sum())
        if count:
            with torch.inference_mode():
                loss = model(input_ids=torch.tensor([row.input_ids]), labels=labels).loss
            total, tokens = total + float(loss) * count, tokens + count
    return total / tokens


def compare_once(rows: int, *, bf16: bool) -> tuple[dict[str, float], Trained]:
    """One run of TRL and one of ours on the device that there is, for `gpu`."""
    with open_home() as home, tempfile.TemporaryDirectory() as folder:
        file = corpora.write_rows(Path(folder) / "rows.jsonl", corpora.make_rows(rows))
        return train_stock(file, Path(folder) / "stock", home, settings={"bf16": bf16}), train(recipe_for(file), home)
