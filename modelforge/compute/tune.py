"""Which weights are trained: all of a loaded model's, or those of an adapter added to it."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import torch

from modelforge.architecture import DECODER, ENCODER, Architecture
from modelforge.errors import RecipeError
from modelforge.loading import head_modules, join_dtypes, load_adapter
from modelforge.recipe import Recipe, Tuning

_LAYER = re.compile(r"^(.*?)\.(\d+)\.")  # the list that holds the layers, and the number of one: model.layers . 3 .


def tune(model: Any, recipe: Recipe, architecture: Architecture = DECODER, parent: Path | None = None) -> Any:
    """The model with gradients for the weights that the recipe trains, and for no others.

    parent: the folder of an adapter to train further instead of a new one. Raises RecipeError for unknown layers,
    NotFoundError for an adapter that cannot be loaded.
    """
    if hasattr(model, "peft_config"):
        raise ValueError("the model already has an adapter")
    if not recipe.tuning.has_adapter:
        return free_weights(model, recipe.tuning.top_layers)
    if parent is not None:
        return load_adapter(model, parent, "the model to train further", trainable=True)
    return join_dtypes(add_adapter(model, recipe, architecture))


def unwrap(model: Any) -> Any:
    """The model without the adapter around it; its layers still have theirs."""
    return model.get_base_model() if hasattr(model, "get_base_model") else model


def free_weights(model: Any, top_layers: int) -> Any:
    """Every weight is trained; or, of a model with layers, the topmost ones and its head."""
    if top_layers:
        kept = set(name_top_layers(model, top_layers))
        heads = tuple(f"{head}." for head in head_modules(model))
        shared = model.get_input_embeddings().weight  # where the output matrix shares it, neither is trained
        for name, part in model.named_parameters():
            part.requires_grad_(_layer_of(name) in kept or (name.startswith(heads) and part is not shared))
    else:
        model.requires_grad_(True)
    return model


def add_adapter(model: Any, recipe: Recipe, architecture: Architecture = DECODER) -> Any:
    """The model with a new LoRA adapter, the only weights that are trained. Raises RecipeError for unknown layers."""
    from peft import get_peft_model

    torch.manual_seed(recipe.seed)  # the adapter starts from random numbers
    try:
        tuned = get_peft_model(model, lora_config(recipe.tuning, model, architecture))
    except ValueError as error:
        names = sorted({name.rpartition(".")[2] for name in name_linear(model)})
        raise RecipeError(
            f"{recipe.tuning.target_modules!r} does not match any layer of this model.",
            where="setting tuning.target_modules",
            fix=f"Use all-linear, or some of: {', '.join(names)}.",
        ) from error
    tuned.peft_config["default"].base_model_name_or_path = recipe.base_model
    return tuned


def lora_config(tuning: Tuning, model: Any, architecture: Architecture = DECODER) -> Any:
    """The same settings as PEFT's LoraConfig. A span head gets no adapter: it is trained as a whole."""
    from peft import LoraConfig

    wanted = [name.strip() for name in tuning.target_modules.split(",") if name.strip()]
    return LoraConfig(
        r=tuning.r,
        lora_alpha=tuning.lora_alpha,  # a float works too
        lora_dropout=tuning.lora_dropout,
        use_rslora=tuning.use_rslora,
        use_dora=tuning.use_dora,
        target_modules=choose_targets(model, wanted, tuning.top_layers, architecture),
        modules_to_save=head_modules(model) if architecture is ENCODER else None,
        task_type=architecture.task_type,
    )


def choose_targets(model: Any, wanted: list[str], top_layers: int, architecture: Architecture) -> Any:
    """PEFT's target_modules: "all-linear" or the given names; full names where only some layers are meant or a head
    has to be excluded."""
    everything = wanted == ["all-linear"]
    if not top_layers and (architecture is not ENCODER or not everything):
        return "all-linear" if everything else wanted
    heads = tuple(f"{head}." for head in head_modules(model)) if architecture is ENCODER else ()
    top = set(name_top_layers(model, top_layers)) if top_layers else None
    chosen = [
        name
        for name in name_linear(model)
        if (everything or name.rpartition(".")[2] in wanted)
        and (top is None or _layer_of(name) in top)
        and not f"{name}.".startswith(heads)
    ]
    return chosen or wanted  # PEFT raises an error for names that it cannot find


def name_linear(model: Any) -> list[str]:
    """Full names of the model's linear layers, without the output matrix."""
    output = model.get_output_embeddings() if hasattr(model, "get_output_embeddings") else None
    kinds = ("Linear", "Linear4bit", "Conv1D")
    return [name for name, part in model.named_modules() if type(part).__name__ in kinds and part is not output]


def find_layer(name: str) -> tuple[str, int] | None:
    """(the list of layers, the number) of the layer that a part or a parameter belongs to; None outside of layers."""
    found = _LAYER.match(f"{name}.")
    return (found[1], int(found[2])) if found else None


def _layer_of(name: str) -> str:
    """The full name of the layer that a part or a parameter belongs to; "" for one outside of the layers."""
    found = find_layer(name)
    return f"{found[0]}.{found[1]}" if found else ""


def name_top_layers(model: Any, count: int) -> list[str]:
    """Full names of the topmost layers, of the encoder and of the decoder where there are both."""
    numbers: dict[str, int] = {}
    for name, _ in model.named_parameters():
        if found := find_layer(name):
            stem, number = found
            numbers[stem] = max(numbers.get(stem, 0), number)
    return [
        f"{stem}.{number}" for stem, last in numbers.items() for number in range(max(last + 1 - count, 0), last + 1)
    ]
