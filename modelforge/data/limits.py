"""How much of a file is read, so that no file takes the memory or the hours of a machine.

Some limits are the same for all files. The others grow with the file: rows that are examples take more than eight
bytes, so only content that is compressed, repeated or empty can exceed them.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from modelforge.errors import DatasetError

LONGEST_ROW = 16_000_000
"""Characters of one row, or bytes if a reader reads bytes; four times "War and Peace"."""
MOST_COLUMNS = 5_000
"""Of a file, and keys of a row."""

_FIX = "Unpack it or save it as JSONL, check its content, and use that file."


@dataclass(frozen=True)
class Limits:
    """What is read of a file of `size` bytes. rows: or lines, or elements of JSON lists. values: cells of a table and
    elements inside them. bytes: unpacked, with repeated text counted as often as it occurs."""

    size: int

    @property
    def rows(self) -> int:
        return 200_000 + self.size // 8

    @property
    def values(self) -> int:
        return 4_000_000 + 2 * self.size

    @property
    def bytes(self) -> int:
        return 32_000_000 + 100 * self.size

    def check(self, name: str, *, rows: int = 0, values: int = 0, bytes: int = 0) -> None:
        """Raise DatasetError if a file of this name has more."""
        found = (rows, self.rows, f"{self.rows:,} rows"), (values, self.values, f"{self.values:,} values")
        for count, most, named in (*found, (bytes, self.bytes, f"{show_bytes(self.bytes)} of text")):
            if count > most:
                what = f"This file has more than {named}, too much for a file of {show_bytes(self.size)}."
                raise DatasetError(what, where=name, fix=_FIX)


NO_LIMITS = Limits(1 << 60)


def find_limits(path: Path) -> Limits:
    """The limits of a file as the user has it, packed or not."""
    return Limits(path.stat().st_size)


def show_bytes(count: int) -> str:
    return f"{count / 1e6:,.0f} MB" if count >= 10_000_000 else f"{count / 1e3:,.0f} kB"


def check_columns(count: int, name: str, row: int = 0, line: int | None = None) -> None:
    """Raise DatasetError if a file has too many columns, or keys, up to a row and line; row 0: in its header."""
    if count <= MOST_COLUMNS:
        return
    place = f" up to row {row}" if row else ""
    place += f" (line {line})" if line else ""
    fix = "Keep the columns to train on, and remove the others."
    raise DatasetError(f"There are more than {MOST_COLUMNS:,} columns{place}.", where=name, fix=fix)
