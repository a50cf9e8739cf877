"""How large the contents of Arrow and Parquet files are, found before they are unpacked or become Python objects.

A file of one kilobyte can repeat a text until it fills all memory.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from pyarrow import MemoryMappedFile, RecordBatch
    from pyarrow.parquet import ParquetFile

_VALUE_BYTES = 16  # what a value counts beside its text; Python objects take two to four times as much
_LONG_BYTES = 16_000
_BATCH_BYTES = 64_000_000
# The places of fields in messages (https://github.com/apache/arrow/blob/main/format/Message.fbs)
_KIND, _HEADER = 1, 2
_DICTIONARY_KIND, _BATCH_KIND = 2, 3
_NODES, _BUFFERS, _COMPRESSION, _DICTIONARY_BATCH = 1, 2, 3, 1

Weights = NDArray[np.int64]


class Size(NamedTuple):
    rows: int = 0
    values: int = 0
    bytes: int = 0


def measure_parquet(parquet: ParquetFile) -> Size:
    """The size that the footer of a file gives; a text that occurs often counts once."""
    about = parquet.metadata
    values = written = 0
    for group in map(about.row_group, range(about.num_row_groups)):
        chunks = list(map(group.column, range(about.num_columns)))
        values += sum(chunk.num_values for chunk in chunks)
        written += sum(chunk.total_uncompressed_size for chunk in chunks)
    return Size(about.num_rows, values, written)


def plan_group(dictionaries: ParquetFile, group: int, rows: int) -> tuple[int, list[str]]:
    """How many rows of a row group to read at a time, at most `rows`, and the columns to read as dictionaries, since
    they may repeat long texts. dictionaries: the file, with all columns read as dictionaries."""
    about, long = dictionaries.metadata.row_group(group), []
    for chunk in map(about.column, range(about.num_columns)):
        if chunk.total_uncompressed_size * rows <= _BATCH_BYTES or chunk.physical_type != "BYTE_ARRAY":
            continue
        if "DELTA_BYTE_ARRAY" in chunk.encodings:  # a text can be the one before it and a little more
            rows = max(1, _BATCH_BYTES // chunk.total_uncompressed_size)
        elif chunk.has_dictionary_page:
            (first,) = next(dictionaries.iter_batches(1, [group], [chunk.path_in_schema])).columns
            if _find_longest(first) > _LONG_BYTES:
                long.append(chunk.path_in_schema)
    return rows, long


def measure_stream(file: MemoryMappedFile) -> Size:
    """The size that the messages of an Arrow stream give, from the position of the file on, as far as it is whole."""
    import pyarrow

    rows = values = written = 0
    messages = pyarrow.ipc.MessageReader.open_stream(file)
    while True:
        try:
            message = messages.read_next_message()
        except (StopIteration, pyarrow.ArrowException, OSError):  # reported when rows are read
            return Size(rows, values, written)
        if message.type in ("record batch", "dictionary"):
            size = _measure_message(message.metadata.to_pybytes(), message.body)
            rows += size.rows if message.type == "record batch" else 0
            values, written = values + size.values, written + size.bytes


def _measure_message(metadata: bytes, body: Any) -> Size:
    """Raises ValueError, struct.error or IndexError for a damaged message."""
    root = _Table(metadata, struct.unpack_from("<I", metadata)[0])
    header = root.table(_HEADER)
    if metadata[root.place(_KIND)] == _DICTIONARY_KIND:
        header = header.table(_DICTIONARY_BATCH)
    values = sum(length for length, _ in header.pairs(_NODES))
    written = 0
    for start, length in header.pairs(_BUFFERS):
        if header.place(_COMPRESSION) and length >= 8:  # each buffer begins with its unpacked length, -1 for itself
            written += max(length, struct.unpack_from("<q", body, start)[0])
        else:
            written += length
    return Size(header.number(0), values, written)


class _Table:
    """A table of a FlatBuffer (https://flatbuffers.dev/internals): fields are found through a list of their places."""

    def __init__(self, content: bytes, start: int) -> None:
        self._content = content
        self._start = start
        self._places = start - struct.unpack_from("<i", content, start)[0]

    def place(self, field: int) -> int:
        """The offset of a field, 0 if it is absent."""
        (size,) = struct.unpack_from("<H", self._content, self._places)
        if 4 + 2 * field >= size:
            return 0
        (offset,) = struct.unpack_from("<H", self._content, self._places + 4 + 2 * field)
        return self._start + offset if offset else 0

    def number(self, field: int) -> int:
        place = self.place(field)
        return int(struct.unpack_from("<q", self._content, place)[0]) if place else 0

    def table(self, field: int) -> _Table:
        return _Table(self._content, self._follow(field))

    def pairs(self, field: int) -> Iterator[tuple[int, int]]:
        """The elements of a vector of structs of two 64-bit numbers."""
        start = self._follow(field)
        (count,) = struct.unpack_from("<I", self._content, start)
        for index in range(count):
            yield struct.unpack_from("<qq", self._content, start + 4 + 16 * index)

    def _follow(self, field: int) -> int:
        place = self.place(field)
        return place + int(struct.unpack_from("<I", self._content, place)[0])


def weigh_rows(batch: RecordBatch) -> Weights:
    """(n,) bytes of the text of each row, repeated text as often as it occurs, and some for each value."""
    return np.sum([_weigh(column) for column in batch.columns], axis=0, dtype=np.int64) + np.zeros(len(batch), np.int64)


def _weigh(array: Any) -> Weights:
    """(n,) the weight of each element of an array, which must be valid."""
    import pyarrow as pa
    import pyarrow.compute as pc

    found: Any = 0
    if isinstance(array, pa.ExtensionArray):
        found = _weigh(array.storage)
    elif isinstance(array, pa.StructArray):
        found = sum(map(_weigh, array.flatten()))
    elif pa.types.is_nested(array.type):
        found = _weigh_nested(array)
    elif pa.types.is_dictionary(array.type):
        words = _weigh(array.dictionary)
        found = words[array.indices.fill_null(0).to_numpy(zero_copy_only=False)] if len(words) else 0
    elif isinstance(array, pa.StringViewArray | pa.BinaryViewArray):
        views = np.frombuffer(array.buffers()[1] or b"", np.int32).reshape(-1, 4)  # the first of four is the length
        found = views[array.offset : array.offset + len(array), 0]
    elif isinstance(array, pa.StringArray | pa.BinaryArray | pa.LargeStringArray | pa.LargeBinaryArray):
        found = pc.binary_length(array).fill_null(0).to_numpy(zero_copy_only=False)
    elif isinstance(array, pa.FixedSizeBinaryArray):
        found = array.type.byte_width
    weights: Weights = np.full(len(array), _VALUE_BYTES, np.int64) + found
    return weights


def _weigh_nested(array: Any) -> Any:
    """The weights of the contents of lists, unions and runs."""
    import pyarrow as pa
    import pyarrow.compute as pc

    if isinstance(array, pa.ListViewArray | pa.LargeListViewArray):
        ends = _sum_before(_weigh(array.values))
        starts = array.offsets.to_numpy(zero_copy_only=False)
        return ends[starts + array.sizes.to_numpy(zero_copy_only=False)] - ends[starts]
    if isinstance(array, pa.ListArray | pa.LargeListArray | pa.FixedSizeListArray):
        ends = _sum_before(pc.list_value_length(array).fill_null(0).to_numpy(zero_copy_only=False))
        inner = _sum_before(_weigh(array.flatten()))
        return inner[ends[1:]] - inner[ends[:-1]]
    if isinstance(array, pa.RunEndEncodedArray):
        return _find_longest(array.values)
    return sum(_find_longest(array.field(index)) for index in range(array.type.num_fields))


def _sum_before(weights: NDArray[Any]) -> Weights:
    """(n + 1,) the sum of all weights before each place."""
    return np.concatenate(([0], np.cumsum(weights, dtype=np.int64)))


def _find_longest(array: Any) -> int:
    """The largest weight of an element, or of an entry of its dictionary that no element uses."""
    import pyarrow as pa

    if isinstance(array, pa.StructArray):
        return max(map(_find_longest, array.flatten()), default=0)
    if isinstance(array, pa.ListArray | pa.LargeListArray):
        return _find_longest(array.values)
    array = array.dictionary if pa.types.is_dictionary(array.type) else array
    return int(_weigh(array).max(initial=0))
