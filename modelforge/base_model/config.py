"""What is taken from a model's config.json, which is a stranger's: no number that no model has, and nothing that lets a
library fetch, run or read anything else. Whoever needs a config gets it from here.

That each value has its type, and that they fit together, is for transformers to say.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from modelforge.base_model.json_file import parse_object, read_object
from modelforge.errors import BaseModelError

CONFIG = "config.json"
MOST_BYTES = 2_000_000
_MOST_DEPTH = 16
_OTHER = "Choose another base model."

_DROPPED = {
    "auto_map",  # code that comes with the model
    "configuration_files",  # another file to read instead
    "distributed_config",
    "fusion_config",  # replaces layers
    "kernel_config",  # and kernels, which are fetched from the Hub
    "name_or_path",
    "transformers_weights",  # another file of weights
    "use_kernels",
}
_DROPPED_NAMES = re.compile(r"^_|_implementation$")  # of attention, for example, which may name a kernel on the Hub

_BOUNDS = (
    (re.compile(r"layers$|^n_layer$|^depth$"), 0, 300),
    (re.compile(r"experts$|^n_head$|labels$"), 0, 10_000),
    (re.compile(r"_(size|dim|width|ff|kv|model|embd|inner|rank)$"), 0, 10_000_000),
    (re.compile(r"positions?(_embeddings)?$|^n_ctx$|seq_len(gth)?$"), -1, 20_000_000),
    (
        re.compile(r"heads$|^(vocab_size|hidden_size|d_model|n_embd|num_hidden_layers|num_layers|n_layer)$"),
        1,
        10_000_000,
    ),
)
"""Of settings that decide how much is built: name -> the smallest and the largest number. No published model is near.
"""
_DEPTHS = ("num_hidden_layers", "num_layers", "n_layer", "encoder_layers")
_WIDTHS = ("hidden_size", "d_model", "n_embd", "dim")
_INNER_WIDTHS = ("intermediate_size", "d_ff", "encoder_ffn_dim", "n_inner", "hidden_dim", "moe_intermediate_size")
_MOST_EXPERTS = 50_000  # in all layers together; Kimi K2 has 384 in each of 61
_SHARED, _SMALL = 4, 50_000_000  # ALBERT's layers share their weights; what is small does not matter
_MAY_BE_INFINITE = ("time_step_limit[]",)


def read_config(folder: Path, name: str) -> dict[str, Any]:
    """The config of a model's folder. name: of the model, for messages. Raises BaseModelError."""
    given = read_object(folder / CONFIG, name, MOST_BYTES)
    weights = sum(path.stat().st_size for path in folder.glob("*.safetensors"))
    return _check(given, name, str(folder / CONFIG), weights)


def parse_config(content: bytes, name: str, where: str, weight_bytes: int) -> dict[str, Any]:
    """The config from the content of a config.json. weight_bytes: of the files of its weights, 0 if
    unknown. Raises BaseModelError."""
    return _check(parse_object(content, CONFIG, name, where, MOST_BYTES), name, where, weight_bytes)


def find_packed(config: Mapping[str, Any]) -> Any:
    """The quantization_config of a config or of one of its parts, if any."""
    parts = [config, *(part for part in config.values() if isinstance(part, dict))]
    return next((part["quantization_config"] for part in parts if part.get("quantization_config")), None)


def _check(given: dict[str, Any], name: str, where: str, weight_bytes: int) -> dict[str, Any]:
    values: dict[str, Any] = _clean(given, name, where)
    problems = [problem for setting, number in _walk(values) if (problem := _judge(setting, number))]
    for part in (values, *(each for each in values.values() if isinstance(each, dict))):
        problems += [] if problems else _judge_together(part, weight_bytes)
    if problems:
        raise BaseModelError(f"The {CONFIG} of {name} is not valid: {problems[0]}.", where=where, fix=_OTHER)
    return values


def _clean(value: Any, name: str, where: str, depth: int = 0) -> Any:
    if depth > _MOST_DEPTH:
        raise BaseModelError(
            f"The {CONFIG} of {name} is nested in more than {_MOST_DEPTH} levels.", where=where, fix=_OTHER
        )
    if isinstance(value, list):
        return [_clean(each, name, where, depth + 1) for each in value]
    if not isinstance(value, dict):
        return value
    return {
        key: _clean(each, name, where, depth + 1)
        for key, each in value.items()
        if key not in _DROPPED and not _DROPPED_NAMES.search(key)
    }


def _walk(value: Any, setting: str = "") -> Iterator[tuple[str, float]]:
    """Each number with the name of its setting; in a list, with [] after it."""
    if isinstance(value, dict):
        for key, each in value.items():
            yield from _walk(each, key)
    elif isinstance(value, list):
        for each in value:
            yield from _walk(each, f"{setting.removesuffix('[]')}[]")
    elif isinstance(value, int | float) and not isinstance(value, bool):
        yield setting, value


def _judge(setting: str, number: float) -> str:
    """What is wrong with a number by itself; "" if nothing is."""
    if isinstance(number, float) and not math.isfinite(number):
        return "" if setting in _MAY_BE_INFINITE else f"{setting[:40]} is {number}"
    for pattern, least, most in _BOUNDS:
        if pattern.search(setting) and not least <= number <= most:
            return f"{setting[:40]} is {str(number)[:20]}, but must be from {least} to {most:,}"
    return ""


def _judge_together(values: Mapping[str, Any], weight_bytes: int) -> list[str]:
    """What is wrong with sizes that are possible each by itself: the weights that they describe are not there."""

    def find(names: tuple[str, ...]) -> int:
        found = [value for name in names if isinstance(value := values.get(name), int)]
        return max(found, default=1)

    depth, width, inner = find(_DEPTHS), find(_WIDTHS), find(_INNER_WIDTHS)
    heads = find(("num_attention_heads", "n_head", "num_heads")) * find(("head_dim", "d_kv"))
    experts = max(
        (value for key, value in values.items() if key.endswith("experts") and isinstance(value, int)), default=0
    )
    described = max(width * find(("vocab_size",)), depth * width * max(inner, heads))
    most = _SHARED * weight_bytes + _SMALL
    problems = [f"it describes at least {described:,} weights, but has {weight_bytes:,} bytes of them"] * (
        described > most
    )
    return problems + [f"it has {experts} experts in each of {depth} layers"] * (experts * depth > _MOST_EXPERTS)
