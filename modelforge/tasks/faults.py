"""What is wrong with a row, collected while its values are read: usable as they are, fixed as far as the user allowed,
or a fault that says why."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

LONGEST_TEXT = 1_000_000  # characters; more than any model reads, so most of it would be cut off

STRIP = "strip"
NUMBERS_TO_TEXT = "numbers_to_text"
KEEP_GOOD = "keep_good_answers"
_LEAVE_ROW_OUT = (KEEP_GOOD,)  # repairs that fix a row by leaving it out

Severity = Literal["error", "warning", "hint"]
"""An error keeps a row from being used; a warning does not; a hint is counted and not listed."""
Repairs = frozenset[str]
"""Names of `data.repairs.REPAIRS` that the user has switched on."""


@dataclass(frozen=True)
class Fault:
    """One thing wrong with one row; `role` names the column. repair: the one that fixes it; fixed: whether it did."""

    severity: Severity
    role: str
    problem: str
    fix: str
    repair: str = ""
    fixed: bool = False

    @property
    def is_fatal(self) -> bool:
        """Whether a row with it cannot be trained on."""
        return self.severity == "error" and not self.fixed


class Faults(list[Fault]):
    """The faults of one row so far."""

    def __init__(self, repairs: Repairs = frozenset()) -> None:
        super().__init__()
        self.repairs = repairs

    @property
    def are_fatal(self) -> bool:
        return any(fault.is_fatal for fault in self)

    @property
    def leave_out(self) -> bool:
        """Whether a repair leaves the whole row out."""
        return any(fault.fixed and fault.repair in _LEAVE_ROW_OUT for fault in self)

    def note(self, severity: Severity, role: str, problem: str, fix: str, repair: str = "") -> None:
        self.append(Fault(severity, role, problem, fix, repair, repair in self.repairs))

    def read_text(self, role: str, value: Any, *, place: str = "") -> str:
        """The text of a value; what is wrong with it is noted (an error where it cannot be used).

        place: what the value is inside its column, such as "Turn 3 (user): ".
        """
        if value is None:
            self.note("error", role, f"{place}There is no value (null).", "Fill it in, or remove the row.")
            return ""
        if not isinstance(value, str):
            if not isinstance(value, int | float) or isinstance(value, bool):
                problem = f"{place}This is {name_type(value)} where text belongs."
                self.note("error", role, problem, "Put it in quotes, or choose another column.")
                return ""
            fix = "Put it in quotes, choose another column, or allow numbers to be converted to text."
            self.note("error", role, f"{place}This is a number where text belongs.", fix, NUMBERS_TO_TEXT)
            return str(value)
        stripped = value.strip()
        if not stripped:
            self.note("error", role, f"{place}The text is blank.", "Fill it in, or remove the row.")
            return ""
        if len(stripped) != len(value):
            self.note("hint", role, f"{place}There is white space around the text.", "", STRIP)
            value = stripped if STRIP in self.repairs else value
        if "\0" in value:
            what = f"Character {value.index(chr(0)) + 1} is NUL, which text cannot have; the file may be damaged."
            self.note("error", role, f"{place}{what}", "Remove the character, or the row.")
        if len(value) > LONGEST_TEXT:
            what = f"The text has {len(value):,} characters; a model reads the first few thousand at most."
            self.note("warning", role, f"{place}{what}", "Cut it into several rows.")
        if not value.isascii():
            try:
                value.encode("utf-8")
            except UnicodeEncodeError as error:
                problem = f"{place}Character {error.start + 1} is half a character (a lone surrogate)."
                self.note("error", role, problem, "Write the character in full, or remove it.")
        return str(value)

    def read_optional_text(self, role: str, value: Any) -> str:
        """As `read_text`, for an optional value: "" where it is absent."""
        return "" if is_absent(value) else self.read_text(role, value)


def find_padded(texts: Any, *, may_be_blank: bool) -> list[int] | None:
    """Where white space is around a text of an Arrow array of strings, if `read_text` would find no other fault in any;
    else None. Most texts are not read one by one.

    may_be_blank: whether one can be empty (but not white space alone).
    """
    import numpy as np

    if texts.null_count:
        return None
    _, offsets, content = texts.buffers()
    places = np.frombuffer(offsets, np.int32)[texts.offset : texts.offset + len(texts) + 1]
    lengths = np.diff(places)
    if not may_be_blank and not lengths.all():
        return None
    if not lengths.any():
        return []
    written = np.frombuffer(content, np.uint8)
    if written[places[0] : places[-1]].min() == 0 or lengths.max() > LONGEST_TEXT:  # NUL is the byte 0
        return None
    filled = np.flatnonzero(lengths)
    edges = np.stack((written[places[:-1][filled]], written[places[1:][filled] - 1]))
    # white space, or a character beyond ASCII, which may be white space
    unsure = filled[((edges <= ord(" ")) | (edges >= 0x80)).any(axis=0)]
    stripped = [(len(text), len(text.strip())) for text in texts.take(unsure).to_pylist()]
    if not all(left for _, left in stripped):
        return None
    return [index for index, (whole, left) in zip(unsure.tolist(), stripped, strict=True) if left < whole]


def is_absent(value: Any) -> bool:
    """Whether an optional value is null or blank."""
    return value is None or (isinstance(value, str) and not value.strip())


def name_type(value: Any) -> str:
    """What JSON calls the type of a value, with its article."""
    if isinstance(value, bool):
        return "true or false"
    names = {str: "text", int: "a number", list: "a list", dict: "an object", type(None): "null", bytes: "binary data"}
    return "a number" if isinstance(value, float) else names.get(type(value), f"a {type(value).__name__}")
