"""What `modelforge.compat.torch` relies on in torch."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from modelforge.compat.torch import (
    HAS_ONEDNN,
    FakeTensor,
    FakeTensorMode,
    TorchDispatchMode,
    onednn_product,
    replace_forward,
    replace_tensors,
    silu_backward,
    softmax_backward,
    tree_leaves,
)


def test_forward_of_an_instance_is_called_and_restored() -> None:
    layer = torch.nn.Linear(2, 2)
    x = torch.ones(1, 2)
    expected = layer(x)
    with pytest.raises(RuntimeError), replace_forward({layer: lambda given: given * 7}):
        assert torch.equal(layer(x), x * 7)
        raise RuntimeError
    assert torch.equal(layer(x), expected)


def test_inner_replacement_gives_way_to_the_outer_one() -> None:
    layer, x = torch.nn.Linear(2, 2), torch.ones(1, 2)
    expected = layer(x)
    with replace_forward({layer: lambda given: given * 7}):
        with replace_forward({layer: lambda given: given * 5}):
            assert torch.equal(layer(x), x * 5)
        assert torch.equal(layer(x), x * 7)
    assert torch.equal(layer(x), expected)


def test_fake_tensors_hold_nothing_and_follow_autocast() -> None:
    with FakeTensorMode():
        x = torch.empty(10**6, 10**6)
        assert isinstance(x, FakeTensor)
        with torch.autocast("cpu", torch.bfloat16):
            assert (x @ x).dtype == torch.bfloat16
    assert not isinstance(torch.empty(1), FakeTensor)


def test_dispatch_mode_sees_operations_forward_and_backward() -> None:
    seen: list[str] = []

    class Look(TorchDispatchMode):
        def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
            seen.append(str(func))
            return func(*args, **(kwargs or {}))

    x = torch.ones(2, 2, requires_grad=True)
    with Look():
        (x @ x).sum().backward()
    assert sum("mm" in name for name in seen) == 3


def test_leaves_of_nested_results_are_found() -> None:
    assert tree_leaves((1, [2, {"a": 3}], None)) == [1, 2, 3, None]


def test_shared_tensors_are_replaced_once_and_stay_shared() -> None:
    model = torch.nn.ModuleDict({"one": torch.nn.Linear(2, 2), "two": torch.nn.Linear(2, 2)})
    model["two"].weight = model["one"].weight
    model["one"].register_buffer("fixed", torch.ones(3))
    model["one"].weight.requires_grad_(False)
    replace_tensors(model, torch.zeros_like)
    assert model["two"].weight is model["one"].weight
    assert not model["one"].weight.requires_grad and model["one"].bias.requires_grad
    assert all(not part.any() for part in (*model.parameters(), *model.buffers()))
    assert isinstance(model["one"].weight, torch.nn.Parameter)


def test_gradients_of_softmax_and_silu_are_those_of_autograd() -> None:
    x = torch.randn(3, 5, dtype=torch.float64, requires_grad=True)
    grad = torch.randn(3, 5, dtype=torch.float64)
    weights = torch.softmax(x, -1)
    (expected,) = torch.autograd.grad(weights, x, grad)
    assert torch.allclose(softmax_backward(grad, weights.detach()), expected)
    (expected,) = torch.autograd.grad(torch.nn.functional.silu(x), x, grad)
    out = torch.empty_like(grad)
    silu_backward(grad, x.detach(), out)
    assert torch.allclose(out, expected)


@pytest.mark.skipif(not HAS_ONEDNN, reason="torch has no oneDNN on this processor")
def test_product_of_onednn_has_a_bias_and_can_be_simulated() -> None:
    x, weight, bias = torch.randn(3, 8), torch.randn(5, 8), torch.randn(5)
    assert torch.allclose(onednn_product(x, weight), x @ weight.t(), atol=1e-5)
    assert torch.allclose(onednn_product(x, weight, bias), x @ weight.t() + bias, atol=1e-5)
    with FakeTensorMode():
        found = onednn_product(torch.empty(3, 8), torch.empty(5, 8), torch.empty(5))
    assert isinstance(found, FakeTensor) and found.shape == (3, 5)
