"""TRL: rows that are encoded already, the count of trained tokens, the scores of labels, and the rewards of held-out
answers, for which its trainers have no public names."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import torch


class EncodedRows:
    """For DPOTrainer and KTOTrainer: their rows are encoded already. SFTTrainer has a setting for this
    (skip_prepare_dataset)."""

    def _prepare_dataset(self, dataset: Any, *args: Any, **kwargs: Any) -> Any:
        return dataset


class LabelledRewards:
    """For KTOTrainer: `eval_reward_margin`, the mean reward of all held-out good answers minus that of all bad ones.
    Its own is a mean over the batches that happen to have both."""

    def compute_loss(self, model: Any, inputs: Any, *args: Any, **kwargs: Any) -> Any:
        computed = super().compute_loss(model, inputs, *args, **kwargs)  # type: ignore[misc]
        trainer: Any = self
        if not trainer.model.training:
            good = int(inputs["label"].sum())
            for side, count in (("chosen", good), ("rejected", len(inputs["label"]) - good)):
                if count:  # then TRL has just added the mean reward of these
                    reward, before = self._rewards[side]
                    mean = trainer._metrics["eval"][f"rewards/{side}"][-1]
                    self._rewards[side] = (reward + mean * count, before + count)
        return computed

    def evaluation_loop(self, *args: Any, **kwargs: Any) -> Any:
        self._rewards: dict[str, tuple[float, int]] = {"chosen": (0.0, 0), "rejected": (0.0, 0)}
        output = super().evaluation_loop(*args, **kwargs)  # type: ignore[misc]
        (good, goods), (bad, bads) = self._rewards.values()
        if goods and bads:
            output.metrics["eval_reward_margin"] = good / goods - bad / bads
        return output


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


def score_labels_by(decoder: Any, score: Callable[[Any, Any, Any], Any]) -> None:
    """Let a decoder of DPOTrainer or KTOTrainer score labelled tokens alone, by `score`: hidden (N, D), the output
    matrix (V, D) and labels (N) -> (N).

    On a processor TRL scores every token of prompts and padding too, multiplies back in float32 whatever it computes
    in, and makes more passes over the logits for numbers in its logs (entropy, mean logits, top 1), which are zero now.
    """
    from trl.trainer.utils import FusedCausalLMOutput

    plain = decoder.forward

    @functools.wraps(plain)  # generate checks its settings against the signature
    def forward(*given: Any, fused_lm_head: bool = False, **named: Any) -> Any:
        if not fused_lm_head:
            return plain(*given, **named)
        labels = named.pop("labels")[:, 1:]  # position t predicts token t + 1
        hidden = decoder.base_model(*given, **named).last_hidden_state[:, :-1]
        mask = labels != -100
        scores = score(hidden[mask], decoder.get_output_embeddings().weight, labels[mask])
        log_probs = scores.new_zeros(mask.shape).masked_scatter(mask, scores)
        zeros = torch.zeros_like(log_probs)
        loss = -scores.sum() / mask.sum().clamp(min=1)
        others = {"entropy": zeros, "mean_logits": zeros, "is_top1": zeros.bool(), "label_mask": mask}
        return FusedCausalLMOutput(loss=loss, log_probs=log_probs, **others)

    decoder.forward = forward
