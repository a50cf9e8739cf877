"""Makers of what the first ModelForge left behind: its database in all three shapes, and a model's folder."""

from __future__ import annotations

import contextlib
import json
import sqlite3
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

FIRST = """CREATE TABLE fine_tuned_models (
    id INTEGER PRIMARY KEY AUTOINCREMENT, model_name TEXT NOT NULL, base_model TEXT NOT NULL, task TEXT NOT NULL,
    description TEXT, creation_date TEXT NOT NULL, model_path TEXT NOT NULL)"""
SECOND = FIRST.removesuffix(")") + ", is_custom_base_model BOOLEAN DEFAULT 0)"
THIRD = """CREATE TABLE models (
    id TEXT PRIMARY KEY, name TEXT NOT NULL, base_model TEXT NOT NULL, task TEXT NOT NULL, strategy TEXT, provider TEXT,
    path TEXT, created_at TEXT, updated_at TEXT, compute_profile TEXT, config TEXT, is_active BOOLEAN DEFAULT 1)"""
LOOSE = "CREATE TABLE models (id, name, base_model, task, strategy, path, created_at, is_active)"
"""The third shape without a word on types, so that anything may stand anywhere."""

_OLDER: dict[str, Any] = {
    "model_name": "Support",
    "base_model": "HuggingFaceTB/SmolLM2-135M-Instruct",
    "task": "text-generation",
    "description": "Answers customers",
    "creation_date": "2024-07-01T12:00:00.123456",
    "model_path": "/nowhere/support",
}
_LATER: dict[str, Any] = {
    "id": "5c0b5b1e-6f0c-4d1c-9d55-0d3f3c1f7a01",
    "name": "Support",
    "base_model": "HuggingFaceTB/SmolLM2-135M-Instruct",
    "task": "text-generation",
    "strategy": "sft",
    "path": "/nowhere/support",
    "created_at": "2024-07-01T12:00:00",
    "is_active": 1,
}


def write_database(path: Path, *statements: str, older: Iterable[Mapping] = (), later: Iterable[Mapping] = ()) -> Path:
    """A database with those tables (FIRST or SECOND, THIRD), and rows that differ from usual ones as they are told."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with contextlib.closing(sqlite3.connect(path)) as connection, connection:
        for statement in statements:
            connection.execute(statement)
        for table, usual, rows in (("fine_tuned_models", _OLDER, older), ("models", _LATER, later)):
            for row in rows:
                insert_row(connection, table, {**usual, **row})
    return path


def insert_row(connection: sqlite3.Connection, table: str, row: Mapping[str, Any]) -> None:
    marks = ", ".join("?" for _ in row)
    connection.execute(f"INSERT INTO {table} ({', '.join(row)}) VALUES ({marks})", list(row.values()))  # noqa: S608


def write_adapter(folder: Path, **config: Any) -> Path:
    """A folder as the first ModelForge saved a model; its adapter is the smallest that is whole, and fits no model."""
    folder.mkdir(parents=True, exist_ok=True)
    settings = {"peft_type": "LORA", "task_type": "CAUSAL_LM", "r": 8, "lora_alpha": 16, "lora_dropout": 0.1, **config}
    (folder / "adapter_config.json").write_text(json.dumps(settings))
    header = b'{"a":{"dtype":"F32","shape":[1],"data_offsets":[0,4]}}'
    weights = len(header).to_bytes(8, "little") + header + b"\0\0\0\0"
    (folder / "adapter_model.safetensors").write_bytes(weights)
    (folder / "tokenizer.json").write_text("{}")
    (folder / "tokenizer_config.json").write_text("{}")
    (folder / "modelforge_config.json").write_text(
        json.dumps({"model_class": "AutoPeftModelForCausalLM", "pipeline_task": "text-generation"})
    )
    return folder


def contents(*places: Path) -> dict[Path, bytes]:
    """Every file at or under those places, with its bytes."""
    found = [file for place in places for file in (place.rglob("*") if place.is_dir() else [place])]
    return {file: file.read_bytes() for file in sorted(found) if file.is_file()}
