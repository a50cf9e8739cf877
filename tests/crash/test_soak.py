"""Hours of use: twenty people chat while a model is trained, and nothing piles up.

MODELFORGE_SOAK_MINUTES says how long (default 3; an hour is what is promised).
"""

from __future__ import annotations

import os
import threading
import time
from pathlib import Path

import psutil
import pytest

from modelforge import Forge
from modelforge.models.sampling import Sampling
from modelforge.store import RunState
from tests import tiny
from tests.machine import base, measured, probed

__all__ = ["base", "measured", "probed"]

MINUTES = float(os.environ.get("MODELFORGE_SOAK_MINUTES", "3"))
SESSIONS = 20
GROWTH_BYTES_A_MINUTE = 1_000_000


@pytest.mark.slow
@pytest.mark.timeout(int(MINUTES * 60) + 300)
def test_twenty_chats_beside_training_leave_memory_threads_and_files_as_they_are(
    probed: Path, base: Path, tmp_path: Path
) -> None:
    forge = Forge()
    record = tiny.finish_model(forge, base)
    file = tiny.write_rows(tmp_path / "rows.jsonl")
    settings = {"max_steps": 10_000_000, "eval_split": 0, "checkpoint_minutes": 0.5}
    run = forge.runs.start(tiny.recipe(base, file, settings))
    over = threading.Event()
    answered = [0] * SESSIONS

    def talk(session: int) -> None:
        model = forge.models[record.id]
        while not over.is_set():
            said = model.chat(
                [{"role": "user", "content": f"Question {answered[session]} of {session}?"}],
                base=session % 2 == 0,
                sampling=Sampling(max_new_tokens=16, temperature=1.0),
            )
            assert isinstance(said, str)
            answered[session] += 1
            over.wait(0.05)

    people = [threading.Thread(target=talk, args=(session,), daemon=True) for session in range(SESSIONS)]
    for person in people:
        person.start()
    process = psutil.Process()
    time.sleep(MINUTES * 60 / 3)  # until everything has been loaded and every cache is full
    before = (process.memory_info().rss, process.num_threads(), process.num_fds())
    began, step = time.monotonic(), forge.runs.progress(run.record)[0]
    for _ in range(20):
        time.sleep(MINUTES * 60 / 30)
        print(f"{process.memory_info().rss / 1e6:.1f} MB after {(time.monotonic() - began) / 60:.1f} min", flush=True)
    after = (process.memory_info().rss, process.num_threads(), process.num_fds())
    minutes = (time.monotonic() - began) / 60
    over.set()
    for person in people:
        person.join(60)
    trained = forge.runs.progress(run.record)[0] - step
    run.stop()
    assert run.wait(60) is RunState.stopped
    print(f"{sum(answered)} answers, {trained} steps, {(after[0] - before[0]) / minutes / 1e6:.2f} MB a minute")
    assert min(answered) > 0 and trained > 0
    assert (after[0] - before[0]) / minutes < GROWTH_BYTES_A_MINUTE
    assert after[1] <= before[1] + 2 and after[2] <= before[2] + 4
