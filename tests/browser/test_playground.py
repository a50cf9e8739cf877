"""The Playground as a person uses it: a chat before any training, branches, two sides and votes, a run on the votes,
conversations that are found again."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Page, expect

from tests.browser.drive import App, Witness, choose, in_each_look, open_app, open_tab, read_toast, take_picture
from tests.programs import Programs

STARTER = "Base model SmolLM2-135M-Instruct"


@pytest.fixture(scope="module")
def fresh(
    tmp_path_factory: pytest.TempPathFactory, make_small_home: Callable[[Path], Path], apps: Programs
) -> Iterator[App]:
    """An app without any run, with the small starter."""
    with open_app(make_small_home(tmp_path_factory.mktemp("playground")), programs=apps) as opened:
        yield opened


@pytest.fixture
def voted(trained_home: Path, apps: Programs, tmp_path: Path) -> Iterator[App]:
    """The app with a finished model, in a home of its own: votes and the run on them stay there."""
    with open_app(shutil.copytree(trained_home, tmp_path / "home", symlinks=True), programs=apps) as opened:
        yield opened


def say(page: Page, text: str, *, answers: int, tokens: int = 8) -> None:
    """Send a question and wait for the whole answer, the last of so many."""
    set_tokens(page, tokens)
    page.locator("#chat-question textarea").fill(text)
    page.locator("#chat-send").click()
    wait_for_answers(page, answers)


def set_tokens(page: Page, tokens: int) -> None:
    box = page.get_by_label("number input for max_new_tokens")
    box.fill(str(tokens))
    box.press("Tab")


def wait_for_answers(page: Page, count: int) -> None:
    said = page.locator("#chat .message.bot")
    expect(said).to_have_count(count)
    expect(said.last).to_contain_text(re.compile("token|empty"))


@pytest.mark.slow
def test_a_base_model_is_talked_to_before_any_training(fresh: App, witness: Witness, screenshots: Path) -> None:
    page = witness.open(fresh)
    page.locator("#train-talk").click()
    expect(page.locator("#playground-hint")).to_contain_text("before any training")
    expect(page.locator("#chat-model input")).to_have_value(re.compile(STARTER))
    expect(page.locator("#chat-which")).to_be_hidden()
    say(page, "Where is the <b>lamp</b> & why?", answers=1)
    expect(page.locator("#chat .message.user")).to_contain_text("<b>lamp</b> & why?")
    expect(page.locator("#chat .message.bot .mf-aside")).to_contain_text("a second")

    say(page, "And the boat?", answers=2)
    page.locator("#chat-again").click()
    expect(page.locator("#chat-branches")).to_be_visible()
    wait_for_answers(page, 2)
    edit_question(page, "And the harbour?")
    wait_for_answers(page, 2)
    expect(page.locator("#chat .message.user").last).to_contain_text("And the harbour?")
    for look in in_each_look(page):
        take_picture(page, screenshots / f"{look}-playground-branches.png")
    choose(page, "chat-branches", "1: And the boat?")
    expect(page.locator("#chat .message.user").last).to_contain_text("And the boat?")

    page.get_by_role("radio", name="Lively").check()
    expect(page.get_by_label("number input for temperature")).to_have_value("1.1")
    page.get_by_role("radio", name="Exact").check()
    expect(page.get_by_label("number input for temperature")).to_have_value("0")

    page.locator("#chat-clear").click()
    set_tokens(page, 1024)
    page.locator("#chat-question textarea").fill("Go on for ever")
    page.locator("#chat-send").click()
    expect(page.locator("#chat .message.bot")).not_to_have_text("…")
    page.locator("#chat-stop").click()
    expect(page.locator("#chat .message.bot .mf-aside")).to_contain_text(re.compile("stopped|1,?024 tokens"))

    page.reload()
    open_tab(page, "Playground")
    expect(page.locator("#chat .message.user")).to_have_count(0)
    page.get_by_role("button", name="Saved conversations").click()
    expect(page.locator("#saved")).to_contain_text("2 saved.")
    page.locator("#saved-search input, #saved-search textarea").fill("HARBOUR")
    expect(page.locator("#saved")).to_contain_text("1 found.")
    page.locator("#saved-name input, #saved-name textarea").fill("About harbours")
    page.locator("#saved-rename").click()
    expect(page.locator("#saved-chosen input")).to_have_value(re.compile("About harbours"))
    page.locator("#saved-open").click()
    expect(page.locator("#chat .message.user").last).to_contain_text("And the boat?")
    expect(page.locator("#chat-branches")).to_be_visible()
    for button, ending in (("jsonl", ".jsonl"), ("markdown", ".md")):
        with page.expect_download() as downloading:
            page.locator(f"#saved-{button}").click()
        assert downloading.value.suggested_filename.endswith(ending)
        assert "And the boat?" in Path(downloading.value.path()).read_text(encoding="utf-8")
    for look in in_each_look(page):
        take_picture(page, screenshots / f"{look}-playground-saved.png")
    page.locator("#saved-delete").click()
    page.locator("#saved-delete-really").click()
    expect(page.locator("#saved")).to_contain_text("0 found.")


def edit_question(page: Page, text: str) -> None:
    message = page.locator("#chat .message.user").last
    message.hover()
    page.locator("#chat").get_by_label("Edit").last.click()
    box = page.locator("#chat textarea").last
    box.fill(text)
    page.locator("#chat").get_by_label("Submit").click()


@pytest.mark.slow
def test_blind_votes_become_pairs_and_a_run(voted: App, witness: Witness, screenshots: Path) -> None:
    page = witness.open(voted)
    open_tab(page, "Playground")
    choose(page, "chat-model", "Door colours")
    page.get_by_role("radio", name="Two sides").check()
    expect(page.locator("#sides-against input")).to_have_value(re.compile("its base model"))
    expect(page.locator("#chat")).to_be_hidden()
    set_tokens(page, 8)
    page.locator("#sides-start").click()
    assert "The question is empty" in read_toast(page)
    warmer = page.get_by_label("number input for temperature")
    warmer.fill("1.5")  # the small model says only white space otherwise
    warmer.press("Tab")
    for number in range(8):
        page.locator("#sides-prompt textarea").fill(f"Which colour is door {number}?")
        page.locator("#sides-start").click()
        expect(page.locator("#sides-left")).to_be_visible()
        answers = page.locator("#sides-answers")
        expect(answers).not_to_contain_text("Door colours")
        if number == 0:
            for look in in_each_look(page):
                take_picture(page, screenshots / f"{look}-playground-blind.png")
        page.locator("#sides-left" if number % 2 else "#sides-right").click()
        expect(page.locator("#sides-revealed")).to_contain_text("Door colours")
        expect(answers).to_contain_text("its base model")
    expect(page.locator("#votes-table")).to_contain_text("95% interval")
    for look in in_each_look(page):
        take_picture(page, screenshots / f"{look}-playground-votes.png")
    with page.expect_download() as downloading:
        page.locator("#votes-fetch").click()
    pairs = [json.loads(line) for line in Path(downloading.value.path()).read_text(encoding="utf-8").splitlines()]
    assert pairs and all(pair.keys() == {"prompt", "chosen", "rejected"} for pair in pairs)

    page.locator("#votes-use").click()
    expect(page.locator("#train-dataset input")).to_have_value(re.compile("Votes of"))
    expect(page.locator("#train-what")).to_contain_text("Preferences (DPO)")
    page.get_by_role("button", name="Advanced: every setting").click()
    for setting, value in {"max_steps": 2, "max_length": 64, "eval_split": 0}.items():
        box = page.locator(f"#set-{setting} input").first
        box.fill(str(value))
        box.press("Tab")
    page.locator("#train-start").click()
    expect(page.locator(".mf-run-name")).to_contain_text("Votes of")
    expect(page.locator("#run-head")).to_contain_text("Finished", timeout=300_000)

    open_tab(page, "Models")
    page.locator("#models-try").click()
    expect(page.locator("#chat-model input")).not_to_have_value("")
