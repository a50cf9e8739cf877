"""A kill, a full disk or a broken one while something is written: the old state or the new one, and nothing half."""

from __future__ import annotations

import errno
import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from modelforge import Forge
from modelforge.errors import ModelForgeError
from tests.crash import writers
from tests.crash.writers import WRITERS, Writer
from tests.store.faults import FAULTS, killed_at

MakeHome = Callable[[object], Path]
_UNFINISHED = (".partial", ".deleted", ".tmp")


@pytest.fixture(scope="module", autouse=True)
def one_thread() -> Iterator[None]:
    """What is forked must not have threads: they would be missing there."""
    import torch

    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture(params=WRITERS.values(), ids=WRITERS)
def writer(request: pytest.FixtureRequest) -> Writer:
    chosen: Writer = request.param
    return chosen


@pytest.fixture
def make_home(writer: Writer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> MakeHome:
    """make_home(name) -> a home of that name as it is before anything is done."""
    template, once = tmp_path / "template" / "home", tmp_path / "once" / "home"
    template.parent.mkdir()
    once.parent.mkdir()
    monkeypatch.setenv("MODELFORGE_HOME", str(template))
    writers.parts(), writers.trainer()
    writer.prepare()
    monkeypatch.setenv("MODELFORGE_HOME", str(once))
    if template.exists():
        shutil.copytree(template, once)
    writer.act()  # what is made once, such as a base model, is beside the home
    assert writer.look() == writer.after

    def make(name: object) -> Path:
        home = tmp_path / str(name) / "home"
        shutil.copytree(once.parent, home.parent, ignore=shutil.ignore_patterns("home"))
        if template.exists():
            shutil.copytree(template, home)
        else:
            home.mkdir()
        monkeypatch.setenv("MODELFORGE_HOME", str(home))
        return home

    return make


def unfinished(home: Path) -> list[str]:
    return sorted(str(path.relative_to(home)) for path in home.rglob("*") if path.name.endswith(_UNFINISHED))


def choose_steps(writer: Writer, make_home: MakeHome, most: int) -> list[int]:
    """Numbers of calls to strike at, at most so many, evenly spaced; the last is one that does not come any more."""
    with FAULTS.armed(make_home("count"), 0, nothing_strikes):
        writer.act()
    calls = FAULTS.count
    assert calls > 2, "the calls are no longer seen"
    return sorted({1 + calls * part // min(most, calls) for part in range(min(most, calls) + 1)})


def nothing_strikes() -> None:
    raise AssertionError


SOME_OR_ALL = pytest.mark.parametrize("most", [3, pytest.param(10_000, marks=pytest.mark.slow)], ids=["some", "all"])
FAULTS_OF_DISKS = {
    "ENOSPC lasting": (errno.ENOSPC, True),
    "EIO once": (errno.EIO, False),
    "ENOSPC once": (errno.ENOSPC, False),
    "EIO lasting": (errno.EIO, True),
}


@pytest.mark.skipif(not hasattr(os, "fork"), reason="kills forked writers")
@SOME_OR_ALL
def test_kill_at_any_call_leaves_the_old_state_or_the_new_and_the_next_start_cleans_up(
    writer: Writer, make_home: MakeHome, most: int
) -> None:
    for step in choose_steps(writer, make_home, most):
        home = make_home(step)
        done = killed_at(step, home, writer.act)
        Forge()
        assert unfinished(home) == [], step
        found = writer.look()
        assert found in ([writer.after] if done else [writer.before, writer.after]), step
        assert not writer.deletes or writers.records() == len(found), step
        writer.act()
        assert writer.look() == writer.again(found), step
        assert not writer.deletes or writers.records() == 0
        assert unfinished(home) == []
    assert done


@SOME_OR_ALL
@pytest.mark.parametrize(
    "fault",
    [*list(FAULTS_OF_DISKS)[:2], *(pytest.param(name, marks=pytest.mark.slow) for name in list(FAULTS_OF_DISKS)[2:])],
)
def test_error_at_any_call_leaves_the_old_state_or_the_new(
    writer: Writer, make_home: MakeHome, fault: str, most: int
) -> None:
    number, lasting = FAULTS_OF_DISKS[fault]

    def fail() -> None:
        raise OSError(number, os.strerror(number))

    for step in choose_steps(writer, make_home, most):
        home = make_home(step)
        error = None
        with FAULTS.armed(home, step, fail, lasting=lasting):
            try:
                writer.act()
            except (OSError, ModelForgeError) as caught:
                error = type(caught)  # without its traceback, which keeps what was being written alive
        found = writer.look()
        assert found in ([writer.after] if not error and not writer.is_quiet else [writer.before, writer.after]), step
        halves = writer.deletes and lasting and number == errno.ENOSPC
        assert halves or not writer.deletes or writers.records() == len(found), step
        if lasting:  # once: it may be the removal that failed, which is made good at the next start
            assert unfinished(home) == [], step
        writer.act()
        assert writer.look() == writer.again(found), step
        assert not writer.deletes or writers.records() == 0
