"""Opens the app as a process of its own and drives it in Chromium, watching what no page may ever do.

Knows nothing of what is tested; the tests say what they expect.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any
from urllib.parse import urlsplit

from playwright.sync_api import Browser, BrowserContext, ConsoleMessage, Page, expect

from tests.programs import MODELFORGE, Program, Programs

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
# An app that is forked waits in each step of a run while there is such a file, for the seconds in it at most: so a page
# sees a run of a small model in progress for as long as it needs to.
SLOW = "slow-steps"
WITH_SLOW_STEPS = f"""
import os, pathlib, time, transformers

mark, step = pathlib.Path(os.environ["MODELFORGE_HOME"]).with_name("{SLOW}"), transformers.Trainer.training_step

def take_step(self, *given, **more):
    begun = time.monotonic()
    while mark.exists() and time.monotonic() - begun < float(mark.read_text() or 0):
        time.sleep(0.05)
    return step(self, *given, **more)

transformers.Trainer.training_step = take_step
"""
TABS = ("Hardware", "Dataset", "Train", "Models", "Playground", "Hub")
LOOKS = (("light", 1280), ("dark", 1280), ("light", 390), ("dark", 390))
"""Colour schemes, and widths of the window in pixels."""
OPENS_WITHIN = 180  # seconds, on a busy machine

PATIENCE = 120_000  # milliseconds, for a page on a busy machine: no test measures how long anything takes

expect.set_options(timeout=PATIENCE)

# Gradio gives its stream of events up when a page is left or reloaded, and says so of every answer under way. A page
# that asks for one more at that moment opens another stream, of a session that the server has just forgotten.
LEAVING = (
    "AbortError: signal is aborted",
    "AbortError: BodyStreamBuffer was aborted",
    "Unexpected error Connection errored out",
    "Unexpected error 404: Not Found",
)

# A traceback on the page, be it for a moment, becomes a console error, which fails the test.
WATCH_FOR_TRACEBACKS = """
new MutationObserver(changes => {
  for (const change of changes)
    for (const node of [change.target, ...change.addedNodes])
      if (node.nodeName !== 'SCRIPT' && (node.textContent || '').includes('Traceback (most recent call last)'))
        console.error('a traceback is shown on the page');
}).observe(document, {childList: true, subtree: true, characterData: true});
"""


Process = subprocess.Popen[bytes] | Program


@dataclass(frozen=True)
class App:
    """The app, open at `url`; `log` is what it has said on its terminal."""

    url: str
    home: Path
    log: Path
    process: Process

    def kill(self) -> None:
        """As a power cut would."""
        self.process.kill()
        self.process.wait()


@contextlib.contextmanager
def slow_steps(home: Path, seconds: float = 1.0) -> Iterator[None]:
    """So many seconds for each step of a run there, until the end of the block."""
    mark = home.with_name(SLOW)
    mark.write_text(str(seconds))
    try:
        yield
    finally:
        mark.unlink()


def environment_of(home: Path, **more: str) -> dict[str, str]:
    """The environment of a process that has only this home, no Hub, and no options from outside."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("MODELFORGE_", "GRADIO_"))}
    return {**kept, "MODELFORGE_HOME": str(home), "HF_HUB_OFFLINE": "1", **more}


@contextlib.contextmanager
def open_app(
    home: Path,
    *options: str,
    programs: Programs | None = None,
    more: Mapping[str, str] | None = None,
    allowed: str = "",
    script: str = RUN_CLI,
    python: str | Path = sys.executable,
) -> Iterator[App]:
    """Start `modelforge ui` and wait until it says where it is open; stop it as Ctrl-C does. programs: where it comes
    from; otherwise from nothing, by `script` and `python`. more: variables. allowed: how a traceback of a library that
    may be in its log ends."""
    log = home.parent / f"{home.name}-app.log"
    arguments = ["ui", "--port", str(free_port()), "--no-browser", *options]
    environment = environment_of(home, **(more or {}))
    with log.open("w") as said, _start(programs, [python, "-c", script], arguments, environment, said) as process:
        try:
            yield App(_read_url(log, process), home, log, process)
            text = log.read_text(encoding="utf-8")
            assert text.count("Traceback") == (text.count(allowed) if allowed else 0)
        finally:
            if process.poll() is None:
                process.send_signal(signal.SIGINT)
            try:
                process.wait(20)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


def _start(
    programs: Programs | None,
    command: Sequence[str | Path],
    arguments: list[str],
    environment: dict[str, str],
    log: IO[str],
) -> Process:
    if programs:
        return programs.start(WITH_SLOW_STEPS + MODELFORGE, *arguments, env=environment, log=log)
    return subprocess.Popen([*command, *arguments], env=environment, stdout=log, stderr=subprocess.STDOUT)


def _read_url(log: Path, process: Process) -> str:
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
        context.set_default_timeout(PATIENCE)
        context.add_init_script(WATCH_FOR_TRACEBACKS)
        context.on("request", lambda request: self._note_request(request.url))
        context.on("console", self._note_message)
        context.on("weberror", lambda error: self._note_error(str(error.error)))
        context.on("dialog", lambda dialog: (self.dialogs.append(dialog.message), dialog.dismiss()))
        self.contexts.append(context)
        return context.new_page()

    def _note_message(self, message: ConsoleMessage) -> None:
        if message.type == "error":
            self._note_error(f"{message.text} ({message.location['url']})")

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
    expect(page.locator("#train-dataset input")).not_to_have_value("")
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
    toast.wait_for()
    return toast.inner_text()


def set_number(page: Page, setting: str, value: object) -> None:
    """Give a setting of the form under Advanced, which is unfolded, another value."""
    box = page.locator(f"#set-{setting} input").first
    if not box.is_visible():
        page.get_by_role("button", name="Advanced: every setting").click()
    box.fill(str(value))
    box.press("Tab")


def save_rows(page: Page, file: Path, rows: Sequence[Mapping[str, str]], verdict: str) -> None:
    """Write a file of rows, upload it, wait for what is said of it and save it: the Train tab then has it chosen."""
    file.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    upload(page, file)
    expect(page.locator("#dataset-verdict")).to_contain_text(verdict)
    page.get_by_role("button", name="Save and go to training").click()
    expect(page.locator("#train-dataset input")).to_have_value(re.compile(rf"{file.stem} \(\d+ rows\)"))


def take_picture(page: Page, place: Path) -> None:
    """Of the whole page, which must not be wider than its window."""
    page.wait_for_timeout(300)  # fades end, fonts and charts are laid out
    page.screenshot(path=place, full_page=True)
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth + 1")


def in_each_look(page: Page, looks: Sequence[tuple[str, int]] = LOOKS) -> Iterator[str]:
    """Show the page light and dark, wide and narrow, one after another, and as it was; gives a name for each look."""
    for number, (scheme, width) in enumerate((*looks, LOOKS[0])):
        page.emulate_media(color_scheme=scheme)  # type: ignore[arg-type]
        page.set_viewport_size({"width": width, "height": 900})
        expect(page.locator("body")).to_have_class(re.compile("dark" if scheme == "dark" else "^((?!dark).)*$"))
        if number < len(looks):
            yield f"{scheme}-{width}"
