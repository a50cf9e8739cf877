"""The rows of a file while it is checked, in a temporary Arrow file that is read on demand.

The file is deleted with the last reference to it; a dataset has its own copy (`prepare`).
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import shutil
import weakref
from bisect import bisect_right
from collections.abc import Iterator, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any, overload

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from modelforge import paths
from modelforge.data.forms import Form, Values
from modelforge.errors import report_full_disk
from modelforge.store.leftovers import begin_file
from modelforge.tasks.base import MappedRow

_SPARE_BYTES = 10_000_000


class RowCache:
    """Stores batches of rows, then reads rows by their index. Raises DiskFullError."""

    def __init__(self, form: Form) -> None:
        self.form = form
        self.schema = pa.schema([(column, pa.string()) for column in form.columns])
        self.path = begin_file(paths.cache_dir())
        self.sizes = np.zeros(0, np.uint32)  # (n,) bytes of the text of each row, after `finish`
        self._ends = [0]
        self._sizes: list[NDArray[np.uint32]] = []
        self._batches: list[Any] | None = None
        self._file = pa.OSFile(str(self.path), "wb")
        self._writer = pa.ipc.new_file(self._file, self.schema)
        weakref.finalize(self, _remove, self.path)

    def add(self, columns: Sequence[Any]) -> None:
        """Append rows: an array of strings for each column of the form."""
        batch = pa.record_batch(list(columns), schema=self.schema)
        with report_full_disk(paths.home(), batch.nbytes):
            self._writer.write_batch(batch)
        self._ends.append(self._ends[-1] + batch.num_rows)
        self._sizes.append(np.sum([np.diff(view_text(column)[0]) for column in batch.columns], axis=0, dtype=np.uint32))

    def finish(self) -> None:
        """End writing; from now on rows can be read."""
        with report_full_disk(paths.home(), _SPARE_BYTES):
            self._writer.close()
            self._file.close()
        reader = pa.ipc.open_file(pa.memory_map(str(self.path)))
        self._batches = [reader.get_batch(index) for index in range(reader.num_record_batches)]
        self.sizes = np.concatenate([np.zeros(0, np.uint32), *self._sizes])
        self._sizes.clear()

    def __len__(self) -> int:
        return self._ends[-1]

    def read(self, index: int) -> Values:
        place = bisect_right(self._ends, index) - 1
        assert self._batches is not None  # noqa: S101 - finish() was called
        row = index - self._ends[place]
        return tuple(column[row].as_py() for column in self._batches[place].columns)

    def take(self, rows: NDArray[np.int64], names: Sequence[str]) -> list[Any]:
        """Some columns of some rows, in any order, as arrays of strings."""
        assert self._batches is not None  # noqa: S101 - finish() was called
        order = np.argsort(rows, kind="stable")
        ordered = rows[order]
        edges = np.searchsorted(ordered, self._ends)
        parts = [
            batch.select(names).take(pa.array(ordered[start:stop] - first))
            for batch, first, (start, stop) in zip(self._batches, self._ends, pairwise(edges.tolist()), strict=False)
            if stop > start
        ]
        if not parts:
            return [pa.array([], pa.string()) for _ in names]
        columns = [pa.concat_arrays([part.column(index) for part in parts]) for index in range(len(names))]
        if (order[1:] > order[:-1]).all():
            return columns
        back = np.empty_like(order)
        back[order] = np.arange(len(order))
        return [column.take(pa.array(back)) for column in columns]

    def are_equal(self, rows: NDArray[np.int64], others: NDArray[np.int64]) -> NDArray[np.bool_]:
        """(n,) whether the rows of each pair are identical."""
        equal: NDArray[np.bool_] = self.sizes[rows] == self.sizes[others]
        columns = self.form.columns
        for one, other in zip(self.take(rows, columns), self.take(others, columns), strict=True):
            equal &= pc.equal(one, other).to_numpy(zero_copy_only=False)
        return equal

    def batches(self, kept: NDArray[np.bool_] | None = None) -> Iterator[Any]:
        """Record batches of all rows, or of those that are kept."""
        for place, batch in enumerate(self._batches or ()):
            yield batch if kept is None else batch.filter(pa.array(kept[self._ends[place] : self._ends[place + 1]]))


class MappedRows(Sequence[MappedRow]):
    """The kept rows of a cache, read on demand. kept: one flag for each row; numbers: of each row in the file."""

    def __init__(self, cache: RowCache, kept: NDArray[np.bool_], numbers: Sequence[int]) -> None:
        self._cache = cache
        self._kept = kept
        self._numbers = numbers
        self._indices = np.flatnonzero(kept)

    def __len__(self) -> int:
        return len(self._indices)

    @overload
    def __getitem__(self, index: int) -> MappedRow: ...
    @overload
    def __getitem__(self, index: slice) -> list[MappedRow]: ...
    def __getitem__(self, index: Any) -> Any:
        unpack = self._cache.form.unpack
        if isinstance(index, slice):
            return [unpack(self._cache.read(int(each))) for each in self._indices[index]]
        return unpack(self._cache.read(int(self._indices[index])))

    def number(self, index: int) -> int:
        """The number of the row in the file, from 1."""
        return int(self._numbers[int(self._indices[index])])

    @property
    def size(self) -> int:
        """An upper bound of the bytes that the written rows take."""
        return self._cache.path.stat().st_size

    def write(self, path: Path) -> str:
        """Write the rows as an Arrow file. Returns the digest of their content."""
        digest = Digest(self._cache.form)
        if self._kept.all():
            try:
                os.link(self._cache.path, path)  # it does not change any more
            except OSError:  # a file system without hard links
                shutil.copyfile(self._cache.path, path)
            for batch in self._cache.batches():
                digest.update(batch)
            return digest.hexdigest()
        with pa.ipc.new_file(str(path), self._cache.schema) as writer:
            for batch in self._cache.batches(self._kept):
                digest.update(batch)
                writer.write_batch(batch)
        return digest.hexdigest()


class Digest:
    """SHA-256 over the bytes and the lengths of each column, independent of how rows are batched."""

    def __init__(self, form: Form) -> None:
        self._columns = [(name, hashlib.sha256(), hashlib.sha256()) for name in form.columns]

    def update(self, batch: Any) -> None:
        for (_, content, lengths), column in zip(self._columns, batch.columns, strict=True):
            offsets, text = view_text(column)
            content.update(text.data)
            lengths.update(np.diff(offsets).astype("<u4").data)

    def hexdigest(self) -> str:
        whole = hashlib.sha256()
        for name, content, lengths in self._columns:
            whole.update(f"{name} {content.hexdigest()} {lengths.hexdigest()}\n".encode())
        return whole.hexdigest()


def view_text(strings: Any) -> tuple[NDArray[np.int32], NDArray[np.uint8]]:
    """(offsets, bytes) of an array of n strings, without a copy: n + 1 offsets from 0, and the UTF-8 of all strings."""
    _, offsets, text = strings.buffers()
    places = np.frombuffer(offsets, np.int32)[strings.offset : strings.offset + len(strings) + 1]
    content = np.frombuffer(text, np.uint8) if text is not None else np.empty(0, np.uint8)
    return places - places[0], content[places[0] : places[-1]]


def _remove(path: Path) -> None:
    with contextlib.suppress(OSError):  # Windows keeps a mapped file; it is deleted later
        path.unlink()
