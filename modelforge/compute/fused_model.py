"""Everything that makes a training step of a model faster without changing what it computes, in one place."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from typing import Any

from modelforge.compute.decoders.decoder_layer import FusedLayer, fused_layers
from modelforge.compute.encoders.dropout import fused_dropout
from modelforge.compute.encoders.feed_forward import fused_feed_forward
from modelforge.compute.encoders.summary_loss import fused_loss
from modelforge.compute.encoders.t5_norms import low_t5_norms
from modelforge.compute.encoders.tied_embeddings import tied_embeddings
from modelforge.compute.fused import fused_linear, fused_lora, fused_norms


@contextlib.contextmanager
def fused_model(model: Any, device: str) -> Iterator[list[FusedLayer]]:
    """Let a model, which may be on the meta device, compute by faster forms for a while; yields the layers that are
    one step as a whole. Of other layers products, adapters, norms and dropout are; so are the gradient of tied
    embeddings, and the loss of an encoder-decoder. device: where it is to compute."""
    with contextlib.ExitStack() as stack:
        for small in (
            fused_linear(model), fused_lora(model), fused_norms(model), fused_dropout(model, device),
            low_t5_norms(model, device), fused_feed_forward(model, device), tied_embeddings(model, device),
            fused_loss(model, device),
        ):  # fmt: skip
            stack.enter_context(small)
        yield stack.enter_context(fused_layers(model, device))


def settle_weights(model: Any, layers: Sequence[FusedLayer]) -> None:
    """Move the weights on a processor to where a step reads them, before its blocks lie between them.

    What is left of them is copied: weights that are used as they were saved are parts of the file that they come from,
    all of which stays in memory as long as one of them does.
    """
    products = [product for layer in layers for product in layer.products]
    for product in products:
        product.pack()
    moved = {id(base.weight) for product in products for base in product.bases}
    for part in (*model.parameters(), *model.buffers()):
        if part.device.type == "cpu" and id(part) not in moved:
            part.data = part.data.clone()
