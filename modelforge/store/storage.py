"""TinyDB on a durable file: its storage with transactions, and its table with our ids.

Between transactions TinyDB reads the last committed state. Within one, its thread reads and changes a copy of its own,
which is written as a whole when the outermost block ends, or dropped when an exception leaves it. Other threads go on
reading the committed state.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import tinydb.storages
import tinydb.table
from tinydb import TinyDB

from modelforge.compat.tinydb import ChangeableTable
from modelforge.errors import StoreError
from modelforge.store.durable import DurableFile
from modelforge.store.migrations import Tables


class DurableStorage(tinydb.storages.Storage):
    def __init__(self, path: Path) -> None:
        self.file = DurableFile(path)
        self._working: Tables | None = None  # belongs to the thread that holds the lock
        self._read_only = False
        self._changed = False

    @property
    def in_transaction(self) -> bool:
        """Whether the thread that asks is within a transaction."""
        return self._working is not None and self.file.lock.held

    @contextmanager
    def transaction(self) -> Iterator[None]:
        """All changes of the block, written together. Within another transaction of the thread it is part of that one.

        Raises StoreError when the lock cannot be had or the state not be written, DiskFullError when there is no room.
        """
        with self.file.lock:
            if self._working is not None:
                yield
                return
            snapshot = self.file.read()
            # Documents are replaced, never changed in place, so that the copy may share them with those who read.
            self._working = {name: dict(table) for name, table in snapshot.tables.items()}
            self._read_only, self._changed = snapshot.newer, False
            try:
                yield
                if self._changed:
                    self.file.write(self._working)
            finally:
                self._working = None

    def read(self) -> Tables:
        """The state to work on; not to be changed outside of `RecordTable.change_rows`."""
        if self._working is not None and self.file.lock.held:
            return self._working
        return self.file.read().tables

    def write(self, data: Tables) -> None:
        """Keep data as the transaction's state. Raises StoreError when the file is of a newer ModelForge."""
        if self._read_only:
            raise StoreError(
                "The registry was written by a newer ModelForge and cannot be changed by this one.",
                where=str(self.file.path),
                fix="Update ModelForge.",
            )
        self._working, self._changed = data, True

    def close(self) -> None:
        """Nothing is held open between operations: only what is kept in memory goes, and comes back when needed."""
        self.file.forget()


class RecordTable(ChangeableTable):
    """TinyDB's table with the records' own ids as its document ids, each operation a transaction."""

    document_id_class = str  # type: ignore[assignment]  # TinyDB allows any type here; its hints say int

    @property
    def storage(self) -> DurableStorage:
        return super().storage  # type: ignore[return-value]  # the database makes it of default_storage_class

    def rows(self) -> dict[str, dict[str, Any]]:
        """The fields of all records by id, in the order in which they were added; not to be changed."""
        return self.storage.read().get(self.name, {})

    def insert_record(self, record_id: str, fields: dict[str, Any]) -> None:
        """Raises ValueError when the id is taken."""
        self.insert(tinydb.table.Document(fields, record_id))  # type: ignore[arg-type]  # of another type, as above

    def replace_record(self, record_id: str, fields: dict[str, Any]) -> None:
        """TinyDB's own `update` would change a document in place, under the eyes of those who read it."""
        self.change_rows(lambda table: table.update({record_id: fields}))

    def remove_record(self, record_id: str) -> bool:
        """False when it was not there."""
        return bool(self.remove(doc_ids=[record_id]))  # type: ignore[list-item]

    def change_rows(self, change: Callable[[dict[Any, Any]], None]) -> None:
        with self.storage.transaction():
            tables = self.storage.read()
            change(tables.setdefault(self.name, {}))
            self.storage.write(tables)
            self.clear_cache()


class Database(TinyDB):
    """`Database(path)` is TinyDB on that file, made durable."""

    default_storage_class = DurableStorage  # type: ignore[assignment]  # any Storage will do; the hint says JSONStorage
    table_class = RecordTable

    @property
    def storage(self) -> DurableStorage:
        return super().storage  # type: ignore[return-value]  # made of default_storage_class

    def table(self, name: str, **options: Any) -> RecordTable:
        return super().table(name, **options)  # type: ignore[return-value]  # made by table_class
