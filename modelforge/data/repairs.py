"""Repairs: what can be fixed in a file if the user chooses it. Each change is counted; nothing else is changed.

They are only declared here. Values are fixed where they are read (`tasks`), rows are dropped in `row_checks`.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from modelforge.errors import DatasetError

SKIP_BAD_ROWS = "skip_bad_rows"
DROP_DUPLICATES = "drop_duplicates"
DROP_NEAR_DUPLICATES = "drop_near_duplicates"


@dataclass(frozen=True)
class Repair:
    """title: an imperative. counts: what is counted, in the plural."""

    title: str
    sentence: str
    counts: str


REPAIRS: dict[str, Repair] = {
    SKIP_BAD_ROWS: Repair("Skip rows with errors", "Use the other rows.", "rows"),
    "numbers_to_text": Repair("Convert numbers to text", "Use a number in a text column as it is written.", "numbers"),
    "relocate_answers": Repair(
        "Fix answer positions", "Find where each answer is in its context if the given position is wrong.", "answers"
    ),
    "strip": Repair("Strip white space", "Remove spaces and newlines before and after each text.", "texts"),
    DROP_DUPLICATES: Repair("Drop duplicates", "Of identical rows, keep the first.", "rows"),
    DROP_NEAR_DUPLICATES: Repair(
        "Drop near-duplicates", "Of rows that differ in at most one word in nine, keep the first.", "rows"
    ),
}
"""name -> repair, in the order in which they are offered."""


@dataclass(frozen=True)
class RepairCount:
    """possible: how often the repair applies; done: how often it was applied."""

    possible: int
    done: int


def parse_repairs(names: Iterable[str]) -> frozenset[str]:
    """The set of these names. Raises DatasetError for an unknown one."""
    wanted = frozenset(names)
    if unknown := sorted(wanted - REPAIRS.keys()):
        fix = f"The repairs are: {', '.join(REPAIRS)}."
        raise DatasetError(f"There is no repair {unknown[0]!r}.", where="repairs", fix=fix)
    return wanted
