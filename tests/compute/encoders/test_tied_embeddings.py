"""Embeddings that share the output matrix get the gradient that torch gives them."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from modelforge.compute.encoders.tied_embeddings import tied_embeddings
from tests import tiny
from tests.compute.encoders.test_dropout import inputs_of, make_t5


def find_gradients(model: Any, inputs: dict[str, Any], *, times: int = 1) -> dict[str, Any]:
    model.zero_grad()
    for _ in range(times):
        model(**inputs).loss.backward()
    return {name: part.grad.clone() for name, part in model.named_parameters() if part.grad is not None}


def make_decoder() -> Any:
    return tiny.model(tie_word_embeddings=True)


def make_plain_t5() -> Any:
    torch.manual_seed(0)
    return make_t5(dropout_rate=0.0)


def inputs_for(model: Any) -> dict[str, Any]:
    """With padding tokens among the ids, which have no gradient where the embedding names them."""
    inputs = inputs_of(model)
    inputs["input_ids"][:, -2:] = model.get_input_embeddings().padding_idx or 0
    return inputs if model.config.is_encoder_decoder else {**inputs, "labels": inputs["input_ids"]}


@pytest.mark.parametrize("times", [1, 2])  # steps whose gradients are accumulated
@pytest.mark.parametrize(("make", "count"), [(make_decoder, 1), (make_plain_t5, 1)])
def test_gradients_equal_torchs(make: Any, count: int, times: int) -> None:
    model = make().train()
    inputs = inputs_for(model)
    expected = find_gradients(model, inputs, times=times)
    with tied_embeddings(model, "cpu") as found:
        assert found >= count
        gradients = find_gradients(model, inputs, times=times)
    assert gradients.keys() == expected.keys()
    for name, value in expected.items():
        torch.testing.assert_close(gradients[name], value, rtol=1e-4, atol=1e-6, msg=name)
    assert not any("forward" in vars(part) for part in model.modules())


def test_rows_have_a_gradient_also_where_the_output_matrix_has_none() -> None:
    model = make_decoder()
    ids = torch.tensor([[5, 6, 5]])
    with tied_embeddings(model, "cpu"):
        model.get_input_embeddings()(ids).sum().backward()
    gradient = model.get_output_embeddings().weight.grad
    assert gradient[5].unique().tolist() == [2.0] and gradient[6].unique().tolist() == [1.0]
    assert float(gradient.sum()) == 3 * gradient.shape[1]


def test_embeddings_that_are_frozen_untied_or_elsewhere_stay() -> None:
    model = make_decoder()
    with tied_embeddings(model, "cuda") as count:
        assert not count
    with tied_embeddings(tiny.model(tie_word_embeddings=False), "cpu") as count:
        assert not count
    model.requires_grad_(False)
    with tied_embeddings(model, "cpu") as count:
        assert not count
