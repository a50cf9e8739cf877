"""Supervised fine-tuning: TRL's SFTTrainer on rows that are already encoded, with the loss of the answers alone."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import torch
from datasets import Dataset
from trl import SFTConfig, SFTTrainer

from modelforge.recipe import Recipe
from modelforge.training.batching import LengthGroupedSampler, RightPadding
from modelforge.training.device import Compute
from modelforge.training.examples import Examples
from modelforge.training.fused import AnswerLoss

# Settings by which an architecture changes its logits after the output matrix; TRL's own loss knows them all.
_LOGIT_CHANGES = ("final_logit_softcapping", "logit_scale", "output_multiplier", "lm_head_multiplier", "logits_scaling")


def build_trainer(
    model: Any, tokenizer: Any, examples: Examples, *, recipe: Recipe, compute: Compute, folder: Path
) -> Any:
    """A trainer, ready to run. It writes nothing but what `folder` is given for."""
    fused = compute.device != "cuda" and _has_plain_head(model)  # on CUDA, TRL's Triton kernel does the same
    arguments = training_arguments(recipe, compute, folder, examples)
    trainer = AnswerTrainer(
        model=model,
        args=arguments,
        data_collator=RightPadding(tokenizer.pad_token_id) if fused else None,
        train_dataset=Dataset.from_list(examples.train),
        eval_dataset=Dataset.from_list(sorted(examples.evaluation, key=lambda row: len(row["input_ids"])))
        if examples.evaluation
        else None,
        processing_class=tokenizer,
    )
    trainer.fused = fused
    _drop_printing_callbacks(trainer)
    return trainer


def training_arguments(recipe: Recipe, compute: Compute, folder: Path, examples: Examples) -> SFTConfig:
    """The recipe in TRL's words. Every setting that a trainer can take is in here."""
    arguments = SFTConfig(
        output_dir=str(folder),
        num_train_epochs=recipe.num_train_epochs,
        max_steps=recipe.max_steps or -1,
        learning_rate=recipe.learning_rate,
        lr_scheduler_type=recipe.lr_scheduler_type,
        warmup_steps=recipe.warmup_steps,
        weight_decay=recipe.weight_decay,
        max_grad_norm=recipe.max_grad_norm,
        per_device_train_batch_size=recipe.per_device_train_batch_size,
        per_device_eval_batch_size=recipe.per_device_train_batch_size,
        gradient_accumulation_steps=recipe.gradient_accumulation_steps,
        max_length=recipe.max_length,
        seed=recipe.seed,
        eval_strategy="steps" if examples.evaluation else "no",
        eval_steps=math.ceil(total_steps(recipe, len(examples.train)) / recipe.evaluations),
        eval_on_start=bool(examples.evaluation),
        prediction_loss_only=True,
        activation_checkpointing=compute.gradient_checkpointing,
        bf16=compute.dtype == "bfloat16",
        fp16=compute.dtype == "float16",
        use_cpu=compute.device == "cpu",
        dataloader_pin_memory=compute.device == "cuda",
        dataset_kwargs={"skip_prepare_dataset": True},
        logging_steps=1,
        logging_nan_inf_filter=False,  # it would show a loss that is no number as 0
        save_strategy="no",
        report_to="none",
        disable_tqdm=True,
    )
    arguments._n_gpu = min(arguments.n_gpu, 1)  # one process drives one card; TRL refuses DataParallel
    return arguments


def total_steps(recipe: Recipe, rows: int) -> int:
    """Optimizer steps that the trainer will take, by its own arithmetic."""
    if recipe.max_steps:
        return recipe.max_steps
    batches = math.ceil(rows / recipe.per_device_train_batch_size)
    steps_per_epoch = max(math.ceil(batches / recipe.gradient_accumulation_steps), 1)
    return math.ceil(recipe.num_train_epochs * steps_per_epoch)


class AnswerTrainer(SFTTrainer):
    """SFTTrainer whose loss, when `fused`, comes from the hidden states at labelled positions alone.

    Its evaluation loss is the mean over all held-out answer tokens; Trainer's own is a mean of batch means, which
    depends on how rows are batched.
    """

    fused = False

    def _get_train_sampler(self, train_dataset: Any = None) -> Any:
        lengths = [len(ids) for ids in (train_dataset or self.train_dataset)["input_ids"]]
        return LengthGroupedSampler(lengths, self.args.train_batch_size, self.args.seed)

    def compute_loss(
        self, model: Any, inputs: Any, return_outputs: bool = False, num_items_in_batch: Any = None
    ) -> Any:
        compute = self._fused_loss if self.fused else super().compute_loss
        loss = compute(model, inputs, num_items_in_batch=num_items_in_batch)
        if not self.model.training:
            tokens = int((inputs["labels"][:, 1:] != -100).sum())
            self._held_out_loss += float(loss) * tokens
            self._held_out_tokens += tokens
        return loss

    def evaluation_loop(self, *args: Any, **kwargs: Any) -> Any:
        self._held_out_loss, self._held_out_tokens = 0.0, 0
        output = super().evaluation_loop(*args, **kwargs)
        output.metrics["eval_loss"] = self._held_out_loss / max(self._held_out_tokens, 1)
        return output

    def _fused_loss(self, model: Any, inputs: Any, num_items_in_batch: Any = None) -> Any:
        decoder = self.model.get_base_model()
        with self.compute_loss_context_manager():
            hidden = decoder.base_model(input_ids=inputs["input_ids"], use_cache=False).last_hidden_state[:, :-1]
            labels = inputs["labels"][:, 1:]  # position t predicts token t + 1
            answered = labels != -100
            loss = AnswerLoss.apply(hidden[answered], decoder.get_output_embeddings().weight, labels[answered])
        mode = "train" if self.model.training else "eval"
        if mode == "train":
            self._total_train_tokens += int(inputs["tokens"])
        self._metrics[mode]["num_tokens"] = [self._total_train_tokens]
        tokens = answered.sum() if num_items_in_batch is None else num_items_in_batch
        return loss / torch.as_tensor(tokens).clamp(min=1)


def _has_plain_head(model: Any) -> bool:
    decoder = model.get_base_model()
    config = decoder.config.get_text_config()
    head = decoder.get_output_embeddings()
    return (
        type(head) is torch.nn.Linear
        and head.bias is None
        and not head.weight.requires_grad
        and not getattr(config, "output_router_logits", False)
        and all(getattr(config, name, None) in (None, 1, 1.0) for name in _LOGIT_CHANGES)
    )


def _drop_printing_callbacks(trainer: Any) -> None:
    from transformers.trainer_callback import PrinterCallback, ProgressCallback

    for callback in (PrinterCallback, ProgressCallback):
        trainer.remove_callback(callback)
