"""Answers step by step, runs side by side, and a run as a recipe with a proof: as somebody sees and takes them."""

from __future__ import annotations

import csv
import re
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml
from playwright.sync_api import Page, expect

from tests import tiny
from tests.browser.drive import App, Witness, choose, environment_of, in_each_look, open_app, take_picture
from tests.programs import WITHOUT_A_PLAN, Programs

RATES = ("1e-4", "1e-3", "1e-2")
RECIPE = {
    "name": "Doors", "dataset": "doors.jsonl", "max_steps": 6, "evaluations": 3, "eval_split": 0.25, "max_length": 64,
    "load_best_model_at_end": False, "early_stopping_patience": 0,
}  # fmt: skip


@pytest.fixture(scope="module")
def compared_home(
    tmp_path_factory: pytest.TempPathFactory, make_small_home: Callable[[Path], Path], apps: Programs
) -> Path:
    """A home with three finished runs that differ in one setting."""
    folder = tmp_path_factory.mktemp("compared")
    home = make_small_home(folder)
    tiny.write_rows(folder / "doors.jsonl")
    (folder / "recipe.yaml").write_text(yaml.safe_dump(RECIPE), encoding="utf-8")
    over = f"learning_rate={','.join(RATES)}"
    done = apps.run(WITHOUT_A_PLAN, "sweep", folder / "recipe.yaml", "--over", over, env=environment_of(home))
    assert done.returncode == 0, done.stderr
    return home


def step_through_answers(page: Page, screenshots: Path) -> None:
    title, answers = page.locator("#run-answers-title"), page.locator("#run-answers")
    earlier, later = page.locator("#run-answers-earlier"), page.locator("#run-answers-later")
    expect(title).to_contain_text("Answers after step 6, of the saved model")
    expect(title).to_contain_text("4 of 4")
    expect(later).to_be_disabled()
    for step in (4, 2):
        earlier.click()
        expect(title).to_contain_text(f"Answers after step {step}")
        expect(answers).to_contain_text(re.compile(f"After step {step}", re.IGNORECASE))
    prompt = answers.locator("td[data-head=Prompt]").first.inner_text()
    for look in in_each_look(page):
        take_picture(page, screenshots / f"{look}-train-answers.png")
    earlier.click()
    expect(title).to_contain_text("Answers before training")
    expect(earlier).to_be_disabled()
    assert answers.locator("td[data-head=Prompt]").first.inner_text() == prompt
    later.click()
    expect(title).to_contain_text("Answers after step 2")


def compare_runs(page: Page, screenshots: Path, folder: Path) -> None:
    page.get_by_role("button", name="Compare runs").click()
    shown = page.locator("#compare-shown")
    for number, rate in enumerate(RATES):
        choose(page, "compare-runs", f"learning_rate {rate}")
        if not number:
            expect(shown).to_contain_text("Choose 2 to 8 runs")
    page.keyboard.press("Escape")
    expect(shown.locator("svg polyline.mf-run-3").first).to_be_visible()
    expect(shown.locator("table").first.locator("tbody tr")).to_have_count(3)
    expect(shown.locator("table").last.locator("tbody tr")).to_have_count(2)  # each but the first, beside it
    expect(shown).to_contain_text("learning_rate")
    for axis in ("minutes", "tokens"):
        page.locator("#compare-axis").get_by_label(axis).check()
        expect(shown.locator("svg").first).to_have_attribute("aria-label", re.compile(f"of 3 runs over {axis}"))
    for look in in_each_look(page):
        take_picture(page, screenshots / f"{look}-train-compare.png")
    with page.expect_download() as downloading:
        page.locator("#compare-comparison").click()
    downloading.value.save_as(folder / "comparison.csv")
    with (folder / "comparison.csv").open(encoding="utf-8-sig", newline="") as file:
        assert [float(row["learning_rate"]) for row in csv.DictReader(file)] == [float(rate) for rate in RATES]


def take_proof(page: Page, folder: Path) -> None:
    with page.expect_download() as downloading:
        page.locator("#train-proof").click()
    downloading.value.save_as(folder / "proof.yaml")
    proof = yaml.safe_load((folder / "proof.yaml").read_text(encoding="utf-8"))["proof"]
    assert proof["curve"]["loss"]["steps"] == [1, 2, 3, 4, 5, 6]


@pytest.mark.slow
def test_answers_are_stepped_through_and_three_runs_are_compared(
    compared_home: Path, apps: Programs, witness: Witness, screenshots: Path, tmp_path: Path
) -> None:
    with open_app(compared_home, programs=apps) as app:
        page = open_train(witness, app)
        step_through_answers(page, screenshots)
        compare_runs(page, screenshots, tmp_path)
        take_proof(page, tmp_path)
        page.context.close()


def open_train(witness: Witness, app: App) -> Page:
    page = witness.open(app)
    expect(page.locator("#run-head")).to_contain_text("Doors")
    return page
