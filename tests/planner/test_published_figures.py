"""The arithmetic for cards that are not here, against figures that others have published."""

from __future__ import annotations

import pytest
from transformers import LlamaConfig

from modelforge.compute.compute import Compute
from modelforge.planner.memory import Memory, count_memory
from modelforge.recipe import Recipe

CARD = Compute("cuda", "bfloat16", True, (), weights="bfloat16", optimizer="adamw_torch_fused")
PACKED = Compute("cuda", "bfloat16", True, (), weights="bfloat16", quantised=True, optimizer="paged_adamw_8bit")
FULL = Compute("cuda", "bfloat16", True, (), weights="float32", optimizer="adamw_torch_fused")


def llama(hidden: int, inner: int, layers: int, *, heads: int, key_heads: int, vocabulary: int) -> LlamaConfig:
    return LlamaConfig(
        hidden_size=hidden,
        intermediate_size=inner,
        num_hidden_layers=layers,
        num_attention_heads=heads,
        num_key_value_heads=key_heads,
        vocab_size=vocabulary,
        max_position_embeddings=8192,
        tie_word_embeddings=False,
    )


LLAMA_8B = llama(4096, 14_336, 32, heads=32, key_heads=8, vocabulary=128_256)  # Llama 3.1, 8.03 billion parameters
LLAMA_65B = llama(8192, 22_016, 80, heads=64, key_heads=64, vocabulary=32_000)  # the first LLaMA, 65.3 billion


def needed(config: LlamaConfig, compute: Compute, tuning: str) -> Memory:
    settings = {"tuning": {"type": tuning}, "per_device_train_batch_size": 1, "max_length": 512}
    found = count_memory(Recipe.build(settings), compute, config)
    assert found
    return found


def fixed(memory: Memory) -> float:
    """Gigabytes without what depends on batch and length."""
    return (memory.weights + memory.gradients + memory.optimizer) / 1e9


def test_lora_of_llama_8b_needs_about_16_gigabytes() -> None:
    """Hugging Face, "Llama 3.1 - 405B, 70B & 8B", section Training Memory Requirements: 8B with LoRA 16 GB."""
    assert fixed(needed(LLAMA_8B, CARD, "lora")) == pytest.approx(16, rel=0.06)


def test_qlora_of_llama_8b_needs_about_6_gigabytes() -> None:
    """The same table: 8B with Q-LoRA 6 GB."""
    assert fixed(needed(LLAMA_8B, PACKED, "qlora")) == pytest.approx(6, rel=0.1)


@pytest.mark.slow
def test_qlora_of_llama_65b_fits_a_card_of_48_gigabytes() -> None:
    """QLoRA, arXiv 2305.14314, abstract: "finetune a 65B parameter model on a single 48GB GPU"."""
    assert 33e9 < needed(LLAMA_65B, PACKED, "qlora").total < 48e9


@pytest.mark.slow
def test_full_tuning_in_mixed_precision_needs_18_bytes_a_parameter() -> None:
    """Hugging Face, "Model training anatomy": 6 bytes of weights, float32 and their 16-bit copies, 8 of AdamW, 4 of
    gradients. The copies are short-lived under autocast, and counted with the activations here."""
    config = llama(1024, 4096, 8, heads=16, key_heads=16, vocabulary=32_000)
    found = needed(config, FULL, "full")
    assert (found.weights + found.gradients + found.optimizer) / found.trained == pytest.approx(16, rel=0.01)
    all_but_values = found.total - found.runtime
    assert 16 < all_but_values / found.trained < 19
