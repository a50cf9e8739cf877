"""The Hub tab against a Hub on loopback: a push that asks, shows its progress after a reload, is cancelled and resumed;
a repository that exists; and a model that comes back from there."""

from __future__ import annotations

import re
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import expect

from tests.browser.drive import App, Witness, in_each_look, open_app, open_tab, take_picture, wait_until_ready
from tests.hub_server import HubServer

TOKEN = "hf_annas_token_1234567890"
REPO = "anna/door-colours"


@pytest.fixture(scope="module")
def hub() -> Iterator[HubServer]:
    with HubServer() as server:
        yield server


@pytest.fixture(scope="module")
def connected(trained_home: Path, hub: HubServer, tmp_path_factory: pytest.TempPathFactory) -> Iterator[App]:
    """The app with a finished model, and a Hub."""
    home = tmp_path_factory.mktemp("hub") / "home"
    shutil.copytree(trained_home, home, symlinks=True)
    more = {"HF_ENDPOINT": hub.url, "HF_HUB_OFFLINE": "0", "HF_HOME": str(home.parent / "hf")}
    with open_app(home, more=more) as app:
        yield app


@pytest.mark.slow
def test_push_asks_is_cancelled_resumed_and_seen_after_a_reload(
    connected: App, hub: HubServer, witness: Witness, screenshots: Path
) -> None:
    page = witness.open(connected)
    open_tab(page, "Hub")
    expect(page.locator("#hub-files")).to_contain_text("adapter_model.safetensors")
    expect(page.locator("#hub-card")).to_contain_text("base_model_relation")
    page.locator("#hub-repo input, #hub-repo textarea").first.fill(REPO)
    page.locator("#hub-token input").fill(TOKEN)
    page.locator("#hub-push").click()
    expect(page.locator("#hub-question")).to_contain_text(f"to the new private repository {REPO}?")
    assert hub.repos == {}
    for look in in_each_look(page):
        take_picture(page, screenshots / f"hub-question-{look}.png")
    page.locator("#hub-no").click()
    expect(page.locator("#hub-yes")).to_be_hidden()
    page.locator("#hub-push").click()
    hub.slow_seconds = 12.0  # a picture of the page takes seconds on a busy machine
    page.locator("#hub-yes").click()
    expect(page.locator("#hub-token input")).to_have_value("")
    expect(page.locator("#hub-push-progress [role=progressbar]")).to_be_visible()
    page.reload()
    wait_until_ready(page)
    open_tab(page, "Hub")
    expect(page.locator("#hub-push-cancel")).to_be_visible()
    take_picture(page, screenshots / "hub-progress-light-1280.png")
    page.locator("#hub-push-cancel").click()
    expect(page.locator("#hub-push-progress")).to_contain_text("Cancelled")
    hub.slow_seconds = 0.0
    page.locator("#hub-push-resume").click()
    expect(page.locator("#hub-push-progress")).to_contain_text("files to a private repository")
    expect(page.locator("#hub-push-progress")).to_contain_text("To undo it")
    assert "adapter_model.safetensors" in hub.repos[REPO]["files"]
    for look in in_each_look(page):
        take_picture(page, screenshots / f"hub-pushed-{look}.png")
    witness.forget_errors("Failed to load resource")


@pytest.mark.slow
def test_existing_repository_is_asked_about_and_a_model_comes_back(
    connected: App, hub: HubServer, witness: Witness, screenshots: Path
) -> None:
    assert REPO in hub.repos
    hub.repos[REPO]["files"]["README.md"] = b"---\nlicense: apache-2.0\n---\n"  # else there is nothing to propose
    page = witness.open(connected)
    open_tab(page, "Hub")
    page.locator("#hub-repo input, #hub-repo textarea").first.fill(REPO)
    page.locator("#hub-token input").fill(TOKEN)
    page.locator("#hub-push").click()
    expect(page.locator("#hub-question")).to_contain_text("exists already and is private")
    expect(page.locator("#hub-request")).to_be_visible()
    take_picture(page, screenshots / "hub-existing-light-1280.png")
    page.locator("#hub-request").click()
    expect(page.locator("#hub-push-progress")).to_contain_text("/discussions/1")
    assert len(hub.repos[REPO]["commits"]) == 2
    hub.repos[REPO]["private"] = False
    page.locator("#hub-id input, #hub-id textarea").first.fill(REPO)
    page.locator("#hub-look").click()
    expect(page.locator("#hub-pull-question")).to_contain_text("is an adapter")
    take_picture(page, screenshots / "hub-download-light-1280.png")
    page.locator("#hub-pull-yes").click()
    expect(page.locator("#hub-pull-progress")).to_contain_text("is among your models")
    open_tab(page, "Models")
    expect(page.locator("#models-table")).to_contain_text(re.compile("door-colours"))
    page.locator("#models-table").screenshot(path=screenshots / "hub-imported.png")
