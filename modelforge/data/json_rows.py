"""JSON that is not one object a line: a list of objects, an object around such a list, or objects one after another.

It works with the whole text at hand, and keeps the line in which each row begins.
"""

from __future__ import annotations

import json
import re
from collections.abc import Generator, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from modelforge.data.jsonl_rows import describe_json_error
from modelforge.data.rows import Problem, Row, make_row
from modelforge.errors import DatasetError

_DECODER = json.JSONDecoder()
_BLANK = re.compile(r"[ \t\r\n]*")
_NEXT_OBJECT = re.compile(r"^\{", re.MULTILINE)

# Objects with these keys are parts of a row (turns of a chat, answers to a question), not rows.
_PARTS = ({"role", "content"}, {"from", "value"}, {"text", "answer_start"})


def read_json(path: Path, encoding: str) -> Iterator[Row | Problem]:
    text = path.read_text(encoding=encoding)
    lines = _LineCounter(text)
    start = _skip_blank(text, 0)
    inner = _find_inner_list(text, start, path.name) if text[start] == "{" else None
    found: Iterator[tuple[int, Any]]
    if inner is not None:
        found = _read_list(text, inner)
    elif text[start] == "[":
        found = _read_whole_list(text, start)
    else:
        found = _read_sequence(text, start)
    for number, (offset, value) in enumerate(found, start=1):
        if isinstance(value, Exception):
            # A JSONDecodeError knows the line of the fault, which helps more than that of the row's begin.
            line = value.lineno if isinstance(value, json.JSONDecodeError) else lines.line_of(offset)
            fix = "Mend the file there, or make it anew; what follows was not read."
            yield Problem("error", number, line, None, describe_json_error(value), fix)
        else:
            yield make_row(number, lines.line_of(offset), value)


def is_wrapper(value: Any) -> bool:
    """Whether an object is no row but holds the rows, as in ``{"data": [{...}, {...}]}``."""
    return isinstance(value, dict) and len(_row_lists(value)) == 1


def _row_lists(value: dict[str, Any]) -> list[str]:
    """The keys that hold lists of objects which could be rows."""
    return [
        key
        for key, inner in value.items()
        if isinstance(inner, list)
        and inner
        and all(isinstance(element, dict) for element in inner)
        and not any(parts <= inner[0].keys() for parts in _PARTS)
    ]


def _find_inner_list(text: str, start: int, name: str) -> int | None:
    """Where the list of rows begins, if the text is one object around it."""
    try:
        value, end = _DECODER.raw_decode(text, start)
    except (ValueError, RecursionError):
        return None
    if _skip_blank(text, end) < len(text) or not is_wrapper(value):
        return None
    (key,) = _row_lists(value)
    if "paragraphs" in value[key][0]:
        raise DatasetError(
            "This is SQuAD's nested form (data, paragraphs, qas), which cannot be read yet.",
            where=name,
            fix="Write a row for each question, with context, question and answers.",
        )
    # Read on key by key: the decoder does not tell where inside the object a value began.
    position = _skip_blank(text, start + 1)
    while True:
        found, position = _DECODER.raw_decode(text, position)
        position = _skip_blank(text, _skip_blank(text, position) + 1)  # past the colon
        if found == key:
            return position
        _, position = _DECODER.raw_decode(text, position)
        position = _skip_blank(text, _skip_blank(text, position) + 1)  # past the comma


def _read_whole_list(text: str, start: int) -> Iterator[tuple[int, Any]]:
    """As `_read_list`, for a list that should be all there is."""
    end = yield from _read_list(text, start)
    if end < len(text):
        yield end, json.JSONDecodeError("there is more text after the list", text, end)


def _read_list(text: str, start: int) -> Generator[tuple[int, Any], None, int]:
    """Offset and value of each element; an exception in place of a value ends it, as there is no way to go on.

    Returns the offset of what follows the list.
    """
    position = _skip_blank(text, start + 1)
    if text[position : position + 1] == "]":
        return _skip_blank(text, position + 1)
    while True:
        try:
            value, end = _DECODER.raw_decode(text, position)
        except (ValueError, RecursionError) as error:
            yield position, error
            return len(text)
        yield position, value
        position = _skip_blank(text, end)
        sign = text[position : position + 1]
        if sign not in {",", "]"}:
            what = "expecting a comma or the end of the list" if sign else "the list is not closed"
            yield position, json.JSONDecodeError(what, text, position)
            return len(text)
        position = _skip_blank(text, position + 1)
        if sign == "]":
            return position


def _read_sequence(text: str, start: int) -> Iterator[tuple[int, Any]]:
    """Offset and value of each object; after a broken one it goes on with the next that begins a line."""
    position = start
    while position < len(text):
        try:
            value, end = _DECODER.raw_decode(text, position)
            yield position, value
        except (ValueError, RecursionError) as error:
            yield position, error
            following = _NEXT_OBJECT.search(text, max(position + 1, getattr(error, "pos", 0)))
            end = following.start() if following else len(text)
        position = _skip_blank(text, end)


def _skip_blank(text: str, position: int) -> int:
    blank = _BLANK.match(text, position)
    return blank.end() if blank else position


@dataclass
class _LineCounter:
    """The line of an offset; asked in rising order, it reads the text once."""

    text: str
    offset: int = 0
    line: int = 1

    def line_of(self, offset: int) -> int:
        self.line += self.text.count("\n", self.offset, offset)
        self.offset = offset
        return self.line
