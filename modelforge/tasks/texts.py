"""Reads one value that should be text: usable as it is, fixed as far as the user allowed, or a fault that says why."""

from __future__ import annotations

from typing import Any

from modelforge.tasks.base import Fault, Repairs, name_type

LONGEST_TEXT = 1_000_000  # characters; more than any model reads, so most of it would be cut off

STRIP = "strip"
NUMBERS_TO_TEXT = "numbers_to_text"


def read_text(role: str, value: Any, repairs: Repairs, faults: list[Fault], *, place: str = "") -> str:
    """The text of a value; what is wrong with it is added to `faults` (an error where it cannot be used).

    place: what the value is inside its column, such as "Turn 3 (user): ".
    """
    if not isinstance(value, str):
        if not isinstance(value, int | float) or isinstance(value, bool):
            faults.append(_describe_no_text(role, value, place))
            return ""
        problem = f"{place}This is a number where text belongs."
        fix = "Put it in quotes, choose another column, or allow numbers to be converted to text."
        faults.append(Fault("error", role, problem, fix, NUMBERS_TO_TEXT, NUMBERS_TO_TEXT in repairs))
        return str(value)
    stripped = value.strip()
    if not stripped:
        faults.append(Fault("error", role, f"{place}The text is blank.", "Fill it in, or remove the row."))
        return ""
    if len(stripped) != len(value):
        faults.append(Fault("hint", role, f"{place}There is white space around the text.", "", STRIP, STRIP in repairs))
        value = stripped if STRIP in repairs else value
    if "\0" in value:
        problem = f"{place}Character {value.index(chr(0)) + 1} is NUL, which text cannot have; the file may be damaged."
        faults.append(Fault("error", role, problem, "Remove the character, or the row."))
    if len(value) > LONGEST_TEXT:
        problem = f"{place}The text has {len(value):,} characters; a model reads the first few thousand at most."
        faults.append(Fault("warning", role, problem, "Cut it into several rows."))
    if not value.isascii():
        try:
            value.encode("utf-8")
        except UnicodeEncodeError as error:
            problem = f"{place}Character {error.start + 1} is half a character (a lone surrogate)."
            faults.append(Fault("error", role, problem, "Write the character in full, or remove it."))
    return str(value)


def read_optional_text(role: str, value: Any, repairs: Repairs, faults: list[Fault]) -> str:
    """As `read_text`, for an optional value: "" where it is absent."""
    return "" if is_absent(value) else read_text(role, value, repairs, faults)


def are_clean(texts: Any, *, may_be_blank: bool) -> bool:
    """Whether `read_text` would find no fault in any text of an Arrow array of strings; not one by one.

    may_be_blank: whether one can be empty (but not white space alone).
    """
    import numpy as np

    if texts.null_count:
        return False
    _, offsets, content = texts.buffers()
    places = np.frombuffer(offsets, np.int32)[texts.offset : texts.offset + len(texts) + 1]
    lengths = np.diff(places)
    if not may_be_blank and not lengths.all():
        return False
    if not lengths.any():
        return True
    written = np.frombuffer(content, np.uint8)
    if written[places[0] : places[-1]].min() == 0 or lengths.max() > LONGEST_TEXT:  # NUL is the byte 0
        return False
    filled = np.flatnonzero(lengths)
    edges = np.stack((written[places[:-1][filled]], written[places[1:][filled] - 1]))
    if (edges <= ord(" ")).any():
        return False
    beyond = filled[(edges >= 0x80).any(axis=0)]  # there is white space beyond ASCII
    return all(len(text) == len(text.strip()) for text in texts.take(beyond).to_pylist())


def is_absent(value: Any) -> bool:
    """Whether an optional value is null or blank."""
    return value is None or (isinstance(value, str) and not value.strip())


def is_usable(faults: list[Fault]) -> bool:
    """Whether a row with these faults can be trained on."""
    return not any(fault.severity == "error" and not fault.mended for fault in faults)


def _describe_no_text(role: str, value: Any, place: str) -> Fault:
    if value is None:
        return Fault("error", role, f"{place}There is no value (null).", "Fill it in, or remove the row.")
    problem = f"{place}This is {name_type(value)} where text belongs."
    return Fault("error", role, problem, "Put it in quotes, or choose another column.")
