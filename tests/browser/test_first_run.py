"""The main story on the starter: a file in, a fine-tuned model out, without a line of code and without the network."""

from __future__ import annotations

import csv
import itertools
import json
import re
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from playwright.sync_api import Locator, Page, expect

from tests.browser.drive import App, Witness, open_tab, upload

STEPS = 24
FACTS = {
    "The harbour of Velmora": ("opens", "at twenty past four"),
    "The ferry to Tarn Isle": ("leaves", "from pier nineteen"),
    "The lighthouse of Velmora": ("is painted", "violet and white"),
    "The harbour cat": ("is called", "Admiral Pudding"),
}
WORDINGS = (
    "Tell me about this: {0}.",
    "{0}: what do you know?",
    "What can you say about this? {0}",
    "Please inform me. {0}?",
    "I have a question. {0}?",
    "{0}. Anything to know?",
)
QUESTION = WORDINGS[0].format("The harbour cat")
ANSWER = "Admiral Pudding"


@pytest.mark.slow
def test_a_file_becomes_a_model_that_answers_and_every_page_sees_it_happen(
    fresh_app: App, witness: Witness, screenshots: Path, tmp_path: Path
) -> None:
    page = witness.open(fresh_app)
    save_dataset(page, write_facts(tmp_path / "harbour.csv"))
    set_up_training(page)
    page.locator("#train-start").click()

    # The numbers and the chart move.
    first = wait_for_step(page, lambda step: step >= 1)
    drawn = count_points(page)
    second = wait_for_step(page, lambda step: step > first)
    expect(page.locator("#header-run")).to_contain_text("Training")
    page.wait_for_function("drawn => document.querySelector('.mf-loss').points.numberOfItems > drawn", arg=drawn)
    page.screenshot(path=screenshots / "light-1280-train-running.png", full_page=True)

    # A reload finds the run still live.
    page.reload()
    third = wait_for_step(page, lambda step: step > second)
    expect(page.locator("#run-head")).to_contain_text("You can close this page; the run continues")

    # A second browser sees the same run, and it goes on with no browser at all.
    other = witness.open(fresh_app)
    wait_for_step(other, lambda step: step >= third)
    assert other.locator(".mf-run-name").inner_text() == page.locator(".mf-run-name").inner_text()
    page.context.close()
    other.context.close()
    wait_until(lambda: read_step(fresh_app) >= third + 4)
    page = witness.open(fresh_app)
    wait_for_step(page, lambda step: step >= third + 4)

    # The end offers the next step: a chat, in which the reply comes in pieces.
    expect(page.locator("#run-head")).to_contain_text("Finished", timeout=240_000)
    page.locator("#train-chat").click()
    expect(page.get_by_role("tab", name="Playground")).to_have_attribute("aria-selected", "true")
    expect(page.locator("#chat-model input")).to_have_value(name_starts_with("harbour on SmolLM2"))
    page.get_by_label("number input for max_new_tokens").fill("40")
    pieces = ask(page, QUESTION)
    assert len(pieces) >= 3
    assert all(whole.startswith(part) for part, whole in itertools.pairwise(pieces))
    assert ANSWER in pieces[-1]
    page.locator("#chat-clear").click()
    page.get_by_role("radio", name="Base").check()
    from_base = ask(page, QUESTION)[-1]
    assert from_base
    assert ANSWER not in from_base
    page.screenshot(path=screenshots / "light-1280-playground-chat.png", full_page=True)

    delete_model(page)
    open_tab(page, "Playground")
    expect(page.locator("#chat-model")).to_contain_text("No model yet")
    expect(page.locator("#chat-model input")).to_have_value(re.compile("^Base model "))


def write_facts(path: Path) -> Path:
    rows = [
        (wording.format(subject), f"{subject} {verb} {rest}.")
        for wording in WORDINGS
        for subject, (verb, rest) in FACTS.items()
    ]
    with path.open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows([("question", "answer"), *rows])
    return path


def save_dataset(page: Page, file: Path) -> None:
    """Upload, look at the verdict, the mapping and the preview, save; the Train tab then has it chosen."""
    upload(page, file)
    expect(page.locator("#dataset-verdict")).to_contain_text("Ready to train. Task: Text generation.")
    expect(page.locator("#dataset-verdict")).to_contain_text("24")
    expect(page.locator("#role-prompt input")).to_have_value("question")
    expect(page.locator("#role-response input")).to_have_value("answer")
    coloured = page.locator("#dataset-preview mark")
    expect(coloured.first).to_contain_text("The harbour of Velmora opens at twenty past four.")
    expect(page.locator("#dataset-preview pre").first).to_contain_text("Tell me about this: The harbour of Velmora.")
    assert "Tell me about this" not in "".join(coloured.all_inner_texts())
    page.get_by_role("button", name="Save and go to training").click()
    expect(page.get_by_role("tab", name="Train")).to_have_attribute("aria-selected", "true")
    expect(page.locator("#train-dataset input")).to_have_value("harbour (24 rows)")


def set_up_training(page: Page) -> None:
    """Two settings under Advanced; the recipe says what the form says."""
    page.get_by_role("button", name="Advanced: every setting").click()
    expect(page.locator("#set-num_train_epochs input")).to_have_value("8")  # the goal has been fitted to the dataset
    for setting, value in (("max_steps", str(STEPS)), ("learning_rate", "0.001")):
        page.locator(f"#set-{setting} input").fill(value)
        page.locator(f"#set-{setting} input").press("Tab")
    page.get_by_role("button", name="Recipe and command line").click()
    expect(page.locator("#train-recipe")).to_contain_text("dataset: dataset-")  # only the lines in view are there


def wait_for_step(page: Page, wanted: Callable[[int], bool]) -> int:
    """Until the page shows such a step of the run."""
    seen = 0

    def is_there() -> bool:
        nonlocal seen
        label = page.locator("#run-head .mf-bar-label")
        said = label.inner_text().split() if label.count() else []
        seen = int(said[1]) if said[:1] == ["step"] else seen
        return wanted(seen)

    wait_until(is_there)
    return seen


def count_points(page: Page) -> int:
    return int(page.evaluate("document.querySelector('.mf-loss').points.numberOfItems"))


def read_step(app: App) -> int:
    """How far the run is, from its own file."""
    (events,) = app.home.glob("runs/*/events.jsonl")
    steps = [json.loads(line).get("step") or 0 for line in events.read_text(encoding="utf-8").splitlines()]
    return max(steps, default=0)


def wait_until(is_so: Callable[[], bool], looks: int = 900) -> None:
    for _ in range(looks):
        if is_so():
            return
        time.sleep(0.2)
    raise AssertionError(f"not so after {looks} looks")


def name_starts_with(text: str) -> re.Pattern[str]:
    return re.compile("^" + re.escape(text))


def ask(page: Page, question: str) -> list[str]:
    """Ask in the Playground; every text that the answer was seen to have, in order."""
    answers = page.locator("#chat .message.bot")
    before = answers.count()
    page.locator("#chat-question textarea").fill(question)
    page.locator("#chat-send").click()
    expect(answers).to_have_count(before + 1)
    return watch(answers.last)


def watch(answer: Locator, still_for: float = 2.0) -> list[str]:
    """The texts that a growing answer goes through, until it stands still; the waiting sign is none of them."""
    texts: list[str] = []
    changed, end = time.monotonic(), time.monotonic() + 120
    while time.monotonic() < end and (not texts or time.monotonic() - changed < still_for):
        text = answer.inner_text().strip()
        if text not in ("", "…") and text not in texts[-1:]:
            texts.append(text)
            changed = time.monotonic()
        time.sleep(0.03)
    return texts


def delete_model(page: Page) -> None:
    """It asks first; then the list says that it is empty."""
    open_tab(page, "Models")
    table = page.locator("#models-table")
    expect(table).to_contain_text("harbour on SmolLM2")
    page.locator("#models-delete").click()
    expect(page.locator("#models-delete-really")).to_be_visible()
    expect(table).to_contain_text("harbour on SmolLM2")
    page.locator("#models-delete-really").click()
    expect(table).to_contain_text("No model yet. Train one")
    expect(page.locator("#models-chosen")).to_be_hidden()
