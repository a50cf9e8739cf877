"""What `modelforge.compat.trl` and the trainers rely on in TRL."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any

import pytest
from trl import DPOTrainer, KTOTrainer, SFTTrainer

from modelforge.compat.trl import EncodedRows, TokenCount, restore_token_count


def test_tokens_are_counted_and_logged_as_trl_logs_them(build: Callable[..., Any]) -> None:
    trainer = build()
    restore_token_count(trainer, 1000)
    trainer.train()
    counts = [entry["num_tokens"] for entry in trainer.state.log_history if "num_tokens" in entry]
    assert counts == sorted(counts)
    assert 1000 < counts[0] < counts[-1] < 1000 + 3 * 2 * 512


def test_trls_own_loss_counts_in_the_same_place() -> None:
    source = inspect.getsource(SFTTrainer.compute_loss)
    assert "self._total_train_tokens +=" in source
    assert 'self._metrics[mode]["num_tokens"] = [self._total_train_tokens]' in source


@pytest.mark.parametrize("trainer", [DPOTrainer, KTOTrainer])
def test_rows_are_prepared_in_one_method(trainer: Any) -> None:
    assert list(inspect.signature(trainer._prepare_dataset).parameters)[:2] == ["self", "dataset"]
    assert "_prepare_dataset(" in inspect.getsource(trainer.__init__)
    assert EncodedRows()._prepare_dataset("rows", None, None, "train") == "rows"


def test_rewards_of_each_batch_are_where_they_are_read() -> None:
    source = inspect.getsource(KTOTrainer._compute_loss)
    assert 'self._metrics[mode]["rewards/chosen"].append(' in source
    assert 'self._metrics[mode]["rewards/rejected"].append(' in source


def test_our_names_are_not_names_of_the_trainers() -> None:
    assert not {name for name in vars(TokenCount) if not name.startswith("_")} & set(dir(SFTTrainer))


def test_head_that_trl_fuses_takes_the_outputs_that_the_planner_names() -> None:
    from trl.trainer.utils import add_fused_lm_head

    assert {"model", "outputs"} <= inspect.signature(add_fused_lm_head).parameters.keys()
