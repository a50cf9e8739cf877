"""Which revision of a model a folder holds: the Hub's commit, or a hash of its files.

"commit:…" of a snapshot in the Hub's cache. "sha256:…" of all bytes. "blocks:…" where the files are larger than
LARGE_BYTES: a hash of their sizes and of BLOCKS evenly spaced blocks of each, which takes no minute however large a
model is; it finds other weights, but not a change of a few bytes made to deceive.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator
from pathlib import Path

from modelforge.store.cache import read_cache, write_cache

LARGE_BYTES = 1_000_000_000
BLOCKS, BLOCK_BYTES = 256, 65_536
_SUFFIXES = {".safetensors", ".bin", ".gguf", ".json", ".txt", ".model", ".jinja"}
_NOT_OF_THE_MODEL = {"modelforge.json"}  # ours: it has the model's name, which can be changed
_COMMIT = re.compile(r"[0-9a-f]{40}")
_CACHE, _KEPT = "revisions.json", 200


def find_revision(folder: Path) -> str:
    """The revision of the model in a folder. Hashes are cached for as long as sizes and times of the files are the
    same. Raises OSError."""
    if folder.parent.name == "snapshots" and _COMMIT.fullmatch(folder.name):
        return f"commit:{folder.name}"
    files = sorted(path for path in folder.iterdir() if path.is_file() and path.suffix in _SUFFIXES)
    files = [path for path in files if path.name not in _NOT_OF_THE_MODEL]
    states = [(str(path), path.stat().st_size, path.stat().st_mtime_ns) for path in files]
    key = hashlib.sha256(repr(states).encode()).hexdigest()
    known = read_cache(_CACHE)
    if not isinstance(known.get(key), str):
        is_large = sum(size for _, size, _ in states) > LARGE_BYTES
        known[key] = f"{'blocks' if is_large else 'sha256'}:{_hash(files, is_large=is_large)}"
        write_cache(_CACHE, dict(list(known.items())[-_KEPT:]))
    return str(known[key])


def _hash(files: list[Path], *, is_large: bool) -> str:
    digest = hashlib.sha256()
    for path in files:
        digest.update(f"{path.name}\n{path.stat().st_size}\n".encode())
        if is_large:
            for block in _read_blocks(path):
                digest.update(block)
        else:
            with path.open("rb") as file:
                digest.update(hashlib.file_digest(file, "sha256").digest())
    return digest.hexdigest()


def _read_blocks(path: Path) -> Iterator[bytes]:
    room = max(path.stat().st_size - BLOCK_BYTES, 0)
    with path.open("rb") as file:
        for index in range(BLOCKS):
            file.seek(room * index // (BLOCKS - 1))
            yield file.read(BLOCK_BYTES)
