"""Kahneman-Tversky optimisation of decoders (arXiv 2402.01306): TRL's KTOTrainer on answers that are labelled good or
bad and already encoded."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from trl import KTOConfig, KTOTrainer

from modelforge.compat.trl import EncodedRows, LabelledRewards
from modelforge.compute.compute import Compute
from modelforge.data.encode import ChatEncoder
from modelforge.errors import DatasetError
from modelforge.loading import window_of
from modelforge.recipe import Recipe
from modelforge.training.arguments import UNCUT, common_arguments, make_trainer
from modelforge.training.batching import LengthGroupedSampler, compute_labels_alone
from modelforge.training.examples import Encoding, Examples, Feature, count_tokens
from modelforge.training.methods.dpo import count_unlabelled
from modelforge.training.saving import Durable


def make_encoder(tokenizer: Any, recipe: Recipe, config: Any) -> Callable[[Mapping[str, Any]], Encoding]:
    """Labelled answers as prompt_ids, completion_ids and label; what is too long loses its end."""
    encoder = ChatEncoder(tokenizer, UNCUT)
    longest = min(recipe.max_length, window_of(config))

    def encode(row: Mapping[str, Any]) -> Encoding:
        answered = encoder.encode_row(row)
        cut = max(len(answered.input_ids) - longest, 0)
        prompt = count_unlabelled(answered.labels)
        kept = answered.input_ids[prompt:longest]
        feature = {"prompt_ids": answered.input_ids[:prompt], "completion_ids": kept, "label": bool(row["label"])}
        return Encoding([feature] if kept else [], cut, encoder.losses(row))

    return encode


def build_trainer(
    model: Any, tokenizer: Any, examples: Examples, *, recipe: Recipe, compute: Compute, folder: Path
) -> Any:
    """A trainer, ready to run. The reference is as with DPO. Raises DatasetError where all answers have one label."""
    check_labels(examples.train)
    batch = recipe.per_device_train_batch_size
    order = LengthGroupedSampler([count_tokens(feature) for feature in examples.train], batch, recipe.seed)
    train = [examples.train[index] for index in order]
    arguments = KTOConfig(
        **{
            **common_arguments(recipe, compute, folder, examples),
            "max_length": min(recipe.max_length, window_of(model.config)),  # also of mismatched answers
            "beta": recipe.kto.beta,
            "loss_type": recipe.kto.loss_type,
            "desirable_weight": recipe.kto.desirable_weight,
            "undesirable_weight": recipe.kto.undesirable_weight,
            "precompute_ref_log_probs": not recipe.tuning.has_adapter,
        }
    )
    has_kl = recipe.kto.loss_type == "kto"
    trainer = make_trainer(
        LabelTrainer,
        arguments,
        model,
        tokenizer,
        replace(examples, train=mismatch(train, batch) if has_kl else train),
        recipe=recipe,
        evaluation=mismatch(examples.evaluation, batch) if has_kl else examples.evaluation,
    )
    compute_labels_alone(model, compute)
    return trainer


def read_metrics(metrics: Mapping[str, float]) -> dict[str, float]:
    """loss and, where good and bad answers are held out, reward_margin, from what the trainer measured."""
    names = {"loss": "eval_loss", "reward_margin": "eval_reward_margin"}
    return {name: metrics[key] for name, key in names.items() if key in metrics}


def check_labels(features: Sequence[Feature]) -> None:
    """Raise DatasetError unless there are good and bad answers among these."""
    good = sum(feature["label"] for feature in features)
    if 0 < good < len(features):
        return
    which, other, fix = ("good", "bad", " Or train on prompts and answers with sft.") if good else ("bad", "good", "")
    raise DatasetError(
        f"All {len(features):,} answers to train on are labelled {which}; kto learns from what good and bad ones "
        "differ in.",
        where="dataset",
        fix=f"Add {other} answers.{fix}",
    )


def mismatch(features: Sequence[Feature], batch: int) -> list[Feature]:
    """The features in order, each also with the answer to another prompt of its batch, from which KTO estimates how far
    the model has moved. As TRL does it; but a row that is alone in the last batch gets the answer of the row before."""
    found = []
    for start in range(0, len(features), batch):
        members = features[start : start + batch]
        others = [features[start - 1] if start and len(members) == 1 else members[-1], *members]
        found += [
            {**feature, "KL_completion_ids": other["completion_ids"]}
            for feature, other in zip(members, others, strict=False)
        ]
    return found


class LabelTrainer(Durable, LabelledRewards, EncodedRows, KTOTrainer):
    """KTOTrainer for encoded answers; the batches are those in which the rows come, in each epoch."""
