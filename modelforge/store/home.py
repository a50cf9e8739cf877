"""Opens the store of the home: what every process does first that reads or changes it."""

from __future__ import annotations

from contextlib import suppress

from modelforge import paths
from modelforge.errors import DiskFullError, StoreError
from modelforge.store import Store
from modelforge.store.leftovers import remove_leftovers


def open_store() -> Store:
    """The home's store, once the home is private and what killed processes left in it is removed. Raises StoreError."""
    paths.make_private(paths.home())
    store = Store(paths.database())
    with suppress(StoreError, DiskFullError):  # the next start tries again
        remove_leftovers(paths.home(), store.forget)
    return store
