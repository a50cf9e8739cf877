"""Layers that compute together give what they give alone: tuned, as base, alone and side by side."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from peft import LoraConfig, get_peft_model

from modelforge.compute.decoders.grouped import MOST_ROWS, speed_up
from tests import tiny


def adapted(**settings: Any) -> Any:
    torch.manual_seed(1)
    wanted = {"r": 4, "lora_alpha": 32, "target_modules": "all-linear", "init_lora_weights": False, **settings}
    return get_peft_model(tiny.model(), LoraConfig(**wanted)).eval()


def answer(model: Any, shape: tuple[int, int]) -> torch.Tensor:
    """Logits (B, T, V) for random tokens."""
    ids = torch.randint(4, 200, shape, generator=torch.Generator().manual_seed(2))
    with torch.inference_mode():
        found: torch.Tensor = model(input_ids=ids).logits
    return found


@pytest.mark.parametrize("shape", [(1, 1), (1, 20), (3, 5), (4, MOST_ROWS)])
@pytest.mark.parametrize("settings", [{}, {"target_modules": ["q_proj", "v_proj"]}, {"use_dora": True}])
def test_tuned_and_base_answer_as_before(shape: tuple[int, int], settings: dict[str, Any]) -> None:
    model = adapted(**settings)
    expected = answer(model, shape)
    with model.disable_adapter():
        untouched = answer(model, shape)
    assert speed_up(model) > 4  # the norms at least
    for _ in range(2):  # the switch leaves no trace
        assert torch.allclose(answer(model, shape), expected, atol=1e-4)
        with model.disable_adapter():
            assert torch.allclose(answer(model, shape), untouched, atol=1e-4)
    assert not torch.allclose(expected, untouched, atol=1e-2)


@pytest.mark.parametrize("changes", [{}, {"attention_bias": True}])
def test_model_without_an_adapter_answers_as_before(changes: dict[str, Any]) -> None:
    model = tiny.model(**changes).eval()
    expected = answer(model, (2, 3))
    layers = model.config.num_hidden_layers
    assert speed_up(model) == 7 * layers + 1  # q, k, v, gate, up, and two norms each; the last norm
    assert torch.allclose(answer(model, (2, 3)), expected, atol=1e-5)


def test_weights_take_no_more_memory() -> None:
    model = tiny.model().eval()
    before = sum(part.untyped_storage().nbytes() for part in model.parameters())
    speed_up(model)
    storages = {part.untyped_storage().data_ptr(): part.untyped_storage().nbytes() for part in model.parameters()}
    assert sum(storages.values()) == before


def test_what_has_a_gradient_is_computed_as_before() -> None:
    model = adapted()
    ids = torch.arange(4, 20)[None]
    expected = torch.autograd.grad(model(input_ids=ids).logits.sum(), list(trained(model)))
    speed_up(model)
    found = torch.autograd.grad(model(input_ids=ids).logits.sum(), list(trained(model)))
    assert all(torch.allclose(one, other, rtol=1e-3, atol=1e-3) for one, other in zip(found, expected, strict=True))


def trained(model: Any) -> Any:
    return (part for part in model.parameters() if part.requires_grad)
