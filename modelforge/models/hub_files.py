"""Which files of a model are pushed, by name, and what they say: nothing of this machine, and nothing that is not
listed.

A model is pushed in one of three forms. An adapter, and a model that was tuned in full, are in the model's own folder;
a merged model and GGUF files in the folder of an export.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from modelforge.errors import HubError
from modelforge.models.card import is_local_path, model_card, public_manifest
from modelforge.models.folder import MANIFEST
from modelforge.models.ollama_files import make_ollama_files

CARD, MODELFILE = "README.md", "Modelfile"
_SETTINGS = (
    r"(config|generation_config|processor_config|preprocessor_config)\.json"
    r"|(tokenizer|tokenizer_config|special_tokens_map|added_tokens|vocab)\.json"
    r"|(vocab|merges)\.txt|(tokenizer|spiece|sentencepiece\.bpe)\.model"
    r"|[a-z_]+\.jinja"
)
_PATH_KEYS = ("base_model_name_or_path", "name_or_path", "_name_or_path", "tokenizer_file", "vocab_file", "merges_file")
_QUANTIZATION = re.compile(r"-(F32|F16|BF16|I?Q\d\w*)\.gguf", re.IGNORECASE)


@dataclass(frozen=True)
class Form:
    """weights, others: patterns of the names of files; those of weights are large and sent as they are. Names, not
    endings: a training folder also has optimizer.safetensors and trainer_state.json."""

    title: str
    weights: re.Pattern[str]
    others: re.Pattern[str]


FORMS = {
    "adapter": Form(
        "Adapter: small; needs its base model",
        re.compile(r"adapter_model(-\d{5}-of-\d{5})?\.safetensors"),
        re.compile(rf"adapter_config\.json|adapter_model\.safetensors\.index\.json|{_SETTINGS}"),
    ),
    "merged": Form(
        "Whole model: for transformers and vLLM",
        re.compile(r"model(-\d{5}-of-\d{5})?\.safetensors"),
        re.compile(rf"model\.safetensors\.index\.json|{_SETTINGS}"),
    ),
    "gguf": Form(
        "GGUF: for Ollama and llama.cpp",
        re.compile(r"[\w.-]+\.gguf", re.ASCII),
        re.compile(MODELFILE),
    ),
}


@dataclass(frozen=True)
class Source:
    """What is pushed: a folder, in which form (of `FORMS`) it has the model, and the model's manifest. more: folders
    with other quantizations, for the same repository."""

    folder: Path
    form: str
    manifest: Mapping[str, Any]
    more: tuple[Path, ...] = ()


@dataclass(frozen=True)
class PushFile:
    """A file as it is pushed: its name in the repository and its size in bytes."""

    name: str
    bytes: int


def make_card(source: Source, repo_id: str | None = None) -> str:
    """The model card of what is pushed."""
    names = [file.name for file in list_files(source, "")]
    return model_card(source.manifest, repo_id, form=source.form, quantizations=find_quantizations(names))


def list_files(source: Source, card: str | None = None) -> tuple[PushFile, ...]:
    """Exactly what a push sends, by name. card: None makes it from the manifest. Raises HubError."""
    contents = read_contents(source, make_card(source) if card is None else card)
    return tuple(PushFile(name, count_bytes(contents[name])) for name in sorted(contents))


def count_bytes(content: Path | bytes) -> int:
    return len(content) if isinstance(content, bytes) else content.stat().st_size


def sum_up(files: Iterable[PushFile]) -> str:
    """A hash of the names and sizes, by which a list that somebody has seen is known again."""
    return hashlib.sha256(repr([(file.name, file.bytes) for file in files]).encode()).hexdigest()


def read_contents(source: Source, card: str) -> dict[str, Path | bytes]:
    """Name -> the path of weights, which are large, or the public content of everything else. Raises HubError."""
    where, form = source.folder.name, FORMS[source.form]
    again = "Train it again, or pick another model." if source.form == "adapter" else "Export it again."
    try:
        # No links: they could include a file from anywhere.
        folders = (*source.more, source.folder)  # its own files come last, and stay
        listed = [path for folder in folders for path in folder.iterdir()]
        found = {path.name: path for path in listed if path.is_file() and not path.is_symlink()}
        weights = {name: path for name, path in found.items() if form.weights.fullmatch(name)}
        texts = {
            name: _make_public(name, path.read_bytes(), source.manifest)
            for name, path in found.items()
            if form.others.fullmatch(name)
        }
    except (OSError, ValueError, TypeError) as error:
        raise HubError("This model's folder cannot be read.", where=where, fix=again) from error
    if not weights:
        raise HubError("This model has no weights in its folder.", where=where, fix=again)
    nameless = [name for name in weights if source.form == "gguf" and not _QUANTIZATION.search(name)]
    if nameless:
        raise HubError(
            f"The name of {nameless[0]} does not end with its quantization, so Ollama and llama.cpp would not find it.",
            where=where,
            fix="Rename it to end with -Q8_0.gguf, for example.",
        )
    if MODELFILE in texts:
        texts |= make_ollama_files(texts[MODELFILE].decode("utf-8", "replace"))
    texts[MANIFEST] = _dump(public_manifest(source.manifest))
    texts[CARD] = card.encode("utf-8", errors="replace")
    return {**weights, **texts}


def find_quantizations(files: Iterable[str]) -> list[str]:
    """The tags by which Ollama and llama.cpp find the GGUF files of a repository: Q8_0, F16."""
    return [found[1].upper() for name in files if (found := _QUANTIZATION.search(name))]


def _make_public(name: str, content: bytes, manifest: Mapping[str, Any]) -> bytes:
    """A file's content without the paths of this machine; unchanged if there are none."""
    if not name.endswith("config.json"):
        return content
    config = json.loads(content)
    if not isinstance(config, dict):
        raise TypeError(f"{name} is not an object")
    base = public_manifest(manifest).get("base_model")
    public = dict(config)
    for key in _PATH_KEYS:
        if isinstance(value := config.get(key), str) and value and is_local_path(value):
            public[key] = base if base and not key.endswith("_file") else None
    return content if public == config else _dump(public)


def _dump(value: Mapping[str, Any]) -> bytes:
    return (json.dumps(value, indent=2, ensure_ascii=False) + "\n").encode("utf-8", errors="replace")
