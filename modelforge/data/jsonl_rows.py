"""JSON Lines: one object a line. Streams; blank lines are no rows."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

from modelforge.data.rows import Problem, Row, make_row


def read_jsonl(path: Path, encoding: str) -> Iterator[Row | Problem]:
    number = 0
    # Universal newlines: only \n, \r\n and \r end a line, not the separators that may stand inside JSON text.
    with path.open(encoding=encoding) as file:
        for line, text in enumerate(file, start=1):
            if not text.strip():
                continue
            number += 1
            try:
                yield make_row(number, line, json.loads(text))
            except (ValueError, RecursionError) as error:
                yield Problem("error", number, line, None, describe_json_error(error), "Mend the line, or remove it.")


def describe_json_error(error: Exception) -> str:
    if isinstance(error, json.JSONDecodeError):
        return f"This is not valid JSON: {error.msg[0].lower()}{error.msg[1:]} at character {error.colno} of the line."
    if isinstance(error, RecursionError):
        return "This is nested too deep to be read."
    return "This is not valid JSON: a number in it is too long."
