"""Every task and method on the pages: what is offered, what is shown while it trains, what can be done with the result.

All but the menus are slow: they train. The pictures are kept to be looked at.
"""

from __future__ import annotations

import json
import random
import re
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Page, expect

from modelforge.recipe import STARTER
from tests.browser.drive import App, Witness, choose, open_app, open_tab, read_toast, upload

ENCODER = "sentence-transformers/all-MiniLM-L6-v2"
PATIENCE = 240_000  # milliseconds: a run on a busy machine
LOOKS = [("light", 1280), ("dark", 1280), ("light", 390), ("dark", 390)]


@pytest.fixture(scope="module")
def own_app(tmp_path_factory: pytest.TempPathFactory, make_home: Callable[[Path], Path]) -> Iterator[App]:
    """An app for the slow tests of this file, which leave models in it."""
    home = make_home(tmp_path_factory.mktemp("methods"))
    with open_app(home) as opened:
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
def test_question_answering_from_a_sample_to_an_answer_in_a_text(
    own_app: App, witness: Witness, screenshots: Path
) -> None:
    page = witness.open(own_app)
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
    expect(page.locator("#playground-answer")).to_contain_text("The base model", timeout=60_000)

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

    for scheme, width in LOOKS:
        seen = witness.open(own_app, color_scheme=scheme, viewport={"width": width, "height": 900})
        open_tab(seen, "Playground")
        choose(seen, "chat-model", "Island questions")
        find_answer(seen)
        picture(seen, screenshots / f"{scheme}-{width}-playground-questions.png")
        open_tab(seen, "Models")
        expect(seen.locator("#models-details")).to_contain_text("F1")
        picture(seen, screenshots / f"{scheme}-{width}-models-questions.png")
        seen.context.close()


@pytest.mark.slow
def test_rewards_are_tried_before_training_and_the_reward_is_drawn(
    own_app: App, witness: Witness, screenshots: Path, tmp_path: Path
) -> None:
    rows = [{"prompt": f"What is {a} plus {b}?", "reference": str(a + b)} for a in range(2, 7) for b in range(3, 6)]
    page = witness.open(own_app)
    save(page, write(tmp_path / "sums.jsonl", rows), "Prompts for rewards")
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
    picture(page, screenshots / "light-1280-train-rewards.png")
    page.emulate_media(color_scheme="dark")
    page.set_viewport_size({"width": 390, "height": 900})
    picture(page, screenshots / "dark-390-train-rewards.png")
    page.set_viewport_size({"width": 1280, "height": 900})
    page.emulate_media(color_scheme="light")

    set_number(page, "max_steps", "2")
    page.locator("#train-start").click()
    expect(page.locator("#run-head")).to_contain_text("sums on", timeout=60_000)
    page.locator("#rewards-preview").click()
    assert "A run is in progress and needs the memory" in read_toast(page)
    wait_for_end(page)
    expect(page.locator("#run-head .mf-tiles")).to_contain_text("Mean reward")
    expect(page.locator("#run-chart")).to_contain_text("mean reward on held-out prompts")
    picture(page, screenshots / "light-1280-train-reward-curve.png")


@pytest.mark.slow
def test_preferences_show_the_margin(own_app: App, witness: Witness, screenshots: Path, tmp_path: Path) -> None:
    rows = [
        {"prompt": f"What is {a} plus {b}?", "chosen": f"It is {a + b}.", "rejected": f"Nobody knows what {a} is."}
        for a in range(2, 7)
        for b in range(3, 6)
    ]
    page = witness.open(own_app)
    save(page, write(tmp_path / "pairs.jsonl", rows), "Preference pairs")
    expect(page.locator("#train-what")).to_contain_text("Preferences (DPO)")
    train(page, steps=3)
    expect(page.locator("#run-head")).to_contain_text("reward margin")
    expect(page.locator("#run-head .mf-tiles")).to_contain_text("Better answer preferred")
    expect(page.locator("#run-chart svg")).to_have_count(2)
    picture(page, screenshots / "light-1280-train-preferences.png")


@pytest.mark.slow
def test_a_run_that_does_not_fit_is_refused_and_one_press_makes_it_fit(
    own_app: App, witness: Witness, screenshots: Path, tmp_path: Path
) -> None:
    draw = random.Random(0)
    words = ["".join(draw.choices("abcdefgh", k=5)) for _ in range(500)]
    rows = [{"prompt": f"Story {n}?", "response": " ".join(draw.choices(words, k=500))} for n in range(80)]
    page = witness.open(own_app)
    expect(page.locator("#train-verdict .mf-good")).to_contain_text("Fits", timeout=PATIENCE)
    save(page, write(tmp_path / "stories.jsonl", rows), "Ready to train")
    page.get_by_role("button", name="Advanced: every setting").click()
    set_number(page, "max_length", "1024")
    expect(page.locator("#train-verdict .mf-note")).to_contain_text("memory", timeout=PATIENCE)
    set_number(page, "per_device_train_batch_size", "64")
    expect(page.locator("#train-verdict .mf-bad")).to_contain_text("Won't fit", timeout=PATIENCE)
    expect(page.locator("#train-advice-1")).to_be_visible(timeout=PATIENCE)
    page.get_by_role("button", name="Advanced: every setting").click()
    for scheme, width in LOOKS:
        page.emulate_media(color_scheme=scheme)  # type: ignore[arg-type]
        page.set_viewport_size({"width": width, "height": 900})
        picture(page, screenshots / f"{scheme}-{width}-train-verdict.png")
    page.set_viewport_size({"width": 1280, "height": 900})
    page.locator("#train-start").click()
    assert "Won't fit" in read_toast(page)
    page.locator("#train-advice-1").click()
    expect(page.locator("#train-verdict .mf-bad")).to_have_count(0, timeout=PATIENCE)
    expect(page.locator("#train-verdict .mf-note")).to_contain_text("memory")
    expect(page.locator("#train-advice-3")).to_be_hidden()


def train(page: Page, *, steps: int) -> None:
    """Press Start for so many steps and wait for the end."""
    set_number(page, "max_steps", str(steps))
    page.locator("#train-start").click()
    expect(page.locator("#header-run")).not_to_have_text("No run in progress", timeout=60_000)
    wait_for_end(page)
    expect(page.locator("#run-head .mf-bar-label")).to_contain_text(f"step {steps} of {steps}")
    expect(page.locator("#train-chat")).to_be_visible()


def wait_for_end(page: Page) -> None:
    """Until the newest run has ended, and well."""
    expect(page.locator("#header-run")).to_have_text("No run in progress", timeout=PATIENCE)
    expect(page.locator("#run-head")).to_contain_text(re.compile("Finished|Failed"))
    expect(page.locator("#run-head")).to_contain_text("Finished")


def set_number(page: Page, setting: str, value: str) -> None:
    box = page.locator(f"#set-{setting} input")
    if not box.is_visible():
        page.get_by_role("button", name="Advanced: every setting").click()
    box.fill(value)
    box.press("Tab")


def save(page: Page, file: Path, kind: str) -> None:
    upload(page, file)
    expect(page.locator("#dataset-verdict")).to_contain_text(kind)
    page.get_by_role("button", name="Save and go to training").click()
    expect(page.locator("#train-dataset input")).to_have_value(re.compile(rf"{file.stem} \(\d+ rows\)"))


def find_answer(page: Page) -> None:
    expect(page.locator("#playground-context")).to_be_visible()
    page.locator("#playground-example-question").click()
    expect(page.locator("#playground-question textarea, #playground-question input")).not_to_have_value("")
    page.locator("#playground-find").click()
    expect(page.locator("#playground-answer mark")).to_be_visible(timeout=60_000)


def picture(page: Page, place: Path) -> None:
    page.wait_for_timeout(500)
    page.screenshot(path=place, full_page=True)
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth + 1")


def write(path: Path, rows: list[dict[str, str]]) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path


@pytest.mark.slow
def test_slow_answers_do_not_make_the_form_ask_for_ever(fresh_app: App, witness: Witness) -> None:
    page = witness.open(fresh_app)
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
