"""Runs as they are read by a process that trains none."""

from __future__ import annotations

import pytest

from modelforge import paths
from modelforge.caller import Caller, acting_as
from modelforge.errors import NotFoundError
from modelforge.runs.feed import Feeds
from modelforge.runs.records import RunRecords, this_process
from modelforge.store import RunRecord, RunState, Store, utc_now


@pytest.fixture
def store() -> Store:
    return Store(paths.database())


def add(store: Store, number: int, state: RunState, **more: object) -> RunRecord:
    values = {"recipe": {}, "dataset_id": "", "dataset_name": "rows", "created": utc_now(), **more}
    made = RunRecord(id=f"run-{number:012x}", state=state, **values)  # type: ignore[arg-type]
    store.runs.add(made)
    return made


def write_progress(run_id: str, step: int) -> None:
    folder = paths.make_folder(paths.run_dir(run_id))
    feed = Feeds().of(run_id)
    assert feed.path.parent == folder
    feed.append([{"type": "progress", "time": utc_now(), "run_id": run_id, "step": step, "total_steps": 9}])


def test_a_run_in_progress_is_as_far_as_its_events_say(store: Store) -> None:
    run = add(store, 1, RunState.running, **this_process())
    write_progress(run.id, 4)
    records = RunRecords(store)
    assert records.progress(records.get("run-0")) == (4, 9)


def test_a_run_whose_process_is_gone_is_interrupted_where_it_was(store: Store) -> None:
    lost = add(store, 1, RunState.running, pid=2**22 + 1, process_started=1.0)
    here = add(store, 2, RunState.queued, **this_process())
    write_progress(lost.id, 4)
    states = {run.id: (run.state, run.step) for run in RunRecords(store).all()}
    assert states == {lost.id: (RunState.interrupted, 4), here.id: (RunState.queued, 0)}


def test_a_feed_is_the_same_until_it_is_forgotten() -> None:
    feeds = Feeds()
    first = feeds.of("run-000000000001")
    assert feeds.of("run-000000000001") is first
    feeds.forget("run-000000000001")
    assert feeds.of("run-000000000001") is not first


def test_nobody_reads_the_events_of_another_persons_run(store: Store) -> None:
    run = add(store, 1, RunState.finished, owner="anna")
    with acting_as(Caller("bert", "bert", is_owner=False, is_local=False)), pytest.raises(NotFoundError):
        RunRecords(store).feed(run.id)
