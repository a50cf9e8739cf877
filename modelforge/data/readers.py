"""Opens a file, whatever its format, as a source of rows. A new format is a new file and a line in FORMATS.

The format is chosen by what the file holds, not by its name. What the columns mean is not looked at here.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

from modelforge.data.csv_rows import detect_delimiter, read_csv, read_csv_columns
from modelforge.data.encodings import detect_encoding
from modelforge.data.json_rows import is_wrapper, read_json
from modelforge.data.jsonl_rows import read_jsonl
from modelforge.data.rows import Problem, Row
from modelforge.errors import DatasetError

FORMATS: dict[str, Callable[[Path, str], Iterator[Row | Problem]]] = {
    "jsonl": read_jsonl,
    "json": read_json,
    "csv": read_csv,
    "tsv": read_csv,
}

_SAMPLED_ROWS = 200
_SNIFFED_LINES = 20


@dataclass(frozen=True)
class RowSource:
    """A file that is known to be readable. Each iteration reads it anew, from the first row.

    format: a key of FORMATS. columns: of the header, or of the first 200 rows, as they come. sample: the good ones
    among these rows. warnings: about the file as a whole.
    """

    path: Path
    format: str
    encoding: str
    columns: tuple[str, ...]
    sample: tuple[Row, ...]
    warnings: tuple[Problem, ...] = ()

    def __iter__(self) -> Iterator[Row | Problem]:
        return FORMATS[self.format](self.path, self.encoding)


def open_rows(path: Path) -> RowSource:
    """Find out format, encoding and columns. Raises DatasetError, naming the file, for one that cannot be read."""
    encoding, warning = detect_encoding(path)
    chosen = _detect_format(path, encoding)
    first = islice(FORMATS[chosen](path, encoding), _SAMPLED_ROWS)
    sample = tuple(row for row in first if isinstance(row, Row))
    columns = (
        read_csv_columns(path, encoding)
        if FORMATS[chosen] is read_csv
        else tuple(dict.fromkeys(column for row in sample for column in row.values))
    )
    return RowSource(path, chosen, encoding, columns, sample, (warning,) if warning else ())


def _detect_format(path: Path, encoding: str) -> str:
    with path.open(encoding=encoding) as file:
        lines = list(islice((line for line in file if line.strip()), _SNIFFED_LINES))
    if not lines:
        raise DatasetError("The file holds only blank lines.", where=path.name, fix="Give a file with examples in it.")
    first = lines[0].lstrip()
    if first.startswith("["):
        return "json"
    if first.startswith("{"):
        return "jsonl" if _looks_like_jsonl(lines) else "json"
    return "tsv" if detect_delimiter(path, encoding) == "\t" else "csv"


def _looks_like_jsonl(lines: list[str]) -> bool:
    """Whether objects stand one a line; pretty-printed ones open on a line of their own, with indented lines after."""
    try:
        value = json.loads(lines[0])
    except (ValueError, RecursionError):
        return len(lines) > 1 and sum(line.startswith("{") for line in lines) > len(lines) / 2
    return len(lines) > 1 or not is_wrapper(value)
