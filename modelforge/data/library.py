"""The datasets that were added: list, find, rename, delete. Records in the store, rows in home/datasets/<id>/."""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from modelforge import paths
from modelforge.data import prepare
from modelforge.data.checks import Report, check
from modelforge.data.samples import samples
from modelforge.errors import DatasetError, NotFoundError, RecipeError, RunStateError
from modelforge.recipe import Task
from modelforge.store import DatasetRecord, Store

LONGEST_NAME = 120


class Datasets:
    """The datasets service of a Forge."""

    def __init__(self, store: Store) -> None:
        self._store = store

    def all(self) -> list[DatasetRecord]:
        """Every dataset, the newest first."""
        return self._store.datasets.all()

    def find(self, text: str) -> DatasetRecord:
        """A dataset by id, unique prefix or name."""
        return self._store.datasets.find(text)

    def rows(self, dataset_id: str) -> list[dict[str, Any]]:
        """All mapped rows, in order."""
        return prepare.read_rows(dataset_id)

    def check(self, path: Path, task: Task | None = None, columns: Mapping[str, str] | None = None) -> Report:
        return check(path, task=task, columns=columns or None)

    def add(self, report: Report, *, name: str = "") -> DatasetRecord:
        """Keep a checked file's rows. The same rows for the same task are the dataset that is already there."""
        dataset = prepare.prepare(report, name=name)
        with self._store.transaction():
            for known in self._store.datasets.all():
                if known.id == dataset.id:
                    return known
            return self._store.datasets.add(
                DatasetRecord(
                    id=dataset.id,
                    name=dataset.name,
                    task=dataset.task.value,
                    source=dataset.file,
                    format=dataset.format,
                    rows=dataset.rows,
                    columns=dict(dataset.mapping),
                    sha256=dataset.sha256,
                    bytes=(paths.dataset_dir(dataset.id) / prepare.ROWS_FILE).stat().st_size,
                    created=dataset.created,
                    problems={"duplicates": dataset.duplicates},
                )
            )

    def resolve(self, wanted: str, task: Task, columns: Mapping[str, str]) -> DatasetRecord:
        """The dataset that a recipe names: an id or name in the library, a bundled sample, or a file to add."""
        if not wanted:
            raise RecipeError("No dataset is given.", where="setting dataset", fix="Name a file, or choose a sample.")
        path = Path(wanted).expanduser()
        bundled = {sample.name: sample.path for sample in samples()}
        if path.is_file() or wanted in bundled:
            return self.add(self.check(bundled.get(wanted, path), task, columns))
        try:
            record = self.find(wanted)
        except NotFoundError:
            raise DatasetError(
                f"There is no file and no dataset {wanted!r}.",
                where="setting dataset",
                fix="Check the path or the name.",
            ) from None
        if record.task != task.value:
            raise RecipeError(
                f"The dataset {record.name!r} was prepared for {record.task}, not for {task.value}.",
                where="setting task",
                fix=f"Set task to {record.task}, or add the file again for {task.value}.",
            )
        return record

    def rename(self, dataset_id: str, name: str) -> DatasetRecord:
        name = " ".join(name.split())
        if not 0 < len(name) <= LONGEST_NAME:
            raise RecipeError(f"A name has between 1 and {LONGEST_NAME} characters.", where="name")
        return self._store.datasets.update(dataset_id, name=name)

    def delete(self, text: str) -> DatasetRecord:
        """Remove a dataset and its rows; the file that it came from stays. Refused while a run needs it."""
        record = self.find(text)
        with self._store.transaction():
            users = [run.id for run in self._store.runs.all() if run.dataset_id == record.id and run.state.active]
            if users:
                raise RunStateError(
                    "This dataset is in use.", where=record.name, fix=f"Wait for {users[0]}, or stop it."
                )
            self._store.datasets.delete(record.id)
        place = paths.dataset_dir(record.id)
        if place.exists():
            doomed = place.with_name(f".{record.id}.deleted")
            place.rename(doomed)
            shutil.rmtree(doomed, ignore_errors=True)
        return record
