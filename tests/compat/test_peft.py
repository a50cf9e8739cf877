"""What `modelforge.compat.peft` and `loading.join_dtypes` read from PEFT's layers."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from peft import LoraConfig, get_peft_model

from modelforge.compat.peft import adapter_weights, is_off, lora_layers, plain_adapter
from tests import tiny


def tuned(**settings: Any) -> Any:
    return get_peft_model(tiny.model(), LoraConfig(r=4, lora_alpha=8, target_modules=["q_proj"], **settings))


def test_layer_computes_from_the_weights_that_are_read() -> None:
    model = tuned(init_lora_weights=False)
    layers = lora_layers(model)
    assert len(layers) == 2
    layer, x = layers[0], torch.randn(3, 32)
    a, b, scaling = adapter_weights(layer, "default")
    assert plain_adapter(layer) == "default"
    torch.testing.assert_close(layer(x), layer.base_layer(x) + scaling * (x @ a.t()) @ b.t())


@pytest.mark.parametrize("settings", [{"lora_dropout": 0.1}, {"use_dora": True}, {"lora_bias": True}])
def test_layer_that_computes_more_is_not_plain(settings: dict[str, Any]) -> None:
    assert plain_adapter(lora_layers(tuned(**settings))[0]) is None


def test_switched_off_and_merged_layers_are_seen() -> None:
    model = tuned()
    layer = lora_layers(model)[0]
    assert not is_off(layer)
    with model.disable_adapter():
        assert is_off(layer)
    model.merge_adapter()
    assert is_off(layer)


def test_head_beside_an_adapter_is_wrapped_in_a_class_of_that_name() -> None:
    settings = LoraConfig(target_modules=["query"], modules_to_save=["qa_outputs"], task_type="QUESTION_ANS")
    wrapper = get_peft_model(tiny.span_model(), settings).base_model.model.qa_outputs
    assert type(wrapper).__name__ == "ModulesToSaveWrapper"
    assert isinstance(wrapper.original_module, torch.nn.Linear)
    assert set(wrapper.modules_to_save) == {"default"}
