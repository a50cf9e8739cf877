"""Whatever is dropped, typed or pressed: one clear sentence on the page, and everything still there.

That no traceback, no dialog and no request to elsewhere ever appears is watched on every page.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Page, expect

from tests.browser.drive import App, Witness, choose, open_app, open_tab, read_toast, slow_steps, upload
from tests.programs import Programs

SCRIPT = "<script>alert('from a dataset')</script>"
PICTURE = "<img src=x onerror=alert('from-a-picture')>"
REMOTE = "![spy](http://192.0.2.1/spy.png) <img src='http://192.0.2.1/spy.png'>"


@pytest.fixture(scope="module")
def app(tmp_path_factory: pytest.TempPathFactory, trained_home: Path, apps: Programs) -> Iterator[App]:
    """The app on a copy of the trained home, for these tests alone."""
    home = tmp_path_factory.mktemp("bad-input") / "home"
    shutil.copytree(trained_home, home, symlinks=True)
    with open_app(home, programs=apps) as opened:
        yield opened


@pytest.fixture
def page(app: App, witness: Witness) -> Page:
    return witness.open(app)


@pytest.mark.slow
def test_a_broken_line_is_named_with_its_row_and_line(page: Page, tmp_path: Path) -> None:
    lines = [json.dumps({"prompt": f"Question {number}?", "response": f"Answer {number}."}) for number in range(1, 61)]
    lines[56] = '{"prompt": "Question 57?", "response": '
    upload(page, write(tmp_path / "broken.jsonl", "\n".join(lines) + "\n"))
    expect(page.locator("#dataset-verdict")).to_contain_text("Not ready yet. Row 57:")
    problem = page.locator("#dataset-problems tbody tr").first
    expect(problem.locator("td").nth(1)).to_have_text("57")
    expect(problem.locator("td").nth(2)).to_have_text("57")
    expect(page.get_by_role("button", name="Save and go to training")).to_be_disabled()


@pytest.mark.slow
def test_a_file_that_is_no_dataset_gets_a_sentence(page: Page, tmp_path: Path) -> None:
    for name, content in (
        ("empty.csv", b""),
        ("picture.csv", b"\x89PNG\r\n\x1a\n\x00\x00\x00\rIHDR"),
        ("no.json", b"7"),
    ):
        (tmp_path / name).write_bytes(content)
        upload(page, tmp_path / name)
        expect(page.locator("#dataset-verdict .mf-bad")).to_contain_text("Not ready yet.")
        expect(page.get_by_role("button", name="Save and go to training")).to_be_disabled()
        page.get_by_label("Remove").or_(page.get_by_label("Clear")).first.click()
        expect(page.locator("#dataset-verdict")).to_contain_text("No file is open")


@pytest.mark.slow
def test_html_in_a_dataset_is_text_wherever_it_is_shown(page: Page, tmp_path: Path) -> None:
    rows = [{"prompt": f"{SCRIPT} {number}?", "response": f"{PICTURE} {number}"} for number in range(20)]
    rows += [{"prompt": "", "response": PICTURE}, rows[0]]
    upload(page, write(tmp_path / "page.jsonl", "".join(json.dumps(row) + "\n" for row in rows[:20] + rows[21:])))
    expect(page.locator("#dataset-preview pre").first).to_contain_text(SCRIPT)
    expect(page.locator("#dataset-preview mark").first).to_contain_text(PICTURE)
    page.locator("#dataset-name input, #dataset-name textarea").fill(PICTURE)
    page.get_by_role("button", name="Save and go to training").click()
    expect(page.locator("#train-dataset input")).to_have_value(f"{PICTURE} (21 rows)")
    open_tab(page, "Dataset")
    expect(page.locator("#dataset-library")).to_contain_text(PICTURE)
    assert page.locator("#tabs img, #tabs script").count() == 0


@pytest.mark.slow
def test_html_and_pictures_in_a_chat_are_text(page: Page) -> None:
    open_tab(page, "Playground")
    page.get_by_label("number input for max_new_tokens").fill("8")
    page.locator("#chat-question textarea").fill(asked := f"{SCRIPT}\n{REMOTE}\n&amp;")
    page.locator("#chat-send").click()
    expect(page.locator("#chat .message.user")).to_contain_text(REMOTE)
    assert page.locator("#chat .message.user").inner_text().strip() == asked
    answer = page.locator("#chat .message.bot")
    expect(answer).to_have_count(1)
    expect(answer).not_to_have_text("…")
    assert page.locator("#chat .message img, #chat .message script").count() == 0


@pytest.mark.slow
def test_audit_12_an_unknown_base_model_gives_one_sentence(page: Page) -> None:
    type_base_model(page, "no-such-people/no-such-model")
    said = page.locator("#train-base-note .mf-bad")
    expect(said).to_contain_text("no-such-people/no-such-model is not on this machine")
    page.locator("#train-start").click()
    toast = read_toast(page)
    assert "no-such-people/no-such-model is not on this machine" in toast
    assert "choose a starter model" in toast
    expect(page.locator("#train-base-model input")).to_have_value("no-such-people/no-such-model")


@pytest.mark.slow
def test_audit_08_a_command_typed_as_a_base_model_is_refused_and_has_no_effect(page: Page) -> None:
    for typed in ("; touch modelforge-was-here", "../..", PICTURE):
        type_base_model(page, typed)
        page.locator("#train-start").click()
        said = read_toast(page)
        assert typed in said
        page.get_by_test_id("toast-close").last.click()
        expect(page.get_by_test_id("toast-body")).to_have_count(0)
    assert not Path("modelforge-was-here").exists()


@pytest.mark.slow
def test_audit_19_a_second_start_waits_in_the_queue_and_both_can_be_stopped(app: App, page: Page) -> None:
    choose(page, "train-dataset", "doors")
    page.get_by_role("radio", name="Best").check()
    page.get_by_role("button", name="Recipe and command line").click()
    expect(page.locator("#train-recipe")).to_contain_text("num_train_epochs: 20.0")
    with slow_steps(app.home):
        start_run(page, "The first one")
        expect(page.locator("#train-start")).to_have_text("Queue another")
        start_run(page, "The second one")
        assert "waits in the queue" in read_toast(page)
        expect(page.locator("#run-head")).to_contain_text("The second one")
        expect(page.locator("#run-head")).to_contain_text("Waiting: another run is in progress")
        page.locator("#train-stop").click()
        choose(page, "train-earlier", "The first one")
        expect(page.locator("#run-head .mf-bar-label")).to_contain_text("of 40 ")
        page.locator("#train-stop").click()
        expect(page.locator("#run-head")).to_contain_text("Stopped early. The model trained so far")
    choose(page, "train-earlier", "The second one")
    expect(page.locator("#run-head")).to_contain_text("No step was trained")


@pytest.mark.slow
def test_audit_13_a_model_deleted_elsewhere_is_said_to_be_gone(app: App, witness: Witness, page: Page) -> None:
    open_tab(page, "Playground")
    choose(page, "chat-model", "Door colours")
    elsewhere = witness.open(app)
    open_tab(elsewhere, "Models")
    choose(elsewhere, "models-chosen", "Door colours")
    expect(elsewhere.locator("#models-name textarea, #models-name input")).to_have_value("Door colours")
    elsewhere.locator("#models-delete").click()
    elsewhere.locator("#models-delete-really").click()
    expect(elsewhere.locator("#models-table")).not_to_contain_text("Door colours")
    page.locator("#chat-question textarea").fill("Are you there?")
    page.locator("#chat-send").click()
    said = read_toast(page)
    assert "There is no model" in said
    assert "Something went wrong" not in said
    expect(page.locator("#chat-question textarea")).to_have_value("Are you there?")
    expect(page.locator("#chat").get_by_text("Error")).to_be_hidden()


def type_base_model(page: Page, text: str) -> None:
    box = page.locator("#train-base-model input")
    box.fill(text)
    box.press("Enter")
    expect(box).to_have_value(text)


def start_run(page: Page, name: str) -> None:
    open_tab(page, "Train")
    page.get_by_label("Name of the model").fill(name)
    page.locator("#train-start").click()
    expect(page.locator("#run-head")).to_contain_text(name)


def write(path: Path, text: str) -> Path:
    path.write_text(text, encoding="utf-8")
    return path


@pytest.mark.slow
def test_name_of_a_column_is_text_in_the_help_of_its_role(page: Page, tmp_path: Path) -> None:
    name = "[x](javascript:alert(1))<img src=x onerror=alert(1)> **bold** www.example.com question"
    rows = [{name: f"Which town is number {n}?", "answer": f"Town {n}."} for n in range(30)]
    upload(page, write(tmp_path / "names.jsonl", "".join(json.dumps(row) + "\n" for row in rows)))
    expect(page.get_by_text("Its name ends in 'question'")).to_be_visible()
    expect(page.get_by_label("prompt").first).to_have_value(name)
    assert page.locator("a[href*=javascript], a[href*=example], img[src=x], .info-text strong").count() == 0
