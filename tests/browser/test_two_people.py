"""Two people in two browsers on one app: they train one after the other, chat, download, and see only their own."""

from __future__ import annotations

import re
import shutil
from pathlib import Path

import pytest
from playwright.sync_api import Page, expect

from tests import tiny
from tests.browser.drive import App, Witness, open_app, open_tab, upload, wait_until_ready

LOGINS = {"omar": "owner's word", "anna": "anna's word", "bert": "bert's word"}
PATIENCE = 300_000  # milliseconds: two runs on a busy machine


def sign_in(witness: Witness, app: App, name: str) -> Page:
    page = witness.open_blank()
    page.goto(app.url)
    page.get_by_label("Name").fill(name)
    page.get_by_label("Password").fill(LOGINS[name])
    page.get_by_role("button", name="Sign in").click()
    expect(page.get_by_role("tab").first).to_be_visible(timeout=PATIENCE)
    wait_until_ready(page)
    return page


def start_a_run(page: Page, folder: Path, name: str) -> None:
    upload(page, tiny.write_jsonl(folder / f"{name}s-rows.jsonl", tiny.user_rows("chat", 20)))
    expect(page.locator("#dataset-verdict")).to_contain_text("Ready to train")
    page.get_by_role("button", name="Save and go to training").click()
    expect(page.locator("#train-dataset input")).to_have_value(re.compile(f"{name}s-rows"))
    page.get_by_role("button", name="Advanced: every setting").click()
    for setting, value in {"max_steps": 3, "max_length": 64, "eval_split": 0}.items():
        field = page.locator(f"#set-{setting} input")
        field.fill(str(value))
        field.press("Tab")
    page.locator("#train-start").click()


@pytest.mark.slow
def test_two_people_share_an_app_and_see_only_their_own(
    home_with_starter: Path, witness: Witness, screenshots: Path, tmp_path: Path
) -> None:
    logins = "\n".join(f"{name}:{word}" for name, word in LOGINS.items())
    with open_app(home_with_starter, more={"MODELFORGE_AUTH": logins}) as app:
        anna, bert = sign_in(witness, app, "anna"), sign_in(witness, app, "bert")
        expect(anna.locator("#header-person")).to_contain_text("shared: anna (your own work)")
        anna.screenshot(path=screenshots / "light-1280-shared.png")
        start_a_run(anna, tmp_path, "anna")
        expect(anna.locator("#train-stop")).to_be_enabled()
        start_a_run(bert, tmp_path, "bert")
        expect(bert.locator("#run-head")).to_contain_text(
            re.compile("another run is in progress|Getting ready|Training")
        )
        expect(bert.locator(".mf-run-name")).to_contain_text("berts-rows")
        for page, name, other in ((anna, "anna", "bert"), (bert, "bert", "anna")):
            expect(page.locator("#run-head")).to_contain_text("Finished", timeout=PATIENCE)
            page.get_by_role("button", name=re.compile(r"^Log\b")).click()
            with page.expect_download() as downloading:
                page.locator("#run-log-fetch").click()
            assert f"{other}s" not in Path(downloading.value.path()).read_text(encoding="utf-8")
            page.locator("#train-chat").click()
            expect(page.locator("#chat-model input")).to_have_value(re.compile(f"{name}s-rows"))
            page.get_by_label("number input for max_new_tokens").fill("4")
            page.locator("#chat-question textarea").fill("Hello")
            page.locator("#chat-send").click()
            expect(page.locator("#chat .message.bot")).not_to_have_text("…", timeout=PATIENCE)
            for tab in ("Dataset", "Train", "Models", "Hub"):
                open_tab(page, tab)
                expect(page.locator("#tabs")).not_to_contain_text(f"{other}s-rows")
            assert f"{other}s-rows" not in page.content()
        owner = sign_in(witness, app, "omar")
        open_tab(owner, "Models")
        for name in ("anna", "bert"):
            expect(owner.locator("#models-table")).to_contain_text(f"{name}s-rows")
        anna.get_by_role("link", name="Sign out").click()
        expect(anna.get_by_role("heading", name="ModelForge")).to_be_visible()
        bert.reload()
        wait_until_ready(bert)  # the other's sign-in stands
        for page in (anna, bert, owner):
            page.context.close()


@pytest.mark.slow
def test_a_link_for_chatting_shows_the_playground_alone(
    trained_home: Path, witness: Witness, screenshots: Path, tmp_path: Path
) -> None:
    """As behind `--share`, which needs the internet: the same person, on the same page."""
    script = (
        "import sys\nfrom dataclasses import replace\nfrom modelforge.ui import app\n"
        "from modelforge.ui.access import decide_access\n"
        "asked = decide_access(share=True, model=app.find_shared_model(None))\n"
        "app.serve(replace(asked, share=False, port=int(sys.argv[sys.argv.index('--port') + 1])), open_browser=False)"
    )
    more = {"MODELFORGE_AUTH": f"omar:{LOGINS['omar']}\nanna:{LOGINS['anna']}"}
    home = shutil.copytree(trained_home, tmp_path / "home", symlinks=True)  # another app may be open on the first
    with open_app(home, more=more, script=script) as app:
        page = witness.open_blank()
        page.goto(app.url)
        page.get_by_label("Name").fill("anna")
        page.get_by_label("Password").fill(LOGINS["anna"])
        page.screenshot(path=screenshots / "light-1280-sign-in.png")
        page.get_by_role("button", name="Sign in").click()
        expect(page.get_by_role("tab")).to_have_count(1, timeout=PATIENCE)
        expect(page.locator("#header-person")).to_contain_text("anna (chat only)")
        page.get_by_label("number input for max_new_tokens").fill("4")
        page.locator("#chat-question textarea").fill("Which colour is door amber?")
        page.locator("#chat-send").click()
        expect(page.locator("#chat .message.bot")).not_to_have_text("…", timeout=PATIENCE)
        page.screenshot(path=screenshots / "light-1280-chat-only.png")
        page.context.close()
