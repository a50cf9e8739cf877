"""A JSON file of a model that holds an object. What it says is judged elsewhere."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from modelforge.errors import BaseModelError

MOST_BYTES = 50_000_000
"""The index of the weights of a model of a trillion numbers has 15 MB."""


def read_object(path: Path, name: str, most_bytes: int = MOST_BYTES) -> dict[str, Any]:
    """The object in a file. name: of the model, for messages. Raises BaseModelError."""
    try:
        with path.open("rb") as file:
            content = file.read(most_bytes + 1)
    except OSError as error:
        raise BaseModelError(
            f"The {path.name} of {name} cannot be read.", where=str(path), fix="Download the model again."
        ) from error
    return parse_object(content, path.name, name, str(path), most_bytes)


def parse_object(content: bytes, file: str, name: str, where: str, most_bytes: int = MOST_BYTES) -> dict[str, Any]:
    """The object that a file's content is."""
    if len(content) > most_bytes:
        raise make_too_large(file, name, where, most_bytes)
    try:
        found = json.loads(content)
    except (ValueError, RecursionError) as error:
        raise BaseModelError(
            f"The {file} of {name} is not valid JSON.", where=where, fix="Download the model again."
        ) from error
    if not isinstance(found, dict):
        raise BaseModelError(f"The {file} of {name} is not a JSON object.", where=where, fix="Download it again.")
    return found


def make_too_large(file: str, name: str, where: str, most_bytes: int) -> BaseModelError:
    return BaseModelError(
        f"The {file} of {name} is too large to be valid: it has more than {most_bytes / 1e6:g} MB.",
        where=where,
        fix="Choose another base model.",
    )
