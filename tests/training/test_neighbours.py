"""Training leaves a core to processes that keep it busy, and takes it back."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Iterator

import psutil
import pytest
import torch

from modelforge.training import neighbours
from modelforge.training.neighbours import NeighbourCallback, Used, choose_threads, shared_processor


@pytest.mark.parametrize(
    ("usual", "cores", "others", "threads"),
    [
        (2, 2, 0.0, 2),
        (2, 2, 0.5, 2),
        (2, 2, 0.7, 1),
        (2, 2, 1.0, 1),
        (2, 2, 2.0, 1),  # never none
        (8, 8, 2.9, 5),
        (8, 64, 20.0, 8),  # there is room beside them
        (1, 1, 0.0, 1),
    ],
)
def test_threads_are_those_that_have_a_core(usual: int, cores: int, others: float, threads: int) -> None:
    assert choose_threads(usual, cores, others) == threads


def test_what_others_use_is_all_but_our_own() -> None:
    before, after = Used(10.0, 100.0, 30.0), Used(14.0, 107.0, 33.0)
    assert after.others_since(before) == 1.0
    assert before.others_since(before) == 0.0
    assert Used(14.0, 100.0, 31.0).others_since(before) == 0.0  # clocks differ by a tick


@pytest.mark.skipif(sys.platform == "win32", reason="no time of low priority is counted apart there")
def test_a_process_of_low_priority_is_no_neighbour() -> None:
    spin = "import os, time; os.nice(10)\nwhile time.process_time() < 2: sum(range(100_000))"
    before, low_before = Used.read(), psutil.cpu_times()
    subprocess.run([sys.executable, "-c", spin], check=True)
    after, low_after = Used.read(), psutil.cpu_times()
    spent = {name: getattr(low_after, name) - getattr(low_before, name) for name in low_after._fields}
    assert spent.pop("nice") > 1.5
    others = sum(spent[name] for name in spent if name not in {"idle", "iowait", "guest", "guest_nice"})
    assert after.machine - before.machine == pytest.approx(others, abs=0.3)


@pytest.fixture
def threads() -> Iterator[int]:
    before = torch.get_num_threads()
    torch.set_num_threads(max(psutil.cpu_count() or 1, 2))
    yield torch.get_num_threads()
    torch.set_num_threads(before)


class Trainer:
    """As far as it is asked for callbacks."""

    def __init__(self) -> None:
        self.callbacks: list[NeighbourCallback] = []

    def add_callback(self, callback: NeighbourCallback) -> None:
        self.callbacks.append(callback)


def test_a_run_that_ends_by_an_error_leaves_as_many_threads_as_there_were(threads: int) -> None:
    with pytest.raises(RuntimeError), shared_processor(Trainer(), "cpu", Used.read()):
        torch.set_num_threads(1)
        raise RuntimeError
    assert torch.get_num_threads() == threads


def test_other_devices_are_not_looked_after(threads: int) -> None:
    trainer = Trainer()
    with shared_processor(trainer, "cuda", Used.read()):
        assert not trainer.callbacks
    with shared_processor(trainer, "cpu", Used.read()):
        assert len(trainer.callbacks) == 1


def test_a_busy_process_gets_a_core(threads: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(neighbours, "LOOK_SECONDS", 0.2)
    callback = NeighbourCallback(Used.read())
    busy = [subprocess.Popen([sys.executable, "-c", "while True: pass"]) for _ in range(2)]
    try:
        until = time.monotonic() + 60
        while torch.get_num_threads() == threads and time.monotonic() < until:
            callback.on_step_begin(None, None, None)
            time.sleep(0.05)
        assert torch.get_num_threads() < threads
    finally:
        for process in busy:
            process.kill()
            process.wait()


def looked(monkeypatch: pytest.MonkeyPatch, *others: float) -> list[int]:
    """Threads after each look that found so many other cores kept busy, three seconds after the one before."""
    monkeypatch.setattr(neighbours.time, "monotonic", lambda: 1000.0)
    seen = [Used(0.0, 0.0, 0.0)]
    for busy in others:
        seen.append(Used(seen[-1].now + 3, seen[-1].machine + 3 * busy, 0.0))
    after = iter(seen[1:])
    monkeypatch.setattr(Used, "read", classmethod(lambda cls: next(after)))
    callback, found = NeighbourCallback(seen[0]), []
    for _ in others:
        callback.on_step_begin(None, None, None)
        found.append(torch.get_num_threads())
    return found


def test_a_neighbour_from_the_beginning_is_seen_before_the_first_step(
    threads: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert looked(monkeypatch, float(threads), 0.0) == [1, threads]


def test_one_look_later_takes_no_core_away(threads: int, monkeypatch: pytest.MonkeyPatch) -> None:
    busy = float(threads)
    assert looked(monkeypatch, 0.0, busy, 0.0, busy, busy, 0.0) == [threads, threads, threads, threads, 1, threads]


def test_a_beginning_that_was_too_short_to_tell_counts_for_nothing(threads: int) -> None:
    callback = NeighbourCallback(Used.read())
    callback.on_step_begin(None, None, None)
    assert torch.get_num_threads() == threads
