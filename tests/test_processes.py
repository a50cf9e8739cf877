"""Processes of our own run nothing that lies in the folder in which the app was started."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from modelforge.processes import python_command

PACKAGE = Path(__file__).parents[1] / "modelforge"
CHILDREN = ("modelforge.planner.service", "modelforge.planner.calibration", "pip")


@pytest.mark.parametrize("module", CHILDREN)
def test_modules_in_the_working_folder_are_not_run(module: str, tmp_path: Path) -> None:
    ran = tmp_path / "ran"
    for name in ("yaml", "json", "psutil", "pydantic", "torch", "pip", "modelforge", "sitecustomize"):
        (tmp_path / f"{name}.py").write_text(f"open({str(ran)!r}, 'w')")
    subprocess.run([sys.executable, "-m", module], cwd=tmp_path, input=b"", capture_output=True, check=False)
    assert ran.exists()  # what Python does by itself
    ran.unlink()
    done = subprocess.run(python_command(module, "0"), cwd=tmp_path, input=b"{}", capture_output=True, check=False)
    assert not ran.exists()
    assert b"No module named" not in done.stderr


def test_every_process_is_started_this_way() -> None:
    """What starts Python by itself would look in the working folder again."""
    for file in PACKAGE.rglob("*.py"):
        assert file.name == "processes.py" or "sys.executable" not in file.read_text(encoding="utf-8"), file
