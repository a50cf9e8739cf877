"""What holds of every method, architecture and tuning: saving memory or digits changes nothing that matters."""

from __future__ import annotations

import math
from pathlib import Path

import pytest

from modelforge import loading
from modelforge.architecture import ARCHITECTURES
from modelforge.base_model import BaseModel
from modelforge.choices.methods import METHODS
from modelforge.choices.tunings import TUNINGS
from modelforge.compute.compute import Compute
from modelforge.compute.fused import fused_lora, fused_norms
from modelforge.compute.tune import tune
from modelforge.recipe import Recipe
from modelforge.training.examples import encode_examples
from modelforge.training.methods import load_method
from tests import tiny

SHAPES = {
    ("sft", "decoder"): "chat",
    ("sft", "encoder-decoder"): "summary",
    ("sft", "encoder"): "span",
    ("dpo", "decoder"): "preference",
    ("kto", "decoder"): "labelled",
    ("grpo", "decoder"): "prompts",
}
TASKS = {"chat": "text-generation", "summary": "summarization", "span": "question-answering"}
GRPO = {"grpo.rewards": [{"type": "length", "least": 3, "most": 8}], "grpo.max_completion_length": 8}


@pytest.fixture(scope="module")
def bases(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("bases")
    return {name: write(folder / name) for name, write in tiny.WRITERS.items()}


@pytest.mark.parametrize(("method", "architecture"), SHAPES)
def test_every_method_and_architecture_is_here(method: str, architecture: str) -> None:
    assert SHAPES.keys() == {(name, each) for name, spec in METHODS.items() for each in spec.files}
    assert load_method(method, ARCHITECTURES[architecture])


def losses_of(  # noqa: PLR0917
    bases: dict[str, Path], method: str, architecture: str, tuning: str, folder: Path, compute: Compute
) -> list[float]:
    kind, shape = ARCHITECTURES[architecture], SHAPES[method, architecture]
    recipe = Recipe().with_settings(
        {
            "task": TASKS.get(shape, "text-generation"),
            "method": method,
            "tuning.type": tuning,
            "max_steps": 3,
            "learning_rate": 1e-2,
            "max_length": 96,
            "eval_split": 0.0,
            **(GRPO if method == "grpo" else {}),
        }
    )
    base = BaseModel("tiny", bases[architecture], "")
    tokenizer = loading.load_tokenizer(base.folder, "tiny", kind)
    module = load_method(method, kind)
    rows = tiny.mapped_rows(shape)
    examples = encode_examples(rows, module.make_encoder(tokenizer, recipe, loading.load_config(base)), recipe)
    model = loading.load_model(
        base,
        architecture=kind,
        dtype=compute.dtype if tuning == "qlora" else compute.weights,
        device="cpu",
        quantised=tuning == "qlora",
    )
    model = tune(model, recipe, kind)
    trainer = module.build_trainer(model, tokenizer, examples, recipe=recipe, compute=compute, folder=folder)
    with fused_lora(model), fused_norms(model):
        trainer.train()
    assert {str(part.dtype) for part in model.parameters() if part.requires_grad} == {"torch.float32"}
    name = "reward" if method == "grpo" else "loss"
    return [entry[name] for entry in trainer.state.log_history if "loss" in entry]


@pytest.mark.slow
@pytest.mark.parametrize(
    "tuning", [each if each == "lora" else pytest.param(each, marks=pytest.mark.slow) for each in TUNINGS]
)
@pytest.mark.parametrize(("method", "architecture"), SHAPES)
def test_gradient_checkpointing_and_bfloat16_train_alike(
    bases: dict[str, Path], method: str, architecture: str, tuning: str, tmp_path: Path
) -> None:
    def losses(dtype: str = "float32", checkpointing: bool = False) -> list[float]:
        compute = Compute(
            "cpu",
            dtype,
            checkpointing,
            (),
            weights="float32" if tuning == "full" else dtype,
            quantised=tuning == "qlora",
        )
        return losses_of(bases, method, architecture, tuning, tmp_path, compute)

    plain = losses()
    assert len(plain) == 3
    # answers that are drawn are drawn the same, so that even rewards agree
    assert losses(checkpointing=True) == pytest.approx(plain, abs=2e-3)
    half = losses("bfloat16")
    assert all(math.isfinite(loss) for loss in half)
    if method != "grpo":
        assert half == pytest.approx(plain, rel=0.1, abs=0.05)
