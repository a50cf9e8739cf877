"""Threads that wait do not take the processor from others: what the app says before torch loads."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

NAMES = ("OMP_WAIT_POLICY", "GOMP_SPINCOUNT", "KMP_BLOCKTIME")
TELL = f"""
import os
from modelforge.threads import share_processor
share_processor()
print([os.environ.get(name) for name in {NAMES}])
"""

PROBE = """
import os, time
import torch
from modelforge import hardware
def count():
    return len(os.listdir("/proc/self/task"))
before, until = count(), time.monotonic() + 10
hardware.probe()
while count() > before and time.monotonic() < until:
    time.sleep(0.01)
print(count() - before, hardware.find_probe() is not None)
"""


def without_settings() -> dict[str, str]:
    """The environment of a user who has set none of them; the tests' own process has."""
    return {name: value for name, value in os.environ.items() if name not in NAMES}


@pytest.mark.skipif(sys.platform != "linux", reason="threads are counted as Linux lists them")
def test_measuring_this_machine_leaves_no_thread(tmp_path: Path) -> None:
    """With helpers of two threads, more than there are cores, OpenMP lets all of them sleep at every wait."""
    environment = {**without_settings(), "MODELFORGE_HOME": str(tmp_path)}
    done = subprocess.run([sys.executable, "-c", PROBE], env=environment, capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["0", "True"]


@pytest.mark.parametrize(
    ("chosen", "expected"),
    [
        ({}, [None, "1000", "1"]),
        ({"GOMP_SPINCOUNT": "7"}, [None, "7", "1"]),
        ({"OMP_WAIT_POLICY": "ACTIVE"}, ["ACTIVE", None, None]),
    ],
)
def test_openmp_is_told_unless_somebody_has(chosen: dict[str, str], expected: list[str | None]) -> None:
    command = [sys.executable, "-c", TELL]
    done = subprocess.run(command, env={**without_settings(), **chosen}, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == str(expected)
