"""The header says what this machine has and what the queue does."""

from __future__ import annotations

import json
import os
from typing import Any

import psutil
import pytest

from modelforge import Forge, paths
from modelforge.store import RunRecord, RunState
from modelforge.ui.header import IDLE, show


@pytest.fixture
def forge() -> Forge:
    return Forge()


def add(forge: Forge, number: int, state: RunState) -> RunRecord:
    fixed: dict[str, Any] = {"dataset_id": "dataset-1", "dataset_name": "towns", "recipe": {"name": "Towns"}}
    created = f"2026-11-02T10:00:0{number}Z"
    started = psutil.Process().create_time() - (psutil.boot_time() if psutil.LINUX else 0.0)
    fixed |= {"pid": os.getpid(), "process_started": started}  # so that the run's process is alive
    return forge.store.runs.add(RunRecord(id=f"run-{number:012}", created=created, state=state, **fixed))


def shown(forge: Forge) -> Any:
    return show(forge)[1].value  # type: ignore[attr-defined]


def test_an_idle_app_says_so(forge: Forge) -> None:
    machine, _ = show(forge)
    assert "free of" in str(machine)
    assert shown(forge) == IDLE


def test_interrupted_and_paused_runs_are_counted(forge: Forge) -> None:
    add(forge, 1, RunState.interrupted)
    assert shown(forge) == "1 run to resume"
    add(forge, 2, RunState.paused)
    add(forge, 3, RunState.finished)
    assert shown(forge) == "2 runs to resume"


def test_a_run_in_progress_shows_its_state_then_its_share(forge: Forge) -> None:
    run = add(forge, 1, RunState.queued)
    assert shown(forge) == "Run: queued"
    forge.store.runs.update(run.id, state=RunState.running)
    events = paths.run_dir(run.id) / "events.jsonl"
    events.parent.mkdir(parents=True)
    assert shown(forge) == "Training"
    event = {"type": "progress", "time": run.created, "run_id": run.id, "step": 3, "total_steps": 10}
    events.write_text(json.dumps(event) + "\n", encoding="utf-8")
    assert shown(forge) == "Training 30%"
