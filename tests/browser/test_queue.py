"""Several runs from one page: a sweep, its order, what is taken out, what goes on after the app was closed; the log."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import pytest
from playwright.sync_api import Page, expect

from tests.browser.drive import Witness, choose, open_app, set_number, slow_steps
from tests.programs import Programs

PATIENCE = 240_000  # milliseconds: runs on a busy machine
SETTINGS = {"max_steps": 60, "per_device_train_batch_size": 2, "max_length": 64, "eval_split": 0}


def waiting(page: Page) -> list[str]:
    """The settings that tell the waiting runs apart, in their order."""
    cells = page.locator("#train-queue tbody td[data-head=Run]")
    return [text.rpartition(" ")[2] for text in cells.all_inner_texts()]


def count_finished(home: Path) -> int:
    return sum('"type": "finished"' in events.read_text() for events in home.glob("runs/*/events.jsonl"))


def wait_until(is_so: Callable[[], bool], page: Page) -> None:
    for _ in range(PATIENCE // 500):
        if is_so():
            return
        page.wait_for_timeout(500)
    raise AssertionError("not so in time")


@pytest.mark.slow
def test_sweep_is_queued_reordered_and_goes_on_after_the_app_was_closed(
    small_home: Path, apps: Programs, witness: Witness, screenshots: Path
) -> None:
    with slow_steps(small_home), open_app(small_home, programs=apps) as app:
        page = witness.open(app)
        choose(page, "train-dataset", "Sample: Customer questions")
        for name, value in SETTINGS.items():
            set_number(page, name, value)
        page.get_by_role("button", name="Sweep: try several values").click()
        values = page.locator("#sweep-values-1 textarea")
        values.fill("1e-4, 9")
        expect(page.locator("#sweep-summary")).to_contain_text("out of bounds")
        expect(page.locator("#sweep-go")).to_be_disabled()
        values.fill("1e-4, 2e-4, 3e-4, 4e-4")
        expect(page.locator("#sweep-summary")).to_contain_text("4 runs, one after another")
        page.locator("#sweep-go").click()
        expect(page.locator("#train-queue")).to_be_visible()
        expect(page.locator("#train-queue tbody tr")).to_have_count(3)
        assert waiting(page) == ["2e-4", "3e-4", "4e-4"]

        choose(page, "train-waiting", "3. ")
        page.locator("#train-earlier-turn").click()
        expect(page.locator("#train-queue tbody tr").nth(1)).to_contain_text("4e-4")
        page.screenshot(path=screenshots / "light-1280-train-queue.png", full_page=True)
        choose(page, "train-waiting", "1. ")
        page.locator("#train-remove").click()
        expect(page.locator("#train-queue tbody tr")).to_have_count(2)
        assert waiting(page) == ["4e-4", "3e-4"]
        expect(page.locator("#run-head")).to_contain_text(re.compile(r"step \d+ of 60"), timeout=PATIENCE)

        page.get_by_role("button", name=re.compile(r"^Log\b")).click()
        with page.expect_download() as downloading:
            page.locator("#run-log-fetch").click()
        assert downloading.value.suggested_filename.endswith(".txt")
        page.context.close()
    with open_app(small_home, programs=apps) as app:
        page = witness.open(app)
        expect(page.locator("#header-run")).to_have_text(re.compile(r"\d runs to resume"))
        expect(page.locator("#train-left")).to_contain_text("can be resumed")
        page.screenshot(path=screenshots / "light-1280-train-left.png", full_page=True)
        page.locator("#train-resume-all").click()
        expect(page.locator("#train-left")).to_be_hidden()
        # Between two runs there may be a moment without one.
        wait_until(lambda: count_finished(small_home) == 3, page)
        expect(page.locator("#header-run")).to_have_text("No run in progress", timeout=PATIENCE)
        expect(page.locator("#train-queue")).to_be_hidden()
        page.locator("#train-earlier input").click()
        expect(page.get_by_role("option").filter(has_text="finished")).to_have_count(3)
        expect(page.get_by_role("option").filter(has_text="stopped")).to_have_count(1)
        page.context.close()
