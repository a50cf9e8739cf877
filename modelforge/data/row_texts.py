"""The texts of rows as they are compared: one row at a time, or many as columns."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any, Protocol

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from modelforge.data.forms import ROW
from modelforge.data.row_cache import RowCache
from modelforge.tasks import read_texts
from modelforge.tasks.base import Texts

Indices = NDArray[np.int64]

_BYTES_A_PART = 4 << 20
"""Of text that is compared at once."""


class RowTexts(Protocol):
    """The texts of rows, by index."""

    def read(self, row: int) -> Texts: ...
    def take(self, rows: Indices, fields: Sequence[str]) -> list[Any]:
        """Some fields of `Texts`, each an Arrow array of strings with one for each row."""
        ...

    def weigh(self, rows: Indices) -> Indices:
        """(n,) about how many bytes each row has."""
        ...


class ListedTexts:
    """Texts that are read one by one. read: an index to the texts of this row."""

    def __init__(self, read: Callable[[int], Texts]) -> None:
        self.read = read

    def take(self, rows: Indices, fields: Sequence[str]) -> list[Any]:
        texts = [self.read(row) for row in rows.tolist()]
        return [pa.array([getattr(each, field) for each in texts], pa.string()) for field in fields]

    def weigh(self, rows: Indices) -> Indices:
        return np.fromiter((sum(map(len, self.read(row))) for row in rows.tolist()), np.int64, len(rows))


class CachedTexts(ListedTexts):
    """The texts of rows that are being checked."""

    def __init__(self, cache: RowCache) -> None:
        super().__init__(lambda row: read_texts(cache.form.unpack(cache.read(row))))
        self._cache = cache

    def take(self, rows: Indices, fields: Sequence[str]) -> list[Any]:
        form = self._cache.form
        if form is ROW:
            return super().take(rows, fields)
        columns = dict(zip(Texts.__annotations__, form.compared, strict=False))
        names = [name for field in fields if (name := columns.get(field))]
        named = dict(zip(names, self._cache.take(rows, names), strict=True))
        nothing = pa.nulls(len(rows), pa.string()).fill_null("")
        return [named.get(columns.get(field, ""), nothing) for field in fields]

    def weigh(self, rows: Indices) -> Indices:
        return self._cache.sizes[rows].astype(np.int64)


def divide(weights: Indices, most: int) -> Iterator[slice]:
    """Parts of a list of rows or pairs with these weights: each has at most so many, and only one where that one is
    very long."""
    sums = np.cumsum(weights)
    start = done = 0
    while start < len(sums):
        stop = max(start + 1, int(np.searchsorted(sums, done + _BYTES_A_PART, "right")))
        stop = min(stop, start + most)
        yield slice(start, stop)
        start, done = stop, int(sums[stop - 1])


def is_long(weights: Indices) -> bool:
    """Whether rows have too much text to be compared at once."""
    return int(weights.sum()) > _BYTES_A_PART
