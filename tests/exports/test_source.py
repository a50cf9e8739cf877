"""What is exported of a model that was trained on packed weights."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch

from modelforge import base_model, loading
from modelforge.exports.source import load_weights
from tests import tiny


def test_base_of_a_model_tuned_in_4_bits_is_written_out_as_a_plain_model(
    forge: Any, tiny_base: Path, tmp_path: Path
) -> None:
    record = tiny.finish_model(forge, tiny_base).model_copy(update={"tuning": "qlora"})
    base = base_model.resolve(str(tiny_base))
    written = load_weights(record, base, "float32", 0)
    assert not hasattr(written.config, "quantization_config")
    written.save_pretrained(tmp_path / "written")
    read = loading.load_model(base_model.resolve(str(tmp_path / "written")), dtype="float32", device="cpu")
    plain = loading.load_model(base, dtype="float32", device="cpu").state_dict()
    changed = {name for name, part in read.state_dict().items() if not torch.equal(part, plain[name])}
    assert read.state_dict().keys() == plain.keys() and changed  # in 4 bits the layers were other numbers
