"""The file of answers, and beside it the progress: what is answered is on the disk before anything else is asked.

Answers come in any order, rows are written in that of the file. The progress has each answer, and how long the file of
answers was when it was last complete; what a kill wrote beyond that is cut off. It is deleted at the end.
"""

from __future__ import annotations

import csv
import io
import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import orjson

from modelforge.errors import DatasetError, explain_os_errors
from modelforge.paths import CANNOT_WRITE
from modelforge.store.files import open_private

LOST = "cannot be continued"


class Output:
    """file: its ending decides, .csv or .jsonl. columns: of each row, the answer's last. job: what the answers depend
    on; a progress of another job is not continued.

    answered: row -> answer, of all that were found and added. Raises DatasetError, StoreError, DiskFullError.
    """

    def __init__(self, file: Path, columns: list[str], job: Mapping[str, Any], *, resume: bool) -> None:
        self.file, self._columns = file, columns
        self.progress = progress_of(file)
        self._is_csv = _check_ending(file)
        self.answered: dict[int, str] = {}
        self.written = 0  # the last row that is in the file
        self._bytes = 0
        if resume and self.progress.exists():
            self._read_progress(job)
        elif file.exists():
            raise DatasetError(
                "This file exists already.",
                where=str(file),
                fix="Choose another name for --out, or continue with --resume.",
            )
        with explain_os_errors(file, CANNOT_WRITE):
            self._file = _open(file)
            self._file.truncate(self._bytes)
            self._file.seek(self._bytes)
            self._log = _open(self.progress)
            self._log.seek(0, os.SEEK_END)
        if not self._log.tell():
            self._append(self._log, orjson.dumps({"job": job}) + b"\n")
            if self._is_csv:
                self._append(self._file, self._as_csv(columns))
                self._mark()

    def add(self, answers: Mapping[int, str]) -> None:
        """Keep answers by row; they are on the disk when this returns."""
        self.answered |= answers
        lines = (orjson.dumps({"row": row, "answer": answer}) + b"\n" for row, answer in answers.items())
        self._append(self._log, b"".join(lines))

    def write(self, rows: list[tuple[int, Mapping[str, Any]]]) -> None:
        """Append rows of the file, with their answers, in their order."""
        rows = [(number, values) for number, values in rows if number > self.written]
        if not rows:
            return
        made = b"".join(self._write_row(values, self.answered[number]) for number, values in rows)
        self._append(self._file, made)
        self.written = rows[-1][0]
        self._mark()

    def finish(self) -> None:
        self.close()
        self.progress.unlink(missing_ok=True)

    def close(self) -> None:
        self._file.close()
        self._log.close()

    def _write_row(self, values: Mapping[str, Any], answer: str) -> bytes:
        row = {**values, self._columns[-1]: answer}
        if self._is_csv:
            return self._as_csv([_as_cell(row.get(column)) for column in self._columns])
        return (json.dumps(row, ensure_ascii=False, default=str) + "\n").encode("utf-8", "replace")

    def _as_csv(self, cells: list[str]) -> bytes:
        text = io.StringIO()
        csv.writer(text, lineterminator="\n").writerow(cells)
        return text.getvalue().encode("utf-8", "replace")

    def _mark(self) -> None:
        self._append(self._log, orjson.dumps({"written": self.written, "bytes": self._file.tell()}) + b"\n")

    def _append(self, file: Any, data: bytes) -> None:
        with explain_os_errors(self.file, CANNOT_WRITE, needed_bytes=len(data)):
            file.write(data)
            file.flush()
            os.fsync(file.fileno())

    def _read_progress(self, job: Mapping[str, Any]) -> None:
        with explain_os_errors(self.progress, CANNOT_WRITE):
            data = self.progress.read_bytes()
        whole = data[: data.rfind(b"\n") + 1]  # a kill may leave half a line
        if len(whole) < len(data):
            os.truncate(self.progress, len(whole))
        try:
            head, *lines = [orjson.loads(line) for line in whole.splitlines()]
            known = head["job"]
            for line in lines:
                if "row" in line:
                    self.answered[line["row"]] = line["answer"]
                else:
                    self.written, self._bytes = line["written"], line["bytes"]
        except (ValueError, KeyError, TypeError) as error:
            raise DatasetError(
                f"Its progress is damaged, so it {LOST}.", where=str(self.progress), fix="Delete it and the answers."
            ) from error
        if known != job:
            changed = ", ".join(name for name in job if known.get(name) != job[name])
            raise DatasetError(
                f"This was begun with another {changed}, so it {LOST}.",
                where=str(self.file),
                fix="Start again with another --out.",
            )
        there = self.file.stat().st_size if self.file.exists() else 0
        if there < self._bytes:
            what = f"The file of answers was changed, so it {LOST}."
            raise DatasetError(what, where=str(self.file), fix="Start again with another --out.")


def progress_of(file: Path) -> Path:
    return file.with_name(f"{file.name}.progress")


def _open(path: Path) -> Any:
    if not path.exists():
        open_private(path, "xb").close()
    return path.open("rb+")


def _check_ending(file: Path) -> bool:
    """Whether it is CSV."""
    if file.suffix.lower() not in (".csv", ".jsonl"):
        raise DatasetError("Answers are written as .jsonl or .csv.", where=str(file), fix="Choose such an ending.")
    return file.suffix.lower() == ".csv"


def _as_cell(value: Any) -> str:
    if value is None or isinstance(value, str):
        return value or ""
    return str(value) if isinstance(value, int | float) else json.dumps(value, ensure_ascii=False, default=str)
