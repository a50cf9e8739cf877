"""The norm of a T5 gives the plain one's numbers, in the dtype of the products that read it."""

from __future__ import annotations

import pytest
import torch

from modelforge.compute.encoders.t5_norms import LowNorm, low_t5_norms
from tests.compute.encoders.test_dropout import make_bert, make_t5


def test_gradients_are_right() -> None:
    torch.manual_seed(0)
    x = torch.randn(2, 3, 5, dtype=torch.float64, requires_grad=True)
    weight = torch.randn(5, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(lambda *given: LowNorm.apply(*given, 0.1, torch.float64), (x, weight))


@pytest.mark.parametrize("in_autocast", [False, True])
def test_the_norm_gives_what_the_plain_one_gives(in_autocast: bool) -> None:
    torch.manual_seed(0)
    model = make_t5()
    norm, x = model.encoder.block[0].layer[0].layer_norm, torch.randn(3, 7, 16, requires_grad=True)
    torch.nn.init.normal_(norm.weight)
    expected = norm(x)
    with low_t5_norms(model, "cpu") as count, torch.autocast("cpu", torch.bfloat16, enabled=in_autocast):
        assert count == 2 * 2 + 2 * 3 + 2
        found = norm(x)
    assert found.dtype == (torch.bfloat16 if in_autocast else torch.float32)
    torch.testing.assert_close(found.float(), expected, rtol=0.01 if in_autocast else 0, atol=0)


def test_other_models_and_devices_keep_theirs() -> None:
    for model, device in ((make_bert(), "cpu"), (make_t5(), "cuda")):
        with low_t5_norms(model, device) as count:
            assert not count
