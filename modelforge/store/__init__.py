"""TinyDB made durable: records of datasets, runs and models in one file, replaced atomically.

    store = Store(paths.database())
    with store.transaction():
        run = store.runs.get(run_id)
        store.runs.update(run_id, step=run.step + 1)

table.py       one kind of record: add, get, find, all, update, delete, count
records.py     DatasetRecord, RunRecord, ModelRecord, ExportRecord, RunState
storage.py     TinyDB's storage and table, with transactions
durable.py     the file: read whole, replaced whole, backed up, repaired, migrated
envelope.py    its bytes: schema version and checksum
migrations.py  older files upgraded
manifests.py   records rebuilt from the folders of models and datasets
lock.py        one lock for threads and processes
files.py       single files, each step atomic
folders.py     whole folders: written, placed, deleted
leftovers.py   work in progress, and what killed processes left of it
home.py        the home's store, opened
documents.py   what each person writes: a small JSON file for each conversation and vote
cache.py       small JSON files that can be made again
"""

from __future__ import annotations

from contextlib import AbstractContextManager
from pathlib import Path

from modelforge.store.records import DatasetRecord, ExportRecord, ModelRecord, RunRecord, RunState, utc_now
from modelforge.store.storage import Database
from modelforge.store.table import Table

__all__ = ["DatasetRecord", "ExportRecord", "ModelRecord", "RunRecord", "RunState", "Store", "utc_now"]


class Store:
    """Opening reads the file and repairs or migrates it if necessary; `message` then says what was done.

    Raises StoreError when the file exists but cannot be read.
    """

    def __init__(self, path: Path) -> None:
        self._database = Database(path)
        self.datasets: Table[DatasetRecord] = Table(self._database, DatasetRecord, "dataset")
        self.runs: Table[RunRecord] = Table(self._database, RunRecord, "run")
        self.models: Table[ModelRecord] = Table(self._database, ModelRecord, "model")
        self.exports: Table[ExportRecord] = Table(self._database, ExportRecord, "export")
        self._database.storage.file.remove_leftovers()
        self._database.storage.read()

    @property
    def message(self) -> str:
        """ "", or what was done to the file: a damaged one moved aside, a backup loaded, opened read-only."""
        return self._database.storage.file.message

    def transaction(self) -> AbstractContextManager[None]:
        """Other threads and processes wait until the block ends. Its changes are written together, or not at all.

        Can be nested. An exception that leaves the outermost block undoes it all. Raises StoreError, DiskFullError.
        """
        return self._database.storage.transaction()

    def forget(self, id: str) -> None:
        """Remove the record of a dataset, run, model or export whose files are gone, if it is still there."""
        for table in (self.datasets, self.runs, self.models, self.exports):
            if id in {record.id for record in table.all()}:
                table.delete(id)

    def close(self) -> None:
        """Free the memory. A closed store opens itself again when it is used; closing twice is harmless."""
        self._database.close()
