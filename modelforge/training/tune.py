"""Which weights move: puts the recipe's adapter onto a loaded model."""

from __future__ import annotations

from typing import Any

import torch

from modelforge.errors import RecipeError
from modelforge.recipe import Recipe, Tuning


def add_adapter(model: Any, recipe: Recipe) -> Any:
    """The model with a fresh LoRA adapter, whose weights alone are trained. Raises RecipeError for unknown layers."""
    from peft import get_peft_model

    torch.manual_seed(recipe.seed)  # the adapter starts from random numbers
    try:
        tuned = get_peft_model(model, lora_config(recipe.tuning))
    except ValueError as error:
        names = sorted(
            {name.rpartition(".")[2] for name, part in model.named_modules() if isinstance(part, torch.nn.Linear)}
        )
        raise RecipeError(
            f"{recipe.tuning.target_modules!r} names no layer of this model.",
            where="setting tuning.target_modules",
            fix=f"Use all-linear, or some of: {', '.join(names)}.",
        ) from error
    tuned.peft_config["default"].base_model_name_or_path = recipe.base_model
    return tuned


def lora_config(tuning: Tuning) -> Any:
    """The same settings as PEFT's LoraConfig."""
    from peft import LoraConfig

    names = [name.strip() for name in tuning.target_modules.split(",") if name.strip()]
    return LoraConfig(
        r=tuning.r,
        lora_alpha=tuning.lora_alpha,  # a float serves as well
        lora_dropout=tuning.lora_dropout,
        target_modules="all-linear" if names == ["all-linear"] else names,
        task_type="CAUSAL_LM",
    )
