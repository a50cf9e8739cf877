"""Opens a file of any format as a source of rows. A new format is a new file and a line in FORMATS.

The format is detected from the content of the file, not from its name.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path

from modelforge.data.readers import arrow, excel, json_list, jsonl, parquet, table, text
from modelforge.data.readers.archives import Packing, Unpacked, find_packing, unpack
from modelforge.data.readers.encodings import detect_encoding
from modelforge.data.readers.reader import Beginning, Block, Reader, Take
from modelforge.data.readers.signatures import read_head, refuse_foreign
from modelforge.data.rows import Position, Problem, Row
from modelforge.errors import DatasetError

# The first reader that recognises a file reads it; plain text, which accepts any text, comes last.
FORMATS: dict[str, Reader] = {
    "parquet": parquet.READER,
    "arrow": arrow.READER,
    "excel": excel.READER,
    "jsonl": jsonl.READER,
    "json": json_list.READER,
    "csv": table.CSV,
    "tsv": table.TSV,
    "text": text.READER,
}

_SAMPLED_ROWS = 200
_FIRST_BLOCK_ROWS = 256
_BLOCK_ROWS = 4096
_BLOCK_BYTES = 8 << 20
_SNIFFED_CHARACTERS = 1 << 20


@dataclass(frozen=True)
class RowSource:
    """A readable file. Each iteration reads it again from the first row.

    format: a key of FORMATS; for an archive, of the file inside. encoding: "" for binary formats. columns: of the
    header or schema, or else of the first 200 rows. sample: the readable ones of these rows. warnings: about the whole
    file. position: the progress of the iteration.
    """

    path: Path
    format: str
    encoding: str
    columns: tuple[str, ...]
    sample: tuple[Row, ...]
    warnings: tuple[Problem, ...] = ()
    packed: Packing = ""
    exact_numbers: bool = False
    position: Position = field(default_factory=Position, compare=False)
    _unpacked: Unpacked | None = field(default=None, repr=False, compare=False)  # kept alive with this object

    def __iter__(self) -> Iterator[Row | Problem]:
        # A generator of this object: an iteration keeps it, and the unpacked file, alive.
        self.position.share = 0.0
        yield from FORMATS[self.format].read(self._place, self.encoding, self.position, self.exact_numbers)
        self.position.share = 1.0

    def blocks(self, text_columns: Collection[str], take: Take) -> Iterator[Block]:
        """All rows in blocks. If these columns can be read as arrays of text, they are passed to `take` first."""
        read_blocks = FORMATS[self.format].read_blocks
        if read_blocks is not None and text_columns and not self.exact_numbers:
            yield from read_blocks(self._place, self.encoding, self.position, text_columns, take)
            self.position.share = 1.0
            return
        rows, count, done = iter(self), _FIRST_BLOCK_ROWS, 0
        size = self._place.stat().st_size
        while block := list(islice(rows, count)):
            yield Block(block)
            done += len(block)
            bytes_a_row = self.position.share * size / done  # long rows come in smaller blocks
            count = max(1, min(_BLOCK_ROWS, int(_BLOCK_BYTES / max(bytes_a_row, 1))))

    @property
    def _place(self) -> Path:
        return self._unpacked.path if self._unpacked else self.path


def open_rows(path: Path, *, exact_numbers: bool = False) -> RowSource:
    """Detect packing, format, encoding and columns.

    exact_numbers: JSON numbers are read as `rows.WrittenNumber`. Raises DatasetError for a file that cannot be read,
    DiskFullError if it cannot be unpacked.
    """
    head = read_head(path)
    packed = find_packing(path, head)
    unpacked = unpack(path, packed) if packed else None
    place = unpacked.path if unpacked else path
    if unpacked:
        head = read_head(place)
        if find_packing(place, head):
            fix = "Unpack it and use the file inside."
            raise DatasetError("This is an archive inside an archive.", where=path.name, fix=fix)
    refuse_foreign(head, path.name)
    begin = Beginning(place, head)
    warnings: list[Problem] = []
    chosen = _recognise(begin, binary=True)
    if not chosen:
        encoding, warning = detect_encoding(place, head)
        warnings += [warning] if warning else []
        begin = Beginning(place, head, encoding, _read_begin(place, encoding))
        chosen = _recognise(begin, binary=False)
    reader = FORMATS[chosen]
    outline = reader.describe(place, begin.encoding)
    first = islice(reader.read(place, begin.encoding, Position(), exact_numbers), _SAMPLED_ROWS)
    sample = tuple(row for row in first if isinstance(row, Row))
    columns = outline.columns
    if columns is None:
        columns = tuple(dict.fromkeys(column for row in sample for column in row.values))
    return RowSource(
        path=path,
        format=chosen,
        encoding=begin.encoding,
        columns=columns,
        sample=sample,
        warnings=(*warnings, *outline.warnings),
        packed=packed,
        exact_numbers=exact_numbers,
        _unpacked=unpacked,
    )


def _recognise(begin: Beginning, *, binary: bool) -> str:
    readers = ((name, reader) for name, reader in FORMATS.items() if reader.binary == binary)
    return next((name for name, reader in readers if reader.recognise(begin)), "")


def _read_begin(path: Path, encoding: str) -> str:
    with path.open(encoding=encoding) as file:
        text = file.read(_SNIFFED_CHARACTERS)
    if not text.strip():
        raise DatasetError("The file contains only blank lines.", where=path.name, fix="Use a file with examples.")
    return text
