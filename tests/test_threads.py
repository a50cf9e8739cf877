"""Threads that wait do not take the processor from others: what the app says before torch loads."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

NAMES = ("OMP_WAIT_POLICY", "GOMP_SPINCOUNT", "KMP_BLOCKTIME")
TELL = f"""
import os
from modelforge.threads import share_processor
share_processor()
print([os.environ.get(name) for name in {NAMES}])
"""


@pytest.mark.parametrize(
    ("chosen", "expected"),
    [
        ({}, [None, "1000", "1"]),
        ({"GOMP_SPINCOUNT": "7"}, [None, "7", "1"]),
        ({"OMP_WAIT_POLICY": "ACTIVE"}, ["ACTIVE", None, None]),
    ],
)
def test_openmp_is_told_unless_somebody_has(chosen: dict[str, str], expected: list[str | None]) -> None:
    clean = {name: value for name, value in os.environ.items() if name not in NAMES}
    command = [sys.executable, "-c", TELL]
    done = subprocess.run(command, env={**clean, **chosen}, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == str(expected)
