"""The mapped rows of a file that is being looked at: kept in memory while they are few, else in a temporary file."""

from __future__ import annotations

import json
import tempfile
from array import array
from collections.abc import Iterator, Sequence
from typing import IO, Any, overload

import numpy as np
import orjson
from numpy.typing import NDArray

from modelforge import paths
from modelforge.tasks.base import MappedRow

_IN_MEMORY = 32 << 20  # bytes
_CHUNK_ROWS = 1000


def dump_row(row: MappedRow) -> bytes:
    """The one way in which a mapped row is written, so that equal rows are equal bytes. Raises ValueError for a row
    with half a character in it."""
    try:
        return orjson.dumps(row)
    except TypeError:  # a number of more than 64 bits, or one that remembers how it was written
        return json.dumps(row, ensure_ascii=False, separators=(",", ":"), default=str).encode()


class RowSpool:
    """Takes written rows block by block and gives them back by their index. It is gone with the last reference."""

    def __init__(self) -> None:
        paths.cache_dir().mkdir(parents=True, exist_ok=True)
        self._file: IO[bytes] = tempfile.SpooledTemporaryFile(_IN_MEMORY, "w+b", dir=str(paths.cache_dir()))  # noqa: SIM115
        self._ends = array("Q", [0])

    def add(self, lines: Sequence[bytes]) -> None:
        """Append rows as `dump_row` writes them."""
        self._file.write(b"".join([line + b"\n" for line in lines]))
        end = self._ends[-1]
        for line in lines:
            end += len(line) + 1
            self._ends.append(end)

    def __len__(self) -> int:
        return len(self._ends) - 1

    def read(self, index: int) -> MappedRow:
        self._file.seek(self._ends[index])
        row: MappedRow = orjson.loads(self._file.read(self._ends[index + 1] - self._ends[index]))
        return row

    def chunks(self, kept: NDArray[np.bool_]) -> Iterator[bytes]:
        """The lines of the rows that are kept, some at once."""
        self._file.seek(0)
        for start in range(0, len(kept), _CHUNK_ROWS):
            some = kept[start : start + _CHUNK_ROWS]
            size = self._ends[start + len(some)] - self._ends[start]
            if some.all():
                yield self._file.read(size)
            else:
                lines = self._file.read(size).splitlines(keepends=True)
                yield b"".join(line for line, keep in zip(lines, some, strict=True) if keep)

    def count_bytes(self) -> int:
        return self._ends[-1]


class MappedRows(Sequence[MappedRow]):
    """The rows of a spool that are kept, as a sequence that reads them when asked. numbers: of all rows, in the
    file."""

    def __init__(self, spool: RowSpool, kept: NDArray[np.bool_], numbers: Sequence[int]) -> None:
        self._spool = spool
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
        if isinstance(index, slice):
            return [self._spool.read(int(each)) for each in self._indices[index]]
        return self._spool.read(int(self._indices[index]))

    def number(self, index: int) -> int:
        """Which row of the file it was, from 1."""
        return int(self._numbers[int(self._indices[index])])

    @property
    def size(self) -> int:
        """Bytes, no fewer than the rows take when they are written."""
        return self._spool.count_bytes()

    def chunks(self) -> Iterator[bytes]:
        """The rows as they will be written, some lines at once."""
        return self._spool.chunks(self._kept)
