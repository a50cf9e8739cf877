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


REPAIRS = {
    SKIP_BAD_ROWS: "Skip rows with errors",
    "numbers_to_text": "Convert numbers to text",  # a number in a text column is used as it is written
    "relocate_answers": "Fix answer positions",  # where the given position of an answer in its context is wrong
    "strip": "Strip white space",
    "leave_out_parts": "Leave out parts that are not text",  # images, audio and files within a message
    "keep_good_answers": "Keep only the good answers",  # of rows labelled good or bad, for training by examples
    DROP_DUPLICATES: "Drop duplicates",  # of identical rows, the first is kept
    DROP_NEAR_DUPLICATES: "Drop near-duplicates",  # of rows that differ in at most one word in nine
}
"""name -> title, an imperative, in the order in which they are offered."""


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
