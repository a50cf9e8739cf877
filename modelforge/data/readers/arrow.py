"""Arrow (IPC files, and IPC streams, which `datasets` writes: data-00000-of-00001.arrow) and Parquet: typed columns,
some thousand rows at a time. They have no lines."""

from __future__ import annotations

import struct
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from modelforge.data.limits import LONGEST_ROW, Limits
from modelforge.data.readers.arrow_sizes import measure_parquet, measure_stream, plan_group, weigh_rows
from modelforge.data.readers.reader import Block, Outline, Reader, Take
from modelforge.data.rows import Position, Problem, Row
from modelforge.errors import DatasetError

if TYPE_CHECKING:
    from pyarrow import MemoryMappedFile, RecordBatch, RecordBatchReader, Schema
    from pyarrow.parquet import ParquetFile

_FILE_MAGIC = b"ARROW1"
_STREAM_MAGIC = b"\xff\xff\xff\xff"  # the continuation mark before the first message
_PARQUET_MAGIC = b"PAR1"
_ROWS_A_STEP = 4096
_BYTES_A_STEP = 8_000_000
_FIRST_MESSAGE = 8  # its place in a file, which is a stream between two marks

Batches = Iterator[tuple["RecordBatch", float]]


def describe(path: Path, encoding: str, limits: Limits) -> Outline:
    with _open_batches(path, limits) as (schema, _):
        return Outline(tuple(schema.names))


def read(path: Path, encoding: str, position: Position, exact_numbers: bool) -> Iterator[Row | Problem]:
    for block in read_blocks(path, encoding, position, (), lambda _: None):
        yield from block.rows


def read_blocks(path: Path, encoding: str, position: Position, columns: Collection[str], take: Take) -> Iterator[Block]:
    """All rows, some thousand at a time: as columns where these are texts, else one by one."""
    number = 0
    with _open_batches(path, position.limits) as (schema, batches):
        are_texts = bool(columns) and all(_is_text(schema, name) for name in columns)
        try:
            for batch, share in batches:
                for part, weight in _split_batch(batch):
                    position.bytes += weight
                    if weight > LONGEST_ROW:
                        problem = f"This row has more than {LONGEST_ROW:,} characters, or as much in other values."
                        fix = "Shorten its text, or remove the row."
                        yield Block([Problem("error", number + 1, None, None, problem, fix)])
                    elif are_texts and (clean := take(_read_texts(part, columns))) is not None:
                        yield Block([], clean, number + 1, np.zeros(part.num_rows, np.int64))
                    else:
                        yield Block(
                            [Row(place, None, values) for place, values in enumerate(part.to_pylist(), number + 1)]
                        )
                    number += part.num_rows
                position.share = share
        except (ValueError, OverflowError, OSError) as error:  # ArrowInvalid is a ValueError; dates may overflow
            reason = str(error).split("\n", 1)[0].rstrip(".")
            problem = f"The file is damaged or cut off from here on: {reason}."
            fix = "Create the file again; the rows after this one were not read."
            yield Block([Problem("error", number + 1, None, None, problem, fix)])


def _is_text(schema: Schema, name: str) -> bool:
    from pyarrow import types

    place = schema.get_field_index(name)
    return place >= 0 and bool(types.is_string(schema.types[place]) or types.is_large_string(schema.types[place]))


def _read_texts(part: RecordBatch, columns: Collection[str]) -> dict[str, Any]:
    """Column -> array of strings; a column may have been read as a dictionary."""
    import pyarrow

    return {name: part.column(name).cast(pyarrow.string()) for name in columns}


def _split_batch(batch: RecordBatch) -> Iterator[tuple[RecordBatch, int]]:
    """Parts of a batch that are small enough to become Python objects, each with its weight; a row that is too large by
    itself."""
    for begin in range(0, batch.num_rows, _ROWS_A_STEP):  # a file can be one batch of millions of rows
        part = batch.slice(begin, _ROWS_A_STEP)
        part.validate(full=True)  # an untrusted file could point outside its memory
        sums = np.cumsum(weigh_rows(part))
        start = done = 0
        while start < part.num_rows:
            stop = max(start + 1, int(np.searchsorted(sums, done + _BYTES_A_STEP, "right")))
            yield part.slice(start, stop - start), int(sums[stop - 1]) - done
            start, done = stop, int(sums[stop - 1])


@contextmanager
def _open_batches(path: Path, limits: Limits) -> Iterator[tuple[Schema, Batches]]:
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
                schema, size = parquet.schema_arrow, measure_parquet(parquet)
            else:
                if begin == _FILE_MAGIC:
                    pyarrow.ipc.open_file(file)  # its end, too, must be whole
                start = _FIRST_MESSAGE if begin == _FILE_MAGIC else 0
                file.seek(start)
                size = measure_stream(file)
                file.seek(start)
                stream = pyarrow.ipc.open_stream(file)
                schema = stream.schema
        except (pyarrow.ArrowException, OSError, struct.error, IndexError) as error:
            what = f"This {'Parquet' if is_parquet else 'Arrow'} file is damaged or cut off."
            raise DatasetError(what, where=path.name, fix="Create or download the whole file again.") from error
        limits.check(path.name, rows=size.rows, values=size.values, bytes=size.bytes)
        yield schema, _read_parquet(file, parquet) if is_parquet else _read_stream(file, stream)


def _read_stream(file: MemoryMappedFile, stream: RecordBatchReader) -> Batches:
    for batch in stream:
        yield batch, file.tell() / file.size()


def _read_parquet(file: MemoryMappedFile, parquet: ParquetFile) -> Batches:
    from pyarrow.parquet import ParquetFile

    about, done = parquet.metadata, 0
    texts = [about.schema.column(index).path for index in range(about.num_columns)]
    dictionaries = ParquetFile(file, metadata=about, buffer_size=1 << 20, read_dictionary=texts)
    for group in range(about.num_row_groups):
        rows, long = plan_group(dictionaries, group, _ROWS_A_STEP)
        reader = ParquetFile(file, metadata=about, buffer_size=1 << 20, read_dictionary=long) if long else parquet
        for batch in reader.iter_batches(rows, [group]):
            done += batch.num_rows
            yield batch, min(1.0, done / about.num_rows)


ARROW = Reader(
    lambda begin: begin.data.startswith((_FILE_MAGIC, _STREAM_MAGIC)),
    read,
    describe,
    binary=True,
    read_blocks=read_blocks,
)
PARQUET = Reader(
    lambda begin: begin.data.startswith(_PARQUET_MAGIC), read, describe, binary=True, read_blocks=read_blocks
)
