"""Column names: the common ones, as the tasks declare them, which identify a header or a row; and no name twice."""

from __future__ import annotations

import re
from collections.abc import Collection
from functools import cache

from modelforge.errors import DatasetError
from modelforge.tasks import TASKS


def is_usual(name: str) -> bool:
    """``"Question"`` and ``"system prompt"`` are, ``"Dear customer"`` is not."""
    return "_".join(re.findall(r"[^\W_]+", name.lower())) in _usual_names()


def check_unique(names: Collection[str], file: str) -> None:
    """Raise DatasetError if two columns have the same name."""
    seen: set[str] = set()
    for name in names:
        if name in seen:
            fix = "Give each column a different name."
            raise DatasetError(f"Two columns are named {name!r}.", where=file, fix=fix)
        seen.add(name)


@cache
def _usual_names() -> frozenset[str]:
    shapes = [shape for spec in TASKS.values() for shape in spec.shapes]
    return frozenset(name for shape in shapes for role in shape.roles for name in (role.name, *role.accepts))
