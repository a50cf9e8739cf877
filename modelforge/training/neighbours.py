"""Gives a core to whatever else computes on the machine, for as long as it does.

Threads of a matrix product wait for the slowest of them: where another process has half of one core, all get half as
much done, and two trainings side by side come to a standstill. With one thread fewer, both have cores of their own.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import psutil
import torch
from transformers import TrainerCallback

LOOK_SECONDS = 2.0
LOOKS = 2
"""So many looks in a row must find the same neighbours: a page that is opened is none. One is enough at first, since it
covers all the time in which the run was prepared, and one that finds fewer of them."""
BUSY_CORE = 0.6
"""The share of a core that counts as all of it."""


@dataclass(frozen=True)
class Used:
    """Seconds of processor time until `now`: of the whole machine, and of this process. What runs at a lower priority
    than ours, as our own planner does, takes next to nothing from us and is not counted."""

    now: float
    machine: float
    own: float

    @classmethod
    def read(cls) -> Used:
        process, machine = psutil.Process(), psutil.cpu_times()
        own = process.cpu_times()
        counted = ("guest", "guest_nice")  # in user and nice already
        low = ("nice",) if process.nice() == 0 else ()
        left_out = sum(getattr(machine, name, 0.0) for name in ("idle", "iowait", *counted, *low))
        return cls(time.monotonic(), sum(machine) - left_out, own.user + own.system)

    def others_since(self, before: Used) -> float:
        """How many cores other processes have kept busy since then."""
        elapsed = self.now - before.now
        return max((self.machine - before.machine) - (self.own - before.own), 0.0) / elapsed if elapsed > 0 else 0.0


def choose_threads(usual: int, cores: int, others: float) -> int:
    """How many threads to compute with beside processes that keep so many cores busy: from one to the usual number."""
    taken = int(others + 1 - BUSY_CORE)
    return max(min(usual, cores - taken), 1)


class NeighbourCallback(TrainerCallback):
    """Between steps, chooses how many threads the next ones compute with."""

    def __init__(self, began: Used) -> None:
        self.usual = torch.get_num_threads()
        self.cores = psutil.cpu_count() or self.usual
        self._used = began
        self._wanted: list[int] = []

    def on_step_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        if time.monotonic() - self._used.now < LOOK_SECONDS:
            return
        used = Used.read()
        wanted = choose_threads(self.usual, self.cores, used.others_since(self._used))
        is_first, threads = not self._wanted, torch.get_num_threads()
        self._used, self._wanted = used, [*self._wanted, wanted][-LOOKS:]
        if wanted > threads or (wanted < threads and (is_first or self._wanted == [wanted] * LOOKS)):
            torch.set_num_threads(wanted)


@contextlib.contextmanager
def shared_processor(trainer: Any, device: str, began: Used) -> Iterator[None]:
    """Let a trainer on a processor compute with as many threads as others leave it. However it ends, torch has as many
    as before: the number is that of the whole process. began: when the run was."""
    callback = NeighbourCallback(began)
    if device == "cpu":
        trainer.add_callback(callback)
    try:
        yield
    finally:
        if torch.get_num_threads() != callback.usual:
            torch.set_num_threads(callback.usual)
