"""A folder becomes one GGUF file with the model's numbers, tokenizer and chat template, or nothing is written."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import gguf
import numpy as np
import pytest
from safetensors.numpy import load_file

from modelforge.errors import DiskFullError, ExportError, RecipeError
from modelforge.gguf import QUANTIZATIONS, to_gguf
from modelforge.gguf import model as writing
from modelforge.gguf.converter import clean_view
from tests import tiny

pytestmark = pytest.mark.usefixtures("home_with_converter")
ERRORS = {"f16": 1e-3, "q8_0": 0.01, "q4_0": 0.15, "q5_1": 0.06}  # of the largest weight


@pytest.mark.slow  # exports/test_service.py writes one in F16, and has llama.cpp read it
@pytest.mark.parametrize("quantization", ["f16", "q8_0", "q4_0", "q5_1"])
def test_file_has_the_weights_the_template_and_the_name(known_base: Path, tmp_path: Path, quantization: str) -> None:
    shares: list[float] = []
    made = to_gguf(known_base, tmp_path / "out" / "m.gguf", quantization, name="Doors", watch=shares.append)
    reader = gguf.GGUFReader(made)
    assert reader.get_field("general.name").contents() == "Doors"
    assert "<|im_start|>" in reader.get_field("tokenizer.chat_template").contents()
    found = {each.name: each for each in reader.tensors}["blk.0.ffn_up.weight"]
    assert found.tensor_type.name == quantization.upper()
    wanted = load_file(known_base / "model.safetensors")["model.layers.0.mlp.up_proj.weight"]
    values = gguf.dequantize(found.data, found.tensor_type).reshape(wanted.shape)
    assert np.abs(values - wanted).max() < ERRORS[quantization] * np.abs(wanted).max()
    assert [path.name for path in made.parent.iterdir()] == ["m.gguf"]
    assert all(0 <= share <= 1 for share in shares)


def test_unknown_architecture_is_said_before_anything_is_written(known_base: Path, tmp_path: Path) -> None:
    folder = shutil.copytree(known_base, tmp_path / "odd")
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**config, "architectures": ["OddForCausalLM"]}))
    with pytest.raises(ExportError, match="does not know the architecture OddForCausalLM"):
        to_gguf(folder, tmp_path / "out" / "m.gguf")
    assert not (tmp_path / "out").exists()


def test_unknown_tokenizer_is_a_sentence_and_leaves_nothing(tmp_path: Path) -> None:
    folder = tiny.write_base(tmp_path / "base")
    with pytest.raises(ExportError, match="a tokenizer that llama"):
        to_gguf(folder, tmp_path / "out" / "m.gguf")
    assert list((tmp_path / "out").iterdir()) == []


def test_cancel_ends_the_converter_and_leaves_nothing(known_base: Path, tmp_path: Path) -> None:
    def cancel(share: float) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        to_gguf(known_base, tmp_path / "out" / "m.gguf", watch=cancel)
    assert not list(tmp_path.glob("out/*"))


def test_too_small_a_disk_is_said_first(known_base: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(writing, "_SPARE_BYTES", 10**18)
    with pytest.raises(DiskFullError):
        to_gguf(known_base, tmp_path / "m.gguf")
    assert not (tmp_path / "m.gguf").exists()


def test_quantizations_that_cannot_be_written_here_say_why(known_base: Path, tmp_path: Path) -> None:
    with pytest.raises(RecipeError, match="no quantization 'q3_9'"):
        to_gguf(known_base, tmp_path / "m.gguf", "q3_9")
    if shutil.which(writing.LLAMA_QUANTIZE) is None:
        with pytest.raises(ExportError, match="llama-quantize, which is not on the PATH"):
            to_gguf(known_base, tmp_path / "m.gguf", "q4_k_m")
    assert QUANTIZATIONS["q4_k_m"].by == writing.LLAMA_QUANTIZE


def test_converter_sees_no_code_of_the_model(known_base: Path, tmp_path: Path) -> None:
    folder = shutil.copytree(known_base, tmp_path / "odd")
    for name in ("config.json", "tokenizer_config.json"):
        values = json.loads((folder / name).read_text())
        (folder / name).write_text(json.dumps({**values, "auto_map": {"AutoTokenizer": ["evil.Evil", None]}}))
    (folder / "evil.py").write_text("raise SystemExit('ran')")
    with clean_view(folder) as view:
        assert {path.name for path in view.iterdir()} == {path.name for path in known_base.iterdir()}
        assert not any("auto_map" in path.read_text() for path in view.glob("*config.json"))
