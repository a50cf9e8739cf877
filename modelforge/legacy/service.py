"""Finds and imports the older ModelForge's models, each row once.

All files are copied first; then folders are renamed and records are written, in one transaction. What a killed import
leaves is replaced by the next.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from modelforge import paths
from modelforge.architecture import ARCHITECTURES
from modelforge.choices.combinations import check_architecture, check_method
from modelforge.errors import DiskFullError, ModelForgeError, RecipeError, StoreError
from modelforge.legacy import adapter as adapters
from modelforge.legacy.adapter import Adapter, UnusableError
from modelforge.legacy.database import read_database, usual_place
from modelforge.legacy.rows import OldModel, Problem, clean_text, find_task, translate_rows
from modelforge.recipe import RECIPE_VERSION, TASK_ALIASES, Task, read_stored
from modelforge.store import ModelRecord, Store
from modelforge.store.files import save_file
from modelforge.store.folders import unfinished
from modelforge.store.lock import hold
from modelforge.tasks import TASKS

_SEEN = "imported.json"


@dataclass(frozen=True)
class Imported:
    """imported: rows that are models now, or whose missing files were found. skipped: rows that were deleted in the
    old app, were imported before, or could not be imported (with a problem that says why)."""

    imported: int
    skipped: int
    problems: tuple[Problem, ...]


class Legacy:
    """The older ModelForge's models, for the app and the command line."""

    def __init__(self, store: Store) -> None:
        self._store = store

    def find(self) -> Path | None:
        """The older ModelForge's database on this machine if it has rows that were not imported yet, else None.

        Takes milliseconds and raises nothing. Rows that an import has seen do not count: a model that was imported and
        then deleted, or could not be imported, is not offered again.
        """
        path = usual_place()
        if not path.is_file():
            return None
        try:
            rows, _ = read_database(path)
            seen = _read_seen()
            return path if any(model.active and model.id not in seen for model in translate_rows(rows)) else None
        except ModelForgeError:
            return None  # the command reports it

    def import_models(
        self, database: str | Path | None = None, watch: Callable[[float], None] | None = None
    ) -> Imported:
        """Make a model of each row of an older ModelForge's database; by default of the one on this machine.

        watch: called with the share of the work that is done. Raises StoreError if there is no valid database.
        """
        path = Path(database) if database is not None else usual_place()
        rows, damage = read_database(path)
        home = paths.home()
        busy = StoreError("Another import is running.", where=str(home), fix="Wait until it has finished.")
        with hold(home / f"{_SEEN}.lock", busy=lambda: busy):
            done = self._import(path.expanduser().absolute(), translate_rows(rows), watch or (lambda _: None))
        if damage:
            lost = Problem("", "", f"Some rows cannot be read: {damage}", "Also import from a backup.")
            done = replace(done, problems=(*done.problems, lost))
        return done

    def _import(self, path: Path, models: list[OldModel], watch: Callable[[float], None]) -> Imported:
        here = {record.id: record for record in self._store.models.all()}
        problems: list[Problem] = []
        ready: list[ModelRecord] = []
        seen: set[str] = set()
        with unfinished(paths.home() / "models") as staged:
            for number, model in enumerate(models):
                watch(number / len(models))
                known = here.get(model.id)
                if not model.active:
                    continue
                if known and not known.files_missing_from:
                    seen.add(model.id)
                    continue
                try:
                    record = _import_row(model, path, staged / model.id)
                except (OSError, DiskFullError) as error:  # not seen: it may work the next time
                    problems.append(_describe_failure(model, error))
                    continue
                seen.add(model.id)
                problems += model.problems
                if record and not (known and record.files_missing_from):
                    ready.append(record)
            self._keep(ready, staged)
        _write_seen(seen)
        return Imported(len(ready), len(models) - len(ready), tuple(problems))

    def _keep(self, records: list[ModelRecord], staged: Path) -> None:
        """Rename the staged folders and write the records, all or none."""
        with self._store.transaction():
            existing = {record.id for record in self._store.models.all()}
            for record in records:
                if not record.files_missing_from:
                    adapters.place_staged(staged / record.id)
                if record.id in existing:  # its files were missing until now
                    self._store.models.update(record.id, **record.model_dump(exclude={"id", "name", "description"}))
                else:
                    self._store.models.add(record)


def _describe_failure(model: OldModel, error: OSError | DiskFullError) -> Problem:
    if isinstance(error, DiskFullError):
        return Problem(model.row, model.name, f"It was not imported: {error.what}", error.fix)
    reason = error.strerror or str(error)
    fix = "Check that there is space and that ModelForge can write to its folder, then import again."
    return Problem(model.row, model.name, f"It was not imported because its files could not be copied: {reason}.", fix)


def _import_row(model: OldModel, database: Path, staged: Path) -> ModelRecord | None:
    """The record of a row, with its files in the new folder `staged` if there are any; None if it cannot be imported.
    Adds to the problems of the row. Raises OSError and DiskFullError if copying fails."""
    found: Adapter | UnusableError
    try:
        found = adapters.find_adapter(model.folder, database)
    except UnusableError as error:
        found = error
    adapter = found if isinstance(found, Adapter) else None
    task = stated = find_task(model.stated_task)
    if task is None and adapter:
        task = find_task(str(adapter.made_for.get("pipeline_task")))
    if task is None:
        accepted = ", ".join([*(known.value for known in Task), *TASK_ALIASES])
        model.report(f"{model.stated_task!r} is not a task; it was not imported.", f"Accepted are: {accepted}.")
        return None
    if stated is None:
        model.report(f"{model.stated_task!r} is not a task.", f"Its files say {task.value}.")
    config = adapter.config if adapter else {}
    base = model.base_model or str(config.get("base_model_name_or_path") or "")[:500]
    if not base:
        model.report("It does not name a base model.", "It is listed, but cannot be loaded.")
    if not model.created:
        written = datetime.fromtimestamp(database.stat().st_mtime, UTC)
        model.created = written.isoformat(timespec="milliseconds")
    architecture = (adapter.architecture if adapter else None) or TASKS[task].architectures[0]
    manifest = _make_manifest(model, task, base or "unknown", architecture, config)
    if isinstance(found, Adapter):
        tokenizer = adapters.take_tokenizer(found, base)
        if not tokenizer:
            place = paths.model_dir(model.id)
            model.report("It has no tokenizer.", f"Copy the tokenizer files of {base} into {place}.")
        adapters.stage_files(found, tokenizer, staged, manifest)
    else:
        model.report(*found.args)
    fields = {name: manifest[name] for name in ModelRecord.model_fields if name in manifest}
    missing = "" if adapter else (clean_text(model.folder)[:1000] or "nowhere")
    return ModelRecord(id=model.id, dataset_name=manifest["dataset"]["name"], files_missing_from=missing, **fields)


def _make_manifest(
    model: OldModel, task: Task, base: str, architecture: str, config: Mapping[str, Any]
) -> dict[str, Any]:
    """The manifest that `models.folder.save_model` would have written, as far as it is known. config: of the adapter,
    of which the recipe has what today's bounds allow."""
    method = model.method
    try:
        check_method(task, method)
        check_architecture(task, method, ARCHITECTURES[architecture])
    except RecipeError:
        method = "sft"
    known = ("r", "lora_alpha", "lora_dropout", "target_modules", "use_rslora", "use_dora")
    tuning = {name: config[name] for name in known if config.get(name) is not None}
    named = {"task": task.value, "method": method, "name": model.name, "base_model": base}
    recipe = read_stored({**named, "tuning": {**tuning, "type": model.tuning}}, RECIPE_VERSION).recipe
    copied = ("custom_base_model", "tuning", "created", "description")
    return {
        **named,
        **{name: getattr(model, name) for name in copied},
        "base_source": "an older ModelForge",
        "architecture": architecture,
        "parent": None,
        "run_id": None,
        "dataset": {"id": "", "name": "not known", "rows": 0, "train_rows": 0, "eval_rows": 0, "sha256": ""},
        "recipe": recipe.model_dump(mode="json"),
        "recipe_version": RECIPE_VERSION,
        "metrics": {},
        "imported": {"row": model.row, **model.facts},
    }


def _read_seen() -> set[str]:
    """The ids of rows that an import has seen."""
    try:
        listed = json.loads((paths.home() / _SEEN).read_bytes())["rows"]
        return {id for id in listed if isinstance(id, str)}
    except (OSError, ValueError, TypeError, KeyError):
        return set()


def _write_seen(seen: set[str]) -> None:
    save_file(paths.home() / _SEEN, json.dumps({"rows": sorted(seen | _read_seen())}).encode())
