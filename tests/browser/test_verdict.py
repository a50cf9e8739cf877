"""The verdict of a run and what it rests on, row by row: on the Train tab, on the Models tab, after an evaluation."""

from __future__ import annotations

import csv
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import expect

from modelforge import Forge, paths
from modelforge.models.evaluate import conclude
from modelforge.models.folder import read_manifest, write_manifest
from modelforge.models.outcomes import Measured, Outcome, save_outcomes
from modelforge.recipe import Recipe
from modelforge.scores.metrics import METRICS
from modelforge.store import RunRecord, RunState, utc_now
from tests import tiny
from tests.browser.drive import App, Witness, in_each_look, open_app, open_tab, take_picture
from tests.machine import base as tiny_base
from tests.programs import Programs

__all__ = ["tiny_base"]

NASTY = "<img src=x onerror=alert(1)> =1+1"


def make_outcomes() -> Measured:
    """12 rows: one right before and wrong now, one unchanged, the others learned."""
    outcomes = []
    for row, (prompt, expected) in enumerate(tiny.PAIRS[:12]):
        before, now = ("I am not sure which colour it has.", expected) if row else (expected, f"{NASTY} The lamp is")
        sides = {"base": before, "tuned": now if row != 5 else before}
        scores = {
            side: {name: METRICS[name]([text], [expected]) for name in ("rougeL", "chrf", "exact_match")}
            | {"loss": 3 - 2 * METRICS["rougeL"]([text], [expected])}
            for side, text in sides.items()
        }
        outcomes.append(
            Outcome(f"{row:016x}", row + 1, f"{prompt} {NASTY if row == 1 else ''}", expected, sides, scores, 6)
        )
    metrics = ("rougeL", "loss", "perplexity", "chrf", "exact_match")
    return Measured(outcomes, "base", metrics, ["Row 13 was left out: the chat template refuses it."])


@pytest.fixture(scope="module")
def app(tmp_path_factory: pytest.TempPathFactory, tiny_base: Path, measured: Path, apps: Programs) -> Iterator[App]:
    """An app with a finished run and its model, measured, on a dataset that is there."""
    home = tmp_path_factory.mktemp("verdict") / "home"
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MODELFORGE_HOME", str(home))
        forge = Forge()
        dataset = forge.datasets.resolve(str(tiny.write_rows(home.parent / "colours.jsonl", tiny.PAIRS)), Recipe())
        model = tiny.finish_model(forge, tiny_base)
        found = make_outcomes()
        metrics = conclude(found).as_metrics()
        manifest = read_manifest(model.id)
        recipe = {**manifest["recipe"], "min_eval_rows": 0}  # 3 of 32 rows are held out
        facts = {"metrics": metrics, "recipe": recipe, "dataset": {**manifest["dataset"], "id": dataset.id}}
        write_manifest(model.id, {**manifest, **facts})
        save_outcomes(model.id, found)
        forge.store.models.update(model.id, metrics=metrics, dataset_id=dataset.id)
        forge.store.runs.add(
            RunRecord(
                id=paths.new_id("run"),
                state=RunState.finished,
                created=utc_now(),
                dataset_id=dataset.id,
                step=3,
                total_steps=3,
                recipe=Recipe(name="Colours", dataset=dataset.id).model_dump(mode="json"),
                dataset_name=dataset.name,
                model_id=model.id,
                queued=utc_now(),
                metrics=metrics,
            )
        )
    with open_app(home, programs=apps) as opened:
        yield opened


@pytest.mark.slow
def test_finished_run_shows_its_verdict_and_leads_to_its_rows(app: App, witness: Witness, screenshots: Path) -> None:
    page = witness.open(app)
    card = page.locator("#run-head .mf-verdict")
    expect(card).to_contain_text("Better")
    expect(card).to_contain_text("with 95% certainty, on 12 rows.")
    expect(card).to_contain_text("Rests on ROUGE-L")
    expect(card).to_contain_text("Row 13 was left out")
    expect(page.locator("#train-verdict-rests")).to_contain_text("Whether it got better will rest on")
    for look in in_each_look(page):
        take_picture(page, screenshots / f"{look}-train-verdict-card.png")
    page.get_by_role("button", name="Show in Models").click()
    expect(page.locator("#models-details .mf-verdict")).to_contain_text("Better")


@pytest.mark.slow
def test_rows_that_became_wrong_come_first_beside_the_expected_answer(
    app: App, witness: Witness, screenshots: Path
) -> None:
    page = witness.open(app)
    open_tab(page, "Models")
    rows = page.locator("#models-rows-list .mf-outcome")
    expect(rows).to_have_count(1)
    expect(rows.first).to_contain_text("right before, wrong now")
    expect(rows.first).to_contain_text("<img src=x onerror=alert(1)>")  # as text
    expect(rows.first.locator("mark").first).to_be_visible()
    expect(page.locator("#models-details")).to_contain_text("Difference")
    for look in in_each_look(page):
        take_picture(page, screenshots / f"{look}-models-verdict.png")
    page.get_by_role("radio", name="Best").check()
    expect(rows).to_have_count(10)
    page.get_by_role("radio", name="All").check()
    expect(rows).to_have_count(12)
    search = page.locator("#models-rows-search textarea, #models-rows-search input")
    search.fill("house 2")
    search.press("Enter")
    expect(rows).to_have_count(4)
    for look in in_each_look(page):
        take_picture(page, screenshots / f"{look}-models-rows.png")
    with page.expect_download() as download:
        page.locator("#models-rows-fetch").click()
    with Path(download.value.path()).open(encoding="utf-8-sig", newline="") as file:
        listed = list(csv.DictReader(file))
    assert len(listed) == 12 and listed[0]["row"] == "1"
    assert (listed[0]["right before"], listed[0]["right now"]) == ("True", "False")


@pytest.mark.slow
def test_evaluation_gives_a_verdict_and_says_how_many_rows_would_be_enough(app: App, witness: Witness) -> None:
    page = witness.open(app)
    open_tab(page, "Models")
    page.locator("#models-evaluate").click()
    shown = page.locator("#models-evaluation")
    expect(shown.locator(".mf-verdict")).to_contain_text("No clear difference")
    expect(shown).to_contain_text("held-out rows no difference can be distinguished from chance")
    expect(shown).to_contain_text("Measured on 3 held-out rows.")
    expect(page.locator("#models-evaluate-cancel")).to_be_hidden()
    page.get_by_role("radio", name="All (3)").check()
    expect(page.locator("#models-rows-list .mf-outcome")).to_have_count(3)
