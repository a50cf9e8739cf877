"""Records rebuilt from the folders of models and datasets, for a registry that was lost. It only reads.

A model's folder holds `modelforge.json` (`models/folder.py` writes it), a dataset's `dataset.json` and its rows
(`data/prepare.py`): the fields of a record are in them. Runs cannot be rebuilt; their logs remain.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import orjson

from modelforge import paths
from modelforge.errors import NotFoundError, explain_os_errors
from modelforge.store.migrations import Tables
from modelforge.store.records import DatasetRecord, ModelRecord, Record

_LARGEST_BYTES = 20_000_000
ROWS_FILES = ("rows.arrow", "rows.jsonl")  # of this version, and of an earlier one


@dataclass(frozen=True)
class Kind:
    """One kind of folder. read: its manifest and itself -> the fields of its record."""

    noun: str
    manifest: str
    record_type: type[Record]
    read: Callable[[dict[str, Any], Path], dict[str, Any]]

    @property
    def table(self) -> str:
        return f"{self.noun}s"


def _read_model(manifest: dict[str, Any], _: Path) -> dict[str, Any]:
    dataset = manifest["dataset"]
    known = {name: manifest[name] for name in ModelRecord.model_fields if name in manifest}
    return {**known, "dataset_id": dataset["id"] or None, "dataset_name": dataset["name"]}


def _read_dataset(manifest: dict[str, Any], folder: Path) -> dict[str, Any]:
    return {
        **{name: manifest[name] for name in DatasetRecord.model_fields if name in manifest},
        "source": manifest["file"],
        "columns": manifest["mapping"],
        "problems": {"duplicates": manifest.get("duplicates", 0)},
        "bytes": next(file for name in ROWS_FILES if (file := folder / name).is_file()).stat().st_size,
    }


MODEL = Kind("model", "modelforge.json", ModelRecord, _read_model)
DATASET = Kind("dataset", "dataset.json", DatasetRecord, _read_dataset)
KINDS = (MODEL, DATASET)
UNREADABLE = (ValueError, TypeError, KeyError, AttributeError, StopIteration)
"""What `read_record` raises for a manifest that is damaged."""


@dataclass(frozen=True)
class Found:
    """tables: kind -> id -> fields, of records missing from the registry. unreadable: manifests that cannot be read."""

    tables: Tables
    unreadable: list[Path]

    @property
    def counted(self) -> str:
        """ "2 models and 1 dataset"; "" if nothing was found."""
        counts = [(len(self.tables.get(kind.table, ())), kind.noun) for kind in KINDS]
        return " and ".join(f"{count} {noun}{'s' if count > 1 else ''}" for count, noun in counts if count)


def is_anything_left(home: Path) -> bool:
    """Whether a lost registry could be rebuilt from any folder."""
    return any(True for kind in KINDS for _ in _manifests(home, kind))


def find_lost(home: Path, tables: Tables) -> Found:
    """The records that have a folder in home but are missing from the tables, in the order of their creation.

    Raises StoreError when a file cannot be read at all: continuing without it would lose it for good.
    """
    lost: Tables = {}
    unreadable: list[Path] = []
    for kind in KINDS:
        records: list[Record] = []
        for manifest in _manifests(home, kind):
            id = manifest.parent.name
            if id in tables.get(kind.table, {}):
                continue
            try:
                with explain_os_errors(
                    manifest, "The registry cannot be rebuilt without this file"
                ):  # a disk's error may be temporary
                    records.append(read_record(kind, manifest))
            except UNREADABLE:
                unreadable.append(manifest)
        records.sort(key=lambda record: record.created)
        lost[kind.table] = {record.id: record.model_dump(mode="json") for record in records}
    return Found({name: table for name, table in lost.items() if table}, unreadable)


def _manifests(home: Path, kind: Kind) -> Iterator[Path]:
    """Of finished folders named by our ids; others are unfinished, partly deleted or not ours."""
    for manifest in sorted((home / kind.table).glob(f"{kind.noun}-*/{kind.manifest}")):
        try:
            paths.model_dir(manifest.parent.name)
        except NotFoundError:
            continue
        yield manifest


def read_record(kind: Kind, manifest: Path) -> Record:
    """The record that a manifest describes. Raises OSError and UNREADABLE."""
    if manifest.stat().st_size > _LARGEST_BYTES:
        raise ValueError("it is too large for a manifest")
    facts = kind.read(orjson.loads(manifest.read_bytes()), manifest.parent)
    return kind.record_type.model_validate({**facts, "id": manifest.parent.name})
