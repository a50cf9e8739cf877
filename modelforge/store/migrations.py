"""Older registry files upgraded by a numbered list of functions, each from one schema to the next.

The schema's number is the length of the list. A migration takes all tables and returns them; it loses nothing and keeps
fields and tables that it does not know. The caller copies the old file first (`durable.py`).
"""

from __future__ import annotations

from collections.abc import Callable
from types import NoneType
from typing import Any, get_args, get_origin

from modelforge import paths
from modelforge.store.records import DatasetRecord, ModelRecord, Record, RunRecord

Tables = dict[str, dict[str, dict[str, Any]]]

RECORD_TYPES: dict[str, type[Record]] = {"datasets": DatasetRecord, "runs": RunRecord, "models": ModelRecord}


def adopt_plain_tinydb(tables: Tables) -> Tables:
    """0 -> 1: the documents of plain TinyDB (no envelope, numbered from 1) are stored under their own ids."""
    adopted: Tables = dict(tables)
    for table, record_type in RECORD_TYPES.items():
        adopted[table] = {}
        for document in map(dict, tables.get(table, {}).values()):
            if not document.get("id") or str(document["id"]) in adopted[table]:
                document["id"] = paths.new_id(table.removesuffix("s"))
            if record_type is ModelRecord:
                _find_custom_base_model(document)
            for name, field in record_type.model_fields.items():
                if field.is_required() and name not in document:
                    document[name] = _empty_value(field.annotation)
            adopted[table][str(document["id"])] = document
    return adopted


def _find_custom_base_model(document: dict[str, Any]) -> None:
    """Before this field existed, the description ended in "(Custom Model)" (docs/audit.md, 21)."""
    if "custom_base_model" not in document:
        found = document.get("is_custom_base_model", str(document.get("description") or "").endswith("(Custom Model)"))
        document["custom_base_model"] = bool(found)


def _empty_value(annotation: Any) -> Any:
    kind = get_origin(annotation) or annotation
    return None if NoneType in get_args(annotation) else kind() if kind in (str, int, dict) else "interrupted"


MIGRATIONS: list[Callable[[Tables], Tables]] = [adopt_plain_tinydb]


def migrate(tables: Tables, schema: int) -> Tables:
    """Tables of an older schema, upgraded to the current one."""
    for step in MIGRATIONS[schema:]:
        tables = step(tables)
    return tables
