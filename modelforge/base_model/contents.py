"""The files and config of a base model, and whether it suits a task: all that is known without its weights."""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from modelforge.architecture import ARCHITECTURES, DECODER, Architecture, add_article, describe_class, recognise
from modelforge.base_model.config import CONFIG, find_packed, read_config
from modelforge.base_model.json_file import read_object
from modelforge.errors import BaseModelError
from modelforge.recipe import Task
from modelforge.tasks import TASKS

SETTING = "setting base_model"
TOKENIZER_CONFIG = "tokenizer_config.json"
INDEX = "model.safetensors.index.json"
_TOKENIZERS = (
    "tokenizer.json",
    "tokenizer.model",
    "spiece.model",
    "sentencepiece.bpe.model",
    "vocab.txt",
    "vocab.json",
)
_NO_WEIGHTS = ("adapter_", "consolidated", "optimizer")  # .safetensors files that transformers does not load


@dataclass(frozen=True)
class Contents:
    """One base model without its weights.

    where: its folder, or the setting that named it. files: name -> size in bytes, in its top folder. parameters: a
    count, 0 if unknown. gated: access must be granted on the Hub, and is.
    """

    id: str
    where: str
    config: Mapping[str, Any]
    files: Mapping[str, int]
    has_chat_template: bool
    parameters: int = 0
    gated: bool = False

    @property
    def weight_bytes(self) -> int:
        return sum(self.files[name] for name in weights_among(self.files))


def read_folder(folder: Path, name: str) -> Contents:
    """The contents of a model's folder. Raises BaseModelError if it is not a model or has no weights to load."""
    try:
        files = {path.name: path.stat().st_size for path in folder.iterdir() if path.is_file()}
    except OSError as error:
        raise BaseModelError(
            f"{name} cannot be read.", where=str(folder), fix="Choose a folder that you have permission to read."
        ) from error
    check_files(files, name, str(folder))
    config = read_config(folder, name)
    weights = [folder / each for each in weights_among(files)]
    _check_shards(folder, name, files)
    tokenizer = read_object(folder / TOKENIZER_CONFIG, name) if TOKENIZER_CONFIG in files else {}
    return Contents(
        id=name,
        where=str(folder),
        config=config,
        files=files,
        has_chat_template=has_chat_template(files, tokenizer),
        parameters=sum(_count_parameters(path) for path in weights),
    )


def weights_among(files: Collection[str]) -> list[str]:
    """Names of the weight files that transformers loads."""
    return sorted(name for name in files if name.endswith(".safetensors") and not name.startswith(_NO_WEIGHTS))


def has_chat_template(files: Collection[str], tokenizer_config: Mapping[str, Any]) -> bool:
    return "chat_template.jinja" in files or bool(tokenizer_config.get("chat_template"))


def check_files(files: Collection[str], name: str, where: str) -> None:
    """Refuse, by the names of its files, what is not a model, and weights whose format can run code."""
    if CONFIG not in files:
        if "adapter_config.json" in files:
            raise BaseModelError(
                f"{name} is an adapter, not a model.", where=where, fix="Choose the base model that it was trained on."
            )
        if any(each.endswith(".gguf") for each in files):
            raise BaseModelError(
                f"{name} has its weights only as GGUF, a format for inference that cannot be trained.",
                where=where,
                fix="Choose the original model that it was converted from.",
            )
        raise BaseModelError(
            f"{name} is not a model: it has no config.json.",
            where=where,
            fix="Choose a model that has a config.json and .safetensors files.",
        )
    if not weights_among(files):
        raise BaseModelError(
            f"{name} has no weights in safetensors format.",
            where=where,
            fix="Other formats can run code when they are loaded; choose a model that has .safetensors files.",
        )


def check_fit(contents: Contents, task: Task) -> Architecture:
    """Refuse a model that does not suit the task, with the reason; else return its architecture."""
    found = recognise_for(task, contents.config, contents.id)
    refuse_packed(contents.config, contents.id)
    if not any(name in contents.files for name in _TOKENIZERS):
        raise BaseModelError(
            f"{contents.id} has no tokenizer.", where=contents.where, fix="Choose a model that has a tokenizer.json."
        )
    return found


def refuse_packed(config: Mapping[str, Any], name: str) -> None:
    """Refuse weights that are quantized already; unpacking some of them fetches code from the Hub."""
    packed = find_packed(config)
    if packed:
        method = packed.get("quant_method", "") if isinstance(packed, dict) else ""
        raise BaseModelError(
            f"{name} is already quantized{f' ({method})' if method else ''} and cannot be trained.",
            where=SETTING,
            fix="Choose the original model; tuning type qlora quantizes it to 4 bits by itself.",
        )


def recognise_for(task: Task | None, config: Mapping[str, Any], name: str) -> Architecture:
    """The architecture of a config; one that does not suit the task, or any task for None, is refused."""
    found, reason = recognise(config)
    if found is None or (task and found.name not in TASKS[task].architectures):
        raise make_refusal(f"{name} is {add_article(describe_class(config))}, which {reason}.", task)
    return found


def make_refusal(what: str, task: Task | None = None) -> BaseModelError:
    """The error for an architecture that does not suit the task (or any), with those that do."""
    suited = [ARCHITECTURES[name] for name in TASKS[task].architectures] if task else [DECODER]
    choice = " or ".join(f"{add_article(each.name)} such as {each.example}" for each in suited)
    return BaseModelError(
        what, where=SETTING, fix=f"For {task.value}, choose {choice}." if task else f"Choose {choice}."
    )


def missing_shards(folder: Path, files: Collection[str]) -> list[str]:
    """Weight files that a folder's index lists but that are missing: the download was interrupted."""
    if "model.safetensors" in files or INDEX not in files:
        return []
    named = read_object(folder / INDEX, folder.name).get("weight_map")
    return sorted({str(each) for each in named.values()} - set(files)) if isinstance(named, dict) else []


def _check_shards(folder: Path, name: str, files: Collection[str]) -> None:
    if missing := missing_shards(folder, files):
        raise BaseModelError(
            f"{name} lacks {len(missing)} of its weight files, among them {missing[0]}.",
            where=str(folder),
            fix="Download the model again.",
        )


def _count_parameters(path: Path) -> int:
    """How many numbers a .safetensors file holds; 0 for a damaged file, which is refused when it is loaded."""
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, framework="numpy") as file:
            return sum(math.prod(file.get_slice(name).get_shape()) for name in file.keys())  # noqa: SIM118 - no mapping
    except (OSError, SafetensorError):
        return 0
