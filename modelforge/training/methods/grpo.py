"""Group relative policy optimisation of decoders: TRL's GRPOTrainer with rewards that need no other model."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from trl import GRPOConfig, GRPOTrainer

from modelforge.compute.compute import Compute
from modelforge.data.encode import ChatEncoder
from modelforge.loading import window_of
from modelforge.recipe import Recipe
from modelforge.scores.rewards import check_rows, reward_functions
from modelforge.training.arguments import UNCUT, common_arguments, make_trainer
from modelforge.training.examples import Encoding, Examples
from modelforge.training.saving import Durable

MEASURED = 16  # held-out prompts that are answered at every evaluation; writing is slow


def make_encoder(tokenizer: Any, recipe: Recipe, config: Any) -> Callable[[Mapping[str, Any]], Encoding]:
    """Prompts as they are, with their references; prompts too long to be answered are left out."""
    encoder = ChatEncoder(tokenizer, UNCUT)
    room = min(recipe.max_length, window_of(config) - recipe.grpo.max_completion_length)

    def encode(row: Mapping[str, Any]) -> Encoding:
        too_many = len(encoder.encode_row({"prompt": row["prompt"]}).input_ids) - room
        if too_many > 0:
            return Encoding([], too_many, [])
        return Encoding([{"prompt": list(row["prompt"]), "reference": row.get("reference") or ""}], 0, [])

    return encode


def build_trainer(
    model: Any, tokenizer: Any, examples: Examples, *, recipe: Recipe, compute: Compute, folder: Path
) -> Any:
    """A trainer, ready to run. Raises RecipeError if a reward needs references and rows have none."""
    check_rows(recipe.grpo.rewards, [*examples.train, *examples.evaluation])
    arguments = GRPOConfig(
        **{
            **common_arguments(recipe, compute, folder, examples),
            "per_device_eval_batch_size": recipe.grpo.num_generations,
            "num_generations": recipe.grpo.num_generations,
            "max_completion_length": recipe.grpo.max_completion_length,
            "temperature": recipe.grpo.temperature,
            "beta": recipe.grpo.beta,
            # after a divergence the loss shows it; sampling a token from NaN would raise
            "generation_kwargs": {"remove_invalid_values": True},
            "reward_weights": [reward.weight for reward in recipe.grpo.rewards],
        }
    )
    return make_trainer(
        RewardTrainer,
        arguments,
        model,
        tokenizer,
        examples,
        recipe=recipe,
        evaluation=examples.evaluation[:MEASURED],
        reward_funcs=list(reward_functions(recipe.grpo.rewards)),
    )


def read_metrics(metrics: Mapping[str, float]) -> dict[str, float]:
    """mean_reward and loss, from what the trainer measured."""
    names = {"loss": "eval_loss", "mean_reward": "eval_reward"}
    return {name: metrics[key] for name, key in names.items() if key in metrics}


class RewardTrainer(Durable, GRPOTrainer):
    """GRPOTrainer with durable checkpoints."""
