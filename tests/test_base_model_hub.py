"""Base models on the Hub: a small one on loopback, spoken to by the real client. Nothing is fetched that need not be,
and a Hub that does not answer keeps nobody waiting."""

from __future__ import annotations

import contextlib
import json
import shutil
import socket
import threading
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from huggingface_hub import constants, hf_api

from modelforge import base_model, loading, paths
from modelforge.architecture import DECODER, ENCODER_DECODER
from modelforge.base_model import hub as hub_module
from modelforge.base_model import verdict
from modelforge.errors import BaseModelError, DiskFullError, ModelForgeError
from modelforge.recipe import Task
from tests import tiny
from tests.hub_server import CLOSE, HubServer

TOKEN = "hf_annas_token_1234567890"
GENERATION = Task.TEXT_GENERATION
SPANS = Task.EXTRACTIVE_QUESTION_ANSWERING
T5 = {"architectures": ["T5ForConditionalGeneration"], "model_type": "t5", "is_encoder_decoder": True}
LLAMA = {"architectures": ["LlamaForCausalLM"], "model_type": "llama"}
HEADLESS = {"architectures": ["LlamaModel"], "model_type": "llama"}


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny.write_base(tmp_path_factory.mktemp("models") / "tiny")


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[HubServer]:
    for name in ("HF_TOKEN", "HUGGING_FACE_HUB_TOKEN"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr(constants, "HF_TOKEN_PATH", str(tmp_path / "no-token"))
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hub-cache"))
    with HubServer() as server:
        monkeypatch.setattr(constants, "ENDPOINT", server.url)
        monkeypatch.setattr(hf_api.api, "endpoint", server.url)
        address = "/{repo_id}/resolve/{revision}/{filename}"
        monkeypatch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", server.url + address)
        yield server


def refused(name: str, task: Task = GENERATION) -> ModelForgeError:
    with pytest.raises(BaseModelError) as caught:
        base_model.check(str(name), task)
    assert caught.value.fix
    with pytest.raises(BaseModelError):
        base_model.resolve(str(name), task)
    return caught.value


def publish(server: HubServer, repo_id: str, files: dict[str, bytes], *, private: bool = False) -> None:
    server.repos[repo_id] = {"private": private, "files": files, "commits": []}
    server._add_commit(repo_id, "made")


def fetched(server: HubServer) -> set[str]:
    return {path.rpartition("/")[2] for path in server.requests if "/resolve/" in path}


def test_model_from_the_hub_is_fetched_once_and_then_found_offline(
    hub: HubServer, base: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    files = {path.name: path.read_bytes() for path in base.iterdir()}
    publish(hub, "anna/tiny", files | {"pytorch_model.bin": b"pickle", "run_me.py": b"x", "README.md": b"y"})
    found = base_model.resolve("anna/tiny", GENERATION)
    assert (found.id, found.source) == ("anna/tiny", "the Hugging Face Hub")
    assert {path.name for path in found.folder.iterdir()} == files.keys()  # nothing that can run code
    loading.load_model(found, dtype="float32", device="cpu")
    hub.requests.clear()
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    again = base_model.resolve("anna/tiny", GENERATION)
    assert (again.folder, again.source) == (found.folder, "the local Hub cache")
    assert hub.requests == []


@pytest.mark.parametrize(
    ("config", "task", "reason"),
    [
        (T5, GENERATION, "T5ForConditionalGeneration"),
        (LLAMA, SPANS, "LlamaForCausalLM"),
        (HEADLESS, GENERATION, "head"),
    ],
)
def test_audit_20_model_on_the_hub_is_refused_before_its_weights_are_fetched(
    hub: HubServer, config: dict[str, Any], task: Task, reason: str
) -> None:
    publish(hub, "anna/model", {"config.json": json.dumps(config).encode(), "model.safetensors": b"w" * 1000})
    for _ in range(2):  # also when something of it is in the cache
        assert reason in refused("anna/model", task).what
    assert fetched(hub) == {"config.json"}


def test_audit_20_model_of_the_catalogue_for_another_task_is_refused_without_a_hub(hub: HubServer, home: Path) -> None:
    assert "writes text from left to right" in refused("Qwen/Qwen3-0.6B", SPANS).what
    assert "does not write any" in refused("sentence-transformers/all-MiniLM-L6-v2", GENERATION).what
    assert hub.requests == []
    assert not home.exists()


def test_look_at_the_hub_tells_all_and_fetches_no_weights(hub: HubServer, base: Path) -> None:
    files = {path.name: path.read_bytes() for path in base.iterdir()}
    publish(
        hub, "anna/tiny", files | {"consolidated.safetensors": b"the weights once more", "onnx/m.safetensors": b"x"}
    )
    found = base_model.look(" anna/tiny ", GENERATION)
    assert (found.id, found.verdict, found.place) == ("anna/tiny", "good", "hub")
    assert (found.architecture, found.weight_bytes) == (DECODER, len(files["model.safetensors"]))
    assert (found.context, found.has_chat_template, found.gated) == (512, True, False)
    assert found.sentence == f"A decoder: {found.weight_bytes / 1e3:.3g} kB will be downloaded from the Hub."
    assert fetched(hub) == {"config.json"}
    assert not Path(constants.HF_HUB_CACHE).exists()
    assert base_model.check("anna/tiny", GENERATION) is DECODER
    where = base_model.resolve("anna/tiny", GENERATION).folder
    assert {path.name for path in where.iterdir()} == files.keys()  # nothing twice


@pytest.mark.parametrize(("config", "has"), [(b"{}", False), (b'{"chat_template": "{{ messages }}"}', True)])
def test_chat_template_is_looked_for_in_the_tokenizers_config_too(hub: HubServer, config: bytes, has: bool) -> None:
    files = {"config.json": json.dumps(LLAMA).encode(), "model.safetensors": b"w", "tokenizer.json": b"{}"}
    publish(hub, "anna/tiny", files | {"tokenizer_config.json": config})
    found = base_model.look("anna/tiny", GENERATION)
    assert found.has_chat_template is has
    assert ("plain one will be used" in found.sentence) is not has


def test_encoder_decoder_is_not_asked_for_a_chat_template(hub: HubServer) -> None:
    files = {"config.json": json.dumps(T5).encode(), "model.safetensors": b"w", "spiece.model": b"p"}
    publish(hub, "anna/t5", files)
    found = base_model.look("anna/t5", Task.SUMMARIZATION)
    assert found.architecture is ENCODER_DECODER
    assert found.sentence == "An encoder-decoder: 1 bytes will be downloaded from the Hub."


def test_audit_17_model_that_does_not_fit_the_disk_is_refused_before_its_weights_are_fetched(
    hub: HubServer, base: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    publish(hub, "anna/tiny", {path.name: path.read_bytes() for path in base.iterdir()})
    monkeypatch.setattr(shutil, "disk_usage", lambda _: SimpleNamespace(total=10**6, used=10**6 - 5, free=5))
    for call in (base_model.check, base_model.resolve):
        with pytest.raises(DiskFullError) as caught:
            call("anna/tiny", GENERATION)
        assert caught.value.free == 5 and caught.value.needed > (base / "model.safetensors").stat().st_size
    assert "model.safetensors" not in fetched(hub)


@pytest.mark.parametrize(
    ("files", "what"),
    [
        ({"config.json": b"{}", "pytorch_model.bin": b"pickle"}, "safetensors"),
        ({"config.json": b"{}", "consolidated.safetensors": b"w"}, "safetensors"),
        ({"adapter_config.json": b"{}", "adapter_model.safetensors": b"w"}, "is an adapter"),
        ({"model-q4.gguf": b"w"}, "only as GGUF"),
        ({"README.md": b"soon"}, "no config.json"),
    ],
)
def test_what_is_no_model_to_train_is_refused_by_the_names_of_its_files(
    hub: HubServer, files: dict[str, bytes], what: str
) -> None:
    publish(hub, "anna/old", files)
    assert what in refused("anna/old").what
    assert fetched(hub) == set()


@pytest.mark.parametrize("config", [b"", b"[]", b"\xff"])
def test_config_on_the_hub_that_is_none_is_refused(hub: HubServer, config: bytes) -> None:
    publish(hub, "anna/odd", {"config.json": config, "model.safetensors": b"w"})
    assert "config.json" in refused("anna/odd").what


@pytest.mark.parametrize("private", [True, False])
def test_model_that_is_missing_or_private_is_told_so(hub: HubServer, private: bool) -> None:
    if private:
        publish(hub, "anna/secret", {"config.json": b"{}"}, private=True)
    error = refused("anna/secret")
    assert "private" in error.what and "hf auth login" in error.fix


def test_private_model_of_ones_own_is_found(hub: HubServer, base: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_TOKEN", TOKEN)
    publish(hub, "anna/secret", {path.name: path.read_bytes() for path in base.iterdir()}, private=True)
    assert base_model.look("anna/secret", GENERATION).verdict == "good"
    assert base_model.resolve("anna/secret", GENERATION).source == "the Hugging Face Hub"


def test_token_that_is_not_accepted_is_told_so(hub: HubServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_TOKEN", "hf_expired_1234567890123")
    publish(hub, "anna/tiny", {"config.json": b"{}"})
    assert "hf_expired" not in str(refused("anna/tiny"))


@pytest.mark.parametrize("signed_in", [False, True])
def test_audit_12_gated_model_is_told_where_to_ask(
    hub: HubServer, base: Path, monkeypatch: pytest.MonkeyPatch, signed_in: bool
) -> None:
    if signed_in:
        monkeypatch.setenv("HF_TOKEN", TOKEN)
    publish(hub, "meta/llama", {path.name: path.read_bytes() for path in base.iterdir()})
    hub.gated["meta/llama"] = set()
    error = refused("meta/llama")
    assert "gated" in error.what
    assert "https://huggingface.co/meta/llama" in error.fix and "hf auth login" in error.fix
    found = base_model.look("meta/llama", GENERATION)
    assert found.verdict == "bad" and "https://huggingface.co/meta/llama" in found.sentence


def test_gated_model_with_access_is_as_good_as_another(
    hub: HubServer, base: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_TOKEN", TOKEN)
    publish(hub, "meta/llama", {path.name: path.read_bytes() for path in base.iterdir()})
    hub.gated["meta/llama"] = {"anna"}
    found = base_model.look("meta/llama", GENERATION)
    assert (found.verdict, found.gated) == ("good", True)
    assert found.sentence.endswith("It is gated, and you have access.")
    assert base_model.resolve("meta/llama", GENERATION).folder.is_dir()


def unreachable(name: str) -> None:
    """A look says so, a check refuses nothing, and only when it is needed it is an error."""
    found = base_model.look(name, GENERATION)
    assert (found.verdict, found.place) == ("unknown", "unknown")
    assert "could not be reached, so it will be checked when the run starts" in found.sentence
    base_model.check(name, GENERATION)
    with pytest.raises(BaseModelError, match="cannot be reached"):
        base_model.resolve(name, GENERATION)


def test_hub_that_cannot_be_reached_is_told_so(monkeypatch: pytest.MonkeyPatch, hub: HubServer) -> None:
    monkeypatch.setattr(hf_api.api, "endpoint", "http://127.0.0.1:9")
    monkeypatch.setattr(constants, "ENDPOINT", "http://127.0.0.1:9")
    unreachable("anna/tiny")
    unreachable("Qwen/Qwen3-0.6B")
    assert base_model.look("Qwen/Qwen3-0.6B", GENERATION).sentence.startswith("A decoder of 596M parameters: ")


@pytest.mark.parametrize("status", [500, 503, 429, CLOSE])
def test_hub_that_fails_is_as_one_that_cannot_be_reached(hub: HubServer, status: int) -> None:
    hub.fail_next(status, times=100)
    unreachable("anna/tiny")


@pytest.mark.parametrize("answer", [b"<html>Sign in to the hotel</html>", [], {}, {"siblings": 3}, "x"])
def test_what_answers_instead_of_the_hub_is_as_one_that_cannot_be_reached(
    hub: HubServer, monkeypatch: pytest.MonkeyPatch, answer: Any
) -> None:
    monkeypatch.setattr(hub, "answer", lambda *_: (200, answer, {}))
    unreachable("anna/tiny")


def test_fault_15_bug_while_the_hub_is_asked_is_not_taken_for_its_silence(
    hub: HubServer, base: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: Any) -> None:
        raise KeyError("a bug of ours")

    publish(hub, "anna/tiny", {path.name: path.read_bytes() for path in base.iterdir()})
    for name in ("check_files", "parse_config"):
        with monkeypatch.context() as patch:
            patch.setattr(hub_module, name, fail)
            with pytest.raises(KeyError, match="a bug of ours"):
                base_model.look("anna/tiny", GENERATION)


def test_hub_that_does_not_answer_keeps_nobody_waiting(hub: HubServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(verdict, "LOOK_SECONDS", 0.2)
    over = threading.Event()
    monkeypatch.setattr(hub, "answer", lambda *_: (over.wait(60), (404, {}, {}))[1])
    assert base_model.look("anna/tiny", GENERATION).verdict == "unknown"  # an answer would say that there is none
    over.set()


def test_hub_that_drips_keeps_nobody_waiting(monkeypatch: pytest.MonkeyPatch, hub: HubServer) -> None:
    """A byte now and then satisfies every time-out of an HTTP client."""
    monkeypatch.setattr(verdict, "LOOK_SECONDS", 0.5)
    stop = threading.Event()
    with socket.create_server(("127.0.0.1", 0)) as server:
        address = f"http://127.0.0.1:{server.getsockname()[1]}"
        monkeypatch.setattr(hf_api.api, "endpoint", address)
        monkeypatch.setattr(constants, "ENDPOINT", address)

        def drip() -> None:
            connection, _ = server.accept()
            with connection, contextlib.suppress(ConnectionError):  # nobody listens any more
                connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 100000\r\n\r\n")
                while not stop.wait(0.05):
                    connection.sendall(b" ")

        thread = threading.Thread(target=drip)
        thread.start()
        assert base_model.look("anna/tiny", GENERATION).verdict == "unknown"
        assert thread.is_alive()
        stop.set()
        thread.join()


def test_download_that_was_broken_off_is_not_taken_for_the_model(
    hub: HubServer, base: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    files = {path.name: path.read_bytes() for path in base.iterdir() if path.suffix != ".safetensors"}
    weights = {f"model-0000{each}-of-00002.safetensors": b"w" * each for each in (1, 2)}
    index = json.dumps({"weight_map": {str(place): name for place, name in enumerate(weights)}}).encode()
    publish(hub, "anna/tiny", files | weights | {"model.safetensors.index.json": index})
    hub.fail_next(403, "model-00002", times=100)
    with pytest.raises(BaseModelError):
        base_model.resolve("anna/tiny", GENERATION)
    assert base_model.look("anna/tiny", GENERATION).place == "hub"
    hub._failures.clear()
    assert base_model.resolve("anna/tiny", GENERATION).source == "the Hugging Face Hub"
    assert base_model.look("anna/tiny", GENERATION).place == "here"


def test_download_ends_when_it_is_no_longer_wanted_and_what_has_come_is_kept(hub: HubServer, base: Path) -> None:
    files = {path.name: path.read_bytes() for path in base.iterdir()}
    publish(hub, "anna/tiny", files | {f"more-{number}.txt": b"x" * number for number in range(1, 60)})

    class UnwantedError(Exception):
        pass

    def meanwhile() -> None:
        if any(Path(constants.HF_HUB_CACHE).glob("models--anna--tiny/snapshots/*/*")):
            raise UnwantedError

    with pytest.raises(UnwantedError):
        base_model.resolve("anna/tiny", GENERATION, meanwhile)
    assert len(fetched(hub)) < len(files) + 30
    hub.requests.clear()
    assert base_model.resolve("anna/tiny", GENERATION).source == "the Hugging Face Hub"
    assert len(fetched(hub)) < len(files) + 59


def test_home_is_not_where_the_hub_cache_is(home: Path) -> None:
    assert not str(constants.HF_HUB_CACHE).startswith(str(paths.home()))
