"""A planner does not outlive the process that it plans for."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import psutil
import pytest

from tests.machine import base, measured, probed

__all__ = ["base", "measured", "probed"]

ASK_AND_WAIT = """
import sys, time
from modelforge.planner.estimate import Rows
from modelforge.planner.service import SERVICE
from modelforge.recipe import Recipe
assert SERVICE.ask(Recipe.build({"base_model": sys.argv[1]}), Rows())
print(SERVICE._process.pid, flush=True)
time.sleep(600)
"""


@pytest.mark.slow
def test_planner_of_a_killed_process_ends(probed: Path, base: Path) -> None:
    command = [sys.executable, "-c", ASK_AND_WAIT, str(base)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout
        planner = psutil.Process(int(process.stdout.readline()))
        assert planner.is_running() and "modelforge.planner.service" in planner.cmdline()
        process.kill()
    planner.wait(60)
    assert not planner.is_running()
