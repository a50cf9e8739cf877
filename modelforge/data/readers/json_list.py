"""JSON that is not one object a line: a list of objects, an object with such a list, or consecutive objects.

Streams through a window, so files can have any size, and tracks the line where each row begins.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from modelforge.data.readers import squad
from modelforge.data.readers.json_layout import Layout, find_layout, skip_value, walk_elements, walk_members
from modelforge.data.readers.json_values import Decoder, opens_object
from modelforge.data.readers.json_window import BrokenJson, JsonWindow, open_window
from modelforge.data.readers.reader import Beginning, Outline, Reader
from modelforge.data.rows import Position, Problem, Row, make_row

# The start of a list of objects, lists or texts, of an empty list, or of one that is cut off.
_OPENS_LIST = re.compile(r'\[\s*([{\["\]]|\Z)')


def recognise(begin: Beginning) -> bool:
    """Whether it begins with an object or a list; "[1] A footnote" and "[INST] Say hello" are text."""
    text = begin.text.lstrip()
    return opens_object(text) or bool(_OPENS_LIST.match(text)) or (text.startswith("[") and _is_list(text))


def describe(path: Path, encoding: str) -> Outline:
    layout = find_layout(path, encoding)
    if not layout.others:
        return Outline()
    named = ", ".join(repr(name) for name in layout.others)
    problem = f"Rows were read from the list {layout.name!r}; not read: {named}."
    return Outline(None, (Problem("warning", None, None, None, problem, "Save each list as a separate file."),))


def read(path: Path, encoding: str, position: Position, exact_numbers: bool) -> Iterator[Row | Problem]:
    decoder = Decoder(exact_numbers)
    number = 0
    with open_window(path, encoding, decoder, position) as window:
        for line, value in _read_values(window, find_layout(path, encoding)):
            if isinstance(value, BrokenJson):
                number += 1
                yield Problem("error", number, value.line, None, value.problem, value.fix)
            elif decoder.flaws:
                number += 1
                yield decoder.flaws[0].at(number, line)
            elif squad.is_article(value):
                for place, row in squad.unfold(value, window.text, window.start):
                    number += 1
                    yield make_row(number, window.line_of(place), row)
            else:
                number += 1
                yield make_row(number, line, value)


def _read_values(window: JsonWindow, layout: Layout) -> Iterator[tuple[int, Any]]:
    """The line and the value of each row; BrokenJson instead of a value that cannot be read."""
    if layout.member is None and window.peek() != "[":
        yield from _read_sequence(window)
        return
    try:
        if layout.member is None:
            yield from _read_list(window)
        else:
            for index, _ in enumerate(walk_members(window)):
                if index == layout.member:
                    yield from _read_list(window)
                else:
                    skip_value(window)
        if window.peek():
            raise window.fail("There is more text after the end")
    except BrokenJson as broken:
        broken.fix = broken.fix or "Fix the file there, or create it again; the rows after this one were not read."
        yield broken.line, broken


def _read_list(window: JsonWindow) -> Iterator[tuple[int, Any]]:
    for value in walk_elements(window):
        yield window.line_of(window.start), value


def _read_sequence(window: JsonWindow) -> Iterator[tuple[int, Any]]:
    """Consecutive objects. After a broken one, continue with the next that begins a line."""
    while window.peek():
        try:
            value = window.decode()
            yield window.line_of(window.start), value
        except BrokenJson as broken:
            broken.fix = broken.fix or "Fix it, or remove it."
            yield broken.line, broken
            if not window.seek_object(broken.offset):
                return


def _is_list(text: str) -> bool:
    """Whether the whole text is a list of any values: ``[1, 2]``."""
    try:
        value, end = json.JSONDecoder().raw_decode(text)
    except (ValueError, RecursionError):
        return False
    return isinstance(value, list) and not text[end:].strip()


READER = Reader(recognise, read, describe)
