"""From a base model's name to its files; what cannot work is refused with the reason before weights are fetched."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from huggingface_hub import constants, hf_api

from modelforge import base_model, catalog, loading, paths, starter
from modelforge.base_model import BaseModel
from modelforge.errors import BaseModelError, DiskFullError, ModelForgeError
from modelforge.recipe import STARTER, Task
from tests import tiny
from tests.hub_server import HubServer

GENERATION = Task.TEXT_GENERATION
HOSTILE = [
    "; touch x",
    "../..",
    "a/b/c",
    "$(touch x)",
    "a b",
    "",
    "/etc",
    "..",
    "~nobody-of-that-name/x",
    "x" * 5000,
    "a--b",
    "-x",
]


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny.write_base(tmp_path_factory.mktemp("models") / "tiny")


@pytest.fixture
def copy(base: Path, tmp_path: Path) -> Path:
    """A copy to damage."""
    return Path(shutil.copytree(base, tmp_path / "copy"))


def config_folder(place: Path, config: Any) -> Path:
    """A folder with that config and weights that nobody may read."""
    place.mkdir(parents=True)
    (place / "config.json").write_text(config if isinstance(config, str) else json.dumps(config))
    (place / "model.safetensors").write_bytes(b"not weights")
    return place


def refused(name: str | Path, task: Task = GENERATION) -> ModelForgeError:
    with pytest.raises(BaseModelError) as caught:
        base_model.check(str(name), task)
    assert caught.value.fix
    with pytest.raises(BaseModelError):
        base_model.resolve(str(name), task)
    return caught.value


# ---- names -----------------------------------------------------------------------------------------------------


def test_folder_is_found_by_absolute_and_relative_path(base: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(base.parent)
    for name in (str(base), "tiny", "./tiny"):
        found = base_model.resolve(name, GENERATION)
        assert found == BaseModel(str(base), base, f"folder {base}")
        assert base_model.canonical(name) == str(base)
    assert base_model.canonical(STARTER) == STARTER


@pytest.mark.parametrize("name", HOSTILE)
def test_audit_08_name_that_is_none_starts_nothing(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    before = sorted(tmp_path.rglob("*"))
    refused(name)
    assert sorted(tmp_path.rglob("*")) == before


def test_hub_id_without_a_hub_is_refused_with_a_way_out(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path))
    base_model.check("some/model", GENERATION)  # nothing wrong that could be known without asking
    with pytest.raises(BaseModelError, match="switched off"):
        base_model.resolve("some/model", GENERATION)


def test_starter_comes_before_the_hub(home: Path, base: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    base_model.check(STARTER, GENERATION)  # not fetched, and nothing is fetched for it
    assert not home.exists()
    target = starter.folder(STARTER)
    shutil.copytree(base, target)
    (target / starter.NOTE).write_text("{}")
    found = base_model.resolve(STARTER, GENERATION)
    assert (found.id, found.folder) == (STARTER, target)
    assert "not the original weights" in found.source


# ---- audit 20: what cannot do the task -------------------------------------------------------------------------

UNFIT = {
    "T5": ({"architectures": ["T5ForConditionalGeneration"], "is_encoder_decoder": True}, "encoder before it writes"),
    "old T5": ({"architectures": ["T5WithLMHeadModel"], "is_encoder_decoder": True}, "encoder before it writes"),
    "BERT": ({"architectures": ["BertForMaskedLM"]}, "left to right"),
    "headless decoder": ({"architectures": ["LlamaModel"]}, "no head"),
    "headless encoder": ({"architectures": ["BertModel"]}, "no head"),
    "span head": ({"architectures": ["BertForQuestionAnswering"]}, "left to right"),
    "classifier": ({"architectures": ["LlamaForSequenceClassification"]}, "left to right"),
    "pictures": ({"architectures": ["ViTForImageClassification"], "model_type": "vit"}, "left to right"),
    "unknown": ({"model_type": "mystery"}, "left to right"),
    "hostile": ({"architectures": "LlamaForCausalLM"}, "left to right"),
    "numbers": ({"architectures": [1, None]}, "left to right"),
}


@pytest.mark.parametrize("kind", UNFIT)
@pytest.mark.parametrize("task", [Task.TEXT_GENERATION, Task.SUMMARIZATION])
def test_audit_20_architecture_that_cannot_do_the_task_is_refused_with_the_reason(
    tmp_path: Path, kind: str, task: Task
) -> None:
    config, reason = UNFIT[kind]
    error = refused(config_folder(tmp_path / "model", config), task)
    assert reason in error.what
    assert task.value in error.fix and STARTER in error.fix
    if isinstance(config.get("architectures"), list) and isinstance(config["architectures"][0], str):
        assert config["architectures"][0] in error.what


@pytest.mark.parametrize("name", ["LlamaForCausalLM", "Qwen3ForCausalLM", "GPT2LMHeadModel", "Gemma3ForCausalLM"])
def test_audit_20_decoders_are_accepted(tmp_path: Path, name: str) -> None:
    base_model.check(str(config_folder(tmp_path / "model", {"architectures": [name]})), GENERATION)


def test_audit_20_every_base_model_we_recommend_has_a_name_that_passes() -> None:
    for entry in catalog.entries():
        base_model.check(entry.id, entry.tasks[0])


@pytest.mark.parametrize("config", ["", "{", "[]", "null", "3"])
def test_config_that_is_none_is_refused(tmp_path: Path, config: str) -> None:
    assert "config.json" in refused(config_folder(tmp_path / "model", config)).what


def test_folder_without_a_config_is_no_model(tmp_path: Path) -> None:
    assert "no config.json" in refused(tmp_path).what


def test_weights_that_could_run_code_are_refused(copy: Path) -> None:
    next(copy.glob("*.safetensors")).rename(copy / "pytorch_model.bin")
    error = refused(copy)
    assert "safetensors" in error.what and "run code" in error.fix


# ---- loading ---------------------------------------------------------------------------------------------------


def loaded(folder: Path) -> BaseModel:
    return BaseModel(str(folder), folder, "")


def test_weights_are_loaded_in_the_wanted_dtype(base: Path) -> None:
    import torch

    for dtype in ("float32", "bfloat16"):
        model = loading.load_model(loaded(base), dtype=dtype, device="cpu")
        assert {part.dtype for part in model.parameters()} == {getattr(torch, dtype)}


@pytest.mark.parametrize("keep", [0, 4, 1000, -100])
def test_damaged_weights_are_refused_with_their_place(copy: Path, keep: int) -> None:
    file = next(copy.glob("*.safetensors"))
    file.write_bytes(file.read_bytes()[:keep])
    with pytest.raises(BaseModelError) as caught:
        loading.load_model(loaded(copy), dtype="float32", device="cpu")
    assert "cannot be loaded" in caught.value.what
    assert caught.value.where == str(copy) and caught.value.fix


def test_weights_of_another_shape_are_refused(copy: Path) -> None:
    config = json.loads((copy / "config.json").read_text())
    (copy / "config.json").write_text(json.dumps(config | {"hidden_size": 64, "head_dim": 16}))
    with pytest.raises(BaseModelError, match="cannot be loaded"):
        loading.load_model(loaded(copy), dtype="float32", device="cpu")


@pytest.mark.parametrize("text", ["", "{}", "[1]", "not json", '{"model": {"type": "no such"}}'])
def test_damaged_tokenizer_is_refused(copy: Path, text: str) -> None:
    (copy / "tokenizer.json").write_text(text)
    with pytest.raises(BaseModelError, match="tokenizer"):
        loading.load_tokenizer(copy, "copy")


def test_tokenizer_without_an_end_is_refused(copy: Path) -> None:
    config = json.loads((copy / "tokenizer_config.json").read_text())
    (copy / "tokenizer_config.json").write_text(json.dumps(config | {"eos_token": None}))
    with pytest.raises(BaseModelError, match="end-of-sequence"):
        loading.load_tokenizer(copy, "copy")


def test_tokenizer_without_padding_pads_with_its_end(tmp_path: Path) -> None:
    tiny.tokenizer(pad_token=None).save_pretrained(tmp_path / "t")
    tokenizer = loading.load_tokenizer(tmp_path / "t", "t")
    assert tokenizer.pad_token_id == tokenizer.eos_token_id is not None


@pytest.mark.parametrize("model_type", ["no-such-type", None])
def test_unknown_architecture_is_refused(tmp_path: Path, model_type: str | None) -> None:
    folder = config_folder(tmp_path / "model", {"architectures": ["XForCausalLM"], "model_type": model_type})
    with pytest.raises(BaseModelError, match="not known"):
        loading.load_config(loaded(folder))


def test_code_that_comes_with_a_model_is_not_run(copy: Path, tmp_path: Path) -> None:
    trap = f"open({str(tmp_path / 'ran')!r}, 'w')\n"
    for name in ("configuration_trap.py", "modeling_trap.py", "tokenization_trap.py"):
        (copy / name).write_text(trap)
    config = json.loads((copy / "config.json").read_text()) | {
        "model_type": "trap",
        "auto_map": {"AutoConfig": "configuration_trap.C", "AutoModelForCausalLM": "modeling_trap.M"},
    }
    (copy / "config.json").write_text(json.dumps(config))
    with pytest.raises(BaseModelError):
        loading.load_config(loaded(copy))
    with pytest.raises(BaseModelError):
        loading.load_model(loaded(copy), dtype="float32", device="cpu")
    assert not (tmp_path / "ran").exists()


# ---- the Hub, a small one on loopback --------------------------------------------------------------------------


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


def test_audit_20_model_on_the_hub_is_refused_before_its_weights_are_fetched(hub: HubServer) -> None:
    config = {"architectures": ["T5ForConditionalGeneration"], "is_encoder_decoder": True}
    publish(hub, "anna/t5", {"config.json": json.dumps(config).encode(), "model.safetensors": b"w" * 1000})
    with pytest.raises(BaseModelError, match="T5ForConditionalGeneration"):
        base_model.resolve("anna/t5", GENERATION)
    assert fetched(hub) == {"config.json"}
    with pytest.raises(BaseModelError, match="T5ForConditionalGeneration"):
        base_model.resolve("anna/t5", GENERATION)  # also when a part of it is in the cache


def test_audit_17_model_that_does_not_fit_the_disk_is_refused_before_its_weights_are_fetched(
    hub: HubServer, base: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    publish(hub, "anna/tiny", {path.name: path.read_bytes() for path in base.iterdir()})
    monkeypatch.setattr(shutil, "disk_usage", lambda _: SimpleNamespace(total=10**6, used=10**6 - 5, free=5))
    with pytest.raises(DiskFullError) as caught:
        base_model.resolve("anna/tiny", GENERATION)
    assert caught.value.free == 5 and caught.value.needed > (base / "model.safetensors").stat().st_size
    assert "model.safetensors" not in fetched(hub)


def test_model_without_safetensors_on_the_hub_is_refused_unfetched(hub: HubServer) -> None:
    publish(hub, "anna/old", {"config.json": b"{}", "pytorch_model.bin": b"pickle"})
    with pytest.raises(BaseModelError, match="safetensors"):
        base_model.resolve("anna/old", GENERATION)
    assert fetched(hub) == set()


@pytest.mark.parametrize("private", [True, False])
def test_model_that_is_missing_or_private_is_told_so(hub: HubServer, private: bool) -> None:
    if private:
        publish(hub, "anna/secret", {"config.json": b"{}"}, private=True)
    with pytest.raises(BaseModelError, match="private") as caught:
        base_model.resolve("anna/secret", GENERATION)
    assert "hf auth login" in caught.value.fix


def test_audit_12_gated_model_is_told_where_to_ask(hub: HubServer, monkeypatch: pytest.MonkeyPatch) -> None:
    answer = (403, {"error": "gated"}, {"X-Error-Code": "GatedRepo", "X-Error-Message": "gated"})
    monkeypatch.setattr(hub, "answer", lambda *_: answer)
    with pytest.raises(BaseModelError, match="gated") as caught:
        base_model.resolve("meta/llama", GENERATION)
    assert "https://huggingface.co/meta/llama" in caught.value.fix


def test_hub_that_cannot_be_reached_is_told_so(monkeypatch: pytest.MonkeyPatch, hub: HubServer) -> None:
    monkeypatch.setattr(hf_api.api, "endpoint", "http://127.0.0.1:9")
    monkeypatch.setattr(constants, "ENDPOINT", "http://127.0.0.1:9")
    with pytest.raises(BaseModelError, match="cannot be reached"):
        base_model.resolve("anna/tiny", GENERATION)


def test_home_is_not_where_the_hub_cache_is(home: Path) -> None:
    assert not str(constants.HF_HUB_CACHE).startswith(str(paths.home()))
