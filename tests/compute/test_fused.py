"""The fused functions give what the plain computations give, in values and in gradients."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from peft import LoraConfig, get_peft_model
from torch import nn
from torch.nn import functional

from modelforge.compute.fused import fused_lora, fused_norms
from modelforge.compute.tune import add_adapter
from modelforge.recipe import Recipe
from tests import tiny


class OneLayer(nn.Module):
    def __init__(self, bias: bool, dtype: torch.dtype) -> None:
        super().__init__()
        self.wide = nn.Linear(12, 20, bias=bias, dtype=dtype)

    def forward(self, x: Any) -> Any:
        return self.wide(x)


def one_layer(*, bias: bool = False, dtype: torch.dtype = torch.float64, **settings: Any) -> Any:
    """A frozen matrix with a LoRA adapter of which both halves are random."""
    torch.manual_seed(0)
    config = LoraConfig(**{"r": 3, "lora_alpha": 5, "target_modules": ["wide"], "init_lora_weights": False, **settings})
    return get_peft_model(OneLayer(bias, dtype), config)


def answer(model: Any, x: torch.Tensor) -> dict[str, torch.Tensor]:
    """y, and the gradients of everything that has one, for a loss that weighs each element differently."""
    model.zero_grad()
    x.grad = None
    y = model(x)
    (y * torch.arange(y.numel(), dtype=y.dtype).view_as(y).sin()).sum().backward()
    gradients = {name: part.grad.clone() for name, part in model.named_parameters() if part.grad is not None}
    return {"y": y.detach(), **gradients, **({"x": x.grad.clone()} if x.grad is not None else {})}


@pytest.mark.parametrize("bias", [False, True])
@pytest.mark.parametrize("shape", [(7, 12), (2, 5, 12), (1, 1, 12)])
@pytest.mark.parametrize("needs_x", [True, False])
def test_lora_product_equals_pefts_layer(bias: bool, shape: tuple[int, ...], needs_x: bool) -> None:
    model = one_layer(bias=bias)
    x = torch.randn(shape, dtype=torch.float64, requires_grad=needs_x)
    expected = answer(model, x)
    with fused_lora(model) as count:
        found = answer(model, x)
    assert count == 1
    assert found.keys() == expected.keys()
    assert len(found) == 3 + needs_x
    for name, value in expected.items():
        assert torch.allclose(found[name], value, atol=1e-12), name


@pytest.mark.parametrize("scaling", [{"lora_alpha": 1}, {"lora_alpha": 64, "use_rslora": True}])
def test_lora_product_takes_the_layers_own_scaling(scaling: dict[str, Any]) -> None:
    model, x = one_layer(**scaling), torch.randn(4, 12, dtype=torch.float64, requires_grad=True)
    expected = model(x)
    with fused_lora(model):
        assert torch.allclose(model(x), expected, atol=1e-12)


def test_lora_product_serves_a_transposed_input() -> None:
    model = one_layer()
    x = torch.randn(12, 5, 3, dtype=torch.float64).permute(2, 1, 0).requires_grad_()
    expected = answer(model, x)
    with fused_lora(model):
        found = answer(model, x)
    assert all(torch.allclose(found[name], expected[name], atol=1e-12) for name in expected)


def test_every_linear_layer_of_a_model_is_fused_and_restored() -> None:
    model = add_adapter(tiny.model(), Recipe())
    layers = [part for name, part in model.named_modules() if name.endswith("_proj")]
    with fused_lora(model) as count:
        assert count == len(layers) == 14
        assert all("forward" in layer.__dict__ for layer in layers)
    assert not any("forward" in layer.__dict__ for layer in layers)


def test_layers_are_restored_after_an_error() -> None:
    model = one_layer()
    with pytest.raises(RuntimeError), fused_lora(model):
        raise RuntimeError
    assert not any("forward" in part.__dict__ for part in model.modules())


@pytest.mark.parametrize(
    "settings", [{"lora_dropout": 0.1}, {"use_dora": True}, {"lora_bias": True, "bias": True}], ids=str
)
def test_other_kinds_of_layer_keep_pefts_forward(settings: dict[str, Any]) -> None:
    with fused_lora(one_layer(**settings)) as count:
        assert count == 0


def test_mixed_dtypes_keep_pefts_forward() -> None:
    model = one_layer(dtype=torch.bfloat16)  # PEFT keeps its adapters in float32
    x = torch.randn(4, 12, dtype=torch.bfloat16)
    expected = answer(model, x)
    with fused_lora(model):
        found = answer(model, x)
    assert all(torch.equal(found[name], expected[name]) for name in expected)


@pytest.mark.parametrize("weights", [torch.float32, torch.bfloat16], ids=str)
@pytest.mark.parametrize("given", [torch.float32, torch.bfloat16], ids=str)
def test_fault_12_lora_product_equals_pefts_layer_in_autocast(weights: torch.dtype, given: torch.dtype) -> None:
    model = one_layer(bias=True, dtype=weights)
    x = torch.randn(5, 12, dtype=given, requires_grad=True)
    with torch.autocast("cpu", torch.bfloat16):
        expected = answer(model, x)
        with fused_lora(model) as count:
            found = answer(model, x)
    assert count == 1
    assert {name: value.dtype for name, value in found.items()} == {name: v.dtype for name, v in expected.items()}
    assert found["y"].dtype == torch.bfloat16
    for name, value in expected.items():
        torch.testing.assert_close(found[name], value, rtol=0.03, atol=0.03 * float(value.abs().max()), msg=name)


@pytest.mark.parametrize("in_autocast", [False, True])
@pytest.mark.parametrize("weights", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("bias", [False, True])
@pytest.mark.parametrize("rows", [1, 3, 200])  # written tokens, and a prompt
def test_what_is_written_without_gradients_is_the_same(
    weights: torch.dtype, in_autocast: bool, bias: bool, rows: int
) -> None:
    model = one_layer(dtype=torch.float32, bias=bias)
    layer = model.base_model.model.wide
    layer.base_layer.to(weights)
    x = torch.randn(rows, 1, 12).to(torch.float32 if in_autocast else weights)
    with torch.no_grad(), torch.autocast("cpu", torch.bfloat16, enabled=in_autocast):
        expected = model(x)
        with fused_lora(model) as count:
            found = model(x)
    assert count == 1 and (found.dtype, found.shape) == (expected.dtype, expected.shape)
    assert torch.allclose(found.float(), expected.float(), rtol=2e-2, atol=2e-2)


def test_fused_layer_uses_the_adapter_that_is_active() -> None:
    model, x = one_layer(), torch.randn(4, 12, dtype=torch.float64, requires_grad=True)
    model.add_adapter("other", LoraConfig(r=2, target_modules=["wide"], init_lora_weights=False))
    results = []
    for names in ("default", "other", ["default", "other"]):
        model.base_model.set_adapter(names)
        expected = model(x)
        with fused_lora(model) as count:
            assert count == (0 if isinstance(names, list) else 1)
            assert torch.allclose(model(x), expected, atol=1e-12)
            results.append(expected)
            model.base_model.set_adapter("default")
            assert torch.allclose(model(x), results[0], atol=1e-12)
    assert not torch.allclose(results[0], results[1])


def test_disabled_adapter_is_the_base_model() -> None:
    model, x = one_layer(), torch.randn(4, 12, dtype=torch.float64)
    plain = functional.linear(x, model.base_model.model.wide.base_layer.weight)
    with fused_lora(model), model.disable_adapter():
        assert torch.equal(model(x), plain)


def test_merged_adapter_is_counted_once() -> None:
    model, x = one_layer(), torch.randn(4, 12, dtype=torch.float64)
    expected = model(x)
    with fused_lora(model):
        model.merge_adapter()
        assert torch.allclose(model(x), expected, atol=1e-12)
        model.unmerge_adapter()
        with torch.no_grad():
            assert torch.allclose(model(x), expected, atol=1e-12)


@pytest.mark.parametrize("given", [torch.float32, torch.bfloat16], ids=str)
def test_fault_12_fused_norms_equal_the_plain_ones_in_autocast(given: torch.dtype) -> None:
    from transformers.models.llama.modeling_llama import LlamaRMSNorm

    norm = LlamaRMSNorm(16)
    norm.weight.data.normal_(1.0, 0.3)
    x = torch.randn(3, 16).to(given)
    with torch.autocast("cpu", torch.bfloat16):
        expected = norm(x)
        with fused_norms(nn.ModuleList([norm])) as count:
            found = norm(x)
    assert count == 1
    assert found.dtype == expected.dtype
    torch.testing.assert_close(found, expected, rtol=0.02, atol=1e-6)


def test_norms_are_recognised_on_the_meta_device() -> None:
    with torch.device("meta"):
        model = tiny.model()
    with fused_norms(model) as count:
        assert count == 2 * 2 + 1


def test_fused_norms_equal_the_plain_ones_in_values_and_gradients() -> None:
    model = tiny.model()
    for name, part in model.named_parameters():
        if "norm" in name:
            part.data.normal_(1.0, 0.3)
    ids = torch.randint(5, 300, (2, 9))

    def answer_and_gradients() -> list[torch.Tensor]:
        model.zero_grad()
        logits = model(input_ids=ids).logits
        logits.square().mean().backward()
        return [logits.detach(), *(part.grad.clone() for part in model.parameters())]

    expected = answer_and_gradients()
    with fused_norms(model) as count:
        found = answer_and_gradients()
    assert count == 2 * 2 + 1
    assert all(torch.allclose(one, other, rtol=1e-4, atol=1e-6) for one, other in zip(found, expected, strict=True))
    assert not any("forward" in part.__dict__ for part in model.modules())


def test_norm_that_adds_one_to_its_weight_keeps_its_own_forward() -> None:
    from transformers.models.gemma.modeling_gemma import GemmaRMSNorm

    norm = GemmaRMSNorm(16)
    with fused_norms(nn.ModuleList([norm])) as count:
        assert count == 0


def test_norms_in_bfloat16_keep_their_own_forward() -> None:
    with fused_norms(tiny.model().to(torch.bfloat16)) as count:
        assert count == 0


def test_rms_norms_give_the_same_values_and_gradients_and_are_given_back() -> None:
    model = tiny.model()
    ids = torch.randint(5, 200, (2, 16))

    def measure() -> tuple[Any, Any]:
        model.zero_grad()
        logits = model(input_ids=ids).logits
        logits.square().mean().backward()
        return logits.detach(), model.model.embed_tokens.weight.grad.clone()

    plain_logits, plain_grad = measure()
    with fused_norms(model) as count:
        logits, grad = measure()
    assert count == 2 * 2 + 1  # two in each of two layers, one at the end
    torch.testing.assert_close(logits, plain_logits)
    torch.testing.assert_close(grad, plain_grad)
    assert not any("forward" in layer.__dict__ for layer in model.modules())


def test_norm_that_adds_one_to_its_weight_is_left_alone() -> None:
    class OddRMSNorm(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.weight = torch.nn.Parameter(torch.zeros(8))
            self.variance_epsilon = 1e-6

        def forward(self, x: Any) -> Any:
            return torch.nn.functional.rms_norm(x, (8,), 1 + self.weight, self.variance_epsilon)

    with fused_norms(torch.nn.Sequential(OddRMSNorm())) as count:
        assert count == 0
