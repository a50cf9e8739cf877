"""Arrow (IPC files, and IPC streams, which `datasets` writes: data-00000-of-00001.arrow) and Parquet: typed columns,
a thousand rows at a time. They have no lines."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from modelforge.data.readers.reader import Outline, Reader
from modelforge.data.rows import Position, Problem, Row
from modelforge.errors import DatasetError

if TYPE_CHECKING:
    from pyarrow import RecordBatch, Schema

_FILE_MAGIC = b"ARROW1"
_STREAM_MAGIC = b"\xff\xff\xff\xff"  # the continuation mark before the first message
_PARQUET_MAGIC = b"PAR1"
_ROWS_A_STEP = 1000


def describe(path: Path, encoding: str) -> Outline:
    with _open_batches(path) as (schema, _):
        return Outline(tuple(schema.names))


def read(path: Path, encoding: str, position: Position, exact_numbers: bool) -> Iterator[Row | Problem]:
    number = 0
    with _open_batches(path) as (_, batches):
        try:
            for batch, share in batches:
                for begin in range(0, batch.num_rows, _ROWS_A_STEP):  # a file can be one batch of millions of rows
                    part = batch.slice(begin, _ROWS_A_STEP)
                    part.validate(full=True)  # an untrusted file could point outside its memory
                    for values in part.to_pylist():
                        number += 1
                        yield Row(number, None, values)
                position.share = share
        except (ValueError, OverflowError, OSError) as error:  # ArrowInvalid is a ValueError; dates may overflow
            reason = str(error).split("\n", 1)[0].rstrip(".")
            problem = f"The file is damaged or cut off from here on: {reason}."
            fix = "Create the file again; the rows after this one were not read."
            yield Problem("error", number + 1, None, None, problem, fix)


@contextmanager
def _open_batches(path: Path) -> Iterator[tuple[Schema, Iterator[tuple[RecordBatch, float]]]]:
    """The schema, and batches of rows, each with the share of the file up to its end."""
    import pyarrow
    from pyarrow.parquet import ParquetFile

    with pyarrow.memory_map(str(path)) as file:
        begin = file.read(len(_FILE_MAGIC))
        file.seek(0)
        is_parquet = begin.startswith(_PARQUET_MAGIC)
        try:
            if is_parquet:
                parquet = ParquetFile(file, buffer_size=1 << 20)  # with a buffer, columns are streamed
                schema, batches = parquet.schema_arrow, parquet.iter_batches(batch_size=_ROWS_A_STEP)
                count = -(-parquet.metadata.num_rows // _ROWS_A_STEP)
            elif begin == _FILE_MAGIC:
                reader = pyarrow.ipc.open_file(file)
                schema, count = reader.schema, reader.num_record_batches
                batches = map(reader.get_batch, range(count))
            else:
                batches = pyarrow.ipc.open_stream(file)
                schema, count = batches.schema, 0
        except (pyarrow.ArrowException, OSError) as error:
            what = f"This {'Parquet' if is_parquet else 'Arrow'} file is damaged or cut off."
            raise DatasetError(what, where=path.name, fix="Create or download the whole file again.") from error
        shares = (min(1.0, number / count) if count else file.tell() / file.size() for number in itertools.count(1))
        yield schema, zip(batches, shares, strict=False)


ARROW = Reader(lambda begin: begin.data.startswith((_FILE_MAGIC, _STREAM_MAGIC)), read, describe, binary=True)
PARQUET = Reader(lambda begin: begin.data.startswith(_PARQUET_MAGIC), read, describe, binary=True)
