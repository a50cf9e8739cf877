"""Parquet: rows of typed columns, a few thousand at a time. It has no lines."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from modelforge.data.readers.arrow import read_batches
from modelforge.data.readers.column_names import check_unique
from modelforge.data.readers.reader import Beginning, Outline, Reader
from modelforge.data.rows import Position, Problem, Row
from modelforge.errors import DatasetError

if TYPE_CHECKING:
    from pyarrow.parquet import ParquetFile

_ROWS_A_BATCH = 1000


def recognise(begin: Beginning) -> bool:
    return begin.data.startswith(b"PAR1")


def describe(path: Path, encoding: str) -> Outline:
    with _open_parquet(path) as file:
        check_unique(file.schema_arrow.names, path.name)
        return Outline(tuple(file.schema_arrow.names))


def read(path: Path, encoding: str, position: Position, exact_numbers: bool) -> Iterator[Row | Problem]:
    with _open_parquet(path) as file:
        rows = max(1, file.metadata.num_rows)
        batches = enumerate(file.iter_batches(batch_size=_ROWS_A_BATCH), start=1)
        yield from read_batches(((min(1.0, count * _ROWS_A_BATCH / rows), batch) for count, batch in batches), position)


@contextmanager
def _open_parquet(path: Path) -> Iterator[ParquetFile]:
    import pyarrow
    from pyarrow.parquet import ParquetFile

    try:
        # With a buffer, columns are streamed.
        file = ParquetFile(path, buffer_size=1 << 20)
    except (pyarrow.ArrowException, OSError) as error:
        raise DatasetError(
            "This Parquet file is damaged or cut off.",
            where=path.name,
            fix="Create or download the whole file again.",
        ) from error
    with file:
        yield file


READER = Reader(recognise, read, describe, binary=True)
