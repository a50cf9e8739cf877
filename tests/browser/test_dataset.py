"""The Dataset tab: what is wrong with a file, what may be mended, what the model will see, and the library.

Every test saves under names of its own, as all share one app.
"""

from __future__ import annotations

import csv
import json
import re
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Locator, Page, expect

from tests.browser.drive import App, Witness, choose, in_each_look, open_app, open_tab, read_toast, take_picture, upload
from tests.data.varied import make_pairs
from tests.programs import Programs

ROWS = 60
BROKEN_ROW, NUMBER_ROW, COPY_ROW = 57, 21, 31  # counted from 1; the copy is of the row before it
HUGE_ROWS = 150_000
PAIRS = make_pairs(ROWS + 10)


@pytest.fixture(scope="module")
def app(
    tmp_path_factory: pytest.TempPathFactory, make_small_home: Callable[[Path], Path], apps: Programs
) -> Iterator[App]:
    """The app of somebody who has no dataset yet, for these tests alone."""
    with open_app(make_small_home(tmp_path_factory.mktemp("dataset")), programs=apps) as opened:
        yield opened


@pytest.fixture
def page(app: App, witness: Witness) -> Page:
    page = witness.open(app)
    open_tab(page, "Dataset")
    return page


@pytest.mark.slow
def test_faults_are_shown_with_their_rows_mended_when_ticked_and_remembered(page: Page, tmp_path: Path) -> None:
    upload(page, write_broken(tmp_path / "street questions.jsonl"))
    verdict = page.locator("#dataset-verdict")
    expect(verdict.locator(".mf-bad")).to_contain_text(f"Not ready yet. Row {NUMBER_ROW}:")
    first, second = (page.locator("#dataset-problems tbody tr").nth(index) for index in (0, 1))
    expect(first.locator("td")).to_have_text(
        ["error", "21", "21", "answer", re.compile("number"), re.compile("quotes")]
    )
    expect(second.locator("td")).to_have_text(["error", "57", "57", "-", re.compile("JSON"), re.compile("Fix")])
    assert read_tiles(page) == {"Rows": "60", "Usable": "58", "Errors": "2", "Duplicates": "1"}
    said = verdict.inner_text()

    leave_out = page.get_by_label("Skip rows with errors (2)")
    leave_out.check()
    expect(verdict).to_contain_text("Ready to train, with")
    assert read_tiles(page) == {"Rows": "60", "Usable": "58", "Errors": "0", "Duplicates": "1"}
    leave_out.uncheck()
    expect(verdict.locator(".mf-bad")).to_be_visible()
    assert verdict.inner_text() == said
    expect(page.get_by_role("button", name="Save and go to training")).to_be_disabled()

    leave_out.check()
    expect(verdict).to_contain_text("Ready to train, with")
    page.get_by_label("Drop duplicates (1)").check()
    expect(read_tile(page, "Usable")).to_have_text("57")
    save(page, "Street questions")
    expect(page.locator("#train-dataset input")).to_have_value("Street questions (57 rows)")

    open_tab(page, "Dataset")
    open_dataset(page, "Street questions")
    opened = page.locator("#dataset-opened")
    expect(opened).to_contain_text("skip rows with errors: 2; drop duplicates: 1")
    expect(opened).to_contain_text("57 of 60 in the file")
    expect(opened.locator("pre").first).to_contain_text(PAIRS[0][1])


@pytest.mark.slow
def test_the_preview_follows_the_mapping_and_the_shape(page: Page, tmp_path: Path) -> None:
    upload(page, write_pairs(tmp_path / "pairs.csv", PAIRS[:20]))
    learned = page.locator("#dataset-preview .mf-learned")
    expect(learned.last).to_contain_text(PAIRS[0][1])
    choose(page, "role-response", "question")
    choose(page, "role-prompt", "answer")
    expect(learned.last).to_contain_text(PAIRS[0][0])
    expect(page.locator("#dataset-preview pre")).to_contain_text("<|im_start|>")

    choose(page, "dataset-shape", "Plain text")
    expect(page.locator("#role-text")).to_be_visible()
    expect(page.locator("#role-prompt")).to_be_hidden()
    expect(page.locator("#dataset-verdict")).to_contain_text("No column was found for the role 'text'")
    expect(page.locator("#dataset-preview")).to_be_hidden()
    choose(page, "role-text", "answer")
    expect(learned.last).to_contain_text(PAIRS[0][1])
    expect(page.locator("#dataset-preview pre")).not_to_contain_text("<|im_start|>")
    expect(page.locator("#dataset-verdict")).to_contain_text("Plain text.")
    choose(page, "dataset-shape", "Prompts and answers")
    expect(page.locator("#role-response input")).to_have_value("answer")
    expect(page.locator("#dataset-preview pre")).to_contain_text("<|im_start|>")

    choose(page, "dataset-shape", "Prompts for rewards")
    expect(page.locator("#dataset-verdict")).to_contain_text(
        "Ready to train. Task: Text generation. Prompts for rewards."
    )


@pytest.mark.slow
def test_a_row_is_shown_with_where_it_is_cut(page: Page, tmp_path: Path) -> None:
    upload(page, write_pairs(tmp_path / "long rows.csv", PAIRS[:20]))
    preview, lengths = page.locator("#dataset-preview"), page.locator("#dataset-lengths")
    expect(lengths).to_contain_text("At max_length 512, none of 20 rows is cut.")
    expect(preview.locator(".mf-cut-line")).to_have_count(0)
    fill(page, "dataset-row", "5")
    expect(preview).to_contain_text("Row 5 of 20")
    expect(preview.locator("pre")).to_contain_text(PAIRS[4][0])
    fill(page, "dataset-max-length", "32")
    expect(preview.locator(".mf-cut-line")).to_contain_text("cut here: max_length 32")
    expect(preview.locator("pre .mf-cut")).to_contain_text(PAIRS[4][1])
    expect(lengths).to_contain_text("At max_length 32, 20 of 20 rows (100.0%) are cut")
    expect(lengths.locator(".mf-line")).to_have_text("max_length 32")

    # What was chosen stays through a change, and goes on to training.
    fill(page, "dataset-max-length", "96")
    expect(lengths).to_contain_text("At max_length 96")
    choose(page, "role-response", "question")
    expect(preview.locator(".mf-learned").last).to_contain_text(PAIRS[0][0])
    expect(page.locator("#dataset-max-length input")).to_have_value("96")
    save(page, "Cut rows")
    page.get_by_role("button", name="Advanced: every setting").click()
    expect(page.locator("#set-max_length input").first).to_have_value("96")


@pytest.mark.slow
def test_rows_that_were_trained_on_are_found_in_an_evaluation_file(page: Page, tmp_path: Path) -> None:
    upload(page, write_pairs(tmp_path / "towns.csv", PAIRS[:30]))
    expect(page.locator("#dataset-preview pre")).to_be_visible()
    page.get_by_role("button", name="Evaluate on a separate file").click()
    held_out = write_pairs(tmp_path / "held out.csv", [PAIRS[40], PAIRS[41], PAIRS[6], PAIRS[42]])
    page.locator("#dataset-evaluation-file input[type=file]").set_input_files(held_out)
    leaks = page.locator("#dataset-leaks")
    expect(leaks).to_contain_text("1 of the 4 rows")
    expect(leaks.locator("tbody tr")).to_have_count(1)
    expect(leaks.locator("tbody td")).to_have_text(["3", "7", "identical row"])
    save(page, "Towns")
    expect(page.locator("#train-dataset input")).to_have_value("Towns (30 rows)")
    page.get_by_role("button", name="Advanced: every setting").click()
    expect(page.locator("#set-eval_dataset input")).to_have_value("Towns (evaluation) (4 rows)")
    choose(page, "train-dataset", "Sample: Customer questions")
    expect(page.locator("#set-eval_dataset input")).to_have_value("A held-out share of the dataset")


@pytest.mark.slow
def test_pasted_rows_are_read_and_an_empty_paste_is_one_sentence(page: Page) -> None:
    page.get_by_role("button", name="… or paste rows").click()
    page.locator("#dataset-check-pasted").click()
    assert "Nothing was pasted. Paste some rows first." in read_toast(page)
    expect(page.locator("#dataset-verdict")).to_contain_text("No file is open")
    rows = "\n".join(f"{question}\t{answer}" for question, answer in PAIRS[:20])
    page.locator("#dataset-pasted textarea").fill(f"question\tanswer\n{rows}\n")
    page.locator("#dataset-check-pasted").click()
    expect(page.locator("#dataset-verdict")).to_contain_text("Ready to train")
    expect(read_tile(page, "Rows")).to_have_text("20")
    expect(page.locator("#dataset-preview .mf-learned").last).to_contain_text(PAIRS[0][1])
    expect(page.locator("#dataset-name").locator("input, textarea")).to_have_value("Pasted rows")


@pytest.mark.slow
def test_a_dataset_of_the_hub_is_refused_offline_and_the_page_goes_on(page: Page) -> None:
    page.get_by_role("button", name="… or from the Hugging Face Hub").click()
    for typed, said in (
        ("no such name!", "This is not the id of a dataset on the Hub. Write it as the Hub shows it: owner/name."),
        ("people/questions", "The Hub is switched off by HF_HUB_OFFLINE. Unset HF_HUB_OFFLINE, or use a file."),
    ):
        page.locator("#dataset-hub-id").locator("input, textarea").fill(typed)
        page.locator("#dataset-fetch").click()
        expect(page.locator("#dataset-verdict .mf-bad")).to_contain_text(said)
        expect(page.locator("#dataset-cancel")).to_be_hidden()
    choose(page, "dataset-sample", "Customer questions")
    expect(page.locator("#dataset-verdict")).to_contain_text("Ready to train")


@pytest.mark.slow
def test_the_library_keeps_one_of_each_content_and_counts_versions(page: Page, tmp_path: Path) -> None:
    rows = page.locator("#dataset-library tbody tr").filter(has_text="Kettles")
    for pairs, count, version in ((PAIRS[:20], 1, "1"), (PAIRS[:20], 1, "1"), (PAIRS[20:45], 2, "2")):
        close_file(page)
        upload(page, write_pairs(tmp_path / "things.csv", pairs))
        expect(page.locator("#dataset-preview pre")).to_contain_text(pairs[0][1])
        save(page, "Kettles")
        open_tab(page, "Dataset")
        expect(rows).to_have_count(count)
        expect(rows.first.locator("td").nth(1)).to_have_text(version)

    page.locator("#dataset-new-name").locator("input, textarea").fill("Lanterns")
    page.locator("#dataset-rename").click()
    lanterns = page.locator("#dataset-library tbody tr").filter(has_text="Lanterns")
    expect(lanterns.locator("td").nth(1)).to_have_text("1")
    expect(rows).to_have_count(1)
    expect(page.locator("#dataset-chosen input")).to_have_value("Lanterns (25 rows)")

    page.get_by_role("button", name="Delete…").click()
    page.get_by_role("button", name="Cancel").click()
    expect(lanterns).to_have_count(1)
    page.get_by_role("button", name="Delete…").click()
    page.get_by_role("button", name="Yes, delete it").click()
    expect(lanterns).to_have_count(0)
    expect(rows).to_have_count(1)


@pytest.mark.slow
def test_all_problems_come_as_a_table_that_is_safe_in_a_spreadsheet(page: Page, tmp_path: Path) -> None:
    formula = '=HYPERLINK("http://192.0.2.1/","answers")'
    pairs = [("question", formula), *((question, "") for question, _ in PAIRS[:30]), *PAIRS[30:50]]
    upload(page, write_table(tmp_path / "gaps.csv", pairs))
    expect(page.locator("#dataset-shape")).to_be_visible()
    choose(page, "dataset-shape", "Prompts and answers")
    choose(page, "role-prompt", "question")
    choose(page, "role-response", "=HYPERLINK")
    expect(page.locator("#dataset-verdict")).to_contain_text("Row 1:")
    expect(page.locator("#dataset-problems")).to_contain_text("30 rows")
    with page.expect_download() as download:
        page.locator("#dataset-all-problems").click()
    with download.value.path().open(encoding="utf-8-sig", newline="") as file:
        problems = list(csv.DictReader(file))
    assert [problem["row"] for problem in problems] == [str(row) for row in range(1, 31)]
    assert {problem["severity"] for problem in problems} == {"error"}
    assert {problem["column"] for problem in problems} == {f"'{formula}"}


@pytest.mark.slow
def test_reading_a_large_file_says_how_far_it_is_and_can_be_given_up(page: Page, tmp_path: Path) -> None:
    # A fault in each row, so that each must be looked at by itself.
    with (file := tmp_path / "huge.jsonl").open("w", encoding="utf-8") as rows:
        rows.writelines(f'{{"prompt": "What is {n}, by {n * 7}?", "response": {n * 31}}}\n' for n in range(HUGE_ROWS))
    verdict, progress = page.locator("#dataset-verdict"), page.locator("#dataset-verdict [role=progressbar]")
    upload(page, file)
    expect(progress).to_be_visible()
    expect(page.get_by_role("button", name="Save and go to training")).to_be_disabled()
    page.locator("#dataset-cancel").click()
    expect(verdict).to_contain_text("Reading was cancelled; nothing was saved.")
    expect(page.locator("#dataset-cancel")).to_be_hidden()

    # Another choice takes the place of what is being read.
    upload(page, file)
    expect(progress).to_be_visible()
    choose(page, "dataset-sample", "Customer questions")
    expect(verdict).to_contain_text("Ready to train")
    expect(page.locator("#dataset-file input[type=file]")).to_be_attached()
    upload(page, write_pairs(tmp_path / "small.csv", PAIRS[:20]))
    expect(page.locator("#dataset-preview pre")).to_contain_text(PAIRS[0][1])
    expect(read_tile(page, "Rows")).to_have_text("20")
    expect(page.locator("#dataset-name").locator("input, textarea")).to_have_value("small")


@pytest.mark.slow
def test_a_broken_file_fits_every_window(page: Page, screenshots: Path, tmp_path: Path) -> None:
    upload(page, write_broken(tmp_path / "broken.jsonl"))
    expect(page.locator("#dataset-lengths .mf-histogram")).to_be_visible()
    fill(page, "dataset-max-length", "64")
    expect(page.locator("#dataset-preview .mf-cut-line")).to_be_visible()
    page.get_by_role("button", name="Evaluate on a separate file").click()
    held_out = write_pairs(tmp_path / "held out.csv", [*PAIRS[3:5], *PAIRS[ROWS:]])
    page.locator("#dataset-evaluation-file input[type=file]").set_input_files(held_out)
    expect(page.locator("#dataset-leaks tbody tr")).to_have_count(2)
    for look in in_each_look(page):
        take_picture(page, screenshots / f"{look}-dataset-broken.png")
        verdict, name = (page.locator(f"#dataset-{which}").bounding_box() for which in ("verdict", "name"))
        assert verdict and name
        assert verdict["y"] < name["y"], "the verdict stands before what can be changed about it"


def close_file(page: Page) -> None:
    """Take away the file that is open, if there is one."""
    remove = page.locator("#dataset-file").get_by_label("Clear")
    if remove.count():
        remove.click()
        expect(page.locator("#dataset-verdict")).to_contain_text("No file is open")


def write_broken(path: Path) -> Path:
    """A file with one line that is no JSON, one number for an answer and one exact copy of the row before."""
    lines = [json.dumps({"question": question, "answer": answer}) for question, answer in PAIRS[:ROWS]]
    lines[BROKEN_ROW - 1] = '{"question": "What is this?", "answer": '
    lines[NUMBER_ROW - 1] = json.dumps({"question": "How many?", "answer": 17})
    lines[COPY_ROW - 1] = lines[COPY_ROW - 2]
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return path


def write_pairs(path: Path, pairs: Iterable[tuple[str, str]]) -> Path:
    return write_table(path, [("question", "answer"), *pairs])


def write_table(path: Path, rows: Iterable[tuple[str, str]]) -> Path:
    with path.open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows(rows)
    return path


def read_tile(page: Page, name: str) -> Locator:
    """The number in the verdict that has this name."""
    return page.locator("#dataset-verdict .mf-tile").filter(has_text=name).locator("b")


def read_tiles(page: Page) -> dict[str, str]:
    return {name: read_tile(page, name).inner_text() for name in ("Rows", "Usable", "Errors", "Duplicates")}


def fill(page: Page, elem_id: str, value: Any) -> None:
    page.locator(f"#{elem_id} input").fill(str(value))
    page.locator(f"#{elem_id} input").press("Tab")


def save(page: Page, name: str) -> None:
    """Save what is open; the Train tab then has it chosen."""
    page.locator("#dataset-name").locator("input, textarea").fill(name)
    page.get_by_role("button", name="Save and go to training").click()
    expect(page.get_by_role("tab", name="Train")).to_have_attribute("aria-selected", "true")
    expect(page.locator("#train-dataset input")).to_have_value(re.compile(f"^{name} "))


def open_dataset(page: Page, name: str) -> None:
    choose(page, "dataset-chosen", name)
    page.locator("#dataset-open").click()
    expect(page.locator("#dataset-opened")).to_contain_text(name)
