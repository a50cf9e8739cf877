"""Transactions, threads and processes: nothing is lost, nobody sees half of a change."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

import modelforge
from modelforge.errors import StoreError
from modelforge.store import ModelRecord, RunRecord, Store, lock

MakeModel = Callable[..., ModelRecord]
MakeRun = Callable[..., RunRecord]
WRITER = Path(__file__).with_name("writer.py")


def test_an_exception_undoes_the_whole_transaction(path: Path, store: Store, make_model: MakeModel) -> None:
    kept = store.models.add(make_model(name="kept"))
    before = path.read_bytes()
    with pytest.raises(KeyboardInterrupt), store.transaction():
        store.models.update(kept.id, name="changed")
        with store.transaction():
            store.models.add(make_model())
        raise KeyboardInterrupt
    assert store.models.all() == [kept]
    assert path.read_bytes() == before


def test_a_transaction_is_written_once_and_one_without_changes_not_at_all(
    path: Path, store: Store, make_model: MakeModel
) -> None:
    with store.transaction():
        assert store.models.count() == 0
    assert not path.exists()
    with store.transaction():
        first = store.models.add(make_model())
        assert not path.exists()
        with store.transaction():
            store.models.update(first.id, name="x")
        assert not path.exists()
    inode = path.stat().st_ino
    with store.transaction():
        store.models.get(first.id)
    assert path.stat().st_ino == inode


def test_other_threads_read_the_committed_state_while_a_transaction_is_open(
    store: Store, make_model: MakeModel
) -> None:
    model = store.models.add(make_model(name="before"))

    def read() -> tuple[str, list[str]]:
        return store.models.get(model.id).name, [listed.name for listed in store.models.all()]

    with ThreadPoolExecutor(1) as other, store.transaction():
        store.models.update(model.id, name="after")
        assert read() == ("after", ["after"])
        assert other.submit(read).result(10) == ("before", ["before"])
    assert read() == ("after", ["after"])


def test_other_threads_and_stores_wait_for_a_transaction_to_end(path: Path, store: Store, make_run: MakeRun) -> None:
    run = store.runs.add(make_run())

    def count_up(opened: Store) -> None:
        with opened.transaction():
            opened.runs.update(run.id, step=opened.runs.get(run.id).step + 1)

    with ThreadPoolExecutor(2) as others:
        with store.transaction():
            step = store.runs.get(run.id).step
            waiting = [others.submit(count_up, opened) for opened in (store, Store(path))]
            assert not any(future.done() for future in waiting)
            store.runs.update(run.id, step=step + 1)
        for future in waiting:
            future.result(30)
    assert store.runs.get(run.id).step == 3


def test_a_lock_that_never_comes_is_an_error_that_says_so(
    path: Path, store: Store, make_model: MakeModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lock, "WAIT_SECONDS", 0.05)
    with (
        ThreadPoolExecutor(1) as other,
        store.transaction(),
        pytest.raises(StoreError, match="Another ModelForge has kept the registry locked"),
    ):
        other.submit(Store(path).models.add, make_model()).result(30)
    store.models.add(make_model())  # the lock is free again


def test_readers_never_see_half_of_a_transaction(path: Path, make_model: MakeModel) -> None:
    done = threading.Event()

    def read(opened: Store) -> int:
        last = 0
        while not done.is_set():
            names = [model.name for model in opened.models.all()]
            assert len(names) == len(set(names)) * 2 >= last, "a pair was torn, or time ran backwards"
            last = len(names)
        return last

    shared = Store(path)
    with ThreadPoolExecutor(4) as readers:
        reading = [readers.submit(read, opened) for opened in (shared, shared, Store(path), Store(path))]
        try:
            for number in range(60):
                with shared.transaction():
                    shared.models.add(make_model(name=f"pair {number}"))
                    shared.models.add(make_model(name=f"pair {number}"))
        finally:
            done.set()
        for future in reading:
            future.result(30)
    assert Store(path).models.count() == 120


def test_what_another_process_wrote_is_seen_at_once(path: Path, store: Store, make_model: MakeModel) -> None:
    other = Store(path)
    for number in range(50):  # short enough that the clock of the file system does not tick between two writes
        model = store.models.add(make_model(name=f"{number:02}"))
        assert other.models.get(model.id) == model
        other.models.update(model.id, name=f"{number + 1:02}")
        assert store.models.get(model.id).name == f"{number + 1:02}"
        assert store.models.all() == other.models.all()


def test_a_write_that_leaves_inode_time_and_size_as_they_were_is_seen(
    path: Path, store: Store, make_model: MakeModel
) -> None:
    model = store.models.add(make_model(name="a"))
    status, old = path.stat(), path.read_bytes()
    Store(path).models.update(model.id, name="b")
    new = path.read_bytes()
    path.with_name("modelforge.json.bak").rename(path)
    assert store.models.get(model.id).name == "a"
    path.write_bytes(new)  # in place: as if the file system had given the freed inode again
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))
    assert (path.stat().st_ino, path.stat().st_mtime_ns, len(new)) == (status.st_ino, status.st_mtime_ns, len(old))
    assert store.models.get(model.id).name == "b"


def _write_at_once(path: Path, *, processes: int, threads: int, writes: int) -> None:
    environment = os.environ | {"PYTHONPATH": str(Path(modelforge.__file__).parents[1])}
    command = [sys.executable, str(WRITER), str(path), str(threads), str(writes)]
    started = [subprocess.Popen(command, env=environment) for _ in range(processes)]
    assert [process.wait() for process in started] == [0] * processes


def _assert_nothing_is_lost(path: Path, count: int) -> None:
    store = Store(path)
    assert store.message == ""
    assert store.models.count() == count
    assert store.runs.get("run-000000000000").step == count
    names = [model.name for model in store.models.all()]
    assert len(set(names)) == len(names)
    assert [file.name for file in sorted(path.parent.iterdir())] == [
        "modelforge.json",
        "modelforge.json.bak",
        "modelforge.json.lock",
        "modelforge.json.reserve",
    ]


def test_audit_16_eight_threads_in_four_processes_lose_no_record(path: Path, store: Store, make_run: MakeRun) -> None:
    store.runs.add(make_run(id="run-000000000000"))
    _write_at_once(path, processes=4, threads=8, writes=4)
    _assert_nothing_is_lost(path, 4 * 8 * 4)


@pytest.mark.slow
@pytest.mark.timeout(3600)
def test_audit_16_eight_threads_in_four_processes_lose_none_of_8000(
    path: Path, store: Store, make_run: MakeRun
) -> None:
    store.runs.add(make_run(id="run-000000000000"))
    _write_at_once(path, processes=4, threads=8, writes=250)
    _assert_nothing_is_lost(path, 4 * 8 * 250)


def test_audit_09_closing_twice_is_harmless_and_a_closed_store_works_again(
    path: Path, store: Store, make_model: MakeModel
) -> None:
    store.close()
    model = store.models.add(make_model())
    store.close()
    store.close()
    assert store.models.get(model.id) == model
    store.close()
    assert store.models.update(model.id, name="x").name == "x"
    store.close()
    with store.transaction():
        store.close()
        store.models.update(model.id, name="y")
        store.close()
    assert Store(path).models.all() == store.models.all() == [store.models.get(model.id)]
    assert store.models.get(model.id).name == "y"


def test_audit_09_threads_may_close_while_others_write(path: Path, store: Store, make_model: MakeModel) -> None:
    def add_and_close() -> None:
        for _ in range(10):
            store.models.add(make_model())
            store.close()

    with ThreadPoolExecutor(4) as threads:
        for future in [threads.submit(add_and_close) for _ in range(4)]:
            future.result(60)
    assert store.models.count() == Store(path).models.count() == 40


def test_audit_10_many_threads_opening_the_same_file_share_its_state(path: Path, make_model: MakeModel) -> None:
    with ThreadPoolExecutor(16) as threads:
        list(threads.map(lambda _: Store(path).models.add(make_model()), range(32)))
    assert Store(path).models.count() == 32
