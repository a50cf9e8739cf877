"""What all trainers have in common: the recipe and the decisions about the machine as transformers' arguments, and how
a trainer is made."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from modelforge.compat.transformers import use_one_card
from modelforge.compute.compute import Compute
from modelforge.recipe import Recipe
from modelforge.training.examples import Examples, Feature

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


def make_trainer(
    trainer_class: Any,
    arguments: Any,
    model: Any,
    tokenizer: Any,
    examples: Examples,
    *,
    recipe: Recipe,
    evaluation: Sequence[Feature] | None = None,
    **more: Any,
) -> Any:
    """A trainer, ready to run: without output on the terminal, without a copy of a new adapter, with trained weights in
    float32. evaluation: what it measures, by default all that is held out. more: for its class."""
    import torch
    from datasets import Dataset
    from transformers.trainer_callback import PrinterCallback, ProgressCallback

    measured = examples.evaluation if evaluation is None else evaluation
    # TRL rounds the adapters of a quantised model to bfloat16, which many processors multiply a hundred times slower,
    # and which loses small updates and the precision of an adapter that is trained further.
    exact = [(part, part.data) for part in model.parameters() if part.requires_grad]
    trainer = trainer_class(
        model=model,
        args=use_one_card(arguments),
        train_dataset=Dataset.from_list(examples.train),
        eval_dataset=Dataset.from_list(list(measured)) if measured else None,
        processing_class=tokenizer,
        **more,
    )
    for part, data in exact:
        part.data = data
    for callback in (PrinterCallback, ProgressCallback):
        trainer.remove_callback(callback)
    if recipe.tuning.has_adapter:
        if _REFERENCE in trainer.model.peft_config and not recipe.parent:
            trainer.model.delete_adapter(_REFERENCE)  # the base model without the new adapter is the same
        for part in trainer.model.parameters():
            if part.requires_grad:  # a head beside the adapter has the base model's dtype
                part.data = part.data.to(torch.float32)
    return trainer
