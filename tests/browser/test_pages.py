"""Every tab, light and dark, wide and narrow, with a finished model in it. The pictures are kept to be looked at."""

from __future__ import annotations

from pathlib import Path

import pytest
from playwright.sync_api import Page, expect

from tests.browser.drive import LOOKS, TABS, App, Witness, choose, in_each_look, open_tab, take_picture

# Visible form controls without a name of their own: a name such as "Textbox" is Gradio's, not ours.
NAMELESS = """() => [...document.querySelectorAll('input, select, textarea, [contenteditable=true]')]
  .filter(control => control.offsetParent !== null && control.type !== 'file')
  .filter(control => {
    const texts = [control.getAttribute('aria-label'), control.title];
    for (const label of control.labels || [])
      texts.push(label.innerText);
    for (const id of (control.getAttribute('aria-labelledby') || '').split(' '))
      texts.push(document.getElementById(id)?.innerText);
    const name = texts.filter(Boolean).join(' ').trim();
    return !name || ['Textbox', 'Number', 'Dropdown', 'Slider', 'Checkbox', 'Radio'].includes(name);
  })
  .map(control => control.closest('[id]')?.id + ': ' + control.outerHTML.slice(0, 160))"""

# What reaches beyond the right edge of the window and is not inside something that scrolls by itself.
OVERHANG = """() => [...document.querySelectorAll('body *')]
  .filter(each => each.offsetParent !== null && each.getBoundingClientRect().right > innerWidth + 1)
  .filter(each => !each.closest('.mf-scroll, .cm-scroller, .visually-hidden, [aria-hidden=true]'))
  .slice(0, 5).map(each => each.outerHTML.slice(0, 160))"""


@pytest.mark.slow
def test_each_tab_fits_the_window_and_names_its_controls(app: App, witness: Witness, screenshots: Path) -> None:
    page = witness.open(app)
    for tab in TABS:
        open_tab(page, tab)
        _wait_for_content(page, tab)
        _check(page, screenshots, tab.lower())
    open_tab(page, "Train")
    for fold in ("Advanced: every setting", "Recipe and command line", "Log"):
        page.get_by_role("button", name=fold).click()
    expect(page.locator("#train-recipe")).to_contain_text("base_model:")
    _check(page, screenshots, "train-unfolded")


def _wait_for_content(page: Page, tab: str) -> None:
    """Until the tab shows what it has to show with one finished run and its model."""
    match tab:
        case "Hardware":
            expect(page.get_by_text("Everything is stored in")).to_be_visible(timeout=20_000)
        case "Dataset":
            choose(page, "dataset-sample", "Customer questions")
            expect(page.locator("#dataset-verdict")).to_contain_text("Ready to train")
            # the tokenizer is loaded beside all else that an app does when it has just been opened
            expect(page.locator("#dataset-preview mark").first).to_be_visible(timeout=90_000)
        case "Train":
            expect(page.locator("#run-head")).to_contain_text("Finished")
            expect(page.locator("#run-chart svg")).to_be_visible()
        case "Models":
            expect(page.locator("#models-table")).to_contain_text("Door colours")
            expect(page.locator("#models-details")).to_contain_text("Perplexity")
        case "Playground":
            expect(page.locator("#chat-model input")).not_to_have_value("")
        case "Hub":
            expect(page.locator("#hub-files")).to_contain_text("adapter_model.safetensors")


def _check(page: Page, screenshots: Path, name: str) -> None:
    for look in in_each_look(page, LOOKS):
        take_picture(page, screenshots / f"{look}-{name}.png")
        assert page.evaluate(OVERHANG) == [], look
        assert page.evaluate(NAMELESS) == [], look
