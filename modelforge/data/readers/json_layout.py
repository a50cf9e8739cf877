"""Finds where the rows of a JSON file are: in a top-level list, in a list inside the top-level object, or in
consecutive objects.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any, Literal, NamedTuple

from modelforge.data.readers.json_values import Decoder
from modelforge.data.readers.json_window import BrokenJson, JsonWindow, walk
from modelforge.data.readers.reader import is_usual

# Objects with these keys are parts of a row (turns of a chat, answers to a question), not rows.
_PARTS = ({"role", "content"}, {"from", "value"}, {"text", "answer_start"})
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


def is_wrapper(value: Any) -> bool:
    """Whether an object is not a row but contains the rows, as in ``{"data": [{...}, {...}]}``."""
    if not isinstance(value, dict):
        return False
    return _choose([_Member(name, _name_kind(inner)) for name, inner in value.items()]).member is not None


def find_layout(path: Path, encoding: str) -> Layout:
    """Read a top-level object to its end, since any of its keys can have the rows; the result is cached for the same
    file."""
    about = path.stat()
    return _find_layout(path, encoding, (about.st_size, about.st_mtime_ns))


@lru_cache(maxsize=8)
def _find_layout(path: Path, encoding: str, stamp: tuple[int, int]) -> Layout:
    members: list[_Member] = []
    with path.open(encoding=encoding) as file:
        window = JsonWindow(file, Decoder(exact_numbers=True))
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
