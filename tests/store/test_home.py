"""The store of the home, as every process opens it."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from modelforge import paths
from modelforge.store import RunRecord, RunState, Store, utc_now
from modelforge.store.home import open_store


def record(run_id: str) -> RunRecord:
    return RunRecord(
        id=run_id, state=RunState.finished, recipe={}, dataset_id="", dataset_name="rows", created=utc_now()
    )


def test_a_record_whose_folder_was_being_deleted_is_gone(home: Path) -> None:
    """As its process was killed between the folder and the record."""
    store = Store(paths.database())
    for run_id in ("run-00000000000a", "run-00000000000b"):
        store.runs.add(record(run_id))
    (home / "runs").mkdir()
    (home / "runs" / ".999999-1-run-00000000000a.deleted").mkdir()
    assert [run.id for run in open_store().runs.all()] == ["run-00000000000b"]
    assert [*(home / "runs").iterdir()] == []


@pytest.mark.skipif(os.name == "nt", reason="no permissions of this kind")
def test_nobody_else_can_read_the_home_once_it_is_open(home: Path) -> None:
    (home / "runs").mkdir(parents=True, mode=0o755)
    home.chmod(0o755)
    open_store()
    assert [path.stat().st_mode & 0o077 for path in (home, home / "runs")] == [0, 0]
