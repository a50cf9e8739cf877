"""What `modelforge.compat.tinydb` relies on in TinyDB."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import tinydb
import tinydb.storages
import tinydb.table

from modelforge.compat.tinydb import ChangeableTable


def test_every_change_of_a_table_goes_through_one_method() -> None:
    changes: list[dict[Any, Any]] = []

    class Table(ChangeableTable):
        def change_rows(self, change: Callable[[dict[Any, Any]], None]) -> None:
            tables = self.storage.read() or {}
            change(tables.setdefault(self.name, {}))
            changes.append(copy.deepcopy(tables[self.name]))
            self.storage.write(tables)

    table = Table(tinydb.storages.MemoryStorage(), "rows")
    table.insert(tinydb.table.Document({"a": 1}, 1))
    table.insert(tinydb.table.Document({"a": 2}, 2))
    table.update({"a": 3}, doc_ids=[2])
    table.remove(doc_ids=[1])
    table.truncate()
    assert changes == [{1: {"a": 1}}, {1: {"a": 1}, 2: {"a": 2}}, {1: {"a": 1}, 2: {"a": 3}}, {2: {"a": 3}}, {}]
    assert not {"change_rows"} & set(dir(tinydb.table.Table))
