"""The Chromium that the browser tests use: the one on the PATH, else Playwright's own.

`python -m tests.browser.chromium` downloads Playwright's own if there is none. It does not report a failure, since the
tests then say why they are skipped.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from functools import cache
from pathlib import Path

NAMES = ("chromium", "chromium-browser", "google-chrome")
MISSING = "no Chromium: apt install chromium"
LONGEST_DOWNLOAD_SECONDS = 180


@cache
def find_chromium() -> str | None:
    """The path of its program, or None."""
    if found := next(filter(None, map(shutil.which, NAMES)), None):
        return found
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        own = playwright.chromium.executable_path
    return own if Path(own).exists() else None


def download() -> None:
    command = [sys.executable, "-m", "playwright", "install", "--no-shell", "chromium"]
    quick = {"PLAYWRIGHT_DOWNLOAD_CONNECTION_TIMEOUT": "10000"}  # milliseconds
    try:
        subprocess.run(
            command, env={**os.environ, **quick}, capture_output=True, check=False, timeout=LONGEST_DOWNLOAD_SECONDS
        )
    except subprocess.TimeoutExpired:
        return


if __name__ == "__main__" and find_chromium() is None:
    download()
