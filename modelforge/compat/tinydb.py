"""TinyDB: the one method through which a table changes."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import tinydb.table


class ChangeableTable(tinydb.table.Table):
    """TinyDB's table, all changes of which go through `change_rows`, which a subclass gives.

    TinyDB's own way turns all ids to int and back, which copies the table twice for each operation.
    """

    def change_rows(self, change: Callable[[dict[Any, Any]], None]) -> None:
        """Read the rows, let `change` change them, and write them."""
        raise NotImplementedError

    def _update_table(self, updater: Callable[[dict[Any, Any]], None]) -> None:
        self.change_rows(updater)
