"""What is taken of the config of a PEFT adapter, which is a stranger's: settings that describe the adapter, and no
other."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from modelforge.base_model.json_file import read_object
from modelforge.errors import HubError
from modelforge.models.hub_files import FORMS

ADAPTER = "adapter_config.json"
_MOST_BYTES = 5_000_000

# Of an adapter's config. Others name modules to import, files to open or ways to start a training; a model that is
# loaded needs none of them.
_KEPT = {
    "peft_type", "task_type", "base_model_name_or_path", "r", "lora_alpha", "lora_dropout", "target_modules",
    "bias", "fan_in_fan_out", "modules_to_save", "rank_pattern", "alpha_pattern", "use_rslora", "use_dora",
    "target_parameters", "trainable_token_indices",
    "lora_bias", "layer_replication", "feedforward_modules", "alpha", "module_dropout", "rank_dropout",
    "use_effective_conv2d", "decompose_both", "decompose_factor", "rank_dropout_scale", "init_r", "target_r",
    "oft_block_size", "block_share", "coft", "eps", "projection_prng_key", "save_projection", "d_initial",
    "vera_dropout",
}  # fmt: skip
_KINDS = ("LORA", "LOHA", "LOKR", "IA3", "OFT", "VERA")
_MOST_RANK = 4096
_PLAIN_NAME = re.compile(r"\^?(\w|\\?\.|-)+\$?")  # of modules; not a pattern, whose search may never end
_OF_ADAPTER = re.compile(r"\.(lora|hada|lokr|ia3|oft|vera)_")


def read_adapter_config(folder: Path, origin: str) -> dict[str, Any]:
    """The config of the adapter in a folder, whose weights were found to be readable. origin: for messages. Raises
    HubError, BaseModelError."""
    return _clean(read_object(folder / ADAPTER, origin, _MOST_BYTES), origin, _list_targets(folder))


def _clean(given: Mapping[str, Any], origin: str, targets: list[str]) -> dict[str, Any]:
    """What is kept of an adapter's config. targets: the modules that its weights belong to. Raises HubError for another
    kind of adapter, or values that none has."""
    kind = given.get("peft_type")
    if kind not in _KINDS:
        raise HubError(
            f"This adapter cannot be used here: its peft_type is {str(kind)[:40]!r}.",
            where=origin,
            fix=f"Accepted are {', '.join(_KINDS)}.",
        )
    config = {key: value for key, value in given.items() if key in _KEPT}
    ranks = [config.get("r", 1), *_entries(config, "rank_pattern").values()]
    names = [*_entries(config, "rank_pattern"), *_entries(config, "alpha_pattern")]
    is_odd = isinstance(config.get("feedforward_modules"), str) or any(
        type(rank) is not int or not 0 < rank <= _MOST_RANK for rank in ranks
    )
    if is_odd or not all(_PLAIN_NAME.fullmatch(name) for name in names):
        raise HubError("Its adapter_config.json has values that no adapter has.", where=origin, fix="Do not use it.")
    chosen = config.get("target_modules")
    is_pattern = isinstance(chosen, str) and chosen != "all-linear"  # whose search may never end
    if is_pattern or any(given.get(name) is not None for name in ("exclude_modules", "layers_to_transform")):
        config["target_modules"] = targets
    return {**config, "inference_mode": True}


def _entries(config: Mapping[str, Any], name: str) -> dict[str, Any]:
    found = config.get(name)
    return found if isinstance(found, dict) else {}


def _list_targets(folder: Path) -> list[str]:
    """The modules that an adapter's weights belong to."""
    from safetensors import safe_open

    found = set()
    for path in filter(lambda each: FORMS["adapter"].weights.fullmatch(each.name), folder.iterdir()):
        with safe_open(path, framework="numpy") as file:
            keys = [key for key in file.keys() if _OF_ADAPTER.search(key)]  # noqa: SIM118 - no mapping
            found |= {_OF_ADAPTER.split(key)[0].removeprefix("base_model.model.") for key in keys}
    return sorted(found)
