"""The rivals: stock trainers of TRL and transformers, each run in a process of its own by `processes.call`.

Settings are those of the recipes that they stand beside; all else is as the trainer comes. Each returns the seconds of
its steps, from the beginning of the first to the end of the last, and the most memory that its process held.
"""

from __future__ import annotations

import json
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

NOTHING: Mapping[str, Any] = {}
LORA = {"r": 16, "lora_alpha": 32, "target_modules": "all-linear", "task_type": "CAUSAL_LM"}
BEST: dict[str, Any] = {
    "bf16": True, "gradient_checkpointing": False, "packing": True, "per_device_train_batch_size": 2,
}  # fmt: skip
BEST_MODEL = {"attn_implementation": "eager"}
"""TRL at its best on a processor, of the five ways that were tried: grouped by length or packed, with either attention.
Two packed sequences of 512 tokens hold about as many
rows as a batch of four does; rows that are packed together do not see each other, which a test holds."""


def train_sft(
    base: str, file: str, settings: Mapping[str, Any], out: str, model: Mapping[str, Any] = NOTHING
) -> dict[str, float]:
    """TRL's SFTTrainer with LoRA, as it comes; the weights are loaded in the format that it computes in. model: other
    arguments of from_pretrained."""
    from peft import LoraConfig
    from transformers import AutoModelForCausalLM, AutoTokenizer
    from trl import SFTConfig, SFTTrainer

    rows = [json.loads(line) for line in Path(file).read_text(encoding="utf-8").splitlines()]
    chats = [{"prompt": _say("user", row["prompt"]), "completion": _say("assistant", row["response"])} for row in rows]
    trainer = SFTTrainer(
        AutoModelForCausalLM.from_pretrained(base, dtype="bfloat16" if settings["bf16"] else "float32", **model),
        SFTConfig(**_common(settings), learning_rate=2e-4),
        train_dataset=_dataset(chats),
        processing_class=AutoTokenizer.from_pretrained(base),
        peft_config=LoraConfig(**LORA),
    )
    return _train(trainer, out)


def train_dpo(base: str, file: str, settings: Mapping[str, Any], out: str) -> dict[str, float]:
    """TRL's DPOTrainer with LoRA."""
    from peft import LoraConfig
    from transformers import AutoModelForCausalLM, AutoTokenizer
    from trl import DPOConfig, DPOTrainer

    rows = [json.loads(line) for line in Path(file).read_text(encoding="utf-8").splitlines()]
    pairs = [
        {
            "prompt": _say("user", row["prompt"]),
            "chosen": _say("assistant", row["chosen"]),
            "rejected": _say("assistant", row["rejected"]),
        }
        for row in rows
    ]
    trainer = DPOTrainer(
        AutoModelForCausalLM.from_pretrained(base, dtype="bfloat16" if settings["bf16"] else "float32"),
        args=DPOConfig(**_common(settings), learning_rate=5e-5),
        train_dataset=_dataset(pairs),
        processing_class=AutoTokenizer.from_pretrained(base),
        peft_config=LoraConfig(**LORA),
    )
    return _train(trainer, out)


def train_summaries(base: str, file: str, settings: Mapping[str, Any], out: str) -> dict[str, float]:
    """transformers' Seq2SeqTrainer with its own collator, every weight trained."""
    from transformers import (
        AutoModelForSeq2SeqLM,
        AutoTokenizer,
        DataCollatorForSeq2Seq,
        Seq2SeqTrainer,
        Seq2SeqTrainingArguments,
    )

    tokenizer = AutoTokenizer.from_pretrained(base)
    model = AutoModelForSeq2SeqLM.from_pretrained(base)
    rows = [json.loads(line) for line in Path(file).read_text(encoding="utf-8").splitlines()]
    encoded = [
        {
            **tokenizer(row["document"], truncation=True, max_length=512),
            "labels": tokenizer(text_target=row["summary"], truncation=True, max_length=128)["input_ids"],
        }
        for row in rows
    ]
    trainer = Seq2SeqTrainer(
        model,
        Seq2SeqTrainingArguments(**_common(settings)),
        data_collator=DataCollatorForSeq2Seq(tokenizer, model),
        train_dataset=_dataset(encoded),
        processing_class=tokenizer,
    )
    return _train(trainer, out)


def train_spans(base: str, file: str, settings: Mapping[str, Any], out: str) -> dict[str, float]:
    """transformers' Trainer with a span head, rows padded to the longest of their batch."""
    from transformers import (
        AutoModelForQuestionAnswering,
        AutoTokenizer,
        DataCollatorWithPadding,
        Trainer,
        TrainingArguments,
    )

    tokenizer = AutoTokenizer.from_pretrained(base)
    encoded = []
    for line in Path(file).read_text(encoding="utf-8").splitlines():
        row = json.loads(line)
        (start,), (text,) = row["answers"]["answer_start"], row["answers"]["text"]
        inputs = tokenizer(row["question"], row["context"], truncation="only_second", max_length=384)
        first = inputs.char_to_token(start, sequence_index=1) or 0  # cut off: none
        last = inputs.char_to_token(start + len(text) - 1, sequence_index=1) or first
        encoded.append({**inputs, "start_positions": first, "end_positions": last})
    trainer = Trainer(
        AutoModelForQuestionAnswering.from_pretrained(base),
        TrainingArguments(**_common(settings)),
        data_collator=DataCollatorWithPadding(tokenizer),
        train_dataset=_dataset(encoded),
        processing_class=tokenizer,
    )
    return _train(trainer, out)


def _common(settings: Mapping[str, Any]) -> dict[str, Any]:
    import torch

    return {
        "output_dir": tempfile.mkdtemp(),
        "use_cpu": not torch.cuda.is_available(),  # else bf16 is refused on a processor
        "num_train_epochs": 1,
        "report_to": "none",
        "save_strategy": "no",
        "disable_tqdm": True,
        **settings,
    }


def _say(role: str, content: str) -> list[dict[str, str]]:
    return [{"role": role, "content": content}]


def _dataset(rows: list[dict[str, Any]]) -> Any:
    from datasets import Dataset

    return Dataset.from_list(rows)


def _train(trainer: Any, out: str) -> dict[str, float]:
    """Train, save what was trained, and tell what it took. Memory: of the card where there is one."""
    import resource

    import torch
    from transformers import TrainerCallback

    times: list[float] = []

    class Clock(TrainerCallback):
        def on_step_begin(self, *_: Any, **__: Any) -> None:
            times[:] = times or [time.perf_counter()]

        def on_step_end(self, *_: Any, **__: Any) -> None:
            times[1:] = [time.perf_counter()]

    trainer.add_callback(Clock())
    trainer.train()
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    if torch.cuda.is_available():
        peak = torch.cuda.max_memory_allocated()
    trainer.model.save_pretrained(out)
    return {"seconds": times[1] - times[0], "peak_bytes": peak}
