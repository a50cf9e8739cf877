"""bitsandbytes: its 4-bit layers are kept from repacking their weights."""

from __future__ import annotations

from typing import Any


def keep_differentiable(model: Any) -> Any:
    """The same model, whose 4-bit layers stay as they are after they were used without gradients.

    On a processor with AVX512-BF16 bitsandbytes 0.50 repacks the weights at the first evaluation, for a kernel that
    passes no gradients on: a training that is measured before its first step would learn nothing, without an error.
    There is no setting for it.
    """
    for part in model.modules():
        if hasattr(part, "support_avx512bf16_for_cpu"):
            part.support_avx512bf16_for_cpu = False
    return model
