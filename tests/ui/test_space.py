"""The app as a Space starts it: its environment, people who sign in with the Hub, a push with the visitor's token."""

from __future__ import annotations

import contextlib
import json
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from urllib.parse import urlsplit

import httpx
import pytest

from modelforge import Forge
from modelforge.caller import Caller, acting_as
from tests import tiny
from tests.browser.drive import App, open_app
from tests.hub_server import HubServer
from tests.machine import base as tiny_base
from tests.machine import live_in, measured
from tests.oauth_server import CLIENT_ID, CLIENT_SECRET, OAuthServer
from tests.ui.first_page import Page

__all__ = ["measured", "tiny_base"]

HOST = "omar-forge.hf.space"
TOKENS = {"anna": "hf_canary_of_anna_0123456789", "bert": "hf_canary_of_bert_0123456789"}
SUBS = {"omar": "sub-omar", "anna": "sub-anna", "bert": "sub-bert"}


@pytest.fixture(scope="module")
def hub() -> Iterator[HubServer]:
    with HubServer(tokens={token: name for name, token in TOKENS.items()}) as server:
        yield server


@pytest.fixture(scope="module")
def provider() -> Iterator[OAuthServer]:
    with OAuthServer() as server:
        yield server


@pytest.fixture(scope="module")
def space(
    tmp_path_factory: pytest.TempPathFactory, tiny_base: Path, measured: Path, hub: HubServer, provider: OAuthServer
) -> Iterator[App]:
    """With a model of Anna's."""
    home = tmp_path_factory.mktemp("space") / "home"
    with live_in(home, measured), acting_as(Caller("hf:sub-anna", "anna", is_owner=False)):
        tiny.finish_model(Forge(), tiny_base, name="Colours of Anna")
    with open_space(home, hub, provider) as app:
        yield app


@contextlib.contextmanager
def open_space(home: Path, hub: HubServer, provider: OAuthServer, python: str | Path = sys.executable) -> Iterator[App]:
    """The app with the environment that a Space gives it."""
    variables = {
        "SYSTEM": "spaces",
        "SPACE_ID": "omar/forge",
        "SPACE_HOST": HOST,
        "SPACE_CREATOR_USER_ID": SUBS["omar"],
        "OAUTH_CLIENT_ID": CLIENT_ID,
        "OAUTH_CLIENT_SECRET": CLIENT_SECRET,
        "OAUTH_SCOPES": "openid profile contribute-repos",
        "OPENID_PROVIDER_URL": provider.url,
        "HF_ENDPOINT": hub.url,
        "HF_HUB_OFFLINE": "0",
    }
    missing = "`spaces` package is required to run hot-reloading in Spaces"  # which a Space of theirs has
    allowed = f"RuntimeError: {missing}"
    with open_app(home, "--host", "127.0.0.1", more=variables, allowed=allowed, python=python) as app:
        yield app


class Visitor(Page):
    """Somebody who signs in with the Hub as a browser does: over https, which the Space's proxy ends."""

    def __init__(self, app: App, provider: OAuthServer, name: str) -> None:
        self.cookies: dict[str, str] = {}
        client = httpx.Client(
            base_url=app.url, timeout=60, event_hooks={"response": [self._keep], "request": [self._send]}
        )
        assert client.get("/").headers["location"].endswith("/login")
        assert "Sign in with Hugging Face" in client.get("/login").text
        asked = client.get("/login/huggingface").headers["location"]
        assert asked.startswith(provider.url)
        provider.user = (SUBS[name], name, TOKENS.get(name, "hf_other"))
        back = urlsplit(httpx.get(asked).headers["location"])
        assert back.hostname == HOST and back.scheme == "https"
        assert client.get(f"{back.path}?{back.query}").headers["location"] in ("/", "/?")
        super().__init__(client)

    def _keep(self, answer: httpx.Response) -> None:
        for cookie in answer.headers.get_list("set-cookie"):
            name, _, value = cookie.partition(";")[0].partition("=")
            self.cookies[name] = value
            assert "samesite=none" in cookie.lower() and "secure" in cookie.lower() and "httponly" in cookie.lower()

    def _send(self, request: httpx.Request) -> None:
        request.headers["cookie"] = "; ".join(f"{name}={value}" for name, value in self.cookies.items())

    def find(self, elem_id: str) -> int:
        return next(each["id"] for each in self.config["components"] if each["props"].get("elem_id") == elem_id)

    def press(self, elem_id: str, values: dict[str, object]) -> None:
        """Fill in the fields of these ids and press a button."""
        self.values |= {self.find(name): value for name, value in values.items()}
        (handler,) = [
            each for each in self.handlers if [self.find(elem_id), "click"] in each["targets"] and each["inputs"]
        ]
        self._call(handler)

    def push_model(self, hub: HubServer, model: object, repo_id: str) -> None:
        """With the sign-in's own token: look, agree, and wait until it is there."""
        self.press("hub-push", {"hub-model": model, "hub-repo": repo_id, "hub-token": ""})
        self.press("hub-yes", {"hub-token": ""})
        until = time.monotonic() + 60
        while time.monotonic() < until and not hub.repos.get(repo_id, {"files": {}})["files"]:
            time.sleep(0.1)

    def seen(self) -> str:
        return json.dumps(self.config) + json.dumps(list(self.values.values()))


@pytest.mark.slow
def test_visitors_sign_in_with_the_hub_and_see_only_their_own(space: App, provider: OAuthServer) -> None:
    anna, bert, omar = (Visitor(space, provider, name) for name in ("anna", "bert", "omar"))
    for person in (anna, bert, omar):
        person.load()
    assert "Colours of Anna" in anna.seen() and "Colours of Anna" in omar.seen()
    assert "Colours of Anna" not in bert.seen()
    assert "Space: bert (your own work)" in bert.seen()
    assert "no persistent storage" in bert.seen()
    for person in (anna, bert):  # the token stays on the server
        assert not any("hf_canary" in _decode(cookie) for cookie in person.cookies.values())
    bert.client.get("/logout")
    assert bert.client.get("/config").status_code == 401
    assert anna.client.get("/config").status_code == 200


def _decode(cookie: str) -> str:
    import base64

    return base64.b64decode(cookie.partition(".")[0] + "==").decode("utf-8", "replace") + cookie


@pytest.mark.slow
def test_a_push_uses_the_visitors_own_token(space: App, provider: OAuthServer, hub: HubServer) -> None:
    anna = Visitor(space, provider, "anna")
    anna.load()
    model = anna.values[anna.find("hub-model")]
    anna.push_model(hub, model, "anna/colours")
    assert "adapter_model.safetensors" in hub.repos["anna/colours"]["files"]
    written = [file for file in space.home.rglob("*") if file.is_file()] + [space.log]
    assert len(written) > 5
    assert not [file for file in written if b"hf_canary" in file.read_bytes()]


@pytest.mark.slow
def test_with_its_requirements_alone_a_visitor_trains_and_pushes(
    tmp_path: Path, make_home: Callable[[Path], Path], hub: HubServer, provider: OAuthServer
) -> None:
    """A Space installs requirements.txt and nothing else."""
    python = tmp_path / "installed" / "bin" / "python"
    subprocess.run([sys.executable, "-m", "venv", python.parents[1]], check=True)
    install = [python, "-m", "pip", "install", "-q", "--no-compile", "-r", "requirements.txt"]
    if subprocess.run(install, check=False, capture_output=True).returncode:
        pytest.skip("the package index cannot be reached")
    home = make_home(tmp_path)
    with open_space(home, hub, provider, python) as space:
        bert = Visitor(space, provider, "bert")
        bert.load()
        bert.press("train-start", {"set-max_steps": 1, "set-max_length": 128, "set-eval_split": 0})
        said = ""
        while '"finished"' not in said:
            time.sleep(1)
            said = "".join(file.read_text() for file in home.glob("runs/*/events.jsonl"))
            assert '"failed"' not in said, said
        found = [*home.glob("models/*/modelforge.json")]
        bert.load()
        bert.push_model(hub, found[0].parent.name, "bert/questions")
    assert "adapter_model.safetensors" in hub.repos["bert/questions"]["files"]
