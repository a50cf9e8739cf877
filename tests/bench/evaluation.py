"""Seconds of an evaluation: rows side by side, as ModelForge measures, against one row after another.

Both measure loss and answers of the starter with a random adapter and of its base, on the same rows and in one process,
and must find the same numbers. The old way switches the adapter for each token and asks one question at a time.
"""

from __future__ import annotations

import tempfile
import time
from pathlib import Path
from typing import Any

import pytest


def report(rows: int) -> None:
    with tempfile.TemporaryDirectory() as folder, pytest.MonkeyPatch.context() as patch:
        from modelforge import paths, starter
        from modelforge.recipe import STARTER

        starter.ensure(STARTER)
        cached = paths.cache_dir() / "starters"
        patch.setenv("MODELFORGE_HOME", folder)
        paths.make_folder(paths.cache_dir())
        (paths.cache_dir() / "starters").symlink_to(cached, target_is_directory=True)
        seconds, sides = measure_both(rows)
    print(f"\nEvaluation of the starter, tuned and base, on {rows} rows (seconds)")
    print(f"  one after another  {seconds['alone']:.1f}")
    print(f"  side by side       {seconds['together']:.1f}")
    print(f"  {seconds['alone'] / seconds['together']:.2f} times as fast")
    for side in ("tuned", "base"):
        both = "  ".join(f"{name} {value:.4f}" for name, value in sides[side].items())
        print(f"  {side:6} {both}")


def measure_both(count: int) -> tuple[dict[str, float], Any]:
    from modelforge import Forge
    from modelforge.models.measures import MEASURES
    from modelforge.models.outcomes import Measured
    from modelforge.models.sides import open_sides

    forge = Forge()
    record = add_model(forge)
    rows = list(enumerate(make_rows(count), start=1))
    names, seconds = ("rougeL", "loss"), {}
    forge.playground.load(record)  # one load, before the clock starts
    began = time.perf_counter()
    together = MEASURES["sft", "decoder"](open_sides(forge.playground, record), rows, names)
    seconds["together"] = time.perf_counter() - began
    began = time.perf_counter()
    alone = measure_alone(forge, record, rows)
    seconds["alone"] = time.perf_counter() - began
    sides = Measured(together, "base", names).sides
    for each, (losses, _) in zip(together, alone, strict=True):
        for side in ("tuned", "base"):
            assert abs(each.scores[side]["loss"] - losses[side]) < 1e-3, (each.row, side)
    same = sum(each.answers == answers for each, (_, answers) in zip(together, alone, strict=True))
    print(f"\n  answers that are the same both ways: {same} of {count}")
    return seconds, sides


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
    """(side -> loss a token, side -> answer) of each row: one question at a time, a turn for each token."""
    import torch

    from modelforge.data.encode import IGNORED, ChatEncoder
    from modelforge.models.generate import write_answers

    loaded, _ = forge.playground.load(record)
    encoder, asker = ChatEncoder(loaded.tokenizer, 512), ChatEncoder(loaded.tokenizer, 10**9)
    longest = max(asker.count_tokens([row["messages"][-1]["content"] for _, row in rows]))
    room, found = min(longest + max(16, longest // 4), 512), []
    for _, row in rows:
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
