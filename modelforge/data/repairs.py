"""What may be mended in a file, if its user says so. Nothing is changed or dropped otherwise, and each is counted.

A repair is only named and described here. Those that mend one value are made where it is read (`tasks`), those that
drop rows where rows are compared (`checks`).
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
    """title: what it does, in an order. counts: what is counted, in the plural."""

    title: str
    sentence: str
    counts: str


REPAIRS: dict[str, Repair] = {
    SKIP_BAD_ROWS: Repair("Leave out rows with errors", "The other rows are used.", "rows"),
    "numbers_to_text": Repair(
        "Turn numbers into text", "A number where text belongs is taken as it is written.", "numbers"
    ),
    "relocate_answers": Repair(
        "Relocate answers", "An answer that stands elsewhere in its text is pointed to where it really is.", "answers"
    ),
    "strip": Repair("Remove white space around texts", "Blanks and newlines before and after each text go.", "texts"),
    DROP_DUPLICATES: Repair("Drop duplicates", "Of rows that are the same, the first is kept.", "rows"),
    DROP_NEAR_DUPLICATES: Repair(
        "Drop near duplicates", "Of rows that are the same but for a word in nine, the first is kept.", "rows"
    ),
}
"""Every repair by its name, in the order in which they are offered. A new one is a line here and a place that makes
it."""


@dataclass(frozen=True)
class RepairCount:
    """possible: how often the repair would change something, or has done so; done: how often it has."""

    possible: int
    done: int


def parse_repairs(names: Iterable[str]) -> frozenset[str]:
    """The repairs of these names. Raises DatasetError, listing those that there are."""
    wanted = frozenset(names)
    if unknown := sorted(wanted - REPAIRS.keys()):
        fix = f"Repairs are: {', '.join(REPAIRS)}."
        raise DatasetError(f"There is no repair {unknown[0]!r}.", where="repairs", fix=fix)
    return wanted
