"""A push that somebody has a say in: what exists is not written to without a yes, and it can be cancelled and
resumed."""

from __future__ import annotations

import json
from concurrent.futures import CancelledError
from pathlib import Path
from typing import Any

import pytest

from modelforge.caller import Caller, acting_as
from modelforge.errors import HubError, RunStateError
from modelforge.models import hub
from modelforge.models.hub_failures import describe_wait
from modelforge.models.hub_files import Source, list_files, sum_up
from modelforge.models.transfers import Transfers
from tests.hub_server import CLOSE, HubServer
from tests.models.test_hub import PUSHED, TOKEN, base_folder, failure, finished_folder, push, server, source_of

__all__ = ["base_folder", "finished_folder", "server"]

REPO = "anna/faq-bot"
OTHERS = {"README.md": b"# Mine", "notes.txt": b"keep me"}


@pytest.fixture
def existing(server: HubServer) -> dict[str, Any]:
    """A repository that somebody has already."""
    server.repos[REPO] = {"private": False, "files": dict(OTHERS), "commits": []}
    server._add_commit(REPO, "mine")
    return server.repos[REPO]


def test_existing_repository_is_not_touched_without_a_yes(
    finished_folder: Path, server: HubServer, existing: dict[str, Any]
) -> None:
    error = failure(finished_folder, server, existing="refuse")
    assert "exists" in error.what and error.where == REPO and "pull request" in error.fix
    assert existing["files"] == OTHERS and len(existing["commits"]) == 1
    assert not [request for request in server.requests if request.startswith("PUT")]


def test_after_a_yes_it_is_one_commit_and_the_way_back_is_said(
    finished_folder: Path, server: HubServer, existing: dict[str, Any]
) -> None:
    before = existing["commits"][-1]["oid"]
    result = push(finished_folder, server)
    assert len(existing["commits"]) == 2 and existing["files"]["notes.txt"] == b"keep me"
    commit = existing["commits"][-1]["oid"]
    assert f"{REPO}/commit/{commit}" in result.undo and f"git revert {commit[:12]}" in result.undo
    assert f"{REPO}/tree/{before}" in result.undo


def test_pull_request_leaves_the_repository_as_it_is_also_of_somebody_else(
    finished_folder: Path, server: HubServer, existing: dict[str, Any]
) -> None:
    for token, number in ((TOKEN, 1), ("hf_bertas_token_1234567890", 2)):
        result = push(finished_folder, server, existing="pull request", token=token)
        assert result.url == f"{server.url}/{REPO}/discussions/{number}" and result.url in result.undo
    assert existing["files"] == OTHERS and len(existing["commits"]) == 1
    assert set(PUSHED) <= set(existing["pull_requests"][0]["files"])


def test_change_of_somebody_else_during_the_push_is_not_overwritten(
    finished_folder: Path, server: HubServer, existing: dict[str, Any]
) -> None:
    def change(progress: hub.PushProgress) -> None:
        if progress.step == "committing":
            server._add_commit(REPO, "theirs")

    error = failure(finished_folder, server, progress=change)
    assert "412" in error.what and "Somebody changed" in error.what
    assert existing["files"] == OTHERS


def test_what_would_be_pushed_to_is_known_before(server: HubServer, existing: dict[str, Any]) -> None:
    found = hub.find_repository("faq-bot", token=TOKEN, endpoint=server.url)
    assert found == hub.Repository(REPO, False, existing["commits"][-1]["oid"], ("README.md", "notes.txt"))
    assert not hub.find_repository("anna/new", token=TOKEN, endpoint=server.url).exists
    assert list(server.repos) == [REPO]
    server.read_only.add(TOKEN)
    with pytest.raises(HubError, match="can only read"):
        hub.find_repository("anna/new", token=TOKEN, endpoint=server.url)


def test_files_that_changed_since_they_were_seen_are_not_sent(finished_folder: Path, server: HubServer) -> None:
    source = source_of(finished_folder)
    error = failure(finished_folder, server, card="# One", seen=sum_up(list_files(source, "# Another one")))
    assert "changed since you saw" in error.what and server.requests == []
    push(finished_folder, server, card="# One", seen=sum_up(list_files(source, "# One")))


@pytest.mark.parametrize("step", ["creating", "uploading", "committing"])
def test_cancelled_push_leaves_nothing_to_be_seen_and_is_no_failure(
    finished_folder: Path, server: HubServer, step: str
) -> None:
    def cancel(progress: hub.PushProgress) -> None:
        if progress.step == step:
            raise CancelledError

    with pytest.raises(CancelledError):
        push(finished_folder, server, progress=cancel)
    assert server.repos.get(REPO, {"files": {}})["files"] == {}
    push(finished_folder, server)
    assert sorted(server.repos[REPO]["files"]) == PUSHED
    assert sum(request.startswith("PUT") for request in server.requests) <= (2 if step == "uploading" else 1)


def test_cancel_that_comes_too_late_does_not_hide_what_was_done(finished_folder: Path, server: HubServer) -> None:
    def cancel(progress: hub.PushProgress) -> None:
        if progress.step == "finished":
            raise CancelledError

    assert push(finished_folder, server, progress=cancel).url == f"{server.url}/{REPO}"


@pytest.mark.parametrize(
    ("status", "sentence"),
    [
        (401, "does not accept this token"),
        (403, "does not have permission"),
        (404, "no such account or repository"),
        (409, "busy with this repository"),
        (412, "Somebody changed the repository"),
        (429, "too many requests"),
        (500, "itself has a problem"),
        (504, "did not finish in time"),
        (CLOSE, "was interrupted"),
    ],
)
def test_each_answer_has_its_own_sentence(finished_folder: Path, server: HubServer, status: int, sentence: str) -> None:
    server.fail_next(status, "commit/main", times=10)
    assert sentence in failure(finished_folder, server).what


@pytest.mark.parametrize("headers", [{"Retry_After": "90"}, {"ratelimit": '"api";r=0;t=90'}])
def test_too_many_requests_says_how_long_to_wait(
    finished_folder: Path, server: HubServer, headers: dict[str, str]
) -> None:
    server.fail_next(429, "commit/main", **headers)
    assert "Push again in 2 minutes" in failure(finished_folder, server).fix
    assert describe_wait(45) == "45 seconds"


def test_files_of_an_export_are_named_so_that_ollama_and_llama_cpp_find_them(
    tmp_path: Path, finished_folder: Path, server: HubServer
) -> None:
    for name in ("faq-Q8_0.gguf", "faq-f16.gguf", "Modelfile", "notes.md", "faq.gguf.part"):
        (tmp_path / name).write_bytes(b"GGUF" + name.encode())
    source = Source(tmp_path, "gguf", source_of(finished_folder).manifest)
    card = hub_card(source)
    hub.push(source, REPO, card=card, token=TOKEN, endpoint=server.url)
    files = server.repos[REPO]["files"]
    assert sorted(files) == ["Modelfile", "README.md", "faq-Q8_0.gguf", "faq-f16.gguf", "modelforge.json"]
    assert f"ollama run hf.co/{REPO}:" in card and f"llama-server -hf {REPO}:" in card
    (tmp_path / "model.gguf").write_bytes(b"GGUF")
    with pytest.raises(HubError, match="quantization"):
        list_files(source)


def hub_card(source: Source) -> str:
    from modelforge.models.hub_files import make_card

    return make_card(source, REPO)


# ---- in the background ---------------------------------------------------------------------------------------------


def test_transfer_is_of_the_person_who_began_it_and_can_be_resumed(finished_folder: Path, server: HubServer) -> None:
    transfers, anna, bert = Transfers(), Caller("anna", "anna", is_owner=False), Caller("bert", "bert", is_owner=False)
    server.fail_next(500, "commit/main", times=1)
    with acting_as(anna):
        first = transfers.start("push", REPO, lambda note: push(finished_folder, server, progress=note))
        assert first.wait(60) and first.state == "failed" and "500" in first.error
        again = transfers.resume("push")
        assert again.wait(60) and again.state == "finished" and again.result.url.endswith(REPO)
        assert again.work is None
        with pytest.raises(RunStateError):
            transfers.resume("push")
    with acting_as(bert):
        assert transfers.find("push") is None
        with pytest.raises(RunStateError):
            transfers.resume("push")
    assert sum(request.startswith("PUT") for request in server.requests) == 1


def test_cancelled_transfer_ends_at_once_for_who_looks(finished_folder: Path, server: HubServer) -> None:
    transfers = Transfers()
    server.slow_seconds = 0.2
    running = transfers.start("push", REPO, lambda note: push(finished_folder, server, progress=note))
    with pytest.raises(RunStateError, match="in progress"):
        transfers.start("push", "another", lambda note: None)
    transfers.cancel("push")
    assert running.state == "cancelled"
    assert running.wait(60) and running.state == "cancelled" and running.error == ""
    assert server.repos.get(REPO, {"files": {}})["files"] == {}


def test_bug_in_a_transfer_is_called_one(caplog: pytest.LogCaptureFixture) -> None:
    def work(note: Any) -> None:
        json.loads("{")

    broken = Transfers().start("pull", "x", work)
    assert broken.wait(10) and broken.state == "failed" and "bug" in broken.error
    assert "a pull failed" in caplog.text


def test_template_and_parameters_stand_beside_the_files_as_ollama_reads_them() -> None:
    from modelforge.models.ollama_files import make_ollama_files

    text = (
        'FROM ./faq-Q8_0.gguf\nTEMPLATE """{{ range .Messages }}\n{{ .Content }}{{ end }}"""\nSYSTEM """Be brief."""\n'
        'PARAMETER stop "<|im_end|>"\nPARAMETER stop "</s>"\nPARAMETER temperature 0.7\nPARAMETER num_ctx 512\n'
    )
    files = make_ollama_files(text)
    assert files["template"] == b"{{ range .Messages }}\n{{ .Content }}{{ end }}" and files["system"] == b"Be brief."
    assert json.loads(files["params"]) == {"stop": ["<|im_end|>", "</s>"], "temperature": 0.7, "num_ctx": 512}
    assert make_ollama_files("FROM ./x.gguf\n") == {}
