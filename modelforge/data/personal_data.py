"""Finds text that looks like personal data: e-mail addresses, card numbers, secret keys."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from modelforge.data.row_cache import view_text
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
# Without word boundaries, since rows can be searched as JSON, where a word may follow the letter of "\n". RE2 reads an
# address with unbounded repeats in the same time, and takes a hundredth of the time to prepare for them.
_ADDRESS = r"[\w.+-]@(?:[\w-]+\.)+[A-Za-z]{2}"
_ANY = "|".join((KINDS | {"an e-mail address": _ADDRESS}).values()).replace(r"\b", "")
_PREFIXES = (b"sk-", b"hf_", b"AKI", b"---", *(b"h%c_" % end for end in b"pousr"), *(b"x%c-" % end for end in b"abprs"))
"""Three bytes that each secret key has; the last one is rare in text."""
_MARKS = {"an e-mail address": ("@",), "a secret key": tuple(prefix.decode() for prefix in _PREFIXES)}
"""What one of each kind has; `re` takes far longer to find that a key is nowhere."""
_FEWEST_DIGITS = 13  # of a card number


def find_suspects(columns: Sequence[Any]) -> list[int]:
    """Indices of rows that may contain personal data, given arrays of their texts; `contains` confirms them."""
    marked = [_find_marked(column) for column in columns]
    rows = np.concatenate(marked)
    if not len(rows):
        return []
    texts = pa.concat_arrays([column.take(pa.array(some)) for column, some in zip(columns, marked, strict=True)])
    # Arrow's RE2 searches for all patterns at once, three times as fast as `re` for one.
    matched = pc.match_substring_regex(texts, _ANY).to_numpy(zero_copy_only=False)
    return list(np.unique(rows[matched]).tolist())


def _find_marked(texts: Any) -> NDArray[np.int64]:
    """Indices of texts that have what every match of `_ANY` has: an @, the prefix of a key, or 13 digits in 25 bytes.
    To find them takes a third of the time of RE2."""
    offsets, content = view_text(texts)
    is_rare = content - ord("0") <= 9
    for last in {ord("@"), *(prefix[-1] for prefix in _PREFIXES)}:
        is_rare |= content == last
    rare = np.flatnonzero(is_rare)
    is_digit = content[rare] - ord("0") <= 9
    digits, ends = rare[is_digit], rare[~is_digit]
    gap = _FEWEST_DIGITS - 1
    numbers = digits[:-gap][digits[gap:] - digits[:-gap] <= 2 * gap]
    three = content[ends].astype(np.int32)
    marked = three == ord("@")
    for before in (1, 2):
        three |= content[np.maximum(ends - before, 0)].astype(np.int32) << (8 * before)
    marked |= np.isin(three, [int.from_bytes(prefix) for prefix in _PREFIXES])
    return np.unique(np.searchsorted(offsets, np.concatenate((numbers, ends[marked])), "right") - 1)


def contains(kind: str, value: Any) -> bool:
    """Whether a value of a row, text or turns of a chat, contains this kind of personal data."""
    confirm, marks = _CONFIRM.get(kind, bool), _MARKS.get(kind, ("",))
    texts = [text for text in map(str, walk_values(value)) if any(mark in text for mark in marks)]
    return any(confirm(match.group()) for text in texts for match in find_matches(_PATTERNS[kind], text))


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
