"""The Dataset tab with files that are easily misread: labels, parts that are no text, long texts, many faults."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Page, expect

from tests import tiny
from tests.browser.drive import (
    App,
    Witness,
    choose,
    in_each_look,
    open_app,
    open_tab,
    take_picture,
    upload,
)
from tests.data.varied import make_pairs
from tests.programs import Programs

PAIRS = make_pairs(40)
IMAGE = {"type": "image_url", "image_url": {"url": "https://example.org/a.png"}}


@pytest.fixture(scope="module")
def app(
    tmp_path_factory: pytest.TempPathFactory, make_small_home: Callable[[Path], Path], apps: Programs
) -> Iterator[App]:
    with open_app(make_small_home(tmp_path_factory.mktemp("misread")), programs=apps) as opened:
        yield opened


@pytest.fixture
def page(app: App, witness: Witness) -> Page:
    page = witness.open(app)
    open_tab(page, "Dataset")
    return page


@pytest.mark.slow
def test_labelled_answers_are_shown_and_bad_ones_are_no_examples(page: Page, tmp_path: Path, screenshots: Path) -> None:
    rows = [
        {"prompt": asked, "completion": answered, "label": number % 3 > 0, "weight": 1, "source": "shop"}
        for number, (asked, answered) in enumerate(PAIRS)
    ]
    upload(page, tiny.write_jsonl(tmp_path / "labelled.jsonl", rows))
    verdict, preview = page.locator("#dataset-verdict"), page.locator("#dataset-preview")
    expect(verdict).to_contain_text("Labelled answers.")
    expect(page.get_by_text("26 answers are labelled good and 14 bad.")).to_be_visible()
    expect(page.get_by_text("Weights are not used, as every row counts once: weight.")).to_be_visible()
    expect(preview).to_contain_text("Row 1 of 40: labelled bad")
    expect(preview.locator(".mf-rejected").last).to_contain_text(PAIRS[0][1])
    for look in in_each_look(page):
        take_picture(page, screenshots / f"dataset-labelled-{look}.png")

    choose(page, "dataset-shape", "Prompts and answers")
    problems = page.locator("#dataset-problems")
    expect(problems.locator("tbody tr")).to_have_count(1)
    expect(problems).to_contain_text("14 rows")
    problems.get_by_text("Show 14 like it").click()
    expect(problems.locator("li")).to_have_count(14)
    for look in in_each_look(page):
        take_picture(page, screenshots / f"dataset-kinds-{look}.png")
    page.get_by_label("Keep only the good answers (14)").check()
    expect(verdict).to_contain_text("Ready to train")
    page.get_by_role("button", name="Save and go to training").click()
    expect(page.locator("#train-dataset input")).to_have_value("labelled (26 rows)")


@pytest.mark.slow
def test_method_for_labels_is_offered_with_its_settings(page: Page, tmp_path: Path, screenshots: Path) -> None:
    rows = [
        {"prompt": f"{asked} Really?", "completion": answered, "label": number % 2 == 0}
        for number, (asked, answered) in enumerate(PAIRS)
    ]
    upload(page, tiny.write_jsonl(tmp_path / "thumbs.jsonl", rows))
    expect(page.locator("#dataset-verdict")).to_contain_text("Labelled answers.")
    page.get_by_role("button", name="Save and go to training").click()
    expect(page.locator("#train-dataset input")).to_have_value("thumbs (40 rows)")
    page.get_by_role("button", name="Advanced: every setting").click()
    expect(page.locator("#set-kto-desirable_weight input").first).to_have_value("1")
    expect(page.locator("#set-dpo-beta")).to_be_hidden()
    take_picture(page, screenshots / "train-kto.png")


@pytest.mark.slow
def test_parts_that_are_no_text_are_named_and_left_out_when_ticked(page: Page, tmp_path: Path) -> None:
    rows = [
        {
            "messages": [
                {"role": "user", "content": [{"type": "text", "text": asked}, *([IMAGE] if number < 5 else [])]},
                {"role": "assistant", "content": [{"type": "text", "text": answered}]},
            ]
        }
        for number, (asked, answered) in enumerate(PAIRS)
    ]
    upload(page, tiny.write_jsonl(tmp_path / "parts.jsonl", rows))
    expect(page.locator("#dataset-verdict")).to_contain_text("Row 1: Turn 1 (user): Part 2 is an image")
    page.get_by_label("Leave out parts that are not text (5)").check()
    expect(page.locator("#dataset-verdict")).to_contain_text("Ready to train")
    expect(page.locator("#dataset-preview pre")).to_contain_text(PAIRS[0][0])


@pytest.mark.slow
def test_pieces_of_long_texts_are_shown(page: Page, tmp_path: Path, screenshots: Path) -> None:
    text = "\n\n".join(" ".join(pair) for pair in PAIRS)
    upload(page, tiny.write_jsonl(tmp_path / "texts.jsonl", [{"text": f"{number} {text}"} for number in range(3)]))
    preview = page.locator("#dataset-preview")
    expect(preview).to_contain_text("longer than max_length, divided into")
    expect(preview).to_contain_text("Piece 2 of")
    expect(page.locator("#dataset-lengths")).to_contain_text("nothing is lost")
    for look in in_each_look(page):
        take_picture(page, screenshots / f"dataset-pieces-{look}.png")
