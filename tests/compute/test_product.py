"""Products by oneDNN are those of torch, in every form that is asked for."""

from __future__ import annotations

import pytest
import torch

from modelforge.compat.torch import HAS_ONEDNN
from modelforge.compute import product
from modelforge.compute.fused import fused_linear
from modelforge.compute.product import SMALLEST_MATRIX, multiply

WIDE = (192, 320)  # numbers of a matrix that is large enough
assert WIDE[0] * WIDE[1] >= SMALLEST_MATRIX


def random(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


@pytest.fixture(autouse=True, params=[False, True], ids=["torch", "oneDNN"])
def library(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """What multiplies large matrices: whatever suits this processor, both have to be right."""
    if request.param and not HAS_ONEDNN:
        pytest.skip("torch has no oneDNN on this processor")
    monkeypatch.setattr(product, "USES_ONEDNN", request.param)


@pytest.mark.parametrize("rows", [0, 1, 2, 17, 300])
@pytest.mark.parametrize("is_transposed", [False, True])
@pytest.mark.parametrize("is_biased", [False, True])
@pytest.mark.parametrize("is_added", [False, True])
def test_product_is_the_exact_one(rows: int, is_transposed: bool, is_biased: bool, is_added: bool) -> None:
    matrix = random(*WIDE[::-1], seed=1).t() if is_transposed else random(*WIDE, seed=1)
    x, bias, added = random(rows, WIDE[0]), random(WIDE[1], seed=2), random(rows, WIDE[1], seed=3)
    kept = added.clone()
    found = multiply(x, matrix, bias=bias if is_biased else None, added=added if is_added else None)
    expected = x.double() @ matrix.double() + is_biased * bias.double() + is_added * added.double()
    assert found.dtype == torch.float32
    assert torch.allclose(found.double(), expected, rtol=1e-5, atol=1e-4)
    assert torch.equal(added, kept)


def test_rows_may_lie_anywhere_in_memory() -> None:
    matrix, rows = random(*WIDE), WIDE[0]
    for x in (
        torch.ones(()).expand(5, rows),
        random(rows, 5).t(),
        random(5, 2 * rows)[:, ::2],
        random(5, 250)[:, :rows],
    ):
        assert torch.allclose(multiply(x, matrix), x @ matrix, rtol=1e-4, atol=1e-4)


def test_a_part_of_a_matrix_is_left_to_torch(monkeypatch: pytest.MonkeyPatch) -> None:
    """oneDNN would take thousands of times as long."""
    called: list[tuple[int, ...]] = []
    monkeypatch.setattr(product, "onednn_product", lambda x, *others: called.append(tuple(x.shape)))
    whole = random(WIDE[1], WIDE[0] + 8)
    part = whole[:, :-8]
    assert torch.equal(multiply(random(3, WIDE[0]), part.t()), random(3, WIDE[0]) @ part.t())
    assert torch.equal(multiply(random(3, WIDE[1]), part), random(3, WIDE[1]) @ part)
    small = random(4, 8)
    assert torch.equal(multiply(random(3, 4), small), random(3, 4) @ small)
    sixteen = random(*WIDE).bfloat16()
    assert torch.equal(multiply(random(3, WIDE[0]).bfloat16(), sixteen), random(3, WIDE[0]).bfloat16() @ sixteen)
    assert not called


def test_large_matrices_go_to_onednn_where_that_is_faster(monkeypatch: pytest.MonkeyPatch) -> None:
    called: list[tuple[int, ...]] = []
    monkeypatch.setattr(product, "onednn_product", lambda x, *others: called.append(tuple(x.shape)))
    multiply(random(3, WIDE[0]), random(*WIDE))
    assert called == ([(3, WIDE[0])] if product.USES_ONEDNN else [])


@pytest.mark.parametrize("is_frozen", [False, True])
@pytest.mark.parametrize("has_bias", [False, True])
def test_linear_layers_and_their_gradients_are_the_plain_ones(is_frozen: bool, has_bias: bool) -> None:
    layer = torch.nn.Linear(*WIDE, bias=has_bias).requires_grad_(not is_frozen)
    x = random(2, 5, WIDE[0]).requires_grad_()
    wanted = [x, *(part for part in layer.parameters() if part.requires_grad)]
    expected = layer(x)
    expected_grads = torch.autograd.grad(expected.square().sum(), wanted)
    with fused_linear(torch.nn.Sequential(layer)) as count:
        assert count == int(product.USES_ONEDNN)
        found = layer(x)
        found_grads = torch.autograd.grad(found.square().sum(), wanted)
        with torch.autocast("cpu", torch.bfloat16):
            assert layer(x).dtype == torch.bfloat16
    assert found.shape == expected.shape and torch.allclose(found, expected, rtol=1e-4, atol=1e-5)
    for one, other in zip(found_grads, expected_grads, strict=True):
        assert torch.allclose(one, other, rtol=1e-4, atol=1e-3)
