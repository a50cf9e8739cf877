"""Every task and method on the pages: what is offered, what is shown while it trains, what can be done with the result.

All but the menus are slow: they train. The pictures are kept to be looked at.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Page, expect

from modelforge.recipe import STARTER
from tests.browser.drive import (
    LOOKS,
    App,
    Witness,
    choose,
    in_each_look,
    open_app,
    open_tab,
    read_toast,
    save_rows,
    set_number,
    slow_steps,
    take_picture,
)
from tests.programs import Programs

ENCODER = "sentence-transformers/all-MiniLM-L6-v2"
PATIENCE = 240_000  # milliseconds: a run on a busy machine


@pytest.fixture(scope="module")
def app(
    tmp_path_factory: pytest.TempPathFactory, make_small_home: Callable[[Path], Path], apps: Programs
) -> Iterator[App]:
    """An app for the tests of this file, which leave models in it."""
    home = make_small_home(tmp_path_factory.mktemp("methods"))
    with open_app(home, programs=apps) as opened:
        yield opened


@pytest.mark.slow
def test_menus_follow_the_dataset_and_offer_only_what_can_be_trained(app: App, witness: Witness) -> None:
    page = witness.open(app)
    page.get_by_role("button", name="Advanced: every setting").click()
    base = page.locator("#train-base-model input")
    choose(page, "train-dataset", "Sample: Island questions")
    expect(base).to_have_value(f"{ENCODER} (23M, works offline)")
    expect(page.locator("#train-what")).to_contain_text("Extractive question answering")
    expect(page.locator("#set-doc_stride")).to_be_visible()
    base.click()
    assert not [each for each in page.get_by_role("option").all_inner_texts() if STARTER in each]
    base.press("Escape")
    page.get_by_role("radio", name="Full fine-tuning").check()
    expect(page.locator("#set-tuning-r")).to_be_hidden()
    expect(base).to_have_value(f"{ENCODER} (23M, works offline)")
    choose(page, "train-dataset", "Sample: Local news")
    expect(base).to_have_value(f"{STARTER} (135M, works offline)")
    expect(page.locator("#set-doc_stride")).to_be_hidden()
    for hidden in ("#rewards", "#set-dpo-beta", "#set-grpo-temperature", "#train-method", "#train-leave-parent"):
        expect(page.locator(hidden)).to_be_hidden()
    expect(page.locator("#train-problem")).to_have_text("")


@pytest.mark.slow
def test_question_answering_from_a_sample_to_an_answer_in_a_text(app: App, witness: Witness, screenshots: Path) -> None:
    page = witness.open(app)
    choose(page, "train-dataset", "Sample: Island questions")
    expect(page.locator("#train-base-model input")).to_have_value(f"{ENCODER} (23M, works offline)")
    page.get_by_role("radio", name="Full fine-tuning").check()
    expect(page.locator("#set-tuning-r")).to_be_hidden()
    train(page, steps=3)
    expect(page.locator("#run-head .mf-tiles")).to_contain_text("Exact match")
    page.screenshot(path=screenshots / "light-1280-train-questions.png", full_page=True)

    page.locator("#train-chat").click()
    expect(page.locator("#playground-context")).to_be_visible()
    expect(page.locator("#chat")).to_be_hidden()
    page.locator("#playground-find").click()
    assert "There is no text" in read_toast(page)
    find_answer(page)
    said = page.locator("#playground-answer mark").inner_text()
    assert said in page.locator("#playground-context textarea").input_value()
    page.get_by_role("radio", name="Base", exact=True).check()
    page.locator("#playground-find").click()
    expect(page.locator("#playground-answer")).to_contain_text("The base model")

    open_tab(page, "Models")
    expect(page.locator("#models-details")).to_contain_text("higher is better")
    page.locator("#models-evaluate").click()
    expect(page.locator("#models-evaluation")).to_contain_text("held-out row", timeout=PATIENCE)
    expect(page.locator("#models-evaluation")).to_contain_text("F1")

    page.locator("#models-further").click()
    expect(page.locator("#train-parent")).to_contain_text("Training Island questions on all-MiniLM-L6-v2 further")
    expect(page.locator("#train-base-model input")).to_be_disabled()
    page.get_by_label("Name of the model").fill("Islands, further")
    train(page, steps=2)
    page.get_by_role("button", name="Show in Models").click()
    expect(page.locator("#models-name textarea, #models-name input")).to_have_value("Islands, further")
    expect(page.locator("#models-details")).to_contain_text("Trained further from")
    open_tab(page, "Train")
    page.locator("#train-leave-parent").click()
    expect(page.locator("#train-leave-parent")).to_be_hidden()
    expect(page.locator("#train-base-model input")).to_be_enabled()

    open_tab(page, "Playground")
    choose(page, "chat-model", "Island questions")
    find_answer(page)
    for look in in_each_look(page):
        take_picture(page, screenshots / f"{look}-playground-questions.png")
    open_tab(page, "Models")
    expect(page.locator("#models-details")).to_contain_text("F1")
    for look in in_each_look(page):
        take_picture(page, screenshots / f"{look}-models-questions.png")


@pytest.mark.slow
def test_rewards_are_tried_before_training_and_the_reward_is_drawn(
    app: App, witness: Witness, screenshots: Path, tmp_path: Path
) -> None:
    rows = [{"prompt": f"What is {a} plus {b}?", "reference": str(a + b)} for a in range(2, 7) for b in range(3, 6)]
    page = witness.open(app)
    save_rows(page, tmp_path / "sums.jsonl", rows, "Prompts for rewards")
    expect(page.locator("#reward-1-kind input")).to_have_value("Matches the reference of its row")
    page.locator("#rewards-more").click()
    choose(page, "reward-2-kind", "Contains certain words")
    expect(page.locator("#train-problem")).to_contain_text("Reward 2: There are no words.")
    page.locator("#reward-2-text textarea").fill("plus, is")
    expect(page.locator("#train-problem")).to_have_text("")
    set_number(page, "grpo-max_completion_length", "12")
    page.locator("#rewards-preview").click()
    tried = page.locator("#rewards-tried .mf-sample")
    expect(tried).to_have_count(4, timeout=PATIENCE)
    expect(page.locator("#rewards-tried .mf-bar")).to_have_count(0, timeout=PATIENCE)
    for word in ("What is 2 plus 3?", "Reference: 5", "Matches reference", "Contains", "Total"):
        expect(tried.first).to_contain_text(word)
    expect(page.locator("#rewards-tried .mf-note").first).to_be_visible()
    for look in in_each_look(page, (LOOKS[0], LOOKS[-1])):
        take_picture(page, screenshots / f"{look}-train-rewards.png")

    set_number(page, "max_steps", "2")
    with slow_steps(app.home, 60):
        page.locator("#train-start").click()
        expect(page.locator("#run-head")).to_contain_text("sums on")
        page.locator("#rewards-preview").click()
        assert "A run is in progress and needs the memory" in read_toast(page)
    wait_for_end(page, 2)
    expect(page.locator("#run-head .mf-tiles")).to_contain_text("Mean reward")
    expect(page.locator("#run-chart")).to_contain_text("mean reward on held-out prompts")
    take_picture(page, screenshots / "light-1280-train-reward-curve.png")


@pytest.mark.slow
def test_preferences_show_the_margin(app: App, witness: Witness, screenshots: Path, tmp_path: Path) -> None:
    rows = [
        {"prompt": f"What is {a} plus {b}?", "chosen": f"It is {a + b}.", "rejected": f"Nobody knows what {a} is."}
        for a in range(2, 7)
        for b in range(3, 6)
    ]
    page = witness.open(app)
    save_rows(page, tmp_path / "pairs.jsonl", rows, "Preference pairs")
    expect(page.locator("#train-what")).to_contain_text("Preferences (DPO)")
    train(page, steps=3)
    expect(page.locator("#run-head")).to_contain_text("Reward margin")
    expect(page.locator("#run-head .mf-tiles")).to_contain_text("Better answer preferred")
    expect(page.locator("#run-chart svg")).to_have_count(2)
    take_picture(page, screenshots / "light-1280-train-preferences.png")


@pytest.mark.slow
def test_slow_answers_do_not_make_the_form_ask_for_ever(app: App, witness: Witness) -> None:
    page = witness.open(app)
    asked: list[str] = []
    page.on("request", lambda request: asked.append(request.url) if "queue/join" in request.url else None)
    page.evaluate(
        "() => { const ask = window.fetch;"
        "window.fetch = async (to, how) => {"
        "  if (String(to).includes('queue/join')) await new Promise(go => setTimeout(go, 700));"
        "  return ask(to, how); } }"
    )
    page.get_by_role("button", name="Advanced: every setting").click()
    choose(page, "train-dataset", "Sample: Island questions")
    page.get_by_role("radio", name="Full fine-tuning").check()
    choose(page, "train-dataset", "Sample: Local news")
    page.wait_for_timeout(25_000)
    asked.clear()
    page.wait_for_timeout(6_000)
    assert len(asked) <= 12  # the timers' own: of the run each second, of the header each other


def train(page: Page, *, steps: int) -> None:
    """Press Start for so many steps and wait for the end."""
    set_number(page, "max_steps", str(steps))
    page.locator("#train-start").click()
    wait_for_end(page, steps)
    expect(page.locator("#train-chat")).to_be_visible()


def wait_for_end(page: Page, steps: int) -> None:
    """Until the run of so many steps, another number than that of the run before, has ended, and well."""
    expect(page.locator("#run-head .mf-bar-label")).to_contain_text(f"step {steps} of {steps}", timeout=PATIENCE)
    expect(page.locator("#run-head")).to_contain_text(re.compile("Finished|Failed"), timeout=PATIENCE)
    expect(page.locator("#run-head")).to_contain_text("Finished")
    expect(page.locator("#header-run")).to_have_text("No run in progress")


def find_answer(page: Page) -> None:
    expect(page.locator("#playground-context")).to_be_visible()
    page.locator("#playground-example-question").click()
    expect(page.locator("#playground-question textarea, #playground-question input")).not_to_have_value("")
    page.locator("#playground-find").click()
    expect(page.locator("#playground-answer mark")).to_be_visible(timeout=60_000)
