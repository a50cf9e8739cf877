"""Kills, damage, full disks: the registry is the old one or the new one, and what had to be done is said."""

from __future__ import annotations

import contextlib
import errno
import os
import random
import shutil
import signal
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, NoReturn

import pytest

from modelforge.errors import DiskFullError, StoreError
from modelforge.store import ModelRecord, RunRecord, Store, files

MakeModel = Callable[..., ModelRecord]
MakeRun = Callable[..., RunRecord]
Beside = Callable[[str], list[Path]]

needs_fork = pytest.mark.skipif(not hasattr(os, "fork"), reason="kills forked writers")


@contextlib.contextmanager
def forked(act: Callable[[int], None]) -> Iterator[tuple[int, int]]:
    """Run act(write end of a pipe) in a child; gives its pid and the read end. The child has ended afterwards."""
    reading, writing = os.pipe()
    pid = os.fork()
    if pid == 0:
        try:
            os.close(reading)
            act(writing)
        finally:
            os._exit(1)
    os.close(writing)
    try:
        yield pid, reading
    finally:
        os.close(reading)
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)


def kill_writers(path: Path, make_model: MakeModel, make_run: MakeRun, times: int) -> None:
    run = Store(path).runs.add(make_run())
    chance = random.Random(0)
    acknowledged: list[str] = []

    def write_for_ever(pipe: int) -> None:
        store = Store(path)
        while True:
            with store.transaction():
                model = store.models.add(make_model())
                store.runs.update(run.id, step=store.runs.get(run.id).step + 1)
            os.write(pipe, model.id.encode() + b"\n")

    for _ in range(times):
        with forked(write_for_ever) as (pid, pipe):
            first = os.read(pipe, 18 + 1)
            time.sleep(chance.random() * 0.02)
            os.kill(pid, signal.SIGKILL)
            told = first
            while more := os.read(pipe, 65536):
                told += more
        acknowledged += told.decode().split()
        store = Store(path)
        assert store.message == ""
        kept = {model.id for model in store.models.all()}
        assert kept.issuperset(acknowledged), "an acknowledged write is gone"
        assert store.runs.get(run.id).step == len(kept), "half of a transaction was written"


@pytest.mark.slow
@needs_fork
def test_killed_writers_lose_nothing_that_was_acknowledged(
    path: Path, make_model: MakeModel, make_run: MakeRun
) -> None:
    kill_writers(path, make_model, make_run, times=20)


@needs_fork
@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_500_killed_writers_lose_nothing_that_was_acknowledged(
    path: Path, make_model: MakeModel, make_run: MakeRun
) -> None:
    kill_writers(path, make_model, make_run, times=500)


def damage_and_open(path: Path, damaged: bytes, backup: bytes | None) -> Store:
    shutil.rmtree(path.parent)
    path.parent.mkdir()
    path.write_bytes(damaged)
    if backup is not None:
        path.with_name("modelforge.json.bak").write_bytes(backup)
    return Store(path)


each_or_few = pytest.mark.parametrize("every", [9, pytest.param(1, marks=pytest.mark.slow)])
"""Every how many places are tried."""


@each_or_few
def test_a_file_cut_off_anywhere_is_set_aside_and_the_backup_loaded(
    path: Path, store: Store, make_model: MakeModel, beside: Beside, every: int
) -> None:
    old = store.models.add(make_model())
    backup = path.read_bytes()
    store.models.add(make_model())
    whole = path.read_bytes()
    for length in range(0, len(whole), every):
        opened = damage_and_open(path, whole[:length], backup)
        assert opened.models.all() == [old]
        (aside,) = beside("*.damaged-*")
        assert aside.read_bytes() == whole[:length]
        assert f"is kept as {aside}. Its backup was loaded" in opened.message
        assert path.read_bytes() == backup


@each_or_few
def test_a_flipped_bit_anywhere_is_noticed_and_never_shows_false_data(
    path: Path, store: Store, make_model: MakeModel, beside: Beside, every: int
) -> None:
    old = store.models.add(make_model())
    backup = path.read_bytes()
    new = store.models.add(make_model())
    whole = path.read_bytes()
    chance = random.Random(0)
    for number in range(0, max(1000, len(whole)), every):
        position = number % len(whole)
        flipped = bytearray(whole)
        flipped[position] ^= 1 << chance.randrange(8)
        opened = damage_and_open(path, bytes(flipped), backup)
        assert opened.message
        if beside("*.damaged-*"):
            assert opened.models.all() == [old]
        else:  # the schema's number became a greater one: all there, but read-only
            assert opened.models.all() == [new, old]
            assert path.read_bytes() == bytes(flipped)


def test_damage_without_a_backup_is_never_silent_and_never_shows_false_data(
    path: Path, store: Store, make_model: MakeModel, beside: Beside
) -> None:
    model = store.models.add(make_model())
    whole = path.read_bytes()
    chance = random.Random(0)
    for number in range(300):
        damaged = bytearray(whole)
        damaged[chance.randrange(len(whole))] ^= 1 << chance.randrange(8)
        opened = damage_and_open(path, bytes(damaged if number % 2 else whole[: chance.randrange(len(whole))]), None)
        assert opened.message
        assert opened.models.all() == ([] if beside("*.damaged-*") else [model])  # else it became a newer schema


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"null",
        b"[]",
        b"\x00" * 900,
        b"not json",
        b'{"modelforge":1,"tables":{}}',
        b'{"tables":{"models":{"x":{}}}}',
    ],
)
def test_a_damaged_file_without_backup_starts_empty_and_says_where_the_file_is(
    path: Path, beside: Beside, make_model: MakeModel, content: bytes
) -> None:
    path.parent.mkdir()
    opened = damage_and_open(path, content, None)
    (aside,) = beside("*.damaged-*")
    assert aside.read_bytes() == content
    assert f"is kept as {aside}. There is no backup. The registry starts empty" in opened.message
    model = opened.models.add(make_model())
    assert Store(path).models.all() == [model]
    assert aside.read_bytes() == content


def test_a_damaged_backup_is_set_aside_too(path: Path, beside: Beside) -> None:
    path.parent.mkdir()
    opened = damage_and_open(path, b"bad", b"worse")
    assert sorted(file.read_bytes() for file in beside("*.damaged-*")) == [b"bad", b"worse"]
    assert "Its backup is damaged too" in opened.message
    assert opened.models.count() == 0


def test_a_missing_file_with_a_backup_is_not_an_empty_registry(path: Path, store: Store, make_model: MakeModel) -> None:
    model = store.models.add(make_model())
    store.models.add(make_model())
    path.unlink()
    assert store.models.all() == [model]
    assert Store(path).models.all() == [model]
    assert "was missing. Its backup was loaded: the last change may be missing." in store.message


def test_damage_while_the_app_is_open_is_repaired_at_the_next_access(
    path: Path, store: Store, make_model: MakeModel
) -> None:
    model = store.models.add(make_model())
    store.models.add(make_model())
    path.write_bytes(path.read_bytes()[:-5])
    third = store.models.add(make_model())
    assert store.models.all() == [third, model]
    assert "was damaged" in store.message
    assert Store(path).message == "", "the next one to open finds nothing to repair"


def test_many_that_find_the_damage_at_once_repair_it_once(path: Path, make_model: MakeModel, beside: Beside) -> None:
    store = Store(path)
    model = store.models.add(make_model())
    store.models.add(make_model())
    path.write_bytes(b"damaged")
    with ThreadPoolExecutor(8) as threads:
        stores = list(threads.map(lambda _: Store(path), range(8)))
    assert all(opened.models.all() == [model] for opened in stores)
    assert len(beside("*.damaged-*")) == 1
    assert len([opened for opened in stores if opened.message]) == 1


def test_the_backup_is_the_state_before_the_last_write(path: Path, store: Store, make_model: MakeModel) -> None:
    backup = path.with_name("modelforge.json.bak")
    store.models.add(make_model())
    assert not backup.exists()
    for _ in range(3):
        before = path.read_bytes()
        store.models.add(make_model())
        assert backup.read_bytes() == before


def test_the_backup_is_a_copy_where_there_are_no_links(
    path: Path, store: Store, make_model: MakeModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Path, "hardlink_to", failing(errno.EPERM))
    for _ in range(3):
        before = path.read_bytes() if path.exists() else b""
        store.models.add(make_model())
    assert path.with_name("modelforge.json.bak").read_bytes() == before


def failing(number: int) -> Callable[..., NoReturn]:
    def fail(*_: Any, **__: Any) -> NoReturn:
        raise OSError(number, os.strerror(number))

    return fail


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="has no device that is always full")
@pytest.mark.parametrize(
    "step",
    [(os, "fsync"), (files, "copy_by_link"), (Path, "replace"), (files, "sync_folder")],
    ids=lambda step: step[1],
)
@pytest.mark.parametrize(
    "error", [(errno.ENOSPC, DiskFullError), (errno.EDQUOT, DiskFullError), (errno.EIO, StoreError)], ids=str
)
def test_a_failure_at_any_step_of_a_write_leaves_a_whole_registry(
    store: Store,
    make_model: MakeModel,
    beside: Beside,
    step: tuple[Any, str],
    error: tuple[int, type[Exception]],
) -> None:
    (target, name), (number, kind) = step, error
    model = store.models.add(make_model())
    with pytest.MonkeyPatch.context() as patch, pytest.raises(kind) as caught:
        patch.setattr(target, name, failing(number))
        store.models.update(model.id, name="changed")
    assert isinstance(caught.value.__cause__, OSError)
    assert Store(beside("modelforge.json")[0]).models.all() == store.models.all()
    assert store.models.get(model.id).name == ("changed" if name == "sync_folder" else model.name)
    assert beside("*.tmp") == []
    assert store.models.update(model.id, name="again").name == "again"


def test_a_file_that_cannot_be_read_is_an_error_and_not_damage(path: Path, beside: Beside) -> None:
    path.mkdir(parents=True)
    with pytest.raises(StoreError, match="The registry cannot be read") as caught:
        Store(path)
    assert isinstance(caught.value.__cause__, OSError)
    assert beside("*.damaged-*") == []


def test_a_target_that_somebody_has_open_on_windows_is_waited_for(
    path: Path, store: Store, make_model: MakeModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    refusals = iter([True, True, False, True, False])
    replace = Path.replace

    def sometimes(self: Path, target: Path) -> Path:
        if next(refusals, False):
            raise PermissionError(errno.EACCES, "in use")
        return replace(self, target)

    monkeypatch.setattr(Path, "replace", sometimes)
    monkeypatch.setattr(files, "WINDOWS", True)
    store.models.add(make_model())
    store.models.add(make_model())
    assert Store(path).models.count() == 2


@pytest.mark.skipif(sys.platform == "win32", reason="has no such modes")
def test_a_private_file_stays_private_and_a_linked_one_stays_where_it_is(
    path: Path, tmp_path: Path, make_model: MakeModel
) -> None:
    path.parent.mkdir()
    elsewhere = tmp_path / "other drive.json"
    path.symlink_to(elsewhere)
    store = Store(path)
    store.models.add(make_model())
    elsewhere.chmod(0o600)
    store.models.add(make_model())
    assert path.is_symlink()
    assert elsewhere.stat().st_mode & 0o777 == 0o600
