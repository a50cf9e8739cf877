"""Every error says what, where and how to fix it; the tree in the docstring is the tree there is."""

from __future__ import annotations

import re

import pytest

from modelforge import errors
from modelforge.errors import DiskFullError, ModelForgeError

TREE = [error for error in vars(errors).values() if isinstance(error, type) and issubclass(error, ModelForgeError)]


def test_tree_in_the_docstring_is_complete() -> None:
    drawn = re.findall(r"[├└]── (\w+)", errors.__doc__ or "")
    assert drawn == [error.__name__ for error in TREE if error is not ModelForgeError]


def test_audit_12_kinds_are_distinct_words() -> None:
    kinds = [error.kind for error in TREE]
    assert len(set(kinds)) == len(kinds)


@pytest.mark.parametrize("error", [error for error in TREE if error is not DiskFullError])
def test_audit_12_message_is_readable_and_whole(error: type[ModelForgeError]) -> None:
    made = error("It broke.", where="row 3", fix="Mend it.")
    assert (made.what, made.where, made.fix) == ("It broke.", "row 3", "Mend it.")
    assert str(made) == "row 3: It broke. Mend it."
    assert str(error("It broke.")) == "It broke."


def test_audit_17_full_disk_tells_needed_and_free() -> None:
    error = DiskFullError(needed=2_500_000_000, free=1_000_000, where="/home")
    assert (error.needed, error.free) == (2_500_000_000, 1_000_000)
    assert "2.50 GB needed, 0.00 GB free" in str(error)
    assert "MODELFORGE_HOME" in error.fix
