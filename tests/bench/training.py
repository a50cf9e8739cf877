"""Samples per second of LoRA fine-tuning: ModelForge against TRL's SFTTrainer as it comes, in float32.

Both train the starter on the same rows with the same settings (r=16 on all linear layers, batches of 4, max_length
512, one epoch, learning rate 2e-4), each in a process of its own; then the same code measures both on held-out rows.
"""

from __future__ import annotations

import argparse
import json
import random
import subprocess
import sys
import tempfile
import time
from functools import partial
from pathlib import Path
from typing import Any

HELD_OUT = 32
WORDS = ("the", "of", "and", "to", "in", "is", "that", "for", "it", "as", "with", "was", "on", "are", "by", "this")


RIVALS = {"stock": "TRL SFTTrainer, float32", "stock in bfloat16": "TRL SFTTrainer, bfloat16"}


def report(rows: int, data: Path | None, rival: str = "stock") -> None:
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "rows.json"
        file.write_text(json.dumps(_load(data, rows + HELD_OUT)), encoding="utf-8")
        stock = _measure(rival, file)
        ours = _measure("ours", file)
    print(f"\nLoRA fine-tuning of the starter on {rows} rows{f' of {data.name}' if data else ' (made up)'}")
    for name, figures in ((RIVALS[rival], stock), ("ModelForge", ours)):
        print(
            f"  {name:24} {figures['samples_per_second']:.3f} samples/s   held-out loss {figures['loss']:.4f}"
            f" (before {figures['before']:.4f})   peak {figures['peak_bytes'] / 1e9:.2f} GB"
        )
    ratio = ours["samples_per_second"] / stock["samples_per_second"]
    print(f"  {ratio:.2f} times as fast; held-out loss {ours['loss'] / stock['loss'] - 1:+.2%}")


def _load(data: Path | None, count: int) -> list[dict[str, Any]]:
    """Rows as alpaca has them; without a file, made-up ones whose lengths spread as alpaca's do (10 to 400 words)."""
    if data:
        return list(json.loads(data.read_text(encoding="utf-8"))[:count])
    draw = random.Random(0)

    def text(words: int) -> str:
        return " ".join(draw.choice(WORDS) for _ in range(words))

    lengths = [min(400, int(draw.lognormvariate(4.6, 0.9)) + 8) for _ in range(count)]
    return [{"instruction": text(14), "input": "", "output": text(length)} for length in lengths]


def _measure(which: str, file: Path) -> dict[str, float]:
    command = [sys.executable, "-m", "tests.bench.training", which, str(file)]
    done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
    figures: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    return figures


def _messages(row: dict[str, Any]) -> list[dict[str, str]]:
    asked = "\n\n".join(part for part in (row["instruction"], row["input"]) if part)
    return [{"role": "user", "content": asked}, {"role": "assistant", "content": row["output"]}]


def _train_stock(folder: Path, rows: list[dict[str, Any]], *, bf16: bool = False) -> tuple[Any, float]:
    import torch
    from datasets import Dataset
    from peft import LoraConfig
    from transformers import AutoModelForCausalLM, AutoTokenizer
    from trl import SFTConfig, SFTTrainer

    chats = [_messages(row) for row in rows]
    trainer = SFTTrainer(
        AutoModelForCausalLM.from_pretrained(folder, dtype=torch.bfloat16 if bf16 else torch.float32),
        SFTConfig(
            output_dir=tempfile.mkdtemp(),
            bf16=bf16,
            use_cpu=not torch.cuda.is_available(),  # else bf16 is refused on a processor
            per_device_train_batch_size=4,
            max_length=512,
            num_train_epochs=1,
            learning_rate=2e-4,
            report_to="none",
            save_strategy="no",
            disable_tqdm=True,
        ),
        train_dataset=Dataset.from_list([{"prompt": chat[:1], "completion": chat[1:]} for chat in chats]),
        processing_class=AutoTokenizer.from_pretrained(folder),
        peft_config=LoraConfig(r=16, lora_alpha=32, target_modules="all-linear", task_type="CAUSAL_LM"),
    )
    start = time.perf_counter()
    trainer.train()
    return trainer.model, time.perf_counter() - start


def _train_ours(folder: Path, rows: list[dict[str, Any]]) -> tuple[Any, float]:
    from modelforge import base_model, hardware, loading
    from modelforge.architecture import DECODER
    from modelforge.compute import memory
    from modelforge.compute.fused import fused_lora, fused_norms
    from modelforge.compute.tune import tune
    from modelforge.planner.estimate import choose_compute
    from modelforge.recipe import Recipe
    from modelforge.training.examples import encode_examples
    from modelforge.training.methods import load_method

    memory.share_one_arena()
    recipe = Recipe(base_model=str(folder), num_train_epochs=1.0, eval_split=0.0)
    base = base_model.resolve(recipe.base_model)
    tokenizer = loading.load_tokenizer(base.folder, base.id)
    config, method = loading.load_config(base), load_method("sft", DECODER)
    encode = method.make_encoder(tokenizer, recipe, config)
    examples = encode_examples([{"messages": _messages(row)} for row in rows], encode, recipe)
    free_bytes = hardware.detect().device.free_bytes
    compute = choose_compute(recipe, hardware.probe(), config, free_bytes)
    model = tune(loading.load_model(base, dtype=compute.weights, device=compute.device), recipe)
    workplace = Path(tempfile.mkdtemp())
    trainer = method.build_trainer(model, tokenizer, examples, recipe=recipe, compute=compute, folder=workplace)
    with memory.kept_blocks(), fused_lora(model), fused_norms(model):
        start = time.perf_counter()
        trainer.train()
        return trainer.model, time.perf_counter() - start


def _held_out_loss(model: Any, folder: Path, rows: list[dict[str, Any]]) -> float:
    """Mean over all answer tokens, by transformers' own loss."""
    import torch

    from modelforge import loading
    from modelforge.data.encode import ChatEncoder

    encoder = ChatEncoder(loading.load_tokenizer(folder, "starter"), 512)
    total = tokens = 0.0
    model.eval()
    for row in rows:
        encoded = encoder.encode_row({"messages": _messages(row)})
        labels = torch.tensor([encoded.labels])
        count = int((labels[:, 1:] != -100).sum())
        if count:
            with torch.inference_mode():
                given = torch.tensor([encoded.input_ids], device=model.device)
                loss = model(input_ids=given, labels=labels.to(model.device)).loss
            total, tokens = total + float(loss) * count, tokens + count
    return total / tokens


def _measure_one(which: str, file: Path) -> dict[str, float]:
    import resource

    from modelforge import starter

    folder = starter.ensure("HuggingFaceTB/SmolLM2-135M-Instruct")
    rows = json.loads(file.read_text(encoding="utf-8"))
    train, held_out = rows[:-HELD_OUT], rows[-HELD_OUT:]
    trainers = {"stock": _train_stock, "stock in bfloat16": partial(_train_stock, bf16=True), "ours": _train_ours}
    model, seconds = trainers[which](folder, train)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    loss = _held_out_loss(model, folder, held_out)
    with model.disable_adapter():
        before = _held_out_loss(model, folder, held_out)
    return {"samples_per_second": len(train) / seconds, "loss": loss, "before": before, "peak_bytes": peak}


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("which", choices=[*RIVALS, "ours"])
    parser.add_argument("file", type=Path)
    given = parser.parse_args()
    print(json.dumps(_measure_one(given.which, given.file)))
