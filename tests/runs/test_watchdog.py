"""A run that is silent for long is spoken of, once."""

from __future__ import annotations

import time

from modelforge.runs.watchdog import Watchdog


def test_silence_is_told_once_and_a_sign_of_life_ends_it() -> None:
    told: list[str] = []
    with Watchdog(lambda type, message: told.append(f"{type}: {message}"), quiet_seconds=0.08) as dog:
        for _ in range(10):
            dog.notice()
            time.sleep(0.02)
        assert told == []
        time.sleep(0.4)
        assert len(told) == 1 and told[0].startswith("warning: This run has made no progress")
        dog.notice()
        time.sleep(0.4)
        assert len(told) == 2


def test_run_that_ends_is_watched_no_longer() -> None:
    told: list[str] = []
    with Watchdog(lambda *_, **more: told.append(str(more)), quiet_seconds=0.05):
        pass
    time.sleep(0.2)
    assert told == []
