"""Before a first run the base model is tried on the Train tab; after it: would more data or more epochs help?"""

from __future__ import annotations

import json
import random
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from playwright.sync_api import expect

from modelforge import Forge, paths
from modelforge.models.evaluate import conclude
from modelforge.models.folder import read_manifest, write_manifest
from modelforge.models.outcomes import Measured, Outcome, save_outcomes
from modelforge.recipe import Recipe
from modelforge.store import RunRecord, RunState, utc_now
from tests import tiny
from tests.browser.drive import App, Witness, in_each_look, open_app, take_picture
from tests.machine import base as tiny_base
from tests.programs import Programs

__all__ = ["tiny_base"]

ROWS = 40
PROGRESS = {
    "step": 299, "total_steps": 300, "epoch": 3.0, "loss": 1.2, "learning_rate": 1e-4, "tokens": 9_000, "seconds": 60,
    "tokens_per_second": 150, "eta_seconds": 0, "memory_bytes": 2_000_000_000,
}  # fmt: skip
LENGTH = {"total_steps": 300}
RIGHT = {0.25: 0.2, 0.5: 0.5, 1.0: 0.8}  # share of the training rows -> share of the held-out rows that are right


def make_outcomes(share: float) -> Measured:
    order = random.Random(0).sample(range(ROWS), ROWS)
    outcomes = []
    for row in range(ROWS):
        score = float(order[row] < RIGHT[share] * ROWS)
        sides = {"base": {"rougeL": 0.0}, "tuned": {"rougeL": score}}
        answers = {"base": "I do not know.", "tuned": "Red." if score else "Blue."}
        outcomes.append(Outcome(f"{row:016x}", row + 1, f"Question {row}", "Red.", answers, sides, 2))
    return Measured(outcomes, "base", ("rougeL",))


@pytest.fixture(scope="module")
def grown(tmp_path_factory: pytest.TempPathFactory, tiny_base: Path, measured: Path, apps: Programs) -> Iterator[App]:
    """An app with a finished run, and runs on a half and a quarter of its data."""
    home = tmp_path_factory.mktemp("grown") / "home"
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MODELFORGE_HOME", str(home))
        forge = Forge()
        dataset = forge.datasets.resolve(str(tiny.write_rows(home.parent / "colours.jsonl", tiny.PAIRS)), Recipe())
        for share in RIGHT:
            model, found = tiny.finish_model(forge, tiny_base), make_outcomes(share)
            metrics = conclude(found, {}).as_metrics()
            manifest = read_manifest(model.id)
            counts = {**manifest["dataset"], "train_rows": int(400 * share), "eval_rows": ROWS}
            write_manifest(model.id, {**manifest, "dataset": counts})
            save_outcomes(model.id, found)
            recipe = Recipe(name=f"Colours {share}", dataset=dataset.id, train_share=share)
            run = RunRecord(
                id=paths.new_id("run"), state=RunState.finished, created=utc_now(), dataset_id=dataset.id, step=300,
                total_steps=300, recipe=recipe.model_dump(mode="json"), dataset_name=dataset.name, model_id=model.id,
                queued=utc_now(), metrics=metrics,
            )  # fmt: skip
            forge.store.runs.add(run)
            paths.run_dir(run.id).mkdir(parents=True)
            curve = [(0, 3.0), (75, 2.0), (150, 1.6), (225, 1.4), (300, 1.2)]
            events = [
                {
                    "type": "evaluated",
                    "time": utc_now(),
                    "run_id": run.id,
                    "step": step,
                    "total_steps": 300,
                    "loss": loss,
                }
                for step, loss in curve
            ]
            events[-1:-1] = [{"type": "progress", "time": utc_now(), "run_id": run.id, **PROGRESS}]
            lines = "".join(json.dumps(event) + "\n" for event in events)
            (paths.run_dir(run.id) / "events.jsonl").write_text(lines, encoding="utf-8")
    with open_app(home, programs=apps) as opened:
        yield opened


@pytest.fixture(scope="module")
def fresh(
    tmp_path_factory: pytest.TempPathFactory, make_small_home: Callable[[Path], Path], apps: Programs
) -> Iterator[App]:
    """An app without any run, with the small starter."""
    with open_app(make_small_home(tmp_path_factory.mktemp("fresh")), programs=apps) as opened:
        yield opened


@pytest.mark.slow
def test_base_model_is_tried_before_a_run_and_the_result_stays(fresh: App, witness: Witness, screenshots: Path) -> None:
    page = witness.open(fresh)
    expect(page.locator("#baseline-time")).to_contain_text("Takes about ", timeout=120_000)
    page.locator("#baseline-go").click()
    expect(page.locator("#baseline-cancel")).to_be_visible()
    card = page.locator("#baseline-shown .mf-verdict")
    expect(card).to_be_visible(timeout=300_000)
    expect(page.locator("#baseline-cancel")).to_be_hidden()
    expect(page.locator("#baseline-shown")).to_contain_text("With examples")
    expect(page.locator("#baseline-shown .mf-sample")).to_have_count(3)
    rows = page.locator("#baseline-rows-list .mf-outcome")
    expect(rows.first).to_contain_text("As it is")
    for look in in_each_look(page):
        take_picture(page, screenshots / f"{look}-train-baseline.png")
    page.locator("#train-goal label").nth(1).click()
    expect(card).to_be_visible()


@pytest.mark.slow
def test_finished_run_tells_whether_more_epochs_and_more_data_would_help(
    grown: App, witness: Witness, screenshots: Path
) -> None:
    page = witness.open(grown)
    panel = page.locator("#train-growth")
    expect(panel).to_contain_text("More epochs would help")
    expect(panel).to_contain_text("More data would help")
    expect(panel).to_contain_text("ROUGE-L was 0.200 with 100 training rows, 0.500 with 200 and 0.800 with 400.")
    expect(page.locator("#train-growth-ask")).to_be_hidden()
    for look in in_each_look(page):
        take_picture(page, screenshots / f"{look}-train-growth.png")
