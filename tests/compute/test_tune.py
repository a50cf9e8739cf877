"""Which weights move: those of the adapter or of the layers that were chosen, of every kind of model."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from modelforge import loading
from modelforge.architecture import ARCHITECTURES, DECODER, Architecture
from modelforge.base_model import BaseModel
from modelforge.compute.compute import Compute
from modelforge.compute.tune import name_top_layers, tune
from modelforge.errors import NotFoundError, RecipeError
from modelforge.recipe import Recipe
from tests import tiny

MAKERS: dict[str, Callable[..., Any]] = {
    "decoder": tiny.model,
    "encoder-decoder": tiny.text_to_text_model,
    "encoder": tiny.span_model,
}
LAYERS = {"num_hidden_layers": 4}
MORE_LAYERS = {"decoder": LAYERS, "encoder": LAYERS, "encoder-decoder": {"num_layers": 4, "num_decoder_layers": 3}}
each_architecture = pytest.mark.parametrize("architecture", ARCHITECTURES.values(), ids=ARCHITECTURES)


def tuned(architecture: Architecture, settings: dict[str, Any], **changes: Any) -> Any:
    model = MAKERS[architecture.name](**{**MORE_LAYERS[architecture.name], **changes})
    return tune(model, Recipe().with_settings(settings), architecture)


def trained_names(model: Any) -> set[str]:
    return {name for name, part in model.named_parameters() if part.requires_grad}


def layers_of(names: set[str]) -> set[str]:
    """("decoder 2", ...) of the names that are in a layer."""
    found = (re.search(r"(encoder|decoder)?\.(?:block|layers?)\.(\d+)\.", name) for name in names)
    return {f"{match[1] or ''}{match[2]}" for match in found if match}


@each_architecture
@pytest.mark.parametrize("count", [1, 2])
@pytest.mark.parametrize("tuning", ["lora", "full"])
def test_topmost_layers_alone_are_trained(architecture: Architecture, count: int, tuning: str) -> None:
    names = trained_names(tuned(architecture, {"tuning.type": tuning, "tuning.top_layers": count}))
    expected = {
        "decoder": {"3", "2"} if count == 2 else {"3"},
        "encoder": {"encoder3", "encoder2"} if count == 2 else {"encoder3"},
        "encoder-decoder": {"encoder3", "decoder2"} | ({"encoder2", "decoder1"} if count == 2 else set()),
    }[architecture.name]
    assert layers_of(names) == expected
    outside = {name for name in names if not layers_of({name})}
    heads = {name.split(".")[-2:][0] if tuning == "full" else "qa_outputs" for name in outside}
    assert heads == ({"qa_outputs"} if architecture.name == "encoder" else set())


def test_output_matrix_is_trained_with_the_topmost_layers_unless_it_is_the_embeddings() -> None:
    for tied in (True, False):
        names = trained_names(tuned(DECODER, {"tuning.type": "full", "tuning.top_layers": 1}, tie_word_embeddings=tied))
        assert ("lm_head.weight" in names) is not tied
        assert not any("embed_tokens" in name for name in names)


@each_architecture
def test_more_layers_than_there_are_is_all_of_them(architecture: Architecture) -> None:
    def names(count: int) -> set[str]:
        return layers_of(trained_names(tuned(architecture, {"tuning.top_layers": count})))

    assert names(99) == names(0)


@each_architecture
def test_head_is_what_stands_outside_of_the_body(architecture: Architecture) -> None:
    heads = {"decoder": ["lm_head"], "encoder-decoder": ["lm_head"], "encoder": ["qa_outputs"]}
    assert loading.head_modules(MAKERS[architecture.name]()) == heads[architecture.name]


def test_layers_are_numbered_by_each_stack() -> None:
    model = tiny.text_to_text_model(num_layers=3, num_decoder_layers=2)
    assert name_top_layers(model, 1) == ["encoder.block.2", "decoder.block.1"]


@each_architecture
def test_full_trains_everything(architecture: Architecture) -> None:
    model = MAKERS[architecture.name]().requires_grad_(False)
    assert all(part.requires_grad for part in tune(model, Recipe().with_settings({"tuning.type": "full"})).parameters())


@each_architecture
@pytest.mark.parametrize("settings", [{"tuning.top_layers": 1}, {}])
def test_chosen_layers_alone_get_an_adapter(architecture: Architecture, settings: dict[str, Any]) -> None:
    one = {"decoder": "q_proj", "encoder-decoder": "q", "encoder": "query"}[architecture.name]
    model = tuned(architecture, {"tuning.target_modules": one, **settings})
    adapted = {name for name, part in model.named_modules() if hasattr(part, "lora_A")}
    assert adapted and {name.rpartition(".")[2] for name in adapted} == {one}


@each_architecture
def test_layers_that_are_not_there_are_refused_with_those_that_are(architecture: Architecture) -> None:
    for settings in ({}, {"tuning.top_layers": 1}):
        with pytest.raises(RecipeError, match="'no_such' does not match any layer") as caught:
            tuned(architecture, {"tuning.target_modules": "no_such", **settings})
        assert caught.value.where == "setting tuning.target_modules"
        names = caught.value.fix.partition("some of: ")[2].rstrip(".").split(", ")
        for name in names:
            if name != "qa_outputs":
                tuned(architecture, {"tuning.target_modules": name, **settings})


def test_model_is_never_wrapped_twice() -> None:
    once = tuned(DECODER, {})
    with pytest.raises(ValueError, match="already has an adapter"):
        tune(once, Recipe())


@pytest.mark.parametrize("seed", [0, 7])
def test_fresh_adapter_is_that_of_the_seed_and_changes_nothing_yet(seed: int) -> None:
    one, again = (tuned(DECODER, {"seed": seed}) for _ in range(2))
    other = tuned(DECODER, {"seed": 3})
    ids = torch.tensor([[1, 5, 9]])
    plain = tiny.model(**LAYERS)(input_ids=ids).logits
    assert torch.allclose(one(input_ids=ids).logits, plain, atol=1e-6)
    same = [torch.equal(left, right) for left, right in zip(one.parameters(), again.parameters(), strict=True)]
    assert all(same)
    assert not all(torch.equal(left, right) for left, right in zip(one.parameters(), other.parameters(), strict=True))


def test_adapter_that_is_damaged_cannot_be_gone_on_with(tmp_path: Path) -> None:
    tuned(DECODER, {}).save_pretrained(tmp_path / "adapter")
    recipe = Recipe().with_settings({"parent": "model-000000000000"})
    again = tune(tiny.model(**LAYERS), recipe, DECODER, tmp_path / "adapter")
    assert trained_names(again) == trained_names(tuned(DECODER, {}))
    file = tmp_path / "adapter" / "adapter_model.safetensors"
    file.write_bytes(file.read_bytes()[:500])
    for folder in (tmp_path / "adapter", tmp_path / "nowhere"):
        with pytest.raises(NotFoundError, match="cannot be loaded") as caught:
            tune(tiny.model(**LAYERS), recipe, DECODER, folder)
        assert caught.value.where == str(folder) and caught.value.fix


# ---- 4 bits ----------------------------------------------------------------------------------------------------


def packed(architecture: Architecture, folder: Path, dtype: str = "float32") -> Any:
    base = tiny.WRITERS[architecture.name](folder / architecture.name)
    return loading.load_model(
        BaseModel("tiny", base, ""), dtype=dtype, device="cpu", architecture=architecture, quantised=True
    )


def encode(architecture: Architecture) -> dict[str, torch.Tensor]:
    ids = torch.tensor([[1, 88, 272, 85, 202, 2]])
    answers = {"start_positions": torch.tensor([2]), "end_positions": torch.tensor([3])}
    return {"input_ids": ids} | (answers if architecture.name == "encoder" else {"labels": ids})


@each_architecture
@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_packed_weights_pass_gradients_on_also_after_they_were_used_without(
    architecture: Architecture, dtype: str, tmp_path: Path
) -> None:
    model = tune(packed(architecture, tmp_path, dtype), Recipe().with_settings({"tuning.type": "qlora"}), architecture)
    given = encode(architecture)
    model.eval()
    with torch.inference_mode():  # an evaluation, as every run has one before its first step
        before = float(model(**given).loss)
    with torch.no_grad():
        model(**given)
    model.train()
    loss = model(**given).loss
    loss.backward()
    assert float(loss) == pytest.approx(before, rel=0.05)
    reached = {name for name, part in model.named_parameters() if part.grad is not None and part.grad.abs().sum() > 0}
    matrices = {name for name in trained_names(model) if "lora_B" in name}  # B starts as zeros: A has no gradient yet
    assert matrices and matrices <= reached


@each_architecture
def test_head_is_not_packed(architecture: Architecture, tmp_path: Path) -> None:
    model = packed(architecture, tmp_path)
    kinds = {name: type(part).__name__ for name, part in model.named_modules()}
    assert "Linear4bit" in kinds.values()
    for name in loading.head_modules(model):
        assert kinds[name] == "Linear", name


@pytest.mark.parametrize("tuning", ["lora", "qlora"])
@pytest.mark.parametrize("settings", [{"tuning.use_rslora": True}, {"tuning.use_dora": True}], ids=["rslora", "dora"])
def test_ways_of_adding_an_adapter_train(
    build: Callable[..., Any], tuning: str, settings: dict[str, Any], tmp_path: Path
) -> None:
    base = packed(DECODER, tmp_path) if tuning == "qlora" else tiny.model()
    compute = Compute("cpu", "float32", False, (), quantised=tuning == "qlora")
    trainer = build({"tuning.type": tuning, **settings}, model=base, compute=compute)
    before = {name: part.detach().clone() for name, part in trainer.model.named_parameters()}
    trainer.train()
    names = trained_names(trainer.model)
    for name, part in trainer.model.named_parameters():
        assert torch.equal(part, before[name]) is (name not in names), name
    lengths = {name for name in names if "lora_magnitude_vector" in name}
    assert len(lengths) == (14 if "tuning.use_dora" in settings else 0)
    losses = [entry["loss"] for entry in trainer.state.log_history if "loss" in entry]
    assert losses[-1] < losses[0]
