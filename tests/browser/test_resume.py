"""The app is killed in the middle of a run, or closed, and the run goes on; one that ran out of memory starts again."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Page, expect

from modelforge import Forge
from modelforge.recipe import Recipe
from modelforge.runs.worker import Worker
from modelforge.store import RunState
from tests.browser.drive import Witness, choose, open_app, set_number, slow_steps
from tests.programs import Programs

PATIENCE = 240_000  # milliseconds: a run on a busy machine
STEPS = 60
SETTINGS = {"max_steps": STEPS, "save_steps": 2, "per_device_train_batch_size": 2, "max_length": 64, "eval_split": 0}


def begin(page: Page, least: int) -> None:
    """Start a run; wait until it has done so many steps."""
    choose(page, "train-dataset", "Sample: Customer questions")
    for name, value in SETTINGS.items():
        set_number(page, name, value)
    page.locator("#train-start").click()
    expect(page.locator("#run-head")).to_contain_text(
        re.compile(rf"step ([{least}-9]|\d\d) of {STEPS}"), timeout=PATIENCE
    )


def steps_drawn(page: Page) -> int:
    """The last step that the run's head tells."""
    told = re.search(r"step (\d+) of", page.locator("#run-head").inner_text())
    return int(told[1]) if told else 0


def told(home: Path) -> list[dict[str, Any]]:
    """The events of the home's only run; a last line that a killed app left half-written is no event."""
    (path,) = home.glob("runs/*/events.jsonl")
    return [json.loads(line) for line in path.read_text().splitlines(keepends=True) if line.endswith("\n")]


@pytest.mark.slow
def test_killed_app_offers_to_resume_and_the_curve_goes_on_to_its_end(
    small_home: Path, apps: Programs, witness: Witness, screenshots: Path
) -> None:
    with slow_steps(small_home), open_app(small_home, programs=apps) as app:
        page = witness.open(app)
        begin(page, 4)
        page.context.close()  # or it would complain of the server, as it should
        app.kill()
    reached = [event["step"] for event in told(small_home) if event["type"] == "progress"][-1]
    with open_app(small_home, programs=apps) as app:
        page = witness.open(app)
        expect(page.locator("#run-head")).to_contain_text("Interrupted")
        page.screenshot(path=screenshots / "light-1280-train-interrupted.png")
        page.locator("#train-resume").click()
        expect(page.locator("#run-head")).to_contain_text("Finished", timeout=PATIENCE)
        assert steps_drawn(page) == STEPS
        expect(page.locator("#train-resume")).to_be_hidden()
        starts = [event["step"] for event in told(small_home) if event["type"] == "started"]
        assert len(starts) == 2 and 2 <= starts[1] <= reached
        expect(page.locator("#run-chart svg")).to_be_visible()
        page.screenshot(path=screenshots / "light-1280-train-resumed.png")
        page.context.close()


@pytest.mark.slow
def test_paused_run_waits_through_a_restart(small_home: Path, apps: Programs, witness: Witness) -> None:
    with slow_steps(small_home), open_app(small_home, programs=apps) as app:
        page = witness.open(app)
        begin(page, 2)
        page.locator("#train-pause").click()
        expect(page.locator("#run-head")).to_contain_text("Paused")
        page.context.close()
    with open_app(small_home, programs=apps) as app:
        page = witness.open(app)
        expect(page.locator("#run-head")).to_contain_text("Paused")
        page.locator("#train-resume").click()
        expect(page.locator("#run-head")).to_contain_text("Finished", timeout=PATIENCE)
        assert steps_drawn(page) == STEPS
        page.context.close()


@pytest.mark.slow
def test_run_that_ran_out_of_memory_is_started_again_smaller_with_one_press(
    small_home: Path, apps: Programs, witness: Witness, screenshots: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MODELFORGE_HOME", str(small_home))
    forge = Forge()
    dataset = forge.datasets.resolve("Customer questions", Recipe(dataset="Customer questions"))
    settings = {"max_steps": 1, "evaluations": 1, "max_length": 64, "per_device_train_batch_size": 8}
    recipe = Recipe().with_settings({"name": "Too large", "dataset": dataset.id, "dtype": "float32", **settings})
    with monkeypatch.context() as patch:  # a machine that has less than this run takes
        patch.setattr(Worker, "_train", lambda *_: _ask_for_more_than_there_is())
        run = forge.runs.start(recipe)
        assert run.wait(60) is RunState.failed
    with open_app(small_home, programs=apps) as app:
        page = witness.open(app)
        expect(page.locator("#run-head")).to_contain_text("memory")
        page.screenshot(path=screenshots / "light-1280-train-out-of-memory.png")
        page.locator("#train-retry").click()
        expect(page.locator("#run-head")).to_contain_text("Finished", timeout=PATIENCE)
        page.context.close()
    again = forge.runs.all()[0].recipe
    assert (again["per_device_train_batch_size"], again["gradient_accumulation_steps"]) == (4, 2)


def _ask_for_more_than_there_is() -> None:
    import torch

    torch.empty(1 << 50)
