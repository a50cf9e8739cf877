"""Finds text that looks like personal data: e-mail addresses, card numbers, secret keys."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

from modelforge.data.rows import walk_values
from modelforge.text import find_matches

KINDS: dict[str, str] = {
    "an e-mail address": r"[\w.+-]@(?:[\w-]{1,63}\.){1,10}[A-Za-z]{2,63}",
    "a card number": r"\b\d(?:[ -]?\d){12,18}\b",
    "a secret key": r"\bsk-[\w-]{20}|\bhf_[A-Za-z0-9]{30}|\bgh[pousr]_[A-Za-z0-9]{30}|\bAKIA[A-Z0-9]{16}\b"
    r"|\bxox[abprs]-[\w-]{10}|-----BEGIN [A-Z ]{0,40}PRIVATE KEY",
}
"""kind -> pattern, in the syntax that Python and RE2 share. Every repeat is bounded, or `re` could take quadratic time;
of an address only the last character before the @ is searched for."""

_PATTERNS = {kind: re.compile(pattern) for kind, pattern in KINDS.items()}
# Without word boundaries, since rows can be searched as JSON, where a word may follow the letter of "\n".
_ANY = "|".join(KINDS.values()).replace(r"\b", "")


def find_suspects(columns: Sequence[Any]) -> list[int]:
    """Indices of rows that may contain personal data, given arrays of their texts; `contains` confirms them."""
    import pyarrow.compute as pc

    # Arrow's RE2 searches for all patterns at once, three times as fast as `re` for one.
    suspects = [pc.match_substring_regex(column, _ANY) for column in columns if column.nbytes]
    return sorted({index for found in suspects for index in pc.indices_nonzero(found).to_pylist()})


def contains(kind: str, value: Any) -> bool:
    """Whether a value of a row, text or turns of a chat, contains this kind of personal data."""
    confirm = _CONFIRM.get(kind, bool)
    return any(
        confirm(match.group()) for text in walk_values(value) for match in find_matches(_PATTERNS[kind], str(text))
    )


def _is_card(written: str) -> bool:
    """Luhn's check (ISO/IEC 7812-1, annex B), which one in ten other numbers passes; cards begin with 2 to 6."""
    digits = [int(digit) for digit in written if digit.isascii() and digit.isdigit()]
    if not 13 <= len(digits) <= 19 or not 2 <= digits[0] <= 6 or len(set(digits)) < 2:
        return False
    doubled = [sum(divmod(2 * digit, 10)) for digit in digits[-2::-2]]
    return (sum(digits[-1::-2]) + sum(doubled)) % 10 == 0


def _is_address(written: str) -> bool:
    """Whether it can be real: not under the top-level domains reserved for examples (RFC 2606)."""
    return not written.lower().endswith((".example", ".test", ".invalid"))


_CONFIRM = {"a card number": _is_card, "an e-mail address": _is_address}
