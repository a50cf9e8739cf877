"""Common column names, as the tasks declare them, which identify a header or a row."""

from __future__ import annotations

import re
from functools import cache

from modelforge.tasks import TASKS


def is_usual(name: str) -> bool:
    """``"Question"`` and ``"system prompt"`` are, ``"Dear customer"`` is not."""
    return "_".join(re.findall(r"[^\W_]+", name.lower())) in _usual_names()


@cache
def _usual_names() -> frozenset[str]:
    shapes = [shape for spec in TASKS.values() for shape in spec.shapes]
    return frozenset(name for shape in shapes for role in shape.roles for name in (role.name, *role.accepts))
