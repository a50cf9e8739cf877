"""A window of a few megabytes that moves over a JSON text of any size, decodes values and tracks their lines."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Any, TextIO

from modelforge.data.limits import LONGEST_ROW, NO_LIMITS, Limits
from modelforge.data.readers.json_values import Decoder, describe_json_error, ends_early

_WINDOW_CHARACTERS = 4 << 20
_BLANK = re.compile(r"[ \t\n]*")
# An error this close to the end of the window can come from a number, a word or an escape that is cut by it;
# "\ud83d\ude00" is the longest of these.
_TAIL_CHARACTERS = 16


class BrokenJson(Exception):  # noqa: N818 - becomes a Problem
    """problem: one sentence. line: of the file, from 1. offset: in the window, where to continue."""

    def __init__(self, problem: str, line: int, offset: int, fix: str = "") -> None:
        super().__init__(problem)
        self.problem = problem
        self.line = line
        self.offset = offset
        self.fix = fix


class JsonWindow:
    """text: the content of the window; its lines end in ``\\n``. position: the next character to read. start: where the
    last value began."""

    def __init__(self, file: TextIO, decoder: Decoder, limits: Limits = NO_LIMITS) -> None:
        self.text = ""
        self.position = 0
        self.start = 0
        self._file = file
        self._limits = limits
        self._elements = 0
        self._decoder = decoder
        self._ended = False
        self._first_line = 1  # the line of text[0], and how many characters of that line were dropped
        self._first_column = 0
        self._counted = (0, 1)  # an offset and its line, from which counting continues

    def peek(self) -> str:
        """The next non-blank character, "" at the end of the file."""
        while True:
            match = _BLANK.match(self.text, self.position)
            self.position = match.end() if match else self.position
            if self.position < len(self.text):
                return self.text[self.position]
            if not self._refill():
                return ""

    def step(self) -> None:
        """Skip the character that `peek` returned."""
        self.position += 1

    def decode(self) -> Any:
        """The value that begins here. Raises BrokenJson."""
        while True:
            try:
                value, end = self._decoder.decode(self.text, self.position)
            except json.JSONDecodeError as error:
                near_end = error.pos >= len(self.text) - _TAIL_CHARACTERS
                if (near_end or error.msg.startswith("Unterminated string")) and self._refill():
                    continue
                raise self._describe(error) from error
            except RecursionError as error:
                raise BrokenJson(describe_json_error(error), self.line_of(self.position), self.position) from error
            # A number at the end of the window can continue after it.
            if end >= len(self.text) - _TAIL_CHARACTERS and self._refill():
                continue
            if end - self.position > LONGEST_ROW:
                raise self._describe_length()
            self.start, self.position = self.position, end
            return value

    def count_element(self) -> None:
        """Count an element or a key of a list or object that is walked. Raises DatasetError if there are too many."""
        self._elements += 1
        if self._elements > self._limits.rows:
            self._limits.check("", rows=self._elements)

    def fail(self, what: str) -> BrokenJson:
        """The error that something else is expected here."""
        return self._describe(json.JSONDecodeError(what, self.text, self.position))

    def seek_object(self, offset: int) -> bool:
        """Move to the next object that begins a line after an offset; False if there is none."""
        self.position = max(self.position, min(offset, len(self.text)) - 1)
        while True:
            found = self.text.find("\n{", self.position)
            if found >= 0:
                self.position = found + 1
                return True
            self.position = max(self.position, len(self.text) - 1)
            if not self._refill():
                self.position = len(self.text)
                return False

    def line_of(self, offset: int) -> int:
        """The line of an offset in the window; fast for rising offsets."""
        counted, line = self._counted
        if offset < counted:
            counted, line = 0, self._first_line
        line += self.text.count("\n", counted, offset)
        self._counted = (offset, line)
        return line

    def _refill(self) -> bool:
        """Drop what was read and read more text, twice as much if one value fills the window. Returns False and changes
        nothing at the end of the file."""
        if self._ended:
            return False
        line, kept = self.line_of(self.position), len(self.text) - self.position
        if kept > LONGEST_ROW:
            raise self._describe_length()
        more = self._file.read(max(_WINDOW_CHARACTERS, min(kept, LONGEST_ROW - kept)))
        if not more:
            self._ended = True
            return False
        last_break = self.text.rfind("\n", 0, self.position)
        self._first_column = self.position - last_break - 1 + (self._first_column if last_break < 0 else 0)
        self.text = self.text[self.position :] + more
        self.position, self._first_line, self._counted = 0, line, (0, line)
        return True

    def _describe_length(self) -> BrokenJson:
        problem = f"This row has more than {LONGEST_ROW:,} characters, or a bracket or a quote in it is never closed."
        return BrokenJson(problem, self.line_of(self.position), self.position)

    def _describe(self, error: json.JSONDecodeError) -> BrokenJson:
        line = self._first_line + error.lineno - 1
        column = error.colno + (self._first_column if error.lineno == 1 else 0)
        problem = describe_json_error(error, column=column)
        if self._ended and ends_early(error):
            return BrokenJson(
                f"The file seems to be cut off here. {problem}", line, error.pos, "Download the whole file again."
            )
        return BrokenJson(problem, line, error.pos)


def walk(window: JsonWindow) -> Iterator[str]:
    """Each key of the object, or "" for each element of the list, that begins here; the caller moves over its value.

    Raises BrokenJson, DatasetError.
    """
    close = "}" if window.peek() == "{" else "]"
    window.step()
    if window.peek() == close:
        window.step()
        return
    while True:
        window.count_element()
        name = _read_key(window) if close == "}" else ""
        window.peek()
        yield name
        sign = window.peek()
        if sign == close:
            window.step()
            return
        if sign != ",":
            end = "Expecting a comma or the end of the list" if sign else "The list is not closed"
            raise window.fail("Expecting ',' delimiter" if close == "}" else end)
        window.step()


def _read_key(window: JsonWindow) -> str:
    if window.peek() != '"':
        raise window.fail("Expecting property name enclosed in double quotes")
    name = str(window.decode())
    if window.peek() != ":":
        raise window.fail("Expecting ':' delimiter")
    window.step()
    return name
