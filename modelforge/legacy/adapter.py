"""The files of a row: which of them exist, are safe and complete; copied into a model folder.

Only regular files with the names listed here are read: a database from an unknown source may name any folder of this
machine. Pickles (.bin, .pt) can run code when they are opened; they are never copied.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from modelforge import paths
from modelforge.base_model import find
from modelforge.errors import ModelForgeError, check_space
from modelforge.legacy.rows import clean_text
from modelforge.models.folder import MANIFEST
from modelforge.store.folders import place_folder

CONFIG = "adapter_config.json"
WEIGHTS = "adapter_model.safetensors"
MADE_FOR = "modelforge_config.json"
TOKENIZER = (
    "tokenizer.json",
    "tokenizer_config.json",
    "special_tokens_map.json",
    "added_tokens.json",
    "vocab.json",
    "vocab.txt",
    "merges.txt",
    "tokenizer.model",
    "spiece.model",
    "sentencepiece.bpe.model",
    "chat_template.jinja",
)
_PICKLES = (".bin", ".pt", ".pth", ".pkl", ".ckpt")
_LARGEST_CONFIG_BYTES = 5_000_000
_SPARE_BYTES = 50_000_000  # to leave free on the drive


class UnusableError(Exception):
    """The files of a row are missing or cannot be imported: (problem, fix). Never raised outside of legacy/."""


@dataclass(frozen=True)
class Adapter:
    """config: its adapter_config.json. made_for: its modelforge_config.json, {model_class, pipeline_task}."""

    folder: Path
    config: Mapping[str, Any]
    made_for: Mapping[str, Any]
    tokenizer: tuple[Path, ...]

    @property
    def architecture(self) -> str | None:
        """By the class or PEFT's task type; None if neither is known."""
        stated = f"{self.made_for.get('model_class')} {self.config.get('task_type')}".lower().replace("_", "")
        kinds = {"causallm": "decoder", "seq2seq": "encoder-decoder", "questionans": "encoder"}
        return next((kind for word, kind in kinds.items() if word in stated), None)


def find_adapter(folder: str, database: Path) -> Adapter:
    """The adapter in the folder of a row. A relative path starts where the old app kept its data. Raises
    UnusableError."""
    if not folder.strip():
        raise UnusableError("The row does not name a folder.", "Delete it from the list, or train it again.")
    place = paths.existing(str(database.parent.parent / folder) if not folder.startswith("~") else folder)
    shown = clean_text(folder)[:300]
    if place is None or not place.is_dir():
        raise UnusableError(
            f"Its folder {shown} does not exist." if place is None else f"{shown} is not a folder.",
            "Restore the folder and import again, or delete the model from the list.",
        )
    try:
        return _look(place)
    except OSError as error:
        raise UnusableError(
            f"Its folder {shown} cannot be read: {error.strerror or error}.",
            "Check its permissions and import again.",
        ) from error


def take_tokenizer(adapter: Adapter, base: str) -> tuple[Path, ...]:
    """The tokenizer files beside the adapter, else those of the base model if it is on this machine, else ()."""
    if adapter.tokenizer:
        return adapter.tokenizer
    try:
        found = find.find_here(base)
    except ModelForgeError:
        return ()
    return tuple(found.folder / name for name in TOKENIZER if (found.folder / name).is_file()) if found else ()


def stage_files(adapter: Adapter, tokenizer: tuple[Path, ...], staged: Path, manifest: Mapping[str, Any]) -> None:
    """Write the files and the manifest into the folder `staged`, named after the model's id. Raises DiskFullError,
    OSError."""
    files = (adapter.folder / CONFIG, adapter.folder / WEIGHTS, *tokenizer)
    staged.mkdir()
    check_space(staged, sum(file.stat().st_size for file in files) + _SPARE_BYTES)
    for file in files:
        shutil.copyfile(file, staged / file.name)
    text = json.dumps({"id": staged.name, **manifest}, ensure_ascii=False, indent=2)
    (staged / MANIFEST).write_text(text, encoding="utf-8")


def place_staged(staged: Path) -> None:
    """Give a staged folder its place. A folder that is there already has no record: it was left by a process that was
    killed."""
    target = paths.model_dir(staged.name)
    if target.exists():
        shutil.rmtree(target)
    place_folder(staged, target)


def _look(place: Path) -> Adapter:
    shown = clean_text(str(place))
    if not _is_plain(place / WEIGHTS):
        pickles = sorted(file.name for file in place.iterdir() if file.suffix.lower() in _PICKLES)
        if pickles:
            raise UnusableError(
                f"Its weights are in {clean_text(pickles[0])}, which can run code when it is opened; not copied.",
                f"If you trust it, save the adapter as {WEIGHTS} in the same folder and import again.",
            )
        raise UnusableError(
            f"Its folder {shown} has no {WEIGHTS}.", "Restore the file and import again, or delete the model."
        )
    if not _is_plain(place / CONFIG):
        raise UnusableError(f"Its folder {shown} has no {CONFIG}.", "Restore the file and import again.")
    config = _read_object(place / CONFIG) or {}
    is_adapter = isinstance(config.get("peft_type"), str)
    if not (is_adapter and _is_whole(place / WEIGHTS)):
        damaged = clean_text(str(place / (WEIGHTS if is_adapter else CONFIG)))
        raise UnusableError(f"{damaged} is damaged.", "Restore it from a backup and import again.")
    made_for = _read_object(place / MADE_FOR) if _is_plain(place / MADE_FOR) else None
    return Adapter(
        place, config or {}, made_for or {}, tuple(place / name for name in TOKENIZER if _is_plain(place / name))
    )


def _is_plain(file: Path) -> bool:
    """A link may point to any file of this machine, which a push to the Hub would then publish."""
    return file.is_file() and not file.is_symlink()


def _read_object(file: Path) -> dict[str, Any] | None:
    if file.stat().st_size > _LARGEST_CONFIG_BYTES:
        return None
    try:
        found = json.loads(file.read_bytes())
    except (ValueError, RecursionError):
        return None
    return found if isinstance(found, dict) else None


def _is_whole(weights: Path) -> bool:
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(weights, "np") as opened:
            return bool(opened.keys())
    except SafetensorError:
        return False
