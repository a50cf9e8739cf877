"""The feed-forward part of a T5 gives the plain one's numbers, and drops as often."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from modelforge.compute.encoders import feed_forward
from modelforge.compute.encoders.feed_forward import ReluDropout, fused_feed_forward
from tests.compute.encoders.test_dropout import make_bert, make_t5


def test_relu_and_dropout_in_one_equal_both(monkeypatch: pytest.MonkeyPatch) -> None:
    torch.manual_seed(0)
    kept = -(torch.rand(9, 11) > 0.3).to(torch.int8)
    monkeypatch.setattr(feed_forward, "draw_kept", lambda shape, p: kept)
    x = torch.randn(9, 11, dtype=torch.float64, requires_grad=True)
    assert torch.allclose(ReluDropout.apply(x, 0.3), x.relu() * (kept == -1) / 0.7)
    assert torch.autograd.gradcheck(lambda given: ReluDropout.apply(given, 0.3), (x,))


@pytest.mark.parametrize("kind", ["relu", "gated-gelu"])
@pytest.mark.parametrize("is_trained", [False, True])
def test_the_part_gives_what_the_plain_one_gives_in_autocast(kind: str, is_trained: bool) -> None:
    torch.manual_seed(0)
    model = make_t5(feed_forward_proj=kind, dropout_rate=0.1).train(is_trained)
    part = model.encoder.block[0].layer[-1].DenseReluDense
    x = torch.randn(64, 50, 16)

    def mean() -> Any:
        with torch.no_grad(), torch.autocast("cpu", torch.bfloat16):
            return torch.stack([part(x) for _ in range(200 if is_trained else 1)]).float().mean(0)

    expected = mean()
    with fused_feed_forward(model, "cpu") as count:
        assert count == 4
        found = mean()
    if is_trained:  # other elements are dropped
        assert float((found - expected).abs().mean()) < 0.1 * float(expected.abs().mean())
    else:
        assert torch.equal(found, expected)


def test_other_models_and_devices_keep_theirs() -> None:
    for model, device in ((make_bert(), "cpu"), (make_t5(), "cuda")):
        with fused_feed_forward(model, device) as count:
            assert not count
