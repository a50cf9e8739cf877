"""Who may open the app: nobody from outside without a password, and nobody reads its files past it."""

from __future__ import annotations

import socket
import subprocess
import sys
import urllib.error
import urllib.parse
import urllib.request
from pathlib import Path

import pytest
from playwright.sync_api import Page, expect

from tests.browser.drive import App, Witness, environment_of, free_port, open_app, wait_until_ready


@pytest.mark.parametrize("option", [["--host", "0.0.0.0"], ["--share"]])  # noqa: S104 - that it is refused
def test_audit_11_a_public_address_without_a_password_is_refused(home: Path, option: list[str]) -> None:
    port = free_port()
    command = [sys.executable, "-m", "modelforge.cli", "ui", "--port", str(port), "--no-browser", *option]
    done = subprocess.run(command, env=environment_of(home), capture_output=True, text=True, check=False, timeout=120)
    assert done.returncode == 1
    assert done.stdout == ""
    assert option[0] in done.stderr
    assert "--auth" in done.stderr
    assert "Traceback" not in done.stderr
    assert not is_listening(port)


def test_with_a_password_only_who_knows_it_gets_in(home: Path, witness: Witness) -> None:
    logins = {"MODELFORGE_AUTH": "anna:correct horse"}
    with open_app(home, "--host", "0.0.0.0", more=logins) as app:  # noqa: S104 - with a password
        page = witness.open_blank()
        page.goto(f"http://127.0.0.1:{urllib.parse.urlsplit(app.url).port}/")
        for user, password in (("anna", "wrong"), ("anna", "correct horse "), ("eve", "correct horse")):
            assert log_in(page, user, password) == 401
            expect(page.get_by_role("alert")).to_contain_text("The name or the password is wrong.")
        assert page.get_by_role("tab").count() == 0
        assert log_in(page, "anna", "correct horse") == 303
        wait_until_ready(page)
        page.context.close()
        witness.forget_errors("status of 401")


def log_in(page: Page, user: str, password: str) -> int:
    """Fill in the login; returns the status that the app answers with."""
    page.get_by_label("Name").fill(user)
    page.get_by_label("Password").fill(password)
    with page.expect_response("**/login") as answer:
        page.get_by_role("button", name="Sign in").click()
    return answer.value.status


@pytest.mark.slow
def test_files_of_the_home_are_not_served(app: App) -> None:
    adapter = next(app.home.glob("models/*/adapter_config.json"))
    for file in (app.home / "modelforge.json", adapter, Path("/etc/passwd"), Path("requirements.txt").absolute()):
        assert file.exists()
        for way in ("gradio_api/file=", "file=", "gradio_api/file=./", "gradio_api/proxy=file://"):
            assert fetch_status(app.url + way + urllib.parse.quote(str(file))) in range(400, 500)
    assert fetch_status(app.url) == 200


def fetch_status(url: str) -> int:
    try:
        with urllib.request.urlopen(url, timeout=20) as answer:  # noqa: S310 - of our own app
            return int(answer.status)
    except urllib.error.HTTPError as error:
        return error.code


def is_listening(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0
