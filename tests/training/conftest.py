"""A measured machine (once a session) and a base model's folder (once a session); trainers to take apart."""

from __future__ import annotations

import gc
import shutil
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest

from modelforge import hardware, paths
from modelforge.models.sampling import Sampling
from modelforge.recipe import Recipe
from modelforge.training import samples
from modelforge.training.device import Compute
from tests import tiny

PLAIN = Compute("cpu", "float32", False, ())


@pytest.fixture(scope="session")
def measured(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The file of a real probe of this machine; measuring takes a second."""
    import modelforge.training.run  # torch, transformers, trl and peft

    gc.collect()
    gc.freeze()  # each run collects garbage: not among a million objects of libraries
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MODELFORGE_HOME", str(tmp_path_factory.mktemp("measured")))
        hardware.probe()
        return paths.cache_dir() / "probe.json"


@pytest.fixture
def probed(home: Path, measured: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A home in which this machine has been measured already; the answers shown during runs are short."""
    monkeypatch.setattr(samples, "_SAMPLING", Sampling(max_new_tokens=6))
    target = paths.cache_dir() / "probe.json"
    target.parent.mkdir(parents=True)
    shutil.copy(measured, target)
    return home


@pytest.fixture(scope="session")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny.write_base(tmp_path_factory.mktemp("models") / "tiny")


@pytest.fixture
def build(tmp_path: Path) -> Callable[..., Any]:
    """build({"seed": 1}, rows=..., compute=...) -> the trainer that such a recipe gets."""
    from modelforge.training.examples import encode_examples
    from modelforge.training.methods import METHODS
    from modelforge.training.tune import add_adapter

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
        examples = encode_examples(rows, tokenizer, recipe)
        tuned = add_adapter(model or tiny.model(), recipe)
        return METHODS[recipe.method](
            tuned, tokenizer, examples, recipe=recipe, compute=compute, folder=tmp_path / "checkpoints"
        )

    return make
