"""What is decided for machines that the tests do not run on: only facts go in, so any machine can be described."""

from __future__ import annotations

from typing import Any

import pytest
from transformers import LlamaConfig, Qwen2Config, Qwen3Config

from modelforge.compute.decide import choose_dtype
from modelforge.errors import RecipeError
from modelforge.hardware import GIB, Probe
from modelforge.planner.estimate import choose_compute
from modelforge.planner.memory import activation_bytes, weight_bytes
from modelforge.recipe import Recipe
from tests import tiny


def card(name: str, capability: tuple[int, int], gigabytes: float, **rates: float) -> Probe:
    return Probe("cuda", name, capability, int(gigabytes * GIB), rates, "2.13.0")


def processor(bfloat16: float, float32: float = 100.0) -> Probe:
    return Probe("cpu", "a processor", (0, 0), 16 * GIB, {"float32": float32, "bfloat16": bfloat16}, "2.13.0")


RTX_4060 = card("RTX 4060", (8, 9), 8, float32=11_000, bfloat16=40_000, float16=40_000)
RTX_3090 = card("RTX 3090", (8, 6), 24, float32=25_000, bfloat16=65_000, float16=65_000)
T4 = card("Tesla T4", (7, 5), 16, float32=7_000, float16=25_000)  # before Ampere bfloat16 is not probed
H100 = card("H100", (9, 0), 80, float32=50_000, bfloat16=600_000, float16=600_000)
M2 = Probe("mps", "Apple M2", (0, 0), 16 * GIB, {"float32": 2_800.0, "bfloat16": 3_000.0, "float16": 3_100.0}, "2.13.0")
SLOW_CPU, FAST_CPU = processor(bfloat16=1.0), processor(bfloat16=400.0)

STARTER = LlamaConfig(
    vocab_size=49_152,
    hidden_size=576,
    intermediate_size=1536,
    num_hidden_layers=30,
    num_attention_heads=9,
    num_key_value_heads=3,
    tie_word_embeddings=True,
)
QWEN_HALF = Qwen2Config(
    vocab_size=151_936,
    hidden_size=896,
    intermediate_size=4864,
    num_hidden_layers=24,
    num_attention_heads=14,
    num_key_value_heads=2,
    tie_word_embeddings=True,
)
QWEN_8B = Qwen3Config(
    vocab_size=151_936,
    hidden_size=4096,
    intermediate_size=12_288,
    num_hidden_layers=36,
    num_attention_heads=32,
    num_key_value_heads=8,
    head_dim=128,
    tie_word_embeddings=False,
)


@pytest.mark.parametrize(
    ("probe", "dtype"),
    [
        (RTX_4060, "bfloat16"),
        (RTX_3090, "bfloat16"),
        (T4, "float16"),
        (H100, "bfloat16"),
        (M2, "float32"),
        (SLOW_CPU, "float32"),
        (FAST_CPU, "bfloat16"),
        (processor(bfloat16=119.0), "float32"),  # not faster enough to be worth the lost digits
    ],
    ids=lambda value: value.name if isinstance(value, Probe) else value,
)
def test_dtype_is_the_fast_and_safe_one(probe: Probe, dtype: str) -> None:
    found, reason = choose_dtype(Recipe(), probe)
    assert found == dtype
    assert reason.startswith(f"{dtype}: ")


@pytest.mark.parametrize(
    ("probe", "asked"), [(T4, "float32"), (H100, "float16"), (SLOW_CPU, "bfloat16"), (M2, "bfloat16")]
)
def test_recipe_overrides_the_dtype(probe: Probe, asked: str) -> None:
    found, reason = choose_dtype(Recipe(dtype=asked), probe)
    assert (found, reason) == (asked, f"{asked}: as the recipe says")


@pytest.mark.parametrize(("probe", "asked"), [(T4, "bfloat16"), (SLOW_CPU, "float16"), (FAST_CPU, "float16")])
def test_dtype_that_does_not_train_here_is_refused_with_those_that_do(probe: Probe, asked: str) -> None:
    with pytest.raises(RecipeError) as caught:
        choose_dtype(Recipe(dtype=asked), probe)
    assert caught.value.where == "setting dtype"
    assert probe.name in caught.value.what
    for able in probe.gigaflops:
        assert able in caught.value.fix
    assert asked not in caught.value.fix.removesuffix(".").replace(",", "").split()


@pytest.mark.parametrize(
    ("probe", "config", "free_gigabytes", "checkpointing"),
    [
        (RTX_4060, STARTER, 7, False),
        (RTX_4060, QWEN_HALF, 7, True),
        (RTX_3090, QWEN_HALF, 23, False),
        (FAST_CPU, STARTER, 12, False),
        (RTX_3090, QWEN_8B, 23, True),  # the weights take 15 of them
        (T4, STARTER, 15, False),
        (T4, QWEN_HALF, 15, False),
        (H100, QWEN_8B, 79, False),
        (M2, STARTER, 10, False),
        (M2, QWEN_8B, 10, True),
        (SLOW_CPU, STARTER, 12, False),
        (SLOW_CPU, STARTER, 3, True),
        (SLOW_CPU, QWEN_8B, 12, True),
    ],
)
def test_checkpointing_is_on_only_when_memory_is_short(
    probe: Probe, config: Any, free_gigabytes: int, checkpointing: bool
) -> None:
    compute = choose_compute(Recipe(), probe, config, free_gigabytes * GIB)
    assert compute.gradient_checkpointing is checkpointing
    assert compute.device == probe.kind
    assert compute.reasons[1].startswith(f"gradient checkpointing {'on' if checkpointing else 'off'}: ")


@pytest.mark.parametrize(("asked", "free"), [("on", 1000 * GIB), ("off", 0)])
def test_recipe_overrides_checkpointing(asked: str, free: int) -> None:
    compute = choose_compute(Recipe(gradient_checkpointing=asked), H100, QWEN_8B, free)
    assert compute.gradient_checkpointing is (asked == "on")
    assert "as the recipe says" in compute.reasons[1]


@pytest.mark.parametrize(
    ("probe", "settings", "free_gigabytes", "optimizer"),
    [
        (H100, {}, 79, "adamw_torch_fused"),
        (RTX_4060, {"tuning.type": "full"}, 5, "paged_adamw_8bit"),
        (RTX_3090, {"tuning.type": "full"}, 23, "adamw_torch_fused"),
        (M2, {}, 10, "adamw_torch"),
        (SLOW_CPU, {"tuning.type": "full"}, 2, "adamw_torch_fused"),
        (FAST_CPU, {"optim": "adafactor"}, 12, "adafactor"),
    ],
)
def test_optimizer_suits_the_device_and_its_memory(
    probe: Probe, settings: dict[str, Any], free_gigabytes: int, optimizer: str
) -> None:
    compute = choose_compute(Recipe().with_settings(settings), probe, STARTER, free_gigabytes * GIB)
    assert compute.optimizer == optimizer
    assert any(reason.startswith(f"optimizer {optimizer}: ") for reason in compute.reasons)


@pytest.mark.parametrize(
    ("optim", "probe"), [("paged_adamw_8bit", M2), ("paged_adamw_8bit", SLOW_CPU), ("adamw_torch_fused", M2)]
)
def test_optimizer_that_does_not_run_on_the_device_is_refused(probe: Probe, optim: str) -> None:
    with pytest.raises(RecipeError, match="adamw_torch") as caught:
        choose_compute(Recipe(optim=optim), probe, STARTER, 12 * GIB)
    assert caught.value.where == "setting optim"


def test_every_decision_has_a_reason_and_the_recipe_overrides_attention() -> None:
    for probe in (RTX_4060, T4, M2, SLOW_CPU, FAST_CPU):
        reasons = " | ".join(choose_compute(Recipe(), probe, STARTER, 14 * GIB).reasons)
        for word in ("float", "checkpointing", "attention", "optimizer", "workers"):
            assert word in reasons
    assert choose_compute(Recipe(attn_implementation="eager"), T4, STARTER, 14 * GIB).attention == "eager"


@pytest.mark.parametrize(("probe", "dtype"), [(T4, "float16"), (H100, "bfloat16"), (SLOW_CPU, "float32")])
def test_full_tuning_keeps_float32_weights_whatever_it_computes_in(probe: Probe, dtype: str) -> None:
    compute = choose_compute(Recipe().with_settings({"tuning.type": "full"}), probe, STARTER, 14 * GIB)
    assert (compute.weights, compute.dtype) == ("float32", dtype)


def test_a_smaller_batch_or_length_does_without_checkpointing() -> None:
    assert choose_compute(Recipe(), SLOW_CPU, STARTER, 3 * GIB).gradient_checkpointing
    for less in ({"per_device_train_batch_size": 1}, {"max_length": 128}):
        assert not choose_compute(Recipe().with_settings(less), SLOW_CPU, STARTER, 3 * GIB).gradient_checkpointing


@pytest.mark.parametrize(
    ("config", "parameters"), [(STARTER, 134_515_008), (QWEN_HALF, 494_032_768), (QWEN_8B, 8_190_735_360)]
)
def test_weight_bytes_are_near_the_known_sizes(config: Any, parameters: int) -> None:
    assert weight_bytes(config, dtype="float32") == pytest.approx(4 * parameters, rel=0.01)
    assert weight_bytes(config, dtype="bfloat16") == pytest.approx(2 * parameters, rel=0.01)


def test_activation_bytes_grow_with_rows_length_and_width_of_numbers() -> None:
    one = activation_bytes(STARTER, rows=1, length=128, dtype="bfloat16")
    assert activation_bytes(STARTER, rows=4, length=512, dtype="float32") == 32 * one


def test_kept_activations_of_a_real_step_are_near_the_estimate() -> None:
    """Counted where autograd keeps them, without what it shares with the weights."""
    import torch

    from modelforge.compute.fused import fused_lora
    from modelforge.compute.tune import add_adapter

    model = add_adapter(tiny.model(hidden_size=256, intermediate_size=1024, num_hidden_layers=8), Recipe())
    known = {part.data_ptr() for part in model.parameters()}
    kept: dict[int, int] = {}

    def keep(value: Any) -> Any:
        if value.data_ptr() not in known:
            kept[value.untyped_storage().data_ptr()] = value.untyped_storage().nbytes()
        return value

    rows, length = 2, 64
    ids = torch.randint(5, 200, (rows, length))
    with fused_lora(model), torch.autograd.graph.saved_tensors_hooks(keep, lambda value: value):
        hidden = model.get_base_model().model(input_ids=ids, use_cache=False).last_hidden_state
    estimate = activation_bytes(model.config, rows=rows, length=length, dtype="float32")
    assert hidden.requires_grad
    assert 0.7 * sum(kept.values()) < estimate < 1.6 * sum(kept.values())
