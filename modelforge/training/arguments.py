"""What all trainers are told alike: the recipe and the decisions about the machine in the words of transformers."""

from __future__ import annotations

import contextlib
import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from modelforge.compute.compute import Compute
from modelforge.recipe import Recipe
from modelforge.training.examples import Examples

_REFERENCE = "ref"  # TRL's name for the copy of an adapter that the trained one is compared with


def common_arguments(recipe: Recipe, compute: Compute, folder: Path, examples: Examples) -> dict[str, Any]:
    """Arguments for transformers' TrainingArguments and all that derive from it. The trainer writes nothing but what
    `folder` is given for."""
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
        "logging_nan_inf_filter": False,  # it would show a loss that is no number as 0
        "save_strategy": "no",
        "report_to": "none",
        "disable_tqdm": True,
    }


def hold_to_one_card(arguments: Any) -> Any:
    """The same arguments, for one process that drives one card; TRL refuses DataParallel."""
    arguments._n_gpu = min(arguments.n_gpu, 1)
    return arguments


@contextlib.contextmanager
def exact_weights(model: Any) -> Iterator[None]:
    """Keep the weights that are trained as they are while a trainer is built around them.

    TRL rounds the adapters of a quantised model to bfloat16, which a processor multiplies a hundred times slower, and
    which loses small steps and, of an adapter that is trained further, digits.
    """
    kept = [(part, part.data) for part in model.parameters() if part.requires_grad]
    yield
    for part, data in kept:
        part.data = data


def finish(trainer: Any, recipe: Recipe) -> Any:
    """What all trainers need once they are built: silence on the terminal, no copy of a fresh adapter, and trained
    weights in float32."""
    import torch
    from transformers.trainer_callback import PrinterCallback, ProgressCallback

    for callback in (PrinterCallback, ProgressCallback):
        trainer.remove_callback(callback)
    if recipe.tuning.has_adapter:
        if _REFERENCE in trainer.model.peft_config and not recipe.parent:
            trainer.model.delete_adapter(_REFERENCE)  # the base model beneath the new adapter is the same
        for part in trainer.model.parameters():
            if part.requires_grad:  # a head beside the adapter comes in the base model's format
                part.data = part.data.to(torch.float32)
    return trainer
