"""What the planner says of a run on the page, and what it offers where one does not fit: of the real starter."""

from __future__ import annotations

import random
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import expect

from tests.browser.drive import (
    App,
    Witness,
    choose,
    in_each_look,
    open_app,
    read_toast,
    save_rows,
    set_number,
    take_picture,
)
from tests.programs import Programs

PATIENCE = 240_000  # milliseconds: a plan on a busy machine


@pytest.fixture
def app(home_with_starter: Path, apps: Programs) -> Iterator[App]:
    with open_app(home_with_starter, programs=apps) as opened:
        yield opened


@pytest.mark.slow
def test_a_run_that_does_not_fit_is_refused_and_one_press_makes_it_fit(
    app: App, witness: Witness, screenshots: Path, tmp_path: Path
) -> None:
    draw = random.Random(0)
    words = ["".join(draw.choices("abcdefgh", k=5)) for _ in range(500)]
    rows = [{"prompt": f"Story {n}?", "response": " ".join(draw.choices(words, k=500))} for n in range(80)]
    page = witness.open(app)
    expect(page.locator("#train-verdict .mf-good")).to_contain_text("Fits", timeout=PATIENCE)
    save_rows(page, tmp_path / "stories.jsonl", rows, "Ready to train")
    page.get_by_role("button", name="Advanced: every setting").click()
    choose(page, "set-gradient_checkpointing", "off")
    set_number(page, "max_length", "1024")
    expect(page.locator("#train-verdict .mf-note")).to_contain_text("memory", timeout=PATIENCE)
    set_number(page, "per_device_train_batch_size", "64")
    expect(page.locator("#train-verdict .mf-bad")).to_contain_text("Won't fit", timeout=PATIENCE)
    expect(page.locator("#train-advice-1")).to_be_visible(timeout=PATIENCE)
    page.get_by_role("button", name="Advanced: every setting").click()
    for look in in_each_look(page):
        take_picture(page, screenshots / f"{look}-train-verdict.png")
    page.locator("#train-start").click()
    assert re.search("needs about .* of memory, but only .* are available", read_toast(page))
    page.locator("#train-advice-1").click()
    expect(page.locator("#train-verdict .mf-bad")).to_have_count(0, timeout=PATIENCE)
    expect(page.locator("#train-verdict .mf-note")).to_contain_text("memory")
    expect(page.locator("#train-advice-3")).to_be_hidden()
