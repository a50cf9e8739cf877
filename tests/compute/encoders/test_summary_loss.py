"""The loss of labelled places alone, and everything else that makes a T5 faster, give the plain model's numbers."""

from __future__ import annotations

import inspect
from typing import Any

import pytest
import torch
from torch.nn import functional

from modelforge.compute.encoders.summary_loss import find_cross_entropies, fused_loss
from modelforge.compute.fused_model import fused_model
from modelforge.compute.kernels import plain
from tests.compute.encoders.test_dropout import inputs_of, make_bert, make_t5


@pytest.mark.parametrize("count", [1, 3, 8])
def test_cross_entropies_equal_torchs(count: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(plain, "CACHED_LOGITS", 150)  # three rows
    torch.manual_seed(0)
    hidden = torch.randn(count, 8, dtype=torch.float64, requires_grad=True)
    weight = torch.randn(50, 8, dtype=torch.float64, requires_grad=True)
    labels, shares = torch.randint(0, 50, (count,)), torch.randn(count, dtype=torch.float64)
    results = []
    for losses in (
        find_cross_entropies(hidden, weight, labels),
        functional.cross_entropy(hidden @ weight.t(), labels, reduction="none"),
    ):
        results.append([losses, *torch.autograd.grad((losses * shares).sum(), (hidden, weight))])
    for found, expected in zip(*results, strict=True):
        assert torch.allclose(found, expected)


def test_cross_entropies_hold_for_very_large_logits() -> None:
    hidden, weight = torch.full((2, 4), 100.0, requires_grad=True), torch.arange(24.0).view(6, 4)
    losses = find_cross_entropies(hidden, weight, torch.tensor([5, 0]))
    losses.sum().backward()
    assert losses.tolist() == [0, 100 * 80]
    assert hidden.grad is not None and bool(hidden.grad.isfinite().all())


def make_plain_t5(**settings: Any) -> Any:
    torch.manual_seed(0)
    return make_t5(dropout_rate=0.0, **settings).train()


def with_padding(model: Any) -> dict[str, Any]:
    inputs = inputs_of(model)
    inputs["labels"] = inputs["labels"].clone()
    inputs["labels"][0, 3:] = inputs["labels"][2, 5:] = -100
    return inputs


def find_numbers(model: Any, inputs: dict[str, Any], dtype: Any = None) -> dict[str, Any]:
    """The loss, and the gradient of each weight."""
    model.zero_grad()
    with torch.autocast("cpu", torch.bfloat16, enabled=dtype is not None):
        loss = model(**inputs).loss
    loss.backward()
    return {"loss": loss.detach(), **{name: part.grad.clone() for name, part in model.named_parameters()}}


@pytest.mark.parametrize("is_gated", [False, True])
@pytest.mark.parametrize("is_tied", [False, True])
@pytest.mark.parametrize("dtype", [None, torch.bfloat16], ids=str)
def test_a_t5_has_its_plain_loss_and_gradients(dtype: Any, is_tied: bool, is_gated: bool) -> None:
    kind = "gated-gelu" if is_gated else "relu"
    model = make_plain_t5(tie_word_embeddings=is_tied, feed_forward_proj=kind)
    inputs = with_padding(model)
    expected = find_numbers(model, inputs, dtype)
    with fused_model(model, "cpu"):
        assert model(**inputs).logits is None
        found = find_numbers(model, inputs, dtype)
    assert found.keys() == expected.keys()
    for name, value in expected.items():
        far = (1e-4, 1e-6) if dtype is None else (0.03, 0.03 * float(value.abs().max()))
        torch.testing.assert_close(found[name], value, rtol=far[0], atol=far[1], msg=name)
    assert "forward" not in vars(model)


def test_decoder_inputs_that_are_given_are_used() -> None:
    model = make_plain_t5()
    inputs = with_padding(model)
    inputs["decoder_input_ids"] = torch.full_like(inputs["labels"], 7)
    expected = find_numbers(model, inputs)
    with fused_loss(model, "cpu"):
        assert torch.allclose(find_numbers(model, inputs)["loss"], expected["loss"])


def test_what_is_measured_or_written_comes_from_the_model_itself() -> None:
    model = make_plain_t5()
    inputs = with_padding(model)
    signature = inspect.signature(model.forward)
    with fused_loss(model, "cpu") as is_fused:
        assert is_fused and inspect.signature(model.forward) == signature
        with torch.no_grad():
            measured = model(**inputs)
        assert measured.loss is not None and measured.logits.shape == (3, 6, 60)
        assert model(input_ids=inputs["input_ids"], decoder_input_ids=inputs["input_ids"]).logits.shape == (3, 12, 60)


def test_other_models_and_devices_keep_their_loss() -> None:
    for model, device in ((make_bert(), "cpu"), (make_plain_t5(), "cuda")):
        with fused_loss(model, device) as is_fused:
            assert not is_fused and "forward" not in vars(model)
