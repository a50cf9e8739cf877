"""Decodes one JSON value from text more strictly than the standard decoder: duplicate keys, NaN and too long numbers
are reported, and decoding continues after them.
"""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Callable
from typing import Any

from modelforge.data.rows import WrittenNumber

# Keys in single quotes or without quotes are broken JSON; "{name} wrote:" is plain text.
_OPENS_OBJECT = re.compile(r"""\{\s*(["'}]|\w+\s*:|\Z)""")
# The beginning of a word, a number or an escape that is cut off at the end of a file.
_CUT = re.compile(r"t|tr|tru|f|fa|fal|fals|n|nu|nul|-|\.|[eE][+-]?|\\?u[0-9a-fA-F]{0,3}")


class Decoder:
    """Decodes one value at a time. flaws: why the last value cannot be used, each as (key or None, problem, fix).

    exact_numbers: numbers are decoded as `WrittenNumber`. All methods raise json.JSONDecodeError and RecursionError.
    """

    def __init__(self, exact_numbers: bool) -> None:
        self.flaws: list[tuple[str | None, str, str]] = []
        self._exact = self._make(WrittenNumber)
        self._usual = self._exact if exact_numbers else self._make(None)

    def decode(self, text: str, position: int = 0) -> tuple[Any, int]:
        """The value that begins at a position, and where it ends."""
        value, end = self._run(lambda decoder: decoder.raw_decode(text, position))
        return value, end

    def decode_all(self, text: str) -> Any:
        """The value of the whole text except white space around it."""
        return self._run(lambda decoder: decoder.decode(text))

    def _run(self, decode: Callable[[json.JSONDecoder], Any]) -> Any:
        self.flaws.clear()
        try:
            return decode(self._usual)
        except json.JSONDecodeError:
            raise
        except ValueError:  # Python's limit for int(): 4,300 digits
            self.flaws.clear()
            decoded = decode(self._exact)
            self.flaws.insert(0, (None, "A number in this row is too long.", "Write it as text, in quotes."))
            return decoded

    def _make(self, number: type[WrittenNumber] | None) -> json.JSONDecoder:
        return json.JSONDecoder(
            object_pairs_hook=self._build_object,
            parse_constant=lambda name: self.flaws.append((None, f"{name} is not JSON.", "Write null or a number.")),
            parse_int=number,
            parse_float=number,
        )

    def _build_object(self, pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        built = dict(pairs)
        if len(built) != len(pairs):
            [(key, _)] = Counter(key for key, _ in pairs).most_common(1)
            self.flaws.append((key, f"The key {key!r} occurs twice in this row.", "Keep one of them."))
        return built


def describe_json_error(error: json.JSONDecodeError | RecursionError, *, column: int | None = None) -> str:
    """column: the character of the line, if the error does not count from its beginning."""
    if isinstance(error, RecursionError):
        return "This is nested too deeply."
    what = f"{error.msg[0].lower()}{error.msg[1:]}".removesuffix(" at")  # "Unterminated string starting at"
    return f"This is not valid JSON: {what} at character {column or error.colno} of the line."


def ends_early(error: json.JSONDecodeError) -> bool:
    """Whether the text is valid JSON that is cut off."""
    rest = error.doc[error.pos : error.pos + 8].rstrip()
    return error.msg.startswith("Unterminated string") or not rest or bool(_CUT.fullmatch(rest))


def opens_object(text: str) -> bool:
    """Whether a text that begins like this must be meant as a JSON object."""
    return bool(_OPENS_OBJECT.match(text))
