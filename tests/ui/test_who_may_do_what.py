"""Every route and every handler of the page, called by a stranger, by two people and by the owner of a shared app.

Routes and handlers are read from the running app, so that new ones are in it by themselves.
"""

from __future__ import annotations

import hashlib
import inspect
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import gradio as gr
import httpx
import pytest
from gradio.routes import App as Routes

from modelforge import Forge, caller, paths, quotas
from modelforge.batch.service import CANCELLED, RECORD, Batch
from modelforge.caller import Caller, acting_as
from modelforge.exports.parity import Parity
from modelforge.models.conversations import Conversation
from modelforge.models.votes import Side, Vote
from modelforge.recipe import Recipe
from modelforge.store import ExportRecord, RunRecord, RunState, utc_now
from modelforge.ui.access import decide_access
from modelforge.ui.app import build
from modelforge.ui.sign_in import OPEN_TO_STRANGERS
from tests import tiny
from tests.browser.drive import App, open_app
from tests.machine import base as tiny_base
from tests.machine import live_in, measured
from tests.ui.first_page import Page

__all__ = ["measured", "tiny_base"]

CANARY = "zanzibar"
"""Occurs in everything that is Anna's, and nowhere else."""
LOGINS = {"omar": "owner's word", "anna": "anna's word", "bert": "bert's word"}
ANNA = Caller("anna", "anna", is_owner=False)  # at the machine, to make her things
OTHERS = {
    "shared": Caller("bert", "bert", is_owner=False, is_local=False),
    "Space": Caller("hf:2", "bert", is_owner=False, is_local=False, token="hf_bert"),
    "chat only": Caller("guest", "guest", is_owner=False, is_local=False, may_train=False, model="model-0123456789ab"),
    "nobody": caller.STRANGER,
}
MOST_ALONE = 12  # of the fields of one handler
TEXTS = ("textbox", "dropdown", "radio", "code", "file", "uploadbutton", "state", "html")


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory, tiny_base: Path, measured: Path) -> Iterator[App]:
    """An app that three people share, with things of Anna's in it. Nobody else's runs may start."""
    home = tmp_path_factory.mktemp("shared") / "home"
    with live_in(home, measured), acting_as(ANNA):
        add_annas_things(Forge(), home.parent, tiny_base)
    logins = "\n".join(f"{name}:{word}" for name, word in LOGINS.items())
    with open_app(home, more={"MODELFORGE_AUTH": logins, "MODELFORGE_QUOTAS": "runs=0"}) as app:
        yield app


def add_annas_things(forge: Forge, folder: Path, base: Path) -> None:
    talk = Conversation(name=f"{CANARY} talk", model=str(base)).ask(f"Where is {CANARY}?")
    forge.conversations.save(talk.answer(f"In {CANARY}.", CANARY, ""))
    left, right = (Side(model=side, name=f"{CANARY} {side}", answer=f"{CANARY} {side}") for side in "ab")
    asked = {"role": "user", "content": CANARY}
    forge.votes.add(Vote(prompt=(asked,), left=left, right=right, vote="left", blind=True))
    rows = [{"prompt": f"{CANARY} {prompt}", "response": f"{answer} {CANARY}"} for prompt, answer in tiny.PAIRS]
    file = tiny.write_jsonl(folder / f"{CANARY}.jsonl", rows)
    dataset = forge.datasets.resolve(str(file), Recipe())
    model = tiny.finish_model(forge, base)
    forge.models.rename(model.id, f"{CANARY} model")
    run = RunRecord(
        id=paths.new_id("run"), owner="anna", state=RunState.interrupted, created=utc_now(), dataset_id=dataset.id,
        recipe=Recipe(name=f"{CANARY} run", dataset=dataset.id).model_dump(mode="json"), dataset_name=dataset.name,
        model_id=model.id, queued=utc_now(),
    )  # fmt: skip
    forge.store.runs.add(run)
    parity = Parity(1, 1, True, 1.0, 1.0, 1.0, 0.0, 1.0, 1.0, "llama.cpp", 0.99, notes=[CANARY])
    export = ExportRecord(
        id=paths.new_id("export"), owner="anna", created=utc_now(), model_id=model.id, format="merged",
        files=[{"name": f"{CANARY}.safetensors", "bytes": 8}], parity=parity.as_json(),
    )  # fmt: skip
    forge.store.exports.add(export)
    paths.export_dir(export.id).mkdir(parents=True)
    (paths.export_dir(export.id) / f"{CANARY}.safetensors").write_text(CANARY, encoding="utf-8")
    batch = Batch(
        id=paths.new_id("batch"), owner="anna", created=utc_now(), model=model.id, model_name=f"{CANARY} model",
        base=False, file=f"{CANARY}.jsonl", given="given.jsonl", ending=".jsonl", max_new_tokens=4, state=CANCELLED,
    )  # fmt: skip
    batch.folder.mkdir(parents=True)
    (batch.folder / RECORD).write_text(batch.model_dump_json(), encoding="utf-8")
    (batch.folder / batch.given).write_text(json.dumps({"prompt": CANARY}), encoding="utf-8")
    paths.run_dir(run.id).mkdir(parents=True)
    (paths.run_dir(run.id) / "log.txt").write_text(CANARY, encoding="utf-8")
    event = {"type": "warning", "time": utc_now(), "run_id": run.id, "message": CANARY}
    (paths.run_dir(run.id) / "events.jsonl").write_text(json.dumps(event) + "\n", encoding="utf-8")


class Person(Page):
    """Somebody who is signed in. `heard`: everything that the app has answered."""

    def __init__(self, app: App, name: str) -> None:
        client = httpx.Client(base_url=app.url, timeout=60)
        assert client.post("/login", data={"username": name, "password": LOGINS[name]}).status_code == 303
        super().__init__(client)
        self.heard = json.dumps(self.config)

    def press(self, handler: dict[str, Any], inputs: list[Any]) -> None:
        sent = {"data": inputs, "fn_index": handler["id"], "session_hash": self.hash}
        self.client.post("/gradio_api/queue/join", json=sent).raise_for_status()
        with self.client.stream("GET", f"/gradio_api/queue/data?session_hash={self.hash}") as stream:
            for line in stream.iter_lines():
                self.heard += line
                if '"close_stream"' in line:
                    break


def annas_names(home: Path) -> dict[str, str]:
    tables = json.loads((home / "modelforge.json").read_text(encoding="utf-8"))
    found: dict[str, str] = {}

    def walk(value: Any) -> None:
        if isinstance(value, dict):
            if value.get("owner") == "anna":
                found[value["id"].partition("-")[0]] = value["id"]
            for each in value.values():
                walk(each)

    walk(tables)
    assert set(found) == {"dataset", "run", "model", "export"}
    [found["batch"]] = [folder.name for folder in (home / "batches").iterdir()]
    [found["conversation"]] = [file.stem for file in (home / "conversations").glob("*.json")]
    return found


def hash_of(home: Path, names: dict[str, str]) -> str:
    """Of Anna's files, and her records."""
    files = sorted(file for name in names.values() for file in home.glob(f"*/{name}/**/*") if file.is_file())
    files += [*home.glob("conversations/*"), *home.glob("votes/*")]
    assert len(files) > 8
    digest = hashlib.sha256()
    for file in files:
        digest.update(str(file).encode() + file.read_bytes())
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MODELFORGE_HOME", str(home))
        with acting_as(ANNA):
            store = Forge().store
            records = [*store.datasets.all(), *store.runs.all(), *store.models.all(), *store.exports.all()]
    return digest.hexdigest() + "".join(record.model_dump_json() for record in records)


@pytest.mark.parametrize("somebody", OTHERS)
def test_nobody_sees_or_changes_what_is_somebody_elses_by_any_handler(
    shared: App, monkeypatch: pytest.MonkeyPatch, somebody: str
) -> None:
    """Called as the page calls them, past Gradio's check that a value is one of those offered: with the page's own
    values, with Anna's names in all fields of texts at once, and in each of them alone."""
    names = annas_names(shared.home)
    before = hash_of(shared.home, names)
    monkeypatch.setenv("MODELFORGE_HOME", str(shared.home))
    monkeypatch.setattr(caller, "_otherwise", caller.STRANGER)
    monkeypatch.setattr(quotas, "_limits", quotas.read("runs=0"))
    with acting_as(caller.OWNER):
        page = build(Forge(), decide_access(environment={"MODELFORGE_AUTH": "omar:word\nbert:word"}))
    calls, heard = 0, []
    for handler in page.fns.values():
        if handler.fn is None:
            continue
        kinds = [component.get_block_name() for component in handler.inputs]
        own = [getattr(component, "value", None) for component in handler.inputs]
        texts = [place for place, kind in enumerate(kinds) if kind in TEXTS]
        for name in names.values():
            everywhere = [name if place in texts else value for place, value in enumerate(own)]
            tried = [everywhere, *([*own[:place], name, *own[place + 1 :]] for place in texts[:MOST_ALONE])]
            for inputs in tried:
                calls += 1
                heard.append(call(handler.fn, inputs, OTHERS[somebody]))
    assert calls > 3 * len(names) * len(page.fns) / 4
    assert CANARY not in "".join(heard)
    assert hash_of(shared.home, names) == before


def call(handler: Any, inputs: list[Any], somebody: Caller) -> str:
    """What it answers, and what it says is wrong."""
    with acting_as(somebody):
        try:
            answer = handler(*inputs)
            return repr(list(answer) if inspect.isgenerator(answer) else answer)
        except gr.Error as error:
            return str(error.message)
        except (TypeError, ValueError) as error:  # a handler that needs what only a browser sends
            return str(error)


@pytest.mark.parametrize("name", ["anna", "omar"])
def test_own_things_are_seen_and_the_owner_sees_all(shared: App, name: str) -> None:
    names = annas_names(shared.home)
    person = Person(shared, name)
    person.load()
    for handler in person.handlers:
        if [event for _, event in handler["targets"]][:1] == ["load"] and handler["backend_fn"]:
            person.press(handler, [person.values.get(component) for component in handler["inputs"]])
    seen = person.heard + json.dumps(list(person.values.values()))
    kept = names.pop("conversation")
    assert all(each in seen for each in names.values())
    assert (kept in seen) == (name == "anna")  # nobody reads somebody else's conversations, not even the owner


def test_strangers_get_only_the_page_where_people_sign_in(shared: App) -> None:
    with gr.Blocks() as page:
        gr.Textbox()
    routes = {(method, path) for path, methods in list_routes(Routes.create_app(page)) for method in methods}
    assert len(routes) > 60
    for method, path in sorted(routes):
        named = path.replace("{path_or_url:path}", "/etc/passwd").replace("{path:path}", "style.css")
        for value in ("session_hash", "event_id", "api_name", "url_path:path"):
            named = named.replace(f"{{{value}}}", "x")
        if named in OPEN_TO_STRANGERS:
            continue
        answer = httpx.request(method, shared.url.rstrip("/") + named, json={} if method == "POST" else None)
        leads_there = method == "GET" and named in ("/", "/logout")
        assert answer.status_code in ((303,) if leads_there else (401, 404)), (method, path)


def list_routes(app: Any) -> Iterator[tuple[str, set[str]]]:
    """(path, methods) of every route, those of routers within it too."""
    for route in app.routes:
        if hasattr(route, "path"):
            yield route.path, set(getattr(route, "methods", None) or {"GET"}) - {"HEAD", "OPTIONS"}
        else:
            yield from list_routes(route.original_router)


def test_page_and_file_of_somebody_else_are_refused_by_their_names(shared: App) -> None:
    anna, bert = Person(shared, "anna"), Person(shared, "bert")
    anna.load()
    (path,) = anna.client.post("/gradio_api/upload", files={"files": ("mine.txt", CANARY.encode())}).json()
    assert anna.client.get(f"/gradio_api/file={path}").status_code == 200
    assert bert.client.get(f"/gradio_api/file={path}").status_code == 403
    assert bert.client.get(f"/gradio_api/queue/data?session_hash={anna.hash}").status_code == 403
    assert bert.client.get(f"/gradio_api/heartbeat/{anna.hash}").status_code == 403
    bert.hash = anna.hash
    sent = {"data": [], "fn_index": 0, "session_hash": anna.hash}
    bert.client.post("/gradio_api/queue/join", json=sent)
    assert bert.client.get(f"/gradio_api/queue/data?session_hash={anna.hash}").status_code == 403


def test_signing_out_ends_one_sign_in_and_no_other(shared: App) -> None:
    first, second, other = Person(shared, "anna"), Person(shared, "anna"), Person(shared, "bert")
    assert first.client.get("/logout").status_code == 303
    assert first.client.get("/config").status_code == 401
    assert second.client.get("/config").status_code == other.client.get("/config").status_code == 200


def test_wrong_passwords_wait_longer_and_longer(shared: App) -> None:
    with httpx.Client(base_url=shared.url) as client:
        answers = [client.post("/login", data={"username": "eve", "password": str(n)}).status_code for n in range(300)]
    assert answers.count(401) < 10
    assert answers.count(429) > 290
    assert Person(shared, "anna").client.get("/config").status_code == 200  # others are not kept out


def test_connections_that_ask_for_nothing_are_closed(shared: App) -> None:
    import socket
    import time
    from urllib.parse import urlsplit

    place = urlsplit(shared.url)
    assert place.hostname and place.port
    silent = [socket.create_connection((place.hostname, place.port)) for _ in range(260)]
    try:
        time.sleep(6)
        closed = 0
        for each in silent:
            each.settimeout(0.01)
            try:
                closed += each.recv(1) == b""
            except TimeoutError:
                continue
        assert closed >= 60
        assert Person(shared, "anna").client.get("/config").status_code == 200
    finally:
        for each in silent:
            each.close()
