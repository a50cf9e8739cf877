"""A fixture that builds trainers to take apart, as recipes get them. Import it into a conftest.py."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest

from modelforge.compute.compute import Compute
from modelforge.recipe import Recipe
from tests import tiny

PLAIN = Compute("cpu", "float32", False, ())


@pytest.fixture
def build(tmp_path: Path) -> Callable[..., Any]:
    """build({"seed": 1}, rows=..., compute=...) -> the trainer that such a recipe gets."""
    from modelforge.architecture import DECODER
    from modelforge.compute.tune import tune
    from modelforge.training.examples import encode_examples
    from modelforge.training.methods import load_method

    def make(
        settings: Mapping[str, Any] | None = None,
        *,
        rows: Sequence[Mapping[str, Any]] = tuple(tiny.rows()),
        compute: Compute = PLAIN,
        tokenizer: Any = None,
        model: Any = None,
        **more: Any,
    ) -> Any:
        quick = {"max_steps": 3, "per_device_train_batch_size": 2, "learning_rate": 1e-2, "dtype": "float32"}
        recipe = Recipe().with_settings({**quick, **(settings or {}), **more})
        tokenizer = tokenizer or tiny.tokenizer()
        model = model or tiny.model()
        method = load_method(recipe.method, DECODER)
        examples = encode_examples(rows, method.make_encoder(tokenizer, recipe, model.config), recipe)
        return method.build_trainer(
            tune(model, recipe), tokenizer, examples, recipe=recipe, compute=compute, folder=tmp_path / "checkpoints"
        )

    return make
