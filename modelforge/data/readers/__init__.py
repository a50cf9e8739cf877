"""Opens a file of any format as a source of rows. A new format is a new file and a line in FORMATS.

The format is detected from the content of the file, not from its name.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass, field
from itertools import islice, takewhile
from pathlib import Path

from modelforge.data.limits import check_columns, find_limits
from modelforge.data.readers import arrow, excel, json_list, jsonl, table, text
from modelforge.data.readers.archives import Unpacked, find_packing, unpack
from modelforge.data.readers.encodings import detect_encoding
from modelforge.data.readers.reader import SNIFFED_CHARACTERS, Beginning, Block, Reader, Take, join_rows
from modelforge.data.rows import Position, Problem, Row
from modelforge.errors import DatasetError

# The first reader that recognises a file reads it; plain text, which accepts any text, comes last.
FORMATS: dict[str, Reader] = {
    "parquet": arrow.PARQUET,
    "arrow": arrow.ARROW,
    "excel": excel.READER,
    "jsonl": jsonl.READER,
    "json": json_list.READER,
    "csv": table.CSV,
    "tsv": table.TSV,
    "text": text.READER,
}

_SAMPLED_ROWS = 200
_SAMPLED_BYTES = 32 << 20

_HEAD_BYTES = 8192

_AS_TABLE = "Save the table as CSV or .xlsx and use that."
_UNPACK = "Unpack it and use the file inside."
_AS_FILE = "Download the file itself, or save the page's text as plain text."
_AS_TEXT = "Save its text as a plain text file, or copy questions and answers into a table."

# (first bytes, kind of file, fix) of unsupported kinds; packed files are found by `archives`
_FOREIGN = (
    (b"\xd0\xcf\x11\xe0", "an old Excel or Word file, or one with a password", _AS_TABLE),
    (b"%PDF", "a PDF", "Copy questions and answers into a table and save it as CSV."),
    (b"{\\rtf", "a formatted text (RTF)", _AS_TEXT),
    (b"<?xml", "an XML file", "Save its content as CSV or JSONL."),
    (b"BZh91AY&SY", "a bzip2 archive", _UNPACK),
    (b"\xfd7zXZ\x00", "an xz archive", _UNPACK),
    (b"\x28\xb5\x2f\xfd", "a Zstandard archive", _UNPACK),
    (b"7z\xbc\xaf\x27\x1c", "a 7-Zip archive", _UNPACK),
    (b"Rar!\x1a", "a RAR archive", _UNPACK),
    (b"SQLite format 3\x00", "an SQLite database", "Export the table as CSV."),
    (b"<!doctype html", "a web page", _AS_FILE),  # a link that requires signing in saves such a page
    (b"<html", "a web page", _AS_FILE),
    (b"version https://git-lfs", "a git-lfs pointer and not the file itself", "Download the file with `git lfs pull`."),
)
_TAR_MARK = slice(257, 262)  # the place of "ustar" in the first header of a tar archive


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
    exact_numbers: bool = False
    position: Position = field(default_factory=Position, compare=False)
    _unpacked: Unpacked | None = field(default=None, repr=False, compare=False)  # kept alive with this object

    def __iter__(self) -> Iterator[Row | Problem]:
        # A generator of this object: an iteration keeps it, and the unpacked file, alive.
        self.position.share, self.position.bytes = 0.0, 0
        yield from FORMATS[self.format].read(self._place, self.encoding, self.position, self.exact_numbers)
        self.position.share = 1.0

    def blocks(self, text_columns: Collection[str], take: Take) -> Iterator[Block]:
        """All rows in blocks. If these columns can be read as arrays of text, they are passed to `take` first.

        Raises DatasetError if there are too many rows or too much text for a file of this size.
        """
        read_blocks = FORMATS[self.format].read_blocks
        if read_blocks is not None and text_columns and not self.exact_numbers:
            blocks = read_blocks(self._place, self.encoding, self.position, text_columns, take)
        else:
            blocks = join_rows(self, self.position)
        count = 0
        for block in blocks:
            count += block.length
            self.position.limits.check(self.path.name, rows=count, bytes=self.position.bytes)
            yield block
        self.position.share = 1.0

    @property
    def _place(self) -> Path:
        return self._unpacked.path if self._unpacked else self.path


def open_rows(path: Path, *, exact_numbers: bool = False) -> RowSource:
    """Detect packing, format, encoding and columns.

    exact_numbers: JSON numbers are read as `rows.WrittenNumber`. Raises DatasetError for a file that cannot be read,
    DiskFullError if it cannot be unpacked.
    """
    head = read_head(path)
    limits = find_limits(path)
    packed = find_packing(path, head)
    unpacked = unpack(path, packed, limits) if packed else None
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
        with place.open(encoding=encoding) as file:
            begin = Beginning(place, head, encoding, file.read(SNIFFED_CHARACTERS))
        if not begin.text.strip():
            raise DatasetError("The file contains only blank lines.", where=place.name, fix="Use a file with examples.")
        chosen = _recognise(begin, binary=False)
    reader = FORMATS[chosen]
    outline = reader.describe(place, begin.encoding, limits)
    check_columns(len(outline.columns or ()), path.name)
    position = Position(limits)
    first = islice(reader.read(place, begin.encoding, position, exact_numbers), _SAMPLED_ROWS)
    short = takewhile(lambda row: position.bytes < _SAMPLED_BYTES, first)
    sample = tuple(row for row in short if isinstance(row, Row))
    columns = outline.columns if outline.columns is not None else _join_columns(sample, path.name)
    twice = next((name for name, count in Counter(columns).items() if count > 1), None)
    if twice is not None:
        fix = "Give each column a different name."
        raise DatasetError(f"Two columns are named {twice!r}.", where=path.name, fix=fix)
    all_warnings = (*warnings, *outline.warnings)
    return RowSource(
        path, chosen, begin.encoding, columns, sample, all_warnings, exact_numbers, Position(limits), unpacked
    )


def _join_columns(sample: Iterable[Row], name: str) -> tuple[str, ...]:
    columns: dict[str, None] = {}
    for row in sample:
        columns |= dict.fromkeys(row.values)
        check_columns(len(columns), name, row.number, row.line)
    return tuple(columns)


def _recognise(begin: Beginning, *, binary: bool) -> str:
    readers = ((name, reader) for name, reader in FORMATS.items() if reader.binary == binary)
    return next((name for name, reader in readers if reader.recognise(begin)), "")


def read_head(path: Path) -> bytes:
    """The first bytes. Raises DatasetError for a file that does not exist, cannot be read or is empty."""
    try:
        with path.open("rb") as file:
            head = file.read(_HEAD_BYTES)
    except FileNotFoundError as error:
        raise DatasetError("This file does not exist.", where=str(path), fix="Check the path.") from error
    except OSError as error:
        raise DatasetError("This file cannot be read.", where=str(path), fix="Check its permissions.") from error
    if not head:
        raise DatasetError("The file is empty.", where=path.name, fix="Use a file with one example in each row.")
    return head


def refuse_foreign(head: bytes, name: str) -> None:
    """Raise DatasetError for an unsupported kind of file."""
    begin = head.removeprefix(b"\xef\xbb\xbf").lstrip()
    for magic, kind, fix in _FOREIGN:
        if begin.startswith(magic) or (magic.startswith(b"<") and begin[:20].lower().startswith(magic)):
            raise DatasetError(f"This is {kind}, which is not supported.", where=name, fix=fix)
    if head[_TAR_MARK] == b"ustar":
        raise DatasetError("This is a tar archive, which is not supported.", where=name, fix=_UNPACK)
