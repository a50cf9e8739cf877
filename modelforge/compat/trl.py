"""TRL: rows that are encoded already, and the count of trained tokens, for which its trainers have no public names."""

from __future__ import annotations

from typing import Any


class EncodedRows:
    """For DPOTrainer: its rows are encoded already. SFTTrainer has a setting for this (skip_prepare_dataset)."""

    def _prepare_dataset(self, dataset: Any, *args: Any, **kwargs: Any) -> Any:
        return dataset


class TokenCount:
    """For SFTTrainer: the `num_tokens` that it logs, for a subclass that computes the loss itself."""

    def add_tokens(self, tokens: int) -> None:
        """Report the tokens trained on, with those of this batch while training."""
        trainer: Any = self
        mode = "train" if trainer.model.training else "eval"
        if mode == "train":
            trainer._total_train_tokens += tokens
        trainer._metrics[mode]["num_tokens"] = [trainer._total_train_tokens]


def restore_token_count(trainer: Any, tokens: int) -> None:
    """Let a trainer count on from what a run had trained on: TRL does not save its count in a checkpoint."""
    if hasattr(trainer, "_total_train_tokens"):
        trainer._total_train_tokens = tokens
