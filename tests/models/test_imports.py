"""Models from elsewhere are taken into the library, from folders and from a Hub on loopback; or a sentence says why
not."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from concurrent.futures import CancelledError
from pathlib import Path
from typing import Any

import pytest
from huggingface_hub import constants, hf_api

from modelforge import Forge, paths
from modelforge.caller import Caller, acting_as
from modelforge.cli import main
from modelforge.errors import AccessError, BaseModelError, HubError, ModelForgeError
from modelforge.models.hub_pull import PullProgress, find_model
from modelforge.models.sampling import Sampling
from tests import tiny
from tests.hub_server import HubServer
from tests.machine import live_in

SHORT = Sampling(max_new_tokens=8)
QUESTION = "What colour is the lamp of house 1?"
TOKEN = "hf_annas_token_1234567890"
BERT = Caller("bert", "bert", is_owner=False, is_local=False)


@pytest.fixture(scope="module")
def answer(tiny_base: Path, elsewhere: Path, tmp_path_factory: pytest.TempPathFactory, measured: Path) -> str:
    """What the adapter in `elsewhere` says; it was made in another home."""
    return (elsewhere / "answer.txt").read_text()


@pytest.fixture(scope="module")
def elsewhere(tiny_base: Path, tmp_path_factory: pytest.TempPathFactory, measured: Path) -> Path:
    """A folder with an adapter and its tokenizer, as somebody's training leaves it."""
    folder = tmp_path_factory.mktemp("elsewhere") / "lamps"
    with live_in(tmp_path_factory.mktemp("other") / "home", measured):
        forge = Forge()
        record = tiny.finish_model(forge, tiny_base)
        shutil.copytree(forge.models.path(record), folder)
        said = forge.models[record.id].chat(QUESTION, sampling=SHORT)
    (folder / "modelforge.json").unlink()
    (folder / "answer.txt").write_text(said)
    return folder


@pytest.fixture
def adapter(elsewhere: Path, tmp_path: Path) -> Path:
    """A copy, to be changed."""
    return Path(shutil.copytree(elsewhere, tmp_path / "given"))


def change(folder: Path, **settings: Any) -> None:
    file = folder / "adapter_config.json"
    file.write_text(json.dumps({**json.loads(file.read_text()), **settings}))


def refusal(forge: Forge, folder: Path | str, **options: Any) -> ModelForgeError:
    """Why it is not taken; nothing is left of it."""
    with pytest.raises(ModelForgeError) as caught:
        forge.models.import_model(str(folder), **options)
    assert caught.value.what and caught.value.fix
    assert forge.models.all() == [] and not list((paths.home() / "models").glob("*"))
    return caught.value


def test_adapter_of_a_folder_answers_as_it_did_where_it_was_made(forge: Forge, elsewhere: Path, answer: str) -> None:
    record = forge.models.import_model(str(elsewhere), name="Lamps of a friend")
    assert (record.name, record.task, record.tuning) == ("Lamps of a friend", "text-generation", "lora")
    assert forge.models[record.id].chat(QUESTION, sampling=SHORT) == answer
    assert record.architecture == "decoder" and record.metrics == {} and "lamps" in record.description
    assert not (forge.models.path(record) / "answer.txt").exists()
    assert forge.models.find_problem(record) is None and "not known" in forge.models.card(record.id)
    assert elsewhere.is_dir() and (elsewhere / "adapter_model.safetensors").is_file()
    forge.models.delete(record.id)


def test_adapter_without_a_tokenizer_gets_that_of_its_base(forge: Forge, adapter: Path, answer: str) -> None:
    for file in adapter.iterdir():
        if not file.name.startswith("adapter_"):
            file.unlink()
    record = forge.models.import_model(str(adapter))
    assert forge.models[record.id].chat(QUESTION, sampling=SHORT) == answer


@pytest.mark.parametrize(
    ("architecture", "task"), [("decoder", "text-generation"), ("encoder-decoder", "summarization")]
)
def test_whole_model_of_a_folder_is_taken(forge: Forge, tmp_path: Path, architecture: str, task: str) -> None:
    record = forge.models.import_model(str(tiny.WRITERS[architecture](tmp_path / "whole")))
    assert (record.tuning, record.task, record.architecture) == ("full", task, architecture)
    model = forge.models[record.id]
    assert isinstance(model.chat(QUESTION, sampling=SHORT) if architecture == "decoder" else model.summarise("a"), str)


def test_encoder_needs_a_head_that_finds_answers(forge: Forge, tmp_path: Path) -> None:
    assert "head" in refusal(forge, tiny.write_encoder(tmp_path / "headless")).what
    tiny.span_model().save_pretrained(tmp_path / "spans")
    tiny.encoder_tokenizer().save_pretrained(tmp_path / "spans")
    assert forge.models.import_model(str(tmp_path / "spans")).task == "extractive-question-answering"


def test_folder_that_is_no_model_is_a_sentence(forge: Forge, tmp_path: Path) -> None:
    folder = tmp_path / "none"
    folder.mkdir()
    assert "not a model" in refusal(forge, folder).what
    (folder / "x.gguf").write_bytes(b"GGUF")
    assert "GGUF" in refusal(forge, folder).what
    (folder / "adapter_model.bin").write_bytes(b"PK")
    (folder / "adapter_config.json").write_text("{}")
    assert "can run code" in refusal(forge, folder).what
    assert "file" in refusal(forge, folder / "adapter_model.bin").what
    refusal(forge, "")
    refusal(forge, "a b c")


def test_missing_base_is_a_sentence_and_another_can_be_named(forge: Forge, adapter: Path, tiny_base: Path) -> None:
    change(adapter, base_model_name_or_path="nobody/nothing")
    error = refusal(forge, adapter)
    assert "nobody/nothing" in error.what and "--base-model" in error.fix
    change(adapter, base_model_name_or_path="./tiny")
    assert "does not name" in refusal(forge, adapter).what
    assert forge.models.import_model(str(adapter), base=str(tiny_base)).base_model == str(tiny_base)


@pytest.mark.parametrize(
    "settings",
    [
        {"peft_type": "PROMPT_TUNING"},
        {"peft_type": None},
        {"r": 10**9},
        {"r": "8"},
        {"rank_pattern": {"q_proj": -1}},
        {"alpha_pattern": {"(.*)*x": 1}},
    ],
)
def test_hostile_adapter_config_is_refused(forge: Forge, adapter: Path, settings: dict[str, Any]) -> None:
    change(adapter, **settings)
    assert isinstance(refusal(forge, adapter), HubError)


@pytest.mark.parametrize(
    "settings", [{"target_modules": "(.+)+_proj"}, {"exclude_modules": "(a+)+$"}, {"layers_to_transform": [0, 1]}]
)
def test_patterns_are_replaced_by_the_names_of_the_modules_that_have_weights(
    forge: Forge, adapter: Path, answer: str, settings: dict[str, Any]
) -> None:
    change(adapter, **settings)
    record = forge.models.import_model(str(adapter))
    config = json.loads((forge.models.path(record) / "adapter_config.json").read_text())
    assert "model.layers.0.self_attn.q_proj" in config["target_modules"] and len(config["target_modules"]) == 14
    assert "exclude_modules" not in config
    assert forge.models[record.id].chat(QUESTION, sampling=SHORT) == answer


def test_only_settings_that_describe_the_adapter_are_kept(forge: Forge, adapter: Path, answer: str) -> None:
    change(adapter, megatron_core="os", auto_mapping={"parent_library": "os"}, eva_config={}, revision="evil")
    record = forge.models.import_model(str(adapter))
    config = json.loads((forge.models.path(record) / "adapter_config.json").read_text())
    assert not {"megatron_core", "auto_mapping", "eva_config", "revision"} & config.keys()
    assert forge.models[record.id].chat(QUESTION, sampling=SHORT) == answer


def test_hostile_config_and_damaged_weights_of_a_whole_model_are_refused(forge: Forge, tmp_path: Path) -> None:
    folder = tiny.write_base(tmp_path / "whole")
    config = folder / "config.json"
    kept = config.read_text()
    config.write_text(kept.replace('"num_hidden_layers": 2', '"num_hidden_layers": 1000000'))
    assert isinstance(refusal(forge, folder), BaseModelError)
    config.write_text(kept)
    (folder / "model.safetensors").write_bytes(b"\xff" * 100)
    assert "damaged" in refusal(forge, folder).what


def test_links_to_other_files_of_this_machine_are_not_followed(forge: Forge, adapter: Path, tmp_path: Path) -> None:
    (tmp_path / "secret").write_text("{}")
    (adapter / "special_tokens_map.json").unlink(missing_ok=True)
    (adapter / "special_tokens_map.json").symlink_to(tmp_path / "secret")
    record = forge.models.import_model(str(adapter))
    assert not (forge.models.path(record) / "special_tokens_map.json").exists()


def test_from_afar_nobody_names_a_folder(forge: Forge, elsewhere: Path) -> None:
    with acting_as(BERT):
        assert "not a valid" in refusal(forge, elsewhere).what
    guest = Caller("guest", "guest", is_owner=False, is_local=False, may_train=False)
    with acting_as(guest), pytest.raises(AccessError):
        forge.models.import_model("anna/lamps")


def test_command_takes_a_folder(forge: Forge, elsewhere: Path, capfd: pytest.CaptureFixture[str]) -> None:
    assert main(["models", "import", str(elsewhere), "--name", "Lamps", "--json"]) == 0
    assert json.loads(capfd.readouterr().out)["name"] == "Lamps"
    assert main(["models", "import", str(elsewhere / "nothing")]) == 1
    assert "Traceback" not in capfd.readouterr().err


# ---- from the Hub --------------------------------------------------------------------------------------------------


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[HubServer]:
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


def publish(server: HubServer, folder: Path, *, private: bool = False, **more: bytes) -> str:
    files = {file.name: file.read_bytes() for file in folder.iterdir()} | more
    server.repos["anna/lamps"] = {"private": private, "files": files, "commits": []}
    server._add_commit("anna/lamps", "made")
    return "anna/lamps"


def downloads(server: HubServer, name: str) -> int:
    return sum(request.startswith("GET") and request.endswith(f"/{name}") for request in server.requests)


def test_model_on_the_hub_is_downloaded_without_its_code_and_imported(
    forge: Forge, server: HubServer, elsewhere: Path, answer: str
) -> None:
    publish(server, elsewhere, **{"modeling.py": b"raise SystemExit", "pickle.bin": b"x", "optimizer.pt": b"x"})
    seen: list[PullProgress] = []
    record = forge.models.import_model("anna/lamps", watch=seen.append)
    assert forge.models[record.id].chat(QUESTION, sampling=SHORT) == answer
    assert record.name == "lamps"
    assert not [request for request in server.requests if request.endswith((".py", ".bin", ".pt", "answer.txt"))]
    total = find_model("anna/lamps").bytes
    assert seen[0].total_bytes == seen[-1].received == total
    assert not list((paths.cache_dir() / "hub-models").iterdir())


def test_cut_connection_is_resumed_where_it_was_cut(
    forge: Forge, server: HubServer, elsewhere: Path, answer: str
) -> None:
    publish(server, elsewhere)
    size = (elsewhere / "adapter_model.safetensors").stat().st_size
    server.cut_after = size // 3 + 1
    record = forge.models.import_model("anna/lamps")
    assert downloads(server, "adapter_model.safetensors") == 3  # each brings the next third
    assert forge.models[record.id].chat(QUESTION, sampling=SHORT) == answer


def test_cancelled_download_is_resumed_and_fetches_nothing_twice(
    forge: Forge, server: HubServer, elsewhere: Path, answer: str
) -> None:
    publish(server, elsewhere)

    def cancel(progress: PullProgress) -> None:
        if progress.file == "adapter_model.safetensors" and progress.received > 0:
            raise CancelledError

    with pytest.raises(CancelledError):
        forge.models.import_model("anna/lamps", watch=cancel)
    assert forge.models.all() == []
    first = downloads(server, "tokenizer.json")
    record = forge.models.import_model("anna/lamps")
    assert downloads(server, "tokenizer.json") == first == 1
    assert forge.models[record.id].chat(QUESTION, sampling=SHORT) == answer


def test_download_that_is_larger_than_listed_or_damaged_is_not_kept(
    forge: Forge, server: HubServer, elsewhere: Path
) -> None:
    publish(server, elsewhere)
    name = "adapter_model.safetensors"
    found = find_model("anna/lamps")
    content = server.repos["anna/lamps"]["commits"][-1]["files"][name]
    server.repos["anna/lamps"]["commits"][-1]["files"][name] = content + b"more"
    with pytest.raises(ModelForgeError, match="larger"):
        forge.models.pull(found)
    shutil.rmtree(paths.cache_dir() / "hub-models")
    server.repos["anna/lamps"]["commits"][-1]["files"][name] = bytes(len(content))
    with pytest.raises(ModelForgeError, match="damaged"):
        forge.models.pull(found)
    assert forge.models.all() == []


def test_others_get_what_is_public_and_never_by_the_owners_token(
    forge: Forge, server: HubServer, elsewhere: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_TOKEN", TOKEN)
    publish(server, elsewhere, private=True)
    assert find_model("anna/lamps").bytes
    for caller in (BERT, Caller("hf:2", "bert", is_owner=False, is_local=False, token=TOKEN)):
        with acting_as(caller), pytest.raises(HubError, match="nothing of that name"):
            find_model("anna/lamps")


@pytest.mark.parametrize(("status", "sentence"), [(429, "too many requests"), (503, "itself has a problem")])
def test_answers_of_the_hub_are_sentences(
    forge: Forge, server: HubServer, elsewhere: Path, status: int, sentence: str
) -> None:
    publish(server, elsewhere)
    server.fail_next(status, "/api/models/", times=10)
    error = refusal(forge, "anna/lamps")
    assert sentence in error.what and "Download again" in error.fix


def test_what_is_not_there_or_is_no_model_is_a_sentence(forge: Forge, server: HubServer) -> None:
    assert "nothing of that name" in refusal(forge, "anna/none").what
    files = {"pytorch_model.bin": b"x", "config.json": b"{}"}
    server.repos["anna/old"] = {"private": False, "files": files, "commits": []}
    server._add_commit("anna/old", "made")
    assert "can run code" in refusal(forge, "anna/old").what


def test_what_was_pushed_comes_back_as_it_was(
    forge: Forge, server: HubServer, tiny_base: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_TOKEN", TOKEN)
    record = tiny.finish_model(forge, tiny_base)
    said = forge.models[record.id].chat(QUESTION, sampling=SHORT)
    pushed = forge.models.push(record.id, "anna/again")
    assert forge.models.manifest(record)["pushed"] == {"adapter": "anna/again"} and pushed.private
    back = forge.models.import_model("anna/again", base=str(tiny_base))
    assert forge.models[back.id].chat(QUESTION, sampling=SHORT) == said
    assert (back.task, back.tuning, back.dataset_name) == (record.task, record.tuning, record.dataset_name)
