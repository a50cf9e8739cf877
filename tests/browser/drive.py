"""Opens the app as a process of its own and drives it in Chromium, watching what no page may ever do.

Knows nothing of what is tested; the tests say what they expect.
"""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from playwright.sync_api import Browser, BrowserContext, Page, expect

CHROMIUM_OPTIONS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-background-networking",
    "--no-first-run",
    "--disable-component-update",
    "--disable-sync",
]
# A process that a script starts in the background ignores Ctrl-C, and so would the app.
RUN_CLI = (
    "import signal, sys; signal.signal(signal.SIGINT, signal.default_int_handler)\n"
    "from modelforge.cli import main; sys.exit(main(sys.argv[1:]))"
)
TABS = ("Hardware", "Dataset", "Train", "Models", "Playground", "Hub")
OPENS_WITHIN = 90  # seconds, on a busy machine

expect.set_options(timeout=20_000)  # milliseconds, on a busy machine

# Gradio gives its stream of events up when a page is left or reloaded, and says so of every answer under way.
LEAVING = ("AbortError: signal is aborted", "Unexpected error Connection errored out")

# A traceback on the page, be it for a moment, becomes a console error, which fails the test.
WATCH_FOR_TRACEBACKS = """
new MutationObserver(changes => {
  for (const change of changes)
    for (const node of [change.target, ...change.addedNodes])
      if (node.nodeName !== 'SCRIPT' && (node.textContent || '').includes('Traceback (most recent call last)'))
        console.error('a traceback is shown on the page');
}).observe(document, {childList: true, subtree: true, characterData: true});
"""


@dataclass(frozen=True)
class App:
    """The app, open at `url`; `log` is what it has said on its terminal."""

    url: str
    home: Path
    log: Path
    process: subprocess.Popen[bytes]

    def kill(self) -> None:
        """As a power cut would."""
        self.process.kill()
        self.process.wait()


def environment_of(home: Path, **more: str) -> dict[str, str]:
    """The environment of a process that has only this home, no Hub, and no options from outside."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("MODELFORGE_", "GRADIO_"))}
    return {**kept, "MODELFORGE_HOME": str(home), "HF_HUB_OFFLINE": "1", **more}


@contextlib.contextmanager
def open_app(home: Path, *options: str, more: Mapping[str, str] | None = None) -> Iterator[App]:
    """Start `modelforge ui` and wait until it says where it is open; stop it as Ctrl-C does."""
    log = home.parent / f"{home.name}-app.log"
    command = [sys.executable, "-c", RUN_CLI, "ui", "--port", str(free_port()), "--no-browser", *options]
    with log.open("w") as said:
        process = subprocess.Popen(
            command, env=environment_of(home, **(more or {})), stdout=said, stderr=subprocess.STDOUT
        )
        try:
            yield App(_read_url(log, process), home, log, process)
            assert "Traceback" not in log.read_text(encoding="utf-8")
        finally:
            if process.poll() is None:
                process.send_signal(signal.SIGINT)
            try:
                process.wait(20)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


def _read_url(log: Path, process: subprocess.Popen[bytes]) -> str:
    end = time.monotonic() + OPENS_WITHIN
    while time.monotonic() < end and process.poll() is None:
        for line in log.read_text(encoding="utf-8").splitlines():
            if line.startswith("ModelForge is open at "):
                return line.rpartition(" ")[2]
        time.sleep(0.1)
    raise AssertionError(f"the app did not open: {log.read_text(encoding='utf-8')[-2000:]}")


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@dataclass
class Witness:
    """Opens pages and remembers what must not happen on them: requests to elsewhere, errors, dialogs."""

    browser: Browser
    elsewhere: list[str] = field(default_factory=list)
    errors: list[str] = field(default_factory=list)
    dialogs: list[str] = field(default_factory=list)
    contexts: list[BrowserContext] = field(default_factory=list)

    def open(self, app: App, **options: Any) -> Page:
        """The app in a browser of its own (no cookies, no history), ready to be used."""
        page = self.open_blank(**options)
        page.goto(app.url)
        wait_until_ready(page)
        return page

    def open_blank(self, **options: Any) -> Page:
        context = self.browser.new_context(**{"viewport": {"width": 1280, "height": 900}, **options})
        context.add_init_script(WATCH_FOR_TRACEBACKS)
        context.on("request", lambda request: self._note_request(request.url))
        context.on("console", lambda message: self._note_error(message.text) if message.type == "error" else None)
        context.on("weberror", lambda error: self._note_error(str(error.error)))
        context.on("dialog", lambda dialog: (self.dialogs.append(dialog.message), dialog.dismiss()))
        self.contexts.append(context)
        return context.new_page()

    def forget_errors(self, *expected: str) -> None:
        """Leave out console errors that the test has brought about on purpose."""
        self.errors = [error for error in self.errors if not any(text in error for text in expected)]

    def close(self) -> None:
        """Close every page; raises if anything happened that must not."""
        for context in self.contexts:
            context.close()
        assert not self.elsewhere, f"a page asked another machine: {self.elsewhere}"
        assert not self.errors, f"a page said errors: {self.errors}"
        assert not self.dialogs, f"a page opened dialogs: {self.dialogs}"

    def _note_error(self, error: str) -> None:
        if not any(text in error for text in LEAVING):
            self.errors.append(error)

    def _note_request(self, url: str) -> None:
        parts = urlsplit(url)
        if parts.scheme not in ("data", "blob") and parts.hostname != "127.0.0.1":
            self.elsewhere.append(url)


def wait_until_ready(page: Page) -> None:
    """Until the page has filled in its choices, which it does when it is opened."""
    expect(page.locator("#train-dataset input")).not_to_have_value("", timeout=30_000)
    expect(page.locator("#train-base-model input")).not_to_have_value("")


def open_tab(page: Page, name: str) -> None:
    tab = page.get_by_role("tab", name=name, exact=True)
    tab.click()
    expect(tab).to_have_attribute("aria-selected", "true")


def choose(page: Page, elem_id: str, option: str) -> None:
    """Pick an option of a dropdown by the beginning of its label."""
    page.locator(f"#{elem_id} input").click()
    page.get_by_role("option").filter(has_text=option).first.click()


def upload(page: Page, file: Path) -> None:
    open_tab(page, "Dataset")
    page.locator("#dataset-file input[type=file]").set_input_files(file)


def read_toast(page: Page) -> str:
    """The sentence of the newest toast; closes it."""
    toast = page.get_by_test_id("toast-body").last
    toast.wait_for(timeout=30_000)
    return toast.inner_text()
