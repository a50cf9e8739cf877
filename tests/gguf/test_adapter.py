"""A LoRA adapter becomes a GGUF adapter: the same change of the same weights, in the order of rows of the base."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import gguf
import numpy as np
import pytest
import torch

from modelforge.errors import ExportError
from modelforge.gguf import adapter_to_gguf, to_gguf

pytestmark = pytest.mark.usefixtures("home_with_converter")


def write_adapter(base: Path, folder: Path, **settings: Any) -> Any:
    """A random adapter in that folder. Returns the model with it."""
    from peft import LoraConfig, get_peft_model
    from transformers import AutoModelForCausalLM

    torch.manual_seed(1)
    chosen = {"r": 4, "lora_alpha": 8, "target_modules": "all-linear", "init_lora_weights": False, **settings}
    model = get_peft_model(AutoModelForCausalLM.from_pretrained(base, dtype=torch.float32), LoraConfig(**chosen))
    model.save_pretrained(folder)
    return model


def read_tensors(path: Path) -> dict[str, np.ndarray]:
    return {each.name: gguf.dequantize(each.data, each.tensor_type) for each in gguf.GGUFReader(path).tensors}


@pytest.mark.slow
@pytest.mark.parametrize("settings", [{}, {"use_rslora": True}])
def test_base_plus_adapter_has_the_weights_of_the_merged_model(
    known_base: Path, tmp_path: Path, settings: dict[str, Any]
) -> None:
    model = write_adapter(known_base, tmp_path / "adapter", **settings)
    made = adapter_to_gguf(known_base, tmp_path / "adapter", tmp_path / "adapter.gguf")
    merged = tmp_path / "merged"
    model.merge_and_unload().save_pretrained(merged)
    for name in ("tokenizer.json", "tokenizer_config.json"):
        (merged / name).write_bytes((known_base / name).read_bytes())
    before = read_tensors(to_gguf(known_base, tmp_path / "base.gguf"))
    after = read_tensors(to_gguf(merged, tmp_path / "merged.gguf"))
    reader, pairs = gguf.GGUFReader(made), read_tensors(made)
    assert reader.get_field("general.type").contents() == "adapter"
    assert reader.get_field("adapter.type").contents() == "lora"
    scale = reader.get_field("adapter.lora.alpha").contents() / 4
    names = {name.removesuffix(".lora_a") for name in pairs if name.endswith(".lora_a")}
    assert names == {name for name in before if name.startswith("blk.") and "norm" not in name}
    for name in names:
        change = scale * pairs[f"{name}.lora_b"] @ pairs[f"{name}.lora_a"]
        assert np.abs(before[name] + change - after[name]).max() < 0.01 * np.abs(after[name]).max(), name


@pytest.mark.parametrize(
    ("settings", "reason"),
    [({"use_dora": True}, "DoRA"), ({"modules_to_save": ["lm_head"]}, "whole layers"), ({"bias": "all"}, "biases")],
)
def test_adapter_that_llama_cpp_cannot_apply_is_refused(
    known_base: Path, tmp_path: Path, settings: dict[str, Any], reason: str
) -> None:
    write_adapter(known_base, tmp_path / "adapter", **settings)
    with pytest.raises(ExportError, match=reason) as caught:
        adapter_to_gguf(known_base, tmp_path / "adapter", tmp_path / "out" / "adapter.gguf")
    assert "merged" in caught.value.fix
    assert not (tmp_path / "out").exists()
