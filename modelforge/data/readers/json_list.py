"""JSON that is not one object a line: a list of objects, an object with such a list, or consecutive objects.

Streams through a window, so files can have any size, and tracks the line where each row begins. SQuAD's nested format,
articles of paragraphs of questions (https://rajpurkar.github.io/SQuAD-explorer/), is flattened to one row for each
question, one article at a time.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from io import StringIO
from pathlib import Path
from typing import Any, Literal, NamedTuple

from modelforge.data.limits import Limits
from modelforge.data.readers.json_values import Decoder, opens_object
from modelforge.data.readers.json_window import BrokenJson, JsonWindow, walk
from modelforge.data.readers.reader import Beginning, Outline, Reader, is_usual, open_text
from modelforge.data.rows import Position, Problem, Row, make_row

# The start of a list of objects, lists or texts, of an empty list, or of one that is cut off.
_OPENS_LIST = re.compile(r'\[\s*([{\["\]]|\Z)')
# Objects with these keys are parts of a row (turns of a chat, answers to a question), not rows.
_PARTS = ({"role", "content"}, {"from", "value"}, {"text", "answer_start"})
MOST_BROKEN = 1_000
_PREFERRED = ("train", "data", "rows")


class _Member(NamedTuple):
    """One key of the top-level object. rows: a list of objects; parts: a list which shows that the object is a row."""

    name: str
    kind: Literal["rows", "parts", "text", "other"]


@dataclass(frozen=True)
class Layout:
    """member: the index of the key of the top-level object that has the rows; None if rows are elements of the
    top-level list or consecutive objects. name: of that key. others: names of the lists that are not read."""

    member: int | None = None
    name: str = ""
    others: tuple[str, ...] = ()


def recognise(begin: Beginning) -> bool:
    """Whether it begins with an object or a list; "[1] A footnote" and "[INST] Say hello" are text."""
    text = begin.text.lstrip()
    return opens_object(text) or bool(_OPENS_LIST.match(text)) or (text.startswith("[") and _is_list(text))


def describe(path: Path, encoding: str, limits: Limits) -> Outline:
    layout = _get_layout(path, encoding, limits)
    if not layout.others:
        return Outline()
    named = ", ".join(repr(name) for name in layout.others)
    problem = f"Rows were read from the list {layout.name!r}; not read: {named}."
    return Outline(None, (Problem("warning", None, None, None, problem, "Save each list as a separate file."),))


def read(path: Path, encoding: str, position: Position, exact_numbers: bool) -> Iterator[Row | Problem]:
    decoder = Decoder(exact_numbers)
    number = 0
    with open_text(path, encoding, position, newline=None) as file:
        window = JsonWindow(file, decoder, position.limits)
        for line, value in _read_values(window, _get_layout(path, encoding, position.limits)):
            if _is_article(value) and not decoder.flaws:
                article = window.text[window.start : window.position]
                for row_line, row in _unfold(value, article, line):
                    number += 1
                    if isinstance(row, dict):
                        position.bytes += len(str(row.get("context", "")))  # repeated for each question
                    yield make_row(number, row_line, row)
                continue
            number += 1
            if isinstance(value, BrokenJson):
                yield Problem("error", number, value.line, None, value.problem, value.fix)
            elif decoder.flaws:
                yield Problem("error", number, line, *decoder.flaws[0])
            else:
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
            for index, _ in enumerate(walk(window)):
                if index == layout.member:
                    yield from _read_list(window)
                elif window.peek() == "[":  # it can be larger than the window
                    for _ in _read_list(window):
                        pass
                else:
                    window.decode()
        if window.peek():
            raise window.fail("There is more text after the end")
    except BrokenJson as broken:
        broken.fix = broken.fix or "Fix the file there, or create it again; the rows after this one were not read."
        yield broken.line, broken


def _read_list(window: JsonWindow) -> Iterator[tuple[int, Any]]:
    for _ in walk(window):
        value = window.decode()
        yield window.line_of(window.start), value


def _read_sequence(window: JsonWindow) -> Iterator[tuple[int, Any]]:
    """Consecutive objects. After a broken one, continue with the next that begins a line."""
    count = 0
    while window.peek():
        try:
            value = window.decode()
            yield window.line_of(window.start), value
        except BrokenJson as broken:
            count += 1
            if count == MOST_BROKEN:
                broken.problem = f"{broken.problem} {count:,} objects of this file are broken."
                broken.fix = "Create the file again; the rows after this one were not read."
            broken.fix = broken.fix or "Fix it, or remove it."
            yield broken.line, broken
            if count == MOST_BROKEN or not window.seek_object(broken.offset):
                return


def _is_list(text: str) -> bool:
    """Whether the whole text is a list of any values: ``[1, 2]``."""
    try:
        return isinstance(json.loads(text), list)
    except (ValueError, RecursionError):
        return False


def _is_article(value: Any) -> bool:
    """Whether an object is ``{"title": ..., "paragraphs": [{"context": ..., "qas": [...]}]}``."""
    if not isinstance(value, dict) or not isinstance(value.get("paragraphs"), list):
        return False
    return all(isinstance(each, dict) and isinstance(each.get("qas"), list) for each in value["paragraphs"])


def _unfold(article: dict[str, Any], text: str, line: int) -> Iterator[tuple[int, Any]]:
    """The line of each question and its row. text: the article as it is written, from that line on."""
    lines = _locate_questions(JsonWindow(StringIO(text), Decoder(exact_numbers=True)))
    for paragraph in article["paragraphs"]:
        for question in paragraph["qas"]:
            row = _flatten(article, paragraph, question) if isinstance(question, dict) else question
            yield line - 1 + next(lines), row


def _locate_questions(window: JsonWindow) -> Iterator[int]:
    """The line of each question; the decoder does not report positions inside a value."""
    for name in walk(window):
        if name != "paragraphs":
            window.decode()
            continue
        for _ in walk(window):
            for key in walk(window):
                if key != "qas":
                    window.decode()
                    continue
                for _ in walk(window):
                    yield window.line_of(window.position)
                    window.decode()


def _flatten(article: dict[str, Any], paragraph: dict[str, Any], question: dict[str, Any]) -> dict[str, Any]:
    row = {"title": article["title"]} if "title" in article else {}
    if "context" in paragraph:
        row["context"] = paragraph["context"]
    row |= {key: question[key] for key in ("id", "question", "answers", "is_impossible") if key in question}
    answers = row.get("answers")
    if isinstance(answers, list) and all(isinstance(answer, dict) for answer in answers):
        row["answers"] = {key: [answer.get(key) for answer in answers] for key in ("text", "answer_start")}
    return row


def is_wrapper(value: Any) -> bool:
    """Whether an object is not a row but contains the rows, as in ``{"data": [{...}, {...}]}``."""
    if not isinstance(value, dict):
        return False
    return _choose([_Member(name, _name_kind(inner)) for name, inner in value.items()]).member is not None


def _get_layout(path: Path, encoding: str, limits: Limits) -> Layout:
    """Read a top-level object to its end, since any of its keys can have the rows; the result is cached for the same
    file."""
    about = path.stat()
    return _find_layout(path, encoding, (about.st_size, about.st_mtime_ns), limits)


@lru_cache(maxsize=8)
def _find_layout(path: Path, encoding: str, stamp: tuple[int, int], limits: Limits) -> Layout:
    members: list[_Member] = []
    with path.open(encoding=encoding) as file:
        window = JsonWindow(file, Decoder(exact_numbers=True), limits)
        if window.peek() != "{":
            return Layout()
        try:
            for name in walk(window):
                members.append(_Member(name, "other"))
                if window.peek() != "[":
                    members[-1] = _Member(name, _name_kind(window.decode()))
                    continue
                for index, _ in enumerate(walk(window)):
                    element = window.decode()
                    if index == 0:
                        members[-1] = _Member(name, _name_kind([element]))
                    elif not isinstance(element, dict) and members[-1].kind == "rows":
                        members[-1] = _Member(name, "other")
            if window.peek():
                return Layout()  # more follows: consecutive objects
        except BrokenJson:
            pass  # reported when rows are read
    return _choose(members)


def _name_kind(value: Any) -> Literal["rows", "parts", "text", "other"]:
    if isinstance(value, str):
        return "text"
    if not isinstance(value, list) or not value or not all(isinstance(element, dict) for element in value):
        return "other"
    return "parts" if any(parts <= value[0].keys() for parts in _PARTS) else "rows"


def _choose(members: list[_Member]) -> Layout:
    """Choose the member that has the rows; none if the object looks like a row."""
    lists = [index for index, member in enumerate(members) if member.kind == "rows"]
    usual = [member for member in members if member.kind == "text" and is_usual(member.name)]
    if not lists or len(usual) > 1 or any(member.kind == "parts" for member in members):
        return Layout()
    by_name = {members[index].name: index for index in reversed(lists)}
    chosen = next((by_name[name] for name in _PREFERRED if name in by_name), lists[0])
    return Layout(chosen, members[chosen].name, tuple(members[index].name for index in lists if index != chosen))


READER = Reader(recognise, read, describe)
