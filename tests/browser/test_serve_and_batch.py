"""On the Models tab: a model is put behind OpenAI's API and taken off again; a file is answered and downloaded."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
from openai import OpenAI
from playwright.sync_api import expect

from tests.browser.drive import App, Witness, in_each_look, open_tab, take_picture

pytestmark = pytest.mark.slow
PROMPTS = ("Which colour is door amber?", "Which colour is door teal?", "Which colour is door indigo?")


def test_model_is_served_with_a_key_that_is_shown_once(app: App, witness: Witness, screenshots: Path) -> None:
    page = witness.open(app)
    open_tab(page, "Models")
    page.get_by_role("button", name="Use it from other programs").click()
    page.locator("#serve-port input").fill("0")
    page.locator("#serve-start").click()
    state = page.locator("#serve-state")
    expect(state).to_contain_text("shown only once")
    told = state.inner_text()
    address, key = re.search(r"http://\S+/v1", told), re.search(r"mf-\S+", told)
    assert address and key
    client = OpenAI(base_url=address[0], api_key=key[0], max_retries=0, timeout=120)
    tuned, base = [each.id for each in client.models.list()]
    assert base == f"{tuned}-base"
    said = client.chat.completions.create(
        model=tuned, messages=[{"role": "user", "content": PROMPTS[0]}], max_tokens=4, stream=True
    )
    assert len(list(said)) > 2
    page.locator("#serve-snippet").get_by_text("LangChain").click()
    expect(page.locator("#serve-code")).to_contain_text("ChatOpenAI")
    expect(page.locator("#serve-code")).to_contain_text(address[0])
    for look in in_each_look(page):
        take_picture(page, screenshots / f"serve-{look}.png")
    page.reload()
    open_tab(page, "Models")
    page.get_by_role("button", name="Use it from other programs").click()
    expect(state).to_contain_text(address[0])
    expect(state).not_to_contain_text(key[0])
    page.locator("#serve-stop").click()
    expect(page.locator("#serve-start")).to_be_visible()
    expect(state).to_be_empty()


def test_file_is_answered_and_downloaded(app: App, witness: Witness, tmp_path: Path, screenshots: Path) -> None:
    file = tmp_path / "doors.jsonl"
    file.write_text("".join(json.dumps({"prompt": each}) + "\n" for each in (*PROMPTS, None)), encoding="utf-8")
    page = witness.open(app)
    open_tab(page, "Models")
    page.get_by_role("button", name="Answer a file").click()
    page.locator("#batch-file input[type=file]").set_input_files(file)
    expect(page.locator("#batch-file")).to_contain_text("doors.jsonl")
    page.locator("#batch-longest input").fill("6")
    page.locator("#batch-start").click()
    expect(page.locator("#batch-state")).to_contain_text("Done: 3 of 4 rows answered")
    expect(page.locator("#batch-state")).to_contain_text("1 row left out")
    for look in in_each_look(page):
        take_picture(page, screenshots / f"batch-{look}.png")
    with page.expect_download() as found:
        page.locator("#batch-fetch").click()
    rows = [json.loads(line) for line in Path(found.value.path()).read_text(encoding="utf-8").splitlines()]
    assert [row["prompt"] for row in rows] == list(PROMPTS)
    assert all("answer" in row for row in rows)
    page.locator("#batch-delete").click()
    expect(page.locator("#batch-chosen")).to_be_hidden()
