"""A row of the old database, translated. Any row gives a valid model; what was wrong with it is reported.

Nothing here becomes a path: the id is a hash, and the row's folder stays plain text.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections import Counter
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from modelforge.errors import RecipeError
from modelforge.legacy.database import OldRow
from modelforge.models.library import LONGEST_NAME
from modelforge.recipe import Task, parse_task

LONGEST_DESCRIPTION = 2000

STRATEGIES = {
    "sft": ("sft", "lora"),
    "lora": ("sft", "lora"),
    "qlora": ("sft", "qlora"),
    "dpo": ("dpo", "lora"),
    "rlhf": ("dpo", "lora"),  # what it called RLHF was DPO (docs/audit.md)
}
"""The old app's strategy -> method and tuning; any other was supervised training of a LoRA adapter."""

# Control characters and surrogates, which cannot be written to a file.
_INVALID = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\ud800-\udfff]+")


@dataclass(frozen=True)
class Problem:
    """row: table and id, "" for the file as a whole. fix: what to do about it."""

    row: str
    name: str
    problem: str
    fix: str


@dataclass
class OldModel:
    """id: of this version, the same each time the row is read. created: UTC ISO 8601, or "". stated_task and folder: as
    the row has them. facts: all values of the row, as text."""

    id: str
    row: str
    name: str
    base_model: str
    stated_task: str
    description: str
    created: str
    custom_base_model: bool
    method: str
    tuning: str
    folder: str
    active: bool
    facts: dict[str, str]
    problems: list[Problem] = field(default_factory=list)

    def report(self, problem: str, fix: str) -> None:
        self.problems.append(Problem(self.row, self.name, problem, fix))


def translate_rows(rows: list[OldRow]) -> list[OldModel]:
    """Each row as a model, with an id like those of `paths.new_id`, derived from the row: one that is imported again is
    recognised. Rows of damaged files can have the same identity."""
    seen: Counter[tuple[str, ...]] = Counter()
    models = []
    for row in rows:
        key = _identity(row)
        parts = [*key, *([str(seen[key])] if seen[key] else [])]
        models.append(_translate(row, f"model-{hashlib.sha256(json.dumps(parts).encode()).hexdigest()[:12]}"))
        seen[key] += 1
    return models


def _translate(row: OldRow, model_id: str) -> OldModel:
    values = {name: clean_text(value) for name, value in row.values.items()}
    older = row.table == "fine_tuned_models"
    name, created, folder = ("model_name", "creation_date", "model_path") if older else ("name", "created_at", "path")
    full_name = " ".join(values.get(name, "").split())
    description = values.get("description", "").strip()
    strategy = values.get("strategy", "").strip().lower()
    method, tuning = STRATEGIES.get(strategy, ("sft", "lora"))
    place = row.values.get(folder)
    model = OldModel(
        id=model_id,
        row=f"{row.table}, row {values['id'][:60]}",
        name=full_name[:LONGEST_NAME].strip() or f"Model {values['id'][:60]} of the older ModelForge",
        base_model=values.get("base_model", "").strip()[:500],
        stated_task=values.get("task", "").strip()[:60],
        description=description[:LONGEST_DESCRIPTION],
        created=read_time(row.values.get(created), local=older),
        custom_base_model=_is_custom(row.values, description),
        method=method,
        tuning=tuning,
        folder=place.decode("utf-8", "replace") if isinstance(place, bytes) else str(place or ""),
        active=str(row.values.get("is_active")).strip().lower() not in ("0", "0.0", "false"),
        facts={name: value for name, value in values.items() if row.values[name] is not None},
    )
    if len(full_name) > LONGEST_NAME:
        model.report(f"Its name was cut to {LONGEST_NAME} characters.", "Rename it in Models.")
    if not full_name:
        model.report("It has no name.", "Rename it in Models.")
    if not model.created:
        stated = values.get(created, "")[:60]
        model.report(f"{stated!r} is not a time.", "It is listed with the time of the database file.")
    if strategy and strategy not in STRATEGIES:
        model.report(f"The strategy {strategy[:60]!r} is not known.", "It is listed as supervised training with LoRA.")
    return model


def _identity(row: OldRow) -> tuple[str, ...]:
    """What identifies a row for as long as the old app keeps it. Two databases may have the same ids."""
    values = row.values
    if row.table == "models" and values["id"]:
        return (row.table, repr(values["id"]))  # a uuid
    return (row.table, *(repr(values.get(name)) for name in ("id", "creation_date", "base_model", "model_path")))


def find_task(name: str) -> Task | None:
    """The task of a name or alias, with - or _ between its words, or None."""
    try:
        return parse_task(name.replace("_", "-"))
    except RecipeError:
        return None


def read_time(value: Any, *, local: bool) -> str:
    """A time in the format of records, or "". local: a time without a zone is in this machine's zone, else in UTC."""
    try:
        if isinstance(value, int | float):
            time = datetime.fromtimestamp(value, UTC)
        else:
            time = datetime.fromisoformat(clean_text(value).strip())
            if time.tzinfo is None:
                time = time.astimezone() if local else time.replace(tzinfo=UTC)
        return time.astimezone(UTC).isoformat(timespec="milliseconds")
    except (ValueError, OverflowError, OSError):  # the year 0, infinity, before the system's first time
        return ""


def _is_custom(values: dict[str, Any], description: str) -> bool:
    """By the column; if it is missing or empty, by the end of the description (docs/audit.md, 21)."""
    stated = values.get("is_custom_base_model")
    if stated is None:
        return description.endswith("(Custom Model)")
    return clean_text(stated).strip().lower() not in ("", "0", "0.0", "false", "no")


def clean_text(value: Any) -> str:
    """Any value from SQLite as text that can be written and shown."""
    if value is None:
        return ""
    text = value.decode("utf-8", errors="replace") if isinstance(value, bytes) else str(value)
    return _INVALID.sub(" ", text)
