"""Seconds of an evaluation, rows side by side, beside one row after another.

Both measure loss and answers of the starter with a random adapter and of its base, on the same rows and in one process,
and must find the same losses. The old way switches the adapter for each token and asks one question at a time; it takes
every third row, which is enough for a rate.
"""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

from tests.bench.figures import Figure, Options, Row, Skipped, alternate, summarise
from tests.bench.processes import call, open_home

SPEED = Row("evaluation of 32 rows, tuned and base", "one row after another", "rows/s", 3, "higher")
ROWS = (SPEED,)
COUNT, EVERY = 32, 3
SAME_LOSS = 1e-3


def measure(options: Options) -> list[Figure | Skipped]:
    """Two pairs."""
    with open_home() as home:
        found = call(measure_both, home, count=options.rows or COUNT, pairs=options.pairs(2))
    return [summarise(SPEED, found["together"], found["alone"], found["fault"])]


def measure_both(count: int, pairs: int) -> dict[str, Any]:
    """Rows a second each way, and the fault if the losses differ."""
    from modelforge import Forge
    from modelforge.models.measures import MEASURES
    from modelforge.models.sides import open_sides

    forge = Forge()
    record = add_model(forge)
    rows = list(enumerate(make_rows(count), start=1))
    forge.playground.load(record)  # one load, before the clock starts

    def timed(measure: Any) -> tuple[float, Any]:
        began = time.perf_counter()
        found = measure()  # of each row
        return len(found) / (time.perf_counter() - began), found

    together, alone = alternate(
        pairs,
        lambda: timed(
            lambda: MEASURES["sft", "decoder"](open_sides(forge.playground, record), rows, ("rougeL", "loss"))
        ),
        lambda: timed(lambda: measure_alone(forge, record, rows)),
    )
    worst = max(
        abs(each.scores[side]["loss"] - losses[side])
        for each, (losses, _) in zip(together[-1][1][::EVERY], alone[-1][1], strict=True)
        for side in ("tuned", "base")
    )
    speeds = {name: [speed for speed, _ in found] for name, found in (("together", together), ("alone", alone))}
    return {**speeds, "fault": f"losses differ by {worst:.4f}" if worst > SAME_LOSS else ""}


def add_model(forge: Any) -> Any:
    """The starter with a random adapter of rank 16 on every layer, small enough that it still speaks."""
    import torch
    from peft import LoraConfig, get_peft_model

    from modelforge import base_model, loading
    from modelforge.architecture import ARCHITECTURES
    from modelforge.models.folder import package_versions, save_model
    from modelforge.recipe import STARTER, Recipe
    from modelforge.runs.worker import model_record
    from modelforge.store import utc_now

    torch.manual_seed(0)
    base = base_model.resolve(STARTER)
    weights = loading.load_model(base, dtype="float32", device="cpu")
    model = get_peft_model(weights, LoraConfig(r=16, lora_alpha=32, target_modules="all-linear"))
    for name, part in model.named_parameters():
        if "lora_B" in name:
            torch.nn.init.normal_(part, std=1e-3)
    manifest = {
        "name": "bench", "base_model": STARTER, "base_source": base.source, "custom_base_model": False, "parent": None,
        "task": "text-generation", "method": "sft", "tuning": "lora", "created": utc_now(), "run_id": None,
        "dataset": {"id": "dataset-000000000000", "name": "questions", "rows": 100, "sha256": "0" * 64},
        "recipe": Recipe().model_dump(mode="json"), "metrics": {}, "versions": package_versions(),
    }  # fmt: skip
    tokenizer = loading.load_tokenizer(base.folder, base.id, ARCHITECTURES["decoder"])
    with forge.store.transaction():
        model_id = save_model(model, tokenizer, manifest)
        return forge.store.models.add(model_record(model_id))


def make_rows(count: int) -> list[dict[str, Any]]:
    """Rows of the bundled sample of customer questions, repeated with a number."""
    import csv

    from modelforge import paths

    with (Path(paths.__file__).parent.parent / "assets/datasets/customer_questions.csv").open(encoding="utf-8") as file:
        known = list(csv.DictReader(file))
    prompt, answer = list(known[0])[:2]
    return [
        {
            "messages": [
                {"role": "user", "content": f"{index}. {known[index % len(known)][prompt]}"},
                {"role": "assistant", "content": known[index % len(known)][answer]},
            ]
        }
        for index in range(count)
    ]


def measure_alone(forge: Any, record: Any, rows: Any) -> list[tuple[dict[str, float], dict[str, str]]]:
    """(side -> loss a token, side -> answer) of each `EVERY`th row: one question at a time, a turn for each token."""
    import torch

    from modelforge.data.encode import IGNORED, ChatEncoder
    from modelforge.models.generate import write_answers

    loaded, _ = forge.playground.load(record)
    encoder, asker = ChatEncoder(loaded.tokenizer, 512), ChatEncoder(loaded.tokenizer, 10**9)
    longest = max(asker.count_tokens([row["messages"][-1]["content"] for _, row in rows]))
    room, found = min(longest + max(16, longest // 4), 512), []
    for _, row in rows[::EVERY]:
        encoded = encoder.encode_row(row)
        prompt = asker.encode_row({"prompt": row["messages"][:-1], "tools": ()}).input_ids
        losses, answers = {}, {}
        for side in ("tuned", "base"):
            model = forge.playground.load(record, base=side == "base")[1]

            def turn(model: Any = model, side: str = side) -> Any:
                return forge.playground.turn(model, base=side == "base")

            labels = torch.tensor(encoded.labels[1:])
            places = (labels != IGNORED).nonzero().flatten()
            with turn(), torch.inference_mode():
                ids = torch.tensor([encoded.input_ids])
                logits = model(input_ids=ids, use_cache=False, logits_to_keep=places).logits[0]
            losses[side] = float(torch.nn.functional.cross_entropy(logits.float(), labels[places]))
            (answers[side],) = write_answers(model, loaded.tokenizer, [prompt], room, turn)
        found.append((losses, answers))
    return found
