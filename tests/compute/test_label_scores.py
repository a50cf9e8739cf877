"""How likely labels are, and the loss of answers, are those of all logits at once."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch.nn import functional

from modelforge.compute import label_scores
from modelforge.compute.answer_loss import answer_loss
from modelforge.compute.kernels import plain
from modelforge.compute.label_scores import CHUNK_ROWS, LEAST_SHARE, score_labels


@pytest.mark.parametrize("count", [0, 1, CHUNK_ROWS, 2 * CHUNK_ROWS + 3])
@pytest.mark.parametrize("cached", [10, 350, 10**6])  # one row, some, all of a chunk
def test_answer_loss_equals_cross_entropy(count: int, cached: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(plain, "CACHED_LOGITS", cached)
    torch.manual_seed(0)
    hidden = torch.randn(count, 16, dtype=torch.float64, requires_grad=True)
    again = hidden.detach().clone().requires_grad_()
    weight, labels = torch.randn(50, 16, dtype=torch.float64), torch.randint(50, (count,))
    found = answer_loss(hidden, weight, labels)
    expected = functional.cross_entropy(again @ weight.t(), labels, reduction="sum")
    (found * 3 / 7).backward()
    (expected * 3 / 7).backward()
    # logits are taken through float32, as a 16-bit model needs it
    assert found.item() == pytest.approx(expected.item(), rel=1e-5)
    assert hidden.grad is not None and again.grad is not None
    assert torch.allclose(hidden.grad, again.grad, atol=1e-5)


def test_answer_loss_holds_for_very_large_logits() -> None:
    hidden, weight = torch.full((2, 4), 100.0, requires_grad=True), torch.eye(6, 4) * 50
    loss = answer_loss(hidden, weight, torch.tensor([0, 5]))
    expected = functional.cross_entropy(hidden @ weight.t(), torch.tensor([0, 5]), reduction="sum")
    assert loss.item() == pytest.approx(expected.item())
    loss.backward()
    assert hidden.grad is not None and hidden.grad.isfinite().all()


def test_answer_loss_needs_no_gradient_when_measuring() -> None:
    hidden, weight, labels = torch.randn(5, 8), torch.randn(9, 8), torch.randint(9, (5,))
    with torch.no_grad():
        loss = answer_loss(hidden, weight, labels)
    expected = functional.cross_entropy(hidden @ weight.t(), labels, reduction="sum")
    assert loss.item() == pytest.approx(expected.item(), rel=1e-5)


def test_answer_loss_in_bfloat16_is_near_the_float32_one() -> None:
    torch.manual_seed(0)
    hidden, weight, labels = torch.randn(300, 16), torch.randn(64, 16), torch.randint(64, (300,))
    expected = functional.cross_entropy(hidden @ weight.t(), labels, reduction="sum")
    low = hidden.to(torch.bfloat16).requires_grad_()
    loss = answer_loss(low, weight.to(torch.bfloat16), labels)
    assert loss.item() == pytest.approx(expected.item(), rel=0.01)
    loss.backward()
    assert low.grad is not None and low.grad.dtype == torch.bfloat16


@pytest.mark.parametrize("given", [torch.float32, torch.bfloat16], ids=str)
def test_fault_12_answer_loss_equals_cross_entropy_in_autocast(given: torch.dtype) -> None:
    torch.manual_seed(0)
    hidden = torch.randn(300, 16, dtype=given, requires_grad=True)
    again = hidden.detach().clone().requires_grad_()
    weight, labels = torch.randn(64, 16), torch.randint(64, (300,))
    with torch.autocast("cpu", torch.bfloat16):
        found = answer_loss(hidden, weight, labels)
        expected = functional.cross_entropy((again @ weight.t()).float(), labels, reduction="sum")
    found.backward()
    expected.backward()
    assert found.dtype == torch.float32
    assert found.item() == pytest.approx(expected.item(), rel=1e-5)
    assert hidden.grad is not None and again.grad is not None and hidden.grad.dtype == given
    torch.testing.assert_close(hidden.grad, again.grad, rtol=0.03, atol=0.03)


def make_likely(count: int) -> tuple[Any, Any, Any]:
    """Hidden states, a matrix and labels as of a language model: few tokens are likely; their mean is not zero."""
    torch.manual_seed(0)
    weight = torch.randn(20_000, 64) + torch.randn(64)
    hidden = torch.randn(count, 64) + 0.5 * weight[torch.randint(len(weight), (count,))]
    labels = (hidden @ weight.t()).softmax(-1).multinomial(1)[:, 0]
    return hidden.to(torch.bfloat16), weight.to(torch.bfloat16), labels


@pytest.mark.parametrize("count", [1, 40, CHUNK_ROWS + 50])
def test_gradients_in_bfloat16_are_as_exact_where_unlikely_tokens_share_one(
    count: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    hidden, weight, labels = make_likely(count)
    exact = hidden.double().requires_grad_()
    logits = exact @ weight.double().t()
    assert (logits[:CHUNK_ROWS].softmax(-1).amax(0) > LEAST_SHARE).double().mean() < 0.5
    expected = functional.cross_entropy(logits, labels, reduction="sum")
    (right,) = torch.autograd.grad(expected, exact)
    errors = []
    for shares in (True, False):
        monkeypatch.setattr(label_scores, "_shares_gradient", lambda _, found=shares: found)
        given = hidden.clone().requires_grad_()
        found = answer_loss(given, weight, labels)
        (grad,) = torch.autograd.grad(found, given)
        assert found.item() == pytest.approx(expected.item(), rel=0.05)
        errors.append(((grad.double() - right).norm() / right.norm()).item())
    assert errors[0] < 1.05 * errors[1] + 1e-4


def test_a_label_that_is_unlikely_has_its_own_gradient() -> None:
    hidden, weight, _ = make_likely(3)
    labels = (hidden.float() @ weight.float().t()).argmin(-1)
    given = hidden.clone().requires_grad_()
    scores = score_labels(given, weight, labels)
    (grad,) = torch.autograd.grad(scores.sum(), given)
    exact = hidden.double().requires_grad_()
    expected = (exact @ weight.double().t()).log_softmax(-1).gather(1, labels[:, None])[:, 0]
    (right,) = torch.autograd.grad(expected.sum(), exact)
    torch.testing.assert_close(scores.double(), expected, rtol=0.01, atol=0.01)
    assert (grad.double() - right).norm() < 0.02 * right.norm()
