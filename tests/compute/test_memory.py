"""What a run's process holds: no file of weights, and no large blocks that a step with checkpointing is done with."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
import torch
import transformers

from modelforge.compute import memory
from modelforge.compute.fused_model import fused_model, settle_weights
from modelforge.compute.tune import tune
from modelforge.recipe import Recipe
from tests import tiny

ON_LINUX = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="reads /proc")
BLOCK = 100_000_000  # bytes


def is_mapped(name: str) -> bool:
    return name in Path("/proc/self/maps").read_text(encoding="utf-8")


@ON_LINUX
@pytest.mark.parametrize("tuning", ["lora", "full"])
def test_settled_weights_hold_no_file_and_compute_the_same(tuning: str, tmp_path: Path) -> None:
    tiny.write_base(tmp_path)
    recipe = Recipe().with_settings({"tuning.type": tuning})
    model = tune(transformers.AutoModelForCausalLM.from_pretrained(tmp_path, dtype=torch.float32), recipe).train()
    tokens = torch.arange(20).view(2, 10)
    file = str(next(tmp_path.glob("*.safetensors")))
    with fused_model(model, "cpu") as layers:
        before = model(tokens, labels=tokens, use_cache=False).loss.item()
        assert is_mapped(file)
        settle_weights(model, layers)
        assert not is_mapped(file)
        assert model(tokens, labels=tokens, use_cache=False).loss.item() == before
        tied = model.get_input_embeddings().weight is model.get_output_embeddings().weight
        assert tied == model.config.tie_word_embeddings


@ON_LINUX
@pytest.mark.parametrize("but_large", [False, True])
def test_blocks_are_kept_for_the_next_step_and_large_ones_only_where_asked(but_large: bool) -> None:
    if memory._glibc() is None:
        pytest.skip("another C library")
    with memory.kept_blocks(but_large=but_large):
        before = memory.used_bytes("cpu")
        torch.ones(BLOCK // 4)
        assert (memory.used_bytes("cpu") - before > BLOCK / 2) is not but_large
    assert memory.used_bytes("cpu") - before < BLOCK / 2
