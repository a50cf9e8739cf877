"""YAML that somebody wrote, as plain values, within limits: with aliases a few lines can stand for gigabytes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml

from modelforge.errors import RecipeError

LONGEST = 200_000
"""Characters of a text, also once its aliases are written out. PyYAML reads about that many in a few seconds."""


def read_text(path: Path) -> str:
    """What a recipe's file holds, up to what `read_yaml` refuses. Raises RecipeError."""
    try:
        with path.open(encoding="utf-8") as file:
            return file.read(LONGEST + 1)
    except (OSError, UnicodeDecodeError) as error:
        raise RecipeError(
            "This recipe cannot be read.", where=str(path), fix="Give the path of a YAML file."
        ) from error


def read_yaml(text: str, *, where: str, what: str, fix: str) -> Any:
    """The values in a text. Raises RecipeError: what, where and fix describe what is not YAML; the line is added."""
    if len(text) > LONGEST:
        raise RecipeError(f"This has more than {LONGEST:,} characters.", where=where, fix="Is it the right file?")
    try:
        node = yaml.compose(text, Loader=yaml.SafeLoader)
        if node is None:
            return None
        if _count_characters(node, {}) > LONGEST:
            raise RecipeError(
                f"With its aliases written out this has more than {LONGEST:,} characters.",
                where=where,
                fix="Write the values themselves instead of aliases such as *name.",
            )
        return yaml.SafeLoader("").construct_document(node)
    except (yaml.YAMLError, RecursionError, ValueError) as error:  # ValueError: 2026-13-45 is not a date
        mark = getattr(error, "problem_mark", None)
        line = f", line {mark.line + 1}" if mark and mark.line else ""
        raise RecipeError(what, where=f"{where}{line}", fix=fix) from error


def _count_characters(node: yaml.Node, known: dict[int, int]) -> int:
    """Of a node with all that is in it, as often as it occurs; one character for each node without text."""
    if id(node) not in known:
        known[id(node)] = LONGEST  # while it is counted: a node within itself has no end
        parts = [node.value] if isinstance(node, yaml.ScalarNode) else node.value
        flat = [part for each in parts for part in (each if isinstance(each, tuple) else (each,))]
        known[id(node)] = 1 + sum(
            _count_characters(part, known) if isinstance(part, yaml.Node) else len(part) for part in flat
        )
    return known[id(node)]
