"""TinyDB on a durable file: its storage with transactions, and its table with our ids.

Between transactions TinyDB reads the last committed state. In a transaction, its thread reads and changes a private
copy, which is written as a whole when the outermost block ends, or dropped when an exception leaves it. Other threads
keep reading the committed state.
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
        """Whether the current thread is in a transaction."""
        return self._working is not None and self.file.lock.held

    @contextmanager
    def transaction(self) -> Iterator[None]:
        """All changes of the block, written together. Inside another transaction of the thread it is part of that one.

        Raises StoreError when it cannot be locked or written, DiskFullError when there is no space.
        """
        with self.file.lock:
            if self._working is not None:
                yield
                return
            snapshot = self.file.read()
            # Documents are replaced, never changed in place, so the copy can share them with readers.
            self._working = {name: dict(table) for name, table in snapshot.tables.items()}
            self._read_only, self._changed = snapshot.newer, False
            try:
                yield
                if self._changed:
                    self.file.write(self._working)
            finally:
                self._working = None

    def read(self) -> Tables:
        """The state to work on. Only `RecordTable.change_rows` may change it."""
        if self._working is not None and self.file.lock.held:
            return self._working
        return self.file.read().tables

    def write(self, data: Tables) -> None:
        """Set the transaction's state. Raises StoreError when a newer ModelForge wrote the file."""
        if self._read_only:
            raise StoreError(
                "The registry was written by a newer ModelForge and cannot be changed by this one.",
                where=str(self.file.path),
                fix="Update ModelForge.",
            )
        self._working, self._changed = data, True

    def close(self) -> None:
        """Free the memory. No file is open between operations, and the next one reads it again."""
        self.file.forget()


class RecordTable(ChangeableTable):
    """TinyDB's table with the records' own ids as its document ids, each operation a transaction."""

    document_id_class = str  # type: ignore[assignment]  # TinyDB allows any type here; its hints say int

    @property
    def storage(self) -> DurableStorage:
        return super().storage  # type: ignore[return-value]  # the database makes it of default_storage_class

    def rows(self) -> dict[str, dict[str, Any]]:
        """The fields of all records by id, in the order in which they were added. Do not change them."""
        return self.storage.read().get(self.name, {})

    def put_record(self, record_id: str, fields: dict[str, Any]) -> None:
        """Add or replace. TinyDB's own `update` would change a document in place while others read it."""
        self.change_rows(lambda table: table.update({record_id: fields}))

    def remove_record(self, record_id: str) -> bool:
        """False when it does not exist."""
        return bool(self.remove(doc_ids=[record_id]))  # type: ignore[list-item]  # see above

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
