"""Plain text: each paragraph is a row, or each line in a file without blank lines. Streams."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import TextIO

from modelforge.data.limits import LONGEST_ROW, Limits
from modelforge.data.readers.reader import Outline, Reader, open_text
from modelforge.data.rows import Position, Problem, Row


def describe(path: Path, encoding: str, limits: Limits) -> Outline:
    part = "paragraph" if _has_paragraphs(path, encoding) else "line"
    problem = f"This file has no columns, so each {part} is one row of plain text."
    fix = "For questions and answers, use a CSV whose first line has the column names, such as: question,answer"
    return Outline(("text",), (Problem("warning", None, None, None, problem, fix),))


def read(path: Path, encoding: str, position: Position, exact_numbers: bool) -> Iterator[Row | Problem]:
    has_paragraphs = _has_paragraphs(path, encoding)
    with open_text(path, encoding, position) as file:
        for number, (line, text) in enumerate(_join_lines(file, has_paragraphs), start=1):
            if text is None:
                problem = f"This paragraph has more than {LONGEST_ROW:,} characters."
                yield Problem("error", number, line, None, problem, "Separate paragraphs with blank lines.")
            else:
                yield Row(number, line, {"text": text})


def _join_lines(file: TextIO, has_paragraphs: bool) -> Iterator[tuple[int, str | None]]:
    """The line where each paragraph begins, and its text without the last line ending; None if it is too long.

    has_paragraphs: whether blank lines separate paragraphs; else each line is a row.
    """
    line, begin, length = 1, 0, 0
    parts: list[str] = []
    for part, blank in _read_parts(file):
        if not blank:
            begin = begin or line
            length += len(part)
            if length <= LONGEST_ROW:
                parts.append(part)
        ended = part.endswith(("\n", "\r"))
        if begin and ended and (blank or not has_paragraphs):
            yield begin, _join(parts, length)
            begin, length = 0, 0
            parts.clear()
        line += ended
    if begin:
        yield begin, _join(parts, length)


def _read_parts(file: TextIO) -> Iterator[tuple[str, bool]]:
    """Lines, and whether they are blank. A line longer than LONGEST_ROW is split, since a file without line endings
    must not be read into memory at once."""
    any_text = False
    for part in iter(partial(file.readline, LONGEST_ROW), ""):
        any_text = any_text or not part.isspace()
        yield part, not any_text
        if part.endswith(("\n", "\r")):
            any_text = False


def _join(parts: list[str], length: int) -> str | None:
    return "".join(parts).rstrip("\r\n") if length <= LONGEST_ROW else None


def _has_paragraphs(path: Path, encoding: str) -> bool:
    """Whether there is a blank line between lines of text."""
    any_text = any_blank = False
    with path.open(encoding=encoding) as file:
        for _, blank in _read_parts(file):
            if blank:
                any_blank = any_text
            elif any_blank:
                return True
            else:
                any_text = True
    return False


READER = Reader(lambda begin: bool(begin.text), read, describe)
