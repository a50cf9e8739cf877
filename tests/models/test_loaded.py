"""A model whose manifest was written by another version is used like any other."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from modelforge import Forge
from modelforge.errors import DatasetError
from modelforge.models.folder import read_manifest, write_manifest
from modelforge.models.sampling import Sampling
from modelforge.store import RunState
from tests import tiny

OTHERS: dict[str, Any] = {
    "added_later": 7,
    "removed_since": {"a": [1]},
    "learning_rate": 5.0,
    "evaluations": 0,
    "optim": "lion",
}
"""Settings that this version does not know, and values that its bounds refuse."""


@pytest.fixture
def trained(forge: Forge, tiny_base: Path, tmp_path: Path) -> Any:
    file = tiny.write_rows(tmp_path / "colours.jsonl")
    run = forge.runs.start(tiny.recipe(tiny_base, file, {"eval_split": 0.25}))
    assert run.wait(200) is RunState.finished and run.model_id
    return forge.models[run.model_id]


def change_recipe(model: Any, *, version: int = 0, tuning: dict[str, Any] | None = None, **settings: Any) -> None:
    """Rewrite a model's manifest as another version would have written it; version 0 names none."""
    manifest = read_manifest(model.record.id)
    manifest["recipe"] |= settings
    manifest["recipe"]["tuning"] |= tuning or {}
    manifest.pop("recipe_version", None)
    write_manifest(model.record.id, {**manifest, "recipe_version": version} if version else manifest)


def test_fault_13_model_with_unknown_removed_and_refused_settings_is_used_as_before(
    trained: Any, forge: Forge, tmp_path: Path
) -> None:
    asked, sampling = "What colour is the lamp of house 0?", Sampling(max_new_tokens=8)
    answer, measured = trained.chat(asked, sampling=sampling), trained.evaluate()
    change_recipe(trained, tuning={"lora_dropout": 1.5, "bias": "none"}, **OTHERS)
    forge.playground.unload()

    assert trained.chat(asked, sampling=sampling) == answer
    assert trained.evaluate() == measured
    settings = {"parent": trained.record.id, "base_model": trained.record.base_model}
    further = forge.runs.start(tiny.recipe(Path(trained.record.base_model), tmp_path / "colours.jsonl", settings))
    assert further.wait(200) is RunState.finished, further.record.error


def test_fault_13_recipe_of_a_later_version_is_read(trained: Any, forge: Forge) -> None:
    change_recipe(trained, version=1000, **OTHERS)
    assert trained.evaluate().rows == 4


@pytest.mark.parametrize("changed", [{"eval_split": 5.0}, {"seed": -1}])
def test_fault_13_rows_are_never_guessed(trained: Any, tmp_path: Path, changed: dict[str, Any]) -> None:
    """Which rows were held out follows from these; others may be among those that it was trained on."""
    change_recipe(trained, **changed)
    with pytest.raises(DatasetError, match=next(iter(changed))):
        trained.evaluate()
    assert trained.evaluate(data=tmp_path / "colours.jsonl").rows == 16
