"""What was read before is what transformers' own cache holds, however much is written."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from transformers import DynamicCache

from modelforge.compute.decoders.key_cache import LEAST_ROOM, RoomyLayer, make_room
from tests import tiny


def states(seed: int, tokens: int, batch: int = 2) -> torch.Tensor:
    return torch.randn(batch, 3, tokens, 4, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("prompt", [1, 5, 3 * LEAST_ROOM])
def test_holds_what_the_plain_layer_holds(prompt: int) -> None:
    plain, roomy = DynamicCache(), DynamicCache()
    for cache in (plain, roomy):
        cache.update(states(1, prompt), states(2, prompt), 0)
    make_room(roomy)
    assert isinstance(roomy.layers[0], RoomyLayer)
    for seed, tokens in enumerate([1] * (2 * LEAST_ROOM) + [7, 1]):  # past its room, and several at once
        expected = plain.update(states(seed, tokens), states(-seed, tokens), 0)
        found = roomy.update(states(seed, tokens), states(-seed, tokens), 0)
        assert all(torch.equal(one, other) for one, other in zip(found, expected, strict=True))
        assert roomy.get_seq_length() == plain.get_seq_length()


def test_takes_back_tokens_as_the_plain_layer_does() -> None:
    plain, roomy = DynamicCache(), DynamicCache()
    for cache in (plain, roomy):
        cache.update(states(1, 9), states(2, 9), 0)
    make_room(roomy)
    for cache in (plain, roomy):
        cache.crop(-4)
    expected, found = (cache.update(states(3, 1), states(4, 1), 0) for cache in (plain, roomy))
    assert all(torch.equal(one, other) for one, other in zip(found, expected, strict=True))


def test_a_model_computes_the_same_with_it() -> None:
    model: Any = tiny.model().eval()
    ids = torch.randint(4, 200, (2, 12), generator=torch.Generator().manual_seed(2))
    with torch.inference_mode():
        expected = model(input_ids=ids).logits
        output = model(input_ids=ids[:, :5], use_cache=True)
        make_room(output.cache)
        found = [model(input_ids=ids[:, [place]], cache=output.cache).logits for place in range(5, 12)]
    assert torch.allclose(torch.cat(found, 1), expected[:, 5:], atol=1e-4)


def test_other_layers_stay_as_they_are() -> None:
    config = tiny.model().config
    config.sliding_window, config.layer_types = 4, ["sliding_attention"] * config.num_hidden_layers
    cache = DynamicCache(config=config)
    for place in range(config.num_hidden_layers):
        cache.update(states(1, 3), states(2, 3), place)
    kinds = [type(layer) for layer in cache.layers]
    make_room(cache)
    assert [type(layer) for layer in cache.layers] == kinds and RoomyLayer not in kinds
