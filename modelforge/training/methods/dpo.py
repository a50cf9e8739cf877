"""Direct preference optimisation of decoders: TRL's DPOTrainer on pairs that are already encoded."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from trl import DPOConfig, DPOTrainer

from modelforge.compat.trl import EncodedRows
from modelforge.compute.compute import Compute
from modelforge.data.encode import IGNORED, ChatEncoder
from modelforge.loading import window_of
from modelforge.recipe import Recipe
from modelforge.training.arguments import UNCUT, common_arguments, make_trainer
from modelforge.training.batching import LengthGrouped, compute_labels_alone
from modelforge.training.examples import Encoding, Examples
from modelforge.training.saving import Durable

TIE = 1e-6  # a reward margin that is no more than rounding


def make_encoder(tokenizer: Any, recipe: Recipe, config: Any) -> Callable[[Mapping[str, Any]], Encoding]:
    """Pairs as prompt_ids, chosen_ids and rejected_ids; what is too long loses its end."""
    encoder = ChatEncoder(tokenizer, UNCUT)
    longest = min(recipe.max_length, window_of(config))

    def encode(row: Mapping[str, Any]) -> Encoding:
        pair = encode_pair(encoder, row)
        room = max(longest - len(pair["prompt_ids"]), 0)
        cut = sum(max(len(pair[side]) - room, 0) for side in ("chosen_ids", "rejected_ids"))
        kept = {**pair, **{side: pair[side][:room] for side in ("chosen_ids", "rejected_ids")}}
        # identical answers, after the cut, teach nothing
        learnable = kept["chosen_ids"] != kept["rejected_ids"] and kept["chosen_ids"] and kept["rejected_ids"]
        return Encoding([kept] if learnable else [], cut, encoder.losses(row))

    return encode


def encode_pair(encoder: ChatEncoder, row: Mapping[str, Any]) -> dict[str, list[int]]:
    """prompt_ids, chosen_ids and rejected_ids of a mapped row, uncut if the encoder cuts nothing."""
    chosen = encoder.encode_row({"prompt": row["prompt"], "chosen": row["chosen"]})
    rejected = encoder.encode_row({"prompt": row["prompt"], "chosen": row["rejected"]})
    prompt = min(count_unlabelled(chosen.labels), count_unlabelled(rejected.labels))
    return {
        "prompt_ids": chosen.input_ids[:prompt],
        "chosen_ids": chosen.input_ids[prompt:],
        "rejected_ids": rejected.input_ids[prompt:],
    }


def build_trainer(
    model: Any, tokenizer: Any, examples: Examples, *, recipe: Recipe, compute: Compute, folder: Path
) -> Any:
    """A trainer, ready to run. The reference is the base model below a new adapter, a copy of an adapter that is
    trained further, or, where every weight is trained, the model's log probabilities before the first step."""
    arguments = DPOConfig(
        **{
            **common_arguments(recipe, compute, folder, examples),
            "max_length": recipe.max_length,
            "beta": recipe.dpo.beta,
            "loss_type": [recipe.dpo.loss_type],
            "label_smoothing": recipe.dpo.label_smoothing,
            "precompute_ref_log_probs": not recipe.tuning.has_adapter,
        }
    )
    trainer = make_trainer(PreferenceTrainer, arguments, model, tokenizer, examples, recipe=recipe)
    compute_labels_alone(model, compute)
    return trainer


def read_metrics(metrics: Mapping[str, float]) -> dict[str, float]:
    """loss, reward_margin, and preference_accuracy by rewards, from what the trainer measured.

    Before the first step every reward is 0, and TRL counts a tie as a miss: there is no accuracy to show. A verdict
    measures it by the likelihood of the answers (`models.measures`), which the model before training has too.
    """
    names = {
        "loss": "eval_loss",
        "reward_margin": "eval_rewards/margins",
        "preference_accuracy": "eval_rewards/accuracies",
    }
    found = {name: metrics[key] for name, key in names.items() if key in metrics}
    if abs(found.get("reward_margin", 1.0)) < TIE:
        found.pop("preference_accuracy", None)
    return found


class PreferenceTrainer(Durable, LengthGrouped, EncodedRows, DPOTrainer):
    """DPOTrainer for encoded pairs, with pairs of about the same length in a batch."""

    def row_lengths(self, rows: Any) -> list[int]:
        sides = zip(rows["prompt_ids"], rows["chosen_ids"], rows["rejected_ids"], strict=True)
        return [len(prompt) + max(len(chosen), len(rejected)) for prompt, chosen, rejected in sides]


def count_unlabelled(labels: list[int]) -> int:
    """How many tokens stand before the first that carries a loss."""
    return next((index for index, label in enumerate(labels) if label != IGNORED), len(labels))
