"""Arrow: IPC files and IPC streams, which `datasets` writes (data-00000-of-00001.arrow). It has no lines.

Parquet uses the shared parts.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from modelforge.data.readers.column_names import check_unique
from modelforge.data.readers.reader import Beginning, Outline, Reader
from modelforge.data.rows import Position, Problem, Row
from modelforge.errors import DatasetError

if TYPE_CHECKING:
    from pyarrow import RecordBatch, Schema

_FILE_MAGIC = b"ARROW1"
_STREAM_MAGIC = b"\xff\xff\xff\xff"  # the continuation mark before the first message
_ROWS_A_STEP = 1000


def recognise(begin: Beginning) -> bool:
    return begin.data.startswith((_FILE_MAGIC, _STREAM_MAGIC))


def describe(path: Path, encoding: str) -> Outline:
    with _open_arrow(path) as (schema, _):
        check_unique(schema.names, path.name)
        return Outline(tuple(schema.names))


def read(path: Path, encoding: str, position: Position, exact_numbers: bool) -> Iterator[Row | Problem]:
    with _open_arrow(path) as (_, batches):
        yield from read_batches(batches, position)


def read_batches(batches: Iterator[tuple[float, RecordBatch]], position: Position) -> Iterator[Row | Problem]:
    """The rows of batches; each batch comes with the share of the file up to its end."""
    number = 0
    try:
        for share, batch in batches:
            for begin in range(0, batch.num_rows, _ROWS_A_STEP):  # a file can be one batch of millions of rows
                part = batch.slice(begin, _ROWS_A_STEP)
                part.validate(full=True)  # an untrusted file could point outside its memory
                for offset, values in enumerate(part.to_pylist(), start=1):
                    yield Row(number + offset, None, values)
                number += part.num_rows
            position.share = share
    except (ValueError, OverflowError, OSError) as error:  # ArrowInvalid is a ValueError; dates may overflow
        reason = str(error).split("\n", 1)[0].rstrip(".")
        problem = f"The file is damaged or cut off from here on: {reason}."
        yield Problem(
            "error", number + 1, None, None, problem, "Create the file again; the rows after this one were not read."
        )


@contextmanager
def _open_arrow(path: Path) -> Iterator[tuple[Schema, Iterator[tuple[float, RecordBatch]]]]:
    """The schema, and the batches for `read_batches`."""
    import pyarrow

    with pyarrow.memory_map(str(path)) as file:
        try:
            is_file = file.read(len(_FILE_MAGIC)) == _FILE_MAGIC
            file.seek(0)
            reader = pyarrow.ipc.open_file(file) if is_file else pyarrow.ipc.open_stream(file)
        except (pyarrow.ArrowException, OSError) as error:
            fix = "Create or download the whole file again."
            raise DatasetError("This Arrow file is damaged or cut off.", where=path.name, fix=fix) from error
        if is_file:
            count = reader.num_record_batches
            yield reader.schema, (((index + 1) / count, reader.get_batch(index)) for index in range(count))
        else:
            yield reader.schema, ((file.tell() / file.size(), batch) for batch in reader)


READER = Reader(recognise, read, describe, binary=True)
