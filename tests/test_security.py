"""What SECURITY.md says of libraries holds for those that are installed, and no secret is written anywhere."""

from __future__ import annotations

import re
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path
from typing import Any

import httpx
import pytest
from packaging.version import Version

from modelforge import Forge
from tests import tiny
from tests.browser.drive import environment_of, open_app
from tests.hub_server import CLOSE, HubServer
from tests.machine import base as tiny_base
from tests.ui.first_page import Page

__all__ = ["tiny_base"]

TOKEN, WORD, TYPED = "hf_canaryOfTheMachine0123456789", "canary-password-of-anna", "hf_canaryTypedOnThePage01234"
SECURITY = Path(__file__).parent.parent / "SECURITY.md"


def floors() -> list[tuple[str, str]]:
    return re.findall(r"^\| ([\w.-]+) \| ([\d.]+) \| ", SECURITY.read_text(encoding="utf-8"), re.MULTILINE)


@pytest.mark.parametrize(("library", "floor"), floors())
def test_libraries_are_at_least_as_new_as_their_last_known_hole(library: str, floor: str) -> None:
    assert len(floors()) > 8
    assert Version(version(library)) >= Version(floor)


@pytest.mark.slow
def test_no_secret_is_written_by_ten_ways_to_use_one(home: Path, tiny_base: Path, tmp_path: Path) -> None:
    tiny.finish_model(Forge(), tiny_base, name="Colours")
    heard: list[str] = []
    with HubServer(tokens={TOKEN: "anna", TYPED: "anna", "hf_reads": "anna"}, read_only={"hf_reads"}) as hub:
        hub.repos["them/gated"] = {"private": False, "files": {"config.json": b"{}"}, "commits": []}
        hub.gated["them/gated"] = set()
        settings = {"HF_ENDPOINT": hub.url, "HF_TOKEN": TOKEN, "HF_HUB_OFFLINE": "0", "HF_HOME": str(tmp_path / "hf")}
        environment = environment_of(home, **settings, MODELFORGE_AUTH=f"anna:{WORD}")

        def run(*arguments: str, **more: str) -> int:
            command = [sys.executable, "-m", "modelforge.cli", *arguments]
            done = subprocess.run(
                command, env={**environment, **more}, capture_output=True, text=True, check=False, timeout=240
            )
            heard.append(done.stdout + done.stderr)
            assert "Traceback" not in done.stderr
            return done.returncode

        (tmp_path / "gated.yaml").write_text("base_model: them/gated\ndataset: Customer questions\nmax_steps: 1\n")
        (tmp_path / "hub.yaml").write_text("dataset: them/nothing\nmax_steps: 1\n")
        assert run("push", "Colours", "anna/colours") == 0
        assert run("push", "Colours", "them/colours") == 1
        hub.fail_next(500, "/commit/", times=20, message=f"bad {TOKEN}")
        assert run("push", "Colours", "anna/other") == 1
        hub.fail_next(CLOSE, "/api/", times=20)
        assert run("push", "Colours", "anna/third") == 1
        assert run("push", "Colours", TOKEN) == 1
        assert run("train", str(tmp_path / "gated.yaml")) == 1
        assert run("train", str(tmp_path / "hub.yaml")) == 1
        assert run("ui", "--auth", f"anna:{WORD}") == 1
        assert run("models", "show", "Colours", "--json") == 0
        with open_app(home, more={**settings, "MODELFORGE_AUTH": f"anna:{WORD}"}) as app:
            heard += use_the_page(app.url)
            log = app.log
    pushed = [content for repo in hub.repos.values() for content in repo["files"].values()]
    files = [file for file in [*home.parent.rglob("*"), log] if file.is_file()]
    written = [*(file.read_bytes() for file in files), *pushed, *(text.encode() for text in heard)]
    assert len(files) > 10 and len(heard) > 10
    for secret in (TOKEN, WORD, TYPED):
        assert not [text[:100] for text in written if secret.encode() in text]


def use_the_page(url: str) -> list[str]:
    """Sign in, wrongly and rightly, and push with a token that is typed; all that the app answers."""
    heard = []
    with httpx.Client(base_url=url, timeout=60) as client:
        heard.append(client.post("/login", data={"username": WORD, "password": f"{WORD}x"}).text)
        heard.append(client.post("/login", data={"username": "anna", "password": WORD}).text)
        page = Page(client)
        page.load()
        places = {each["props"].get("elem_id"): each["id"] for each in page.config["components"]}
        model = page.values[places["hub-model"]]
        page.values |= {places["hub-repo"]: "them/typed", places["hub-token"]: TYPED, places["hub-model"]: model}
        for button in ("hub-push", "hub-yes"):
            pressed: Any = next(each for each in page.handlers if [places[button], "click"] in each["targets"])
            sent = {
                "data": [page.values[component] for component in pressed["inputs"]],
                "fn_index": pressed["id"],
                "session_hash": page.hash,
            }
            client.post("/gradio_api/queue/join", json=sent)
            heard.append(client.get(f"/gradio_api/queue/data?session_hash={page.hash}").text)
        heard.append(str(page.config) + str({id: value for id, value in page.values.items() if value != TYPED}))
    return heard
