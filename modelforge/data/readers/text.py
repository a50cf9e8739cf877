"""Plain text: each paragraph is a row; in a file without blank lines each line is.

Streams, and keeps the text as it is written.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from io import TextIOWrapper
from pathlib import Path
from typing import TextIO

from modelforge.data.readers.reader import LONGEST_ROW, Beginning, Outline, Reader
from modelforge.data.rows import Position, Problem, Row

_ROWS_A_STEP = 1000


def recognise(begin: Beginning) -> bool:
    """Any text that is nothing else."""
    return bool(begin.text)


def describe(path: Path, encoding: str) -> Outline:
    part = "paragraph" if _has_paragraphs(path, encoding) else "line"
    problem = f"This file has no columns, so each {part} is one row of plain text."
    fix = "For questions and answers, give a CSV whose first line names its columns, such as: question,answer"
    return Outline(("text",), (Problem("warning", None, None, None, problem, fix),))


def read(path: Path, encoding: str, position: Position, exact_numbers: bool) -> Iterator[Row | Problem]:
    size = max(1, path.stat().st_size)
    number = 0
    apart = _has_paragraphs(path, encoding)
    with path.open("rb") as raw, TextIOWrapper(raw, encoding, newline="") as file:
        for line, text in _join_lines(file, apart):
            number += 1
            if number % _ROWS_A_STEP == 0:
                position.share = min(1.0, raw.tell() / size)
            if text is None:
                problem = f"This paragraph is longer than {LONGEST_ROW >> 20} MB."
                yield Problem("error", number, line, None, problem, "Separate paragraphs with blank lines.")
            else:
                yield Row(number, line, {"text": text})


def _join_lines(file: TextIO, apart: bool) -> Iterator[tuple[int, str | None]]:
    """The line in which a paragraph begins, and its text without the last line ending; None for one that is too long.

    apart: whether blank lines separate paragraphs; else each line is one.
    """
    line, begin, length = 1, 0, 0
    parts: list[str] = []
    for piece, blank in _read_pieces(file):
        if not blank:
            begin = begin or line
            length += len(piece)
            if length <= LONGEST_ROW:
                parts.append(piece)
        ended = piece.endswith(("\n", "\r"))
        if begin and ended and (blank or not apart):
            yield begin, _join(parts, length)
            begin, length = 0, 0
            parts.clear()
        line += ended
    if begin:
        yield begin, _join(parts, length)


def _read_pieces(file: TextIO) -> Iterator[tuple[str, bool]]:
    """Lines, and whether they are blank. A line beyond the bound comes in pieces, as a file without line endings would
    else be read into memory at once."""
    any_text = False
    for piece in iter(partial(file.readline, LONGEST_ROW), ""):
        any_text = any_text or not piece.isspace()
        yield piece, not any_text
        if piece.endswith(("\n", "\r")):
            any_text = False


def _join(parts: list[str], length: int) -> str | None:
    return "".join(parts).rstrip("\r\n") if length <= LONGEST_ROW else None


def _has_paragraphs(path: Path, encoding: str) -> bool:
    """Whether a blank line stands between lines of text."""
    any_text = any_blank = False
    with path.open(encoding=encoding) as file:
        for _, blank in _read_pieces(file):
            if blank:
                any_blank = any_text
            elif any_blank:
                return True
            else:
                any_text = True
    return False


READER = Reader(recognise, read, describe)
