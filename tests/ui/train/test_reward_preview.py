"""The preview of rewards: shown while it grows, and in nobody's way."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import Any

import pytest

from modelforge import Forge
from modelforge.errors import RunStateError
from modelforge.recipe import Recipe
from modelforge.ui.train.reward_preview import TRIED, try_rewards
from tests import tiny


@pytest.fixture
def recipe(tiny_base: Path, tmp_path: Path) -> Recipe:
    file = tiny.write_jsonl(tmp_path / "prompts.jsonl", tiny.user_rows("prompts", 8))
    rewards = [{"type": "length", "least": 1, "most": 3}]
    grpo = {
        "method": "grpo",
        "grpo.rewards": rewards,
        "grpo.max_completion_length": 4,
        "per_device_train_batch_size": 4,
    }
    return tiny.recipe(tiny_base, file, grpo)


@pytest.mark.parametrize("further", [False, True])
def test_fault_11_memory_can_be_freed_while_a_preview_is_open(
    forge: Forge, record: Any, recipe: Recipe, further: bool
) -> None:
    shown = try_rewards(forge, recipe.model_copy(update={"parent": record.id if further else ""}))
    while "prompt 2" not in next(shown):  # the model is loaded and has answered once
        pass
    freeing = threading.Thread(target=forge.playground.unload, daemon=True)
    freeing.start()
    freeing.join(20)
    assert not freeing.is_alive(), "a run that starts would wait for the page"
    assert list(shown)[-1].count("mf-sample-asked") == TRIED


def test_one_preview_at_a_time_and_the_next_one_after_it(forge: Forge, recipe: Recipe) -> None:
    first = try_rewards(forge, recipe)
    next(first)
    with pytest.raises(RunStateError):
        next(try_rewards(forge, recipe))
    first.close()  # type: ignore[attr-defined]
    assert "Answering" not in list(try_rewards(forge, recipe))[-1]
