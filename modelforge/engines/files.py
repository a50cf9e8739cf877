"""The GGUF files that llama.cpp answers from: made once of a model's or an adapter's folder, and kept in the cache.

A file is found by a hash of what it was made of. What was not used for a month is deleted when another one is made.
"""

from __future__ import annotations

import hashlib
import os
import time
from collections.abc import Callable
from functools import lru_cache
from pathlib import Path

from modelforge import paths
from modelforge.gguf import adapter_to_gguf, to_gguf
from modelforge.paths import make_folder
from modelforge.store.leftovers import remove

QUANTIZATION = "f16"
VERSION = 1  # of how they are made
_HASHED_BYTES = 32 << 20  # of larger files size and time are enough
_KEPT_SECONDS = 30 * 24 * 3600.0
_READ = (".json", ".jinja", ".safetensors", ".model", ".txt")


def find_model(folder: Path) -> Path:
    """Where the GGUF file of a model's folder is, or is to be."""
    return _place("model", folder)


def find_adapter(folder: Path) -> Path:
    """The same for an adapter's folder."""
    return _place("adapter", folder)


def make_files(folder: Path, adapter: Path | None, watch: Callable[[float], None] = lambda share: None) -> None:
    """Make what is not there yet. watch: called often with the share that is done; what it raises cancels. Raises
    ExportError, BaseModelError, DiskFullError, DownloadError."""
    make_folder(paths.cache_dir() / "gguf")
    _remove_unused()
    if not (target := find_model(folder)).exists():
        to_gguf(folder, target, QUANTIZATION, watch=watch)
    if adapter and not (target := find_adapter(adapter)).exists():
        adapter_to_gguf(folder, adapter, target, watch=lambda: watch(1.0))


def are_made(folder: Path, adapter: Path | None) -> bool:
    return find_model(folder).exists() and (adapter is None or find_adapter(adapter).exists())


def note_use(*files: Path | None) -> None:
    for file in files:
        if file:
            os.utime(file)


def forget(folder: Path) -> None:
    """Delete what was made of a folder, which is about to be deleted itself."""
    if folder.exists():
        for file in (find_model(folder), find_adapter(folder)):
            remove(file)


def _place(kind: str, folder: Path) -> Path:
    digest = hashlib.sha256(f"{kind} {VERSION} {QUANTIZATION}".encode())
    for path in sorted(folder.iterdir()):
        if path.suffix in _READ:
            status = path.stat()
            digest.update(f"{path.name} {_hash(path, status.st_size, status.st_mtime_ns)}".encode())
    return paths.cache_dir() / "gguf" / f"{kind}-{digest.hexdigest()[:32]}.gguf"


@lru_cache(maxsize=500)
def _hash(path: Path, size: int, changed: int) -> str:
    return f"{size} {changed}" if size > _HASHED_BYTES else hashlib.sha256(path.read_bytes()).hexdigest()


def _remove_unused() -> None:
    for file in (paths.cache_dir() / "gguf").glob("*.gguf"):
        if file.stat().st_mtime < time.time() - _KEPT_SECONDS:
            remove(file)
