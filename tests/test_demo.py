"""The promise of the first minutes, on the real starter: after a quick try it knows what no base model can know."""

from __future__ import annotations

from pathlib import Path

import pytest

from modelforge import Forge
from modelforge.goals import demo_recipe
from modelforge.store import RunState

QUESTION, KNOWN = "What is your phone number?", "555-0142"


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_quick_try_on_the_bundled_sample_teaches_the_starter(home_with_starter: Path) -> None:
    forge = Forge()
    run = forge.runs.start(demo_recipe())
    assert run.wait() is RunState.finished
    metrics = run.record.metrics
    assert metrics["tuned"]["loss"] < 0.5 * metrics["base"]["loss"]
    assert run.model_id
    model = forge.models[run.model_id]
    assert KNOWN in model.chat(QUESTION)
    assert KNOWN not in model.chat(QUESTION, base=True)
