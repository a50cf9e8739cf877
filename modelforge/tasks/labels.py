"""Whether an answer is labelled good or bad: yes or no, a thumb, or a rating, which is good above the middle of its
scale."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from typing import Any

from modelforge.tasks.faults import KEEP_GOOD, Faults, name_type

LABEL_NAMES = (
    "label", "thumbs_up", "thumbs", "thumb", "is_good", "good", "liked", "desirable", "is_correct", "correct",
    "feedback", "vote", "overall_rating", "rating", "helpfulness", "overall_score", "score", "quality", "stars",
    "grade", "reward",
)  # fmt: skip
"""Usual names of a column with a label or a rating, the best first. Of HelpSteer's ratings, helpfulness counts."""
_CLASS_NAMES = {"label"}  # numbers in such a column are classes rather than ratings, but for 0 and 1

_YES = {"true", "yes", "y", "good", "up", "thumbs up", "👍", "positive", "liked", "like", "chosen", "accepted"}
_YES |= {"correct", "desirable", "helpful", "1", "+1", "1.0"}
_NO = {"false", "no", "n", "bad", "down", "thumbs down", "👎", "negative", "disliked", "dislike", "rejected", "wrong"}
_NO |= {"incorrect", "undesirable", "unhelpful", "0", "-1", "0.0", "-1.0"}
_SCALES = (1, 5, 10, 100)  # the highest value of usual scales


def read_label(role: str, value: Any, faults: Faults) -> bool:
    """Whether the answer is good; what is no label is noted as an error."""
    answer = _read_yes_or_no(value)
    if answer is None:
        said = "There is no label (null)." if value is None else f"This is {name_type(value)} that is no label: "
        said += "" if value is None else f"{str(value)[:40]!r}."
        faults.note("error", role, said, "Write true for a good answer and false for a bad one, or remove the row.")
    return bool(answer)


def refuse_bad_answer(role: str, value: Any, faults: Faults) -> None:
    """Note that an answer is labelled bad, where every answer is learned as a good one."""
    before = len(faults)
    if value is not None and (read_label(role, value, faults) or len(faults) > before):
        return
    which = "is labelled bad" if value is not None else "has no label (null)"
    problem = f"This answer {which}, and here every answer is learned as a good one."
    fix = "Keep only the good answers, choose labelled answers (method kto), or use no column as the label."
    faults.note("error", role, problem, fix, KEEP_GOOD)


def are_labels(values: Iterable[Any], last_word: str) -> bool:
    """Whether a column with such values can hold labels or ratings. last_word: of the column's name."""
    given = [value for value in values if value is not None]
    if not given:
        return False
    if all(_read_yes_or_no(value) is not None for value in given):
        return True
    return last_word not in _CLASS_NAMES and all(_read_number(value) is not None for value in given)


def find_scale(values: Iterable[Any]) -> tuple[float, float] | None:
    """(lowest, highest) of the scale that ratings are on; None where the values are labels, or no numbers.

    0 to 1, 1 to 5, 1 to 10 or 0 to 100 by what occurs; a scale whose highest value is a smaller whole number is taken
    as it is, as HelpSteer's 0 to 4. Scores that can be negative are good above 0.
    """
    given = [value for value in values if value is not None]
    numbers = [number for value in given if (number := _read_number(value)) is not None]
    if len(numbers) < len(given) or not numbers or all(_read_yes_or_no(value) is not None for value in given):
        return None
    low, high = min(numbers), max(numbers)
    if low < 0:
        return -max(-low, high), max(-low, high)
    if not (high in (2, 3, 4) and all(number.is_integer() for number in numbers)):
        high = next((scale for scale in _SCALES if high <= scale), high)
    return (0.0 if low < 1 or high > 10 else 1.0), float(high)


def rate(value: Any, scale: Sequence[float]) -> Any:
    """Whether a rating is above the middle of its scale; what is no number is unchanged."""
    number = _read_number(value)
    return value if number is None else number > sum(scale) / 2


def describe_scale(scale: Sequence[float]) -> str:
    low, high = scale
    return f"Ratings from {low:g} to {high:g}: above {(low + high) / 2:g} an answer counts as good."


def _read_yes_or_no(value: Any) -> bool | None:
    if isinstance(value, bool):
        return value
    if isinstance(value, int | float) and value in (0, 1, -1):
        return value == 1
    word = value.strip().lower().replace("_", " ") if isinstance(value, str) else ""
    return True if word in _YES else False if word in _NO else None


def _read_number(value: Any) -> float | None:
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        return None
    try:
        number = float(value)
    except (ValueError, OverflowError):
        return None
    return number if math.isfinite(number) else None
