"""The datasets of a home: list, find, add, rename, delete. Records are in the store, rows in home/datasets/<id>/."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

from modelforge import paths, quotas
from modelforge.caller import OWNER, acting_as, check_may_train, current_caller
from modelforge.data import hub_dataset, prepare
from modelforge.data.checks import check
from modelforge.data.report import Report
from modelforge.data.samples import samples
from modelforge.errors import DatasetError, NotFoundError, RecipeError, RunStateError
from modelforge.recipe import Recipe, Task
from modelforge.store import DatasetRecord, Store
from modelforge.store.folders import delete_folder


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

    def add(self, report: Report, *, name: str = "") -> DatasetRecord:
        """Add the rows of a checked file. If the same rows exist for the same task, that dataset is returned."""
        check_may_train("adding datasets")
        quotas.check_rows(len(report.mapped_rows))
        quotas.check_disk(self._store)
        dataset = prepare.prepare(report, name=_check_name(name) if name.strip() else "")
        with self._store.transaction():
            known = next((each for each in self.all() if each.id == dataset.id), None)
            return known or self._store.datasets.add(dataset)

    def resolve(self, wanted: str, recipe: Recipe) -> DatasetRecord:
        """The dataset that a recipe's dataset or eval_dataset names: a file, a bundled sample, an id or name in the
        library, or a dataset on the Hub. Files are checked with the task, columns and repairs of the recipe."""
        if not wanted:
            raise RecipeError("No dataset is given.", where="setting dataset", fix="Choose a file or a sample.")
        bundled = {sample.name: sample.path for sample in samples()}
        here = paths.existing(wanted) if current_caller().is_local else None  # from afar nobody names a file
        path = bundled.get(wanted) or here
        if path is None or path.is_dir():
            known = self._find_known(wanted, recipe.task)
            if known is not None:
                return known
            path = hub_dataset.fetch(wanted, recipe.dataset_config or None, recipe.dataset_split or None)
        report = check(path, recipe.task, recipe.columns or None, repairs=recipe.repairs)
        return self.add(report, name="" if path.name == Path(wanted).name else wanted)

    def _find_known(self, wanted: str, task: Task) -> DatasetRecord | None:
        """The dataset with this id or name in the library; None if it may be on the Hub."""
        try:
            record = self.find(wanted)
        except NotFoundError:
            if "/" in wanted and hub_dataset.looks_like_id(wanted):
                return None
            raise DatasetError(
                f"There is no file and no dataset {wanted!r}.",
                where="setting dataset",
                fix="Check the path or the name. A dataset on the Hub is named owner/name.",
            ) from None
        if record.task != task.value:
            raise RecipeError(
                f"The dataset {record.name!r} was prepared for {record.task}, not for {task.value}.",
                where="setting task",
                fix=f"Set task to {record.task}, or add the file again for {task.value}.",
            )
        return record

    def suggest(self, dataset_id: str, *, max_length: int, longest: int = 0, eval_dataset: str = "") -> DatasetRecord:
        """Save suggested settings for a dataset, which the form offers, and how long its rows are."""
        suggested = {"max_length": max_length, "longest": longest, "eval_dataset": eval_dataset}
        return self._store.datasets.update(dataset_id, **suggested)

    def versions(self) -> dict[str, int]:
        """id -> version, from 1: datasets of the same name are versions of it with different content."""
        seen: Counter[str] = Counter()
        numbers = {}
        for record in reversed(self.all()):
            seen[record.name] += 1
            numbers[record.id] = seen[record.name]
        return numbers

    def rename(self, dataset_id: str, name: str) -> DatasetRecord:
        return self._store.datasets.update(dataset_id, name=_check_name(name))

    def delete(self, text: str) -> DatasetRecord:
        """Delete a dataset and its rows; the original file stays. Raises RunStateError while a run needs it."""
        record = self.find(text)
        self._refuse_used(record)

        def forget() -> None:
            with self._store.transaction():
                self._refuse_used(record)  # a run may have started meanwhile
                self._store.forget(record.id)

        delete_folder(paths.dataset_dir(record.id), forget)
        return record

    def _refuse_used(self, record: DatasetRecord) -> None:
        with acting_as(OWNER):  # who may use it for runs of their own
            runs = self._store.runs.all()
        users = [run.id for run in runs if run.state.active and record.id in run.dataset_ids]
        if users:
            raise RunStateError("This dataset is in use.", where=record.name, fix=f"Wait for {users[0]}, or stop it.")


def _check_name(name: str) -> str:
    name = " ".join(name.split())
    if not 0 < len(name) <= prepare.LONGEST_NAME:
        what = f"A name must have 1 to {prepare.LONGEST_NAME} characters."
        raise RecipeError(what, where="name", fix="Enter another name.")
    return name
