"""What `modelforge.compat.bitsandbytes` switches off."""

from __future__ import annotations

import bitsandbytes
import torch

from modelforge.compat.bitsandbytes import keep_differentiable


def test_layer_keeps_its_weights_and_its_gradients_after_an_evaluation() -> None:
    layer = bitsandbytes.nn.Linear4bit(64, 64, bias=False, compute_dtype=torch.bfloat16, quant_type="nf4").to("cpu")
    assert hasattr(layer, "support_avx512bf16_for_cpu"), "the switch has another name now"
    keep_differentiable(layer)
    x = torch.randn(2, 64, dtype=torch.bfloat16, requires_grad=True)
    layer.eval()
    with torch.no_grad():
        layer(x)
    layer.train()
    layer(x).sum().backward()
    assert x.grad is not None and x.grad.abs().sum() > 0
