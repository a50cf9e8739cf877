"""How mapped rows are stored: as columns of text, which can be written, hashed, searched and compared many rows at a
time. Most chats are a question and its answer, with one column for each role; other rows are one column of JSON.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import orjson

from modelforge.tasks.base import MappedRow

Values = tuple[str, ...]

_CHATS = ("messages", "prompt", "chosen", "rejected", "completion")
"""What holds messages in a mapped row."""


@dataclass(frozen=True)
class Form:
    """columns: their names. pack: a mapped row to one text for each column; unpack: the reverse. compared: the columns
    that are the setting, the question and the answer when rows are compared (`tasks.base.Texts`), "" for none."""

    columns: tuple[str, ...]
    pack: Callable[[MappedRow], Values]
    unpack: Callable[[Values], MappedRow]
    compared: tuple[str, str, str] = ("", "", "")


def _pack_exchange(row: MappedRow) -> Values:
    *system, asked, answered = (message["content"] for message in row["messages"])
    return (system[0] if system else "", asked, answered)


def _unpack_exchange(values: Values) -> MappedRow:
    system, asked, answered = values
    opening = [{"role": "system", "content": system}] if system else []
    turns = [{"role": "user", "content": asked}, {"role": "assistant", "content": answered}]
    return {"messages": [*opening, *turns]}


def dump_row(row: MappedRow) -> bytes:
    """A mapped row as JSON; equal rows give equal bytes. Raises ValueError for a row that cannot be stored."""
    if "tools" in row or any("tool_calls" in turn for name in _CHATS for turn in row.get(name, ())):
        try:
            row = _restore_numbers(row)
        except RecursionError as error:
            raise ValueError("The tools of this row are nested too deeply.") from error
    try:
        return orjson.dumps(row)
    except TypeError:  # a number of more than 64 bits, or half a character
        try:
            return json.dumps(row, ensure_ascii=False, separators=(",", ":"), default=str).encode()
        except UnicodeEncodeError as error:
            raise ValueError("This row contains half a character (a lone surrogate).") from error


def _load_row(written: str) -> MappedRow:
    try:
        return dict(orjson.loads(written))
    except orjson.JSONDecodeError:  # a number of more than 64 bits
        return dict(json.loads(written))


def _restore_numbers(value: Any) -> Any:
    """The value with numbers as they are written in its file; only tools contain any."""
    if isinstance(value, dict):
        return {key: _restore_numbers(inner) for key, inner in value.items()}
    if isinstance(value, list):
        return [_restore_numbers(inner) for inner in value]
    if not isinstance(value, float):
        return value
    if not math.isfinite(value):
        raise ValueError("This row contains a number that is too large.")
    written = str(value)
    return int(written) if written.lstrip("-").isdigit() else float(value)


EXCHANGE = Form(
    ("system", "user", "assistant"),
    _pack_exchange,
    _unpack_exchange,
    compared=("system", "user", "assistant"),
)
TEXT = Form(("text",), lambda row: (row["text"],), lambda values: {"text": values[0]}, ("", "", "text"))
ROW = Form(("row",), lambda row: (dump_row(row).decode(),), lambda values: _load_row(values[0]))

FORMS: dict[str, Form] = {"exchange": EXCHANGE, "text": TEXT, "row": ROW}
