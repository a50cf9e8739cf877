"""Exporting a model on the Models tab: its size before, progress, how its answers compare, the files to download."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import expect

from modelforge import Forge
from modelforge.recipe import Recipe
from tests import tiny
from tests.browser.drive import App, Witness, choose, in_each_look, open_app, open_tab, take_picture
from tests.programs import Programs

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def app(
    tmp_path_factory: pytest.TempPathFactory, starter_cache: Path, converter_cache: Path, apps: Programs
) -> Iterator[App]:
    """An app with a tiny model that llama.cpp knows, and its dataset."""
    home = tmp_path_factory.mktemp("exports") / "home"
    (home / "cache").mkdir(parents=True)
    (home / "cache" / "converters").symlink_to(converter_cache, target_is_directory=True)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MODELFORGE_HOME", str(home))
        forge = Forge()
        base = tiny.write_known_base(home.parent / "base", starter_cache)
        dataset = forge.datasets.resolve(str(tiny.write_rows(home.parent / "colours.jsonl", tiny.PAIRS)), Recipe())
        tiny.finish_model(forge, base, dataset_id=dataset.id)
    with open_app(home, programs=apps) as opened:
        yield opened


def test_model_is_exported_checked_downloaded_and_deleted(app: App, witness: Witness, screenshots: Path) -> None:
    page = witness.open(app)
    open_tab(page, "Models")
    panel = page.locator("#models-export")
    panel.get_by_role("radio", name="GGUF").check()
    choose(page, "export-quantization", "F16")
    expect(page.locator("#export-estimate")).to_contain_text("are free")
    page.locator("#export-start").click()
    expect(page.locator("#export-progress .mf-bar")).to_be_visible()
    expect(page.locator("#export-cancel")).to_be_visible()
    for look in in_each_look(page, (("light", 1280), ("dark", 390))):
        take_picture(page, screenshots / f"{look}-models-exporting.png")
    expect(page.locator("#export-progress")).to_contain_text("Exported and checked.")
    details = page.locator("#export-details")
    expect(details).to_contain_text("tokens are the same (at least 99% must be)")
    expect(details).to_contain_text("llama-server -m")
    expect(details).to_contain_text("ollama create colours")
    expect(details).to_contain_text(str(app.home / "exports"))
    page.locator("#export-fetch").click()
    link = (
        page.locator("#export-files a")
        .filter(has_text="colours-F16.gguf")
        .or_(page.locator("#export-files a[download='colours-F16.gguf']"))
    )
    with page.expect_download() as download:
        link.first.click()
    assert Path(download.value.path()).read_bytes()[:4] == b"GGUF"
    for look in in_each_look(page):
        take_picture(page, screenshots / f"{look}-models-export.png")
    page.locator("#export-delete").click()
    page.locator("#export-delete-really").click()
    expect(page.locator("#export-chosen")).to_be_hidden()
    assert list((app.home / "exports").iterdir()) == []


def test_export_that_is_cancelled_says_so_and_leaves_nothing(app: App, witness: Witness) -> None:
    page = witness.open(app)
    open_tab(page, "Models")
    page.locator("#models-export").get_by_role("radio", name="GGUF").check()  # takes long enough
    page.locator("#export-start").click()
    page.locator("#export-cancel").click()
    expect(page.locator("#export-progress")).to_contain_text("Cancelled; nothing was written.")
    assert list((app.home / "exports").iterdir()) == []
    page.reload()
    open_tab(page, "Models")
    expect(page.locator("#export-progress")).to_contain_text("Cancelled; nothing was written.")
