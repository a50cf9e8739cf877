"""What is known about a base model before its weights are downloaded: its config, else its size."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

from modelforge import catalog, starter
from modelforge.base_model import find, hub
from modelforge.errors import ModelForgeError
from modelforge.loading import load_config, make_config
from modelforge.recipe import Recipe

Source = Literal["config", "catalogue", "unknown"]
_SECONDS = 4.0  # for the Hub's answer, while the form waits


@dataclass(frozen=True)
class Known:
    """config: of transformers; None if unknown. download_bytes: still to be downloaded. to_hub_cache: the download goes
    to the Hub's cache, which may be on another drive than home."""

    config: Any
    source: Source
    download_bytes: int = 0
    to_hub_cache: bool = False


def look_up(recipe: Recipe) -> Known:
    """Downloads no weights. If the Hub does not answer, the catalogue's figures are used. Raises BaseModelError where
    transformers does not accept the config."""
    name = recipe.base_model
    try:
        here, listed, contents = find.find_here(name), catalog.find(name), None
        if not (here or name in starter.STARTERS or hub.is_switched_off()):
            contents = hub.ask(name, seconds=_SECONDS)
    except ModelForgeError:
        return Known(None, "unknown")
    if here:
        return Known(load_config(here), "config")
    if name in starter.STARTERS:
        return Known(like(listed.parameters) if listed else None, "catalogue", starter.STARTERS[name].disk_bytes)
    if contents is not None:
        config = make_config(contents.config, name)
        return Known(config, "config", int(contents.weight_bytes * 1.05), to_hub_cache=True)
    if listed:
        return Known(like(listed.parameters), "catalogue", 2 * listed.parameters, to_hub_cache=True)
    return Known(None, "unknown", to_hub_cache=True)


def like(parameters: int) -> Any:
    """A Llama with about that many parameters: embeddings for 64,000 tokens, layers of 12 widths squared, and the usual
    proportion of 1 to 32 between depth and width (8B: 32 layers of 4,096 is 1 to 128; 135M: 30 of 576 is 1 to 19)."""
    from transformers import LlamaConfig

    width, layers = 128, 2
    while 64_000 * width + layers * 12 * width * width < parameters:
        width += 64
        layers = max(2, min(round(width / 40), 48))
    return LlamaConfig(
        vocab_size=64_000,
        hidden_size=width,
        intermediate_size=64 * round(width * 2.7 / 64),
        num_hidden_layers=layers,
        num_attention_heads=width // 64,
        num_key_value_heads=width // 64,
        max_position_embeddings=131_072,
        tie_word_embeddings=True,
        architectures=["LlamaForCausalLM"],
    )
