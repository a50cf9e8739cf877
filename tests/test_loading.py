"""From a model's files to its config, tokenizer and weights in memory; what is damaged is refused with its place."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from transformers import ModernBertConfig, RobertaConfig, T5Config

from modelforge import loading
from modelforge.architecture import ENCODER
from modelforge.base_model import BaseModel
from modelforge.errors import BaseModelError
from tests import tiny


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny.write_base(tmp_path_factory.mktemp("models") / "tiny")


@pytest.fixture
def copy(base: Path, tmp_path: Path) -> Path:
    """A copy to damage."""
    return Path(shutil.copytree(base, tmp_path / "copy"))


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


@pytest.mark.parametrize(
    "config", [{"model_type": "no-such-type"}, {"model_type": None}, {"model_type": "llama", "hidden_size": "wide"}]
)
def test_unknown_architecture_is_refused(tmp_path: Path, config: dict[str, Any]) -> None:
    folder = tmp_path / "model"
    folder.mkdir()
    (folder / "config.json").write_text(json.dumps({"architectures": ["XForCausalLM"], **config}))
    with pytest.raises(BaseModelError, match="not supported"):
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


# ---- models that read ------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def encoder(tmp_path_factory: pytest.TempPathFactory) -> BaseModel:
    return loaded(tiny.write_encoder(tmp_path_factory.mktemp("models") / "encoder"))


def test_encoder_gets_a_head_for_spans_from_the_seed_and_nothing_else(encoder: BaseModel) -> None:
    import torch

    def weights(seed: int) -> torch.Tensor:
        torch.manual_seed(99)
        model = loading.load_model(encoder, dtype="float32", device="cpu", seed=seed)
        assert loading.head_modules(model) == ["qa_outputs"]
        assert torch.initial_seed() == 99  # the run's own random numbers stay as they were
        return model.qa_outputs.weight.detach().clone()

    assert torch.equal(weights(1), weights(1))
    assert not torch.equal(weights(1), weights(2))


def test_tokenizer_of_an_encoder_needs_padding_and_no_end(tmp_path: Path) -> None:
    tokenizer = tiny.tokenizer()
    tokenizer.eos_token = None
    tokenizer.save_pretrained(tmp_path / "t")
    assert loading.load_tokenizer(tmp_path / "t", "t", ENCODER).is_fast
    tiny.tokenizer(pad_token=None).save_pretrained(tmp_path / "u")
    with pytest.raises(BaseModelError, match="no padding token"):
        loading.load_tokenizer(tmp_path / "u", "u", ENCODER)


@pytest.mark.parametrize(
    ("made", "tokens"),
    [
        (tiny.config, 512),
        (lambda: RobertaConfig(max_position_embeddings=514, pad_token_id=1), 512),
        (lambda: ModernBertConfig(max_position_embeddings=8192), 8192),
    ],
    ids=["Llama", "RoBERTa", "ModernBERT"],
)
def test_window_is_what_can_be_read_at_once(made: Callable[[], Any], tokens: int) -> None:
    assert loading.window_of(made()) == tokens


def test_window_of_relative_positions_has_no_bound() -> None:
    assert loading.window_of(T5Config()) > 10**6
