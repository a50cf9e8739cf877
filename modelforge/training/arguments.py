"""What all trainers have in common: the recipe and the decisions about the machine as transformers' arguments."""

from __future__ import annotations

import contextlib
import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from modelforge.compute.compute import Compute
from modelforge.recipe import Recipe
from modelforge.training.examples import Examples

UNCUT = 10**9  # tokens: for encoders that cut nothing
_REFERENCE = "ref"  # TRL's name for the copy of an adapter that serves as the reference


def common_arguments(recipe: Recipe, compute: Compute, folder: Path, examples: Examples) -> dict[str, Any]:
    """Arguments for transformers' TrainingArguments and derived classes. The trainer writes only to `folder`."""
    measured = bool(examples.evaluation)
    return {
        "output_dir": str(folder),
        "num_train_epochs": recipe.num_train_epochs,
        "max_steps": recipe.max_steps or -1,
        "learning_rate": recipe.learning_rate,
        "lr_scheduler_type": recipe.lr_scheduler_type,
        "warmup_steps": recipe.warmup_steps,
        "weight_decay": recipe.weight_decay,
        "max_grad_norm": recipe.max_grad_norm,
        "optim": compute.optimizer,
        "per_device_train_batch_size": recipe.per_device_train_batch_size,
        "per_device_eval_batch_size": recipe.per_device_train_batch_size,
        "gradient_accumulation_steps": recipe.gradient_accumulation_steps,
        "activation_checkpointing": compute.gradient_checkpointing,
        "seed": recipe.seed,
        "eval_strategy": "steps" if measured else "no",
        # below 1: a share of the trainer's own steps, rounded up; 1 / n itself would be rounded up once too often
        "eval_steps": math.nextafter(1 / recipe.evaluations, 0),
        "eval_on_start": measured,
        "prediction_loss_only": True,
        "bf16": compute.dtype == "bfloat16",
        "fp16": compute.dtype == "float16",
        "use_cpu": compute.device == "cpu",
        "dataloader_num_workers": compute.workers,
        "dataloader_pin_memory": compute.device == "cuda",
        "logging_steps": 1,
        "logging_nan_inf_filter": False,  # it would show a NaN loss as 0
        "save_strategy": "no",
        "report_to": "none",
        "disable_tqdm": True,
    }


@contextlib.contextmanager
def exact_weights(model: Any) -> Iterator[None]:
    """Keep the trained weights unchanged while a trainer is built.

    TRL rounds the adapters of a quantised model to bfloat16, which many processors multiply a hundred times slower, and
    which loses small updates and the precision of an adapter that is trained further.
    """
    kept = [(part, part.data) for part in model.parameters() if part.requires_grad]
    yield
    for part, data in kept:
        part.data = data


def finish(trainer: Any, recipe: Recipe) -> Any:
    """What all trainers need once they are built: no output on the terminal, no copy of a new adapter, and trained
    weights in float32."""
    import torch
    from transformers.trainer_callback import PrinterCallback, ProgressCallback

    for callback in (PrinterCallback, ProgressCallback):
        trainer.remove_callback(callback)
    if recipe.tuning.has_adapter:
        if _REFERENCE in trainer.model.peft_config and not recipe.parent:
            trainer.model.delete_adapter(_REFERENCE)  # the base model without the new adapter is the same
        for part in trainer.model.parameters():
            if part.requires_grad:  # a head beside the adapter has the base model's dtype
                part.data = part.data.to(torch.float32)
    return trainer
