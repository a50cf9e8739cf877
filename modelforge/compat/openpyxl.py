"""openpyxl: a workbook whose parts are counted before they are read.

openpyxl reads all parts but the sheets into memory as trees; text of 250 kB that repeats one tag becomes gigabytes. Its
reader opens the archive itself and has no limits, so it is given an archive that has them.
"""

from __future__ import annotations

import zipfile
from collections import Counter
from collections.abc import Callable
from typing import IO, Any, BinaryIO

from openpyxl.reader.excel import ExcelReader

_CHUNK_BYTES = 1 << 20

Check = Callable[[str, int], None]
"""Raises if there are too many XML elements of one kind: of "sheets", "strings" that they share, or other "parts"."""


def load_workbook(file: BinaryIO, check: Check) -> Any:
    """The workbook, with the saved values of formulas; its rows are read on demand. Raises what openpyxl raises."""
    reader = _Reader(file, read_only=True, data_only=True, keep_links=False)
    reader.archive = _Archive(file, check)
    reader.read()
    return reader.wb


class _Archive(zipfile.ZipFile):
    def __init__(self, file: BinaryIO, check: Check) -> None:
        super().__init__(file)
        self.kind = "parts"
        self._check = check
        self._counts: Counter[str] = Counter()
        self._counted: set[tuple[str, str]] = set()

    def open(self, name: Any, mode: Any = "r", *rest: Any, **options: Any) -> Any:
        """Open a part as a stream."""
        part = (self.kind, name if isinstance(name, str) else name.filename)
        if part not in self._counted:
            self._counted.add(part)
            with super().open(name) as content:
                self._count_elements(content)
        return super().open(name, mode, *rest, **options)

    def read(self, name: Any, pwd: bytes | None = None) -> bytes:
        """Read a part as a whole."""
        kind, self.kind = self.kind, "parts"
        try:
            return super().read(name, pwd)
        finally:
            self.kind = kind

    def _count_elements(self, content: IO[bytes]) -> None:
        last = b""
        while chunk := content.read(_CHUNK_BYTES):
            self._counts[self.kind] += chunk.count(b"<") - (last + chunk).count(b"</")  # not those that close one
            self._check(self.kind, self._counts[self.kind])
            last = chunk[-1:]


class _Reader(ExcelReader):
    archive: _Archive

    def read_strings(self) -> None:
        self.archive.kind = "strings"
        super().read_strings()
        self.archive.kind = "parts"

    def read_worksheets(self) -> None:
        self.archive.kind = "sheets"
        super().read_worksheets()

    def read_chartsheet(self, sheet: Any, rel: Any) -> None:
        """Charts have no rows."""
