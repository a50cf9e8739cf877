"""Names from TRL, transformers, PEFT, LLaMA-Factory, axolotl and Unsloth, and what to write here instead.

A name that means exactly the same as a setting is accepted; for any other, the error says what to write.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from modelforge.errors import RecipeError

SAME: dict[str, str] = {
    # PEFT's LoraConfig, TRL's ModelConfig, LLaMA-Factory
    "r": "tuning.r",
    "lora_r": "tuning.r",
    "lora_rank": "tuning.r",
    "rank": "tuning.r",
    "lora_alpha": "tuning.lora_alpha",
    "lora_dropout": "tuning.lora_dropout",
    "target_modules": "tuning.target_modules",
    "lora_target_modules": "tuning.target_modules",
    "use_rslora": "tuning.use_rslora",
    "use_dora": "tuning.use_dora",
    "adapter": "tuning.type",
    "model_name_or_path": "base_model",
    "model_name": "base_model",
    "model_id": "base_model",
    "dataset_name": "dataset",
    "train_file": "dataset",
    "dataset_config_name": "dataset_config",
    "dataset_train_split": "dataset_split",
    "validation_file": "eval_dataset",
    "eval_file": "eval_dataset",
    "max_seq_length": "max_length",
    "max_seq_len": "max_length",
    "cutoff_len": "max_length",
    "sequence_len": "max_length",
    "epochs": "num_train_epochs",
    "num_epochs": "num_train_epochs",
    "lr": "learning_rate",
    "lr_scheduler": "lr_scheduler_type",
    "optimizer": "optim",
    "micro_batch_size": "per_device_train_batch_size",
    "torch_dtype": "dtype",
    "use_gradient_checkpointing": "gradient_checkpointing",
    "activation_checkpointing": "gradient_checkpointing",
    "num_generations": "grpo.num_generations",
    "max_completion_length": "grpo.max_completion_length",
    "temperature": "grpo.temperature",
    "label_smoothing": "dpo.label_smoothing",
}
"""Name -> the setting with exactly this meaning."""

SAME_VALUES: dict[str, dict[str, tuple[str, tuple[str, ...]]]] = {
    "bf16": {"true": ("dtype", ("bfloat16",)), "false": ("dtype", ("float32", "float16"))},
    "fp16": {"true": ("dtype", ("float16",)), "false": ("dtype", ("float32", "bfloat16"))},
    "load_in_4bit": {"true": ("tuning.type", ("qlora",)), "false": ("tuning.type", ("lora", "full"))},
    "use_peft": {"true": ("tuning.type", ("lora", "qlora")), "false": ("tuning.type", ("full",))},
    "finetuning_type": {"lora": ("tuning.type", ("lora", "qlora")), "full": ("tuning.type", ("full",))},
    "stage": {"sft": ("method", ("sft",)), "dpo": ("method", ("dpo",))},
}
"""Name -> value -> (setting, its values that agree with this one, the usual one first)."""

NO_EFFECT: dict[str, tuple[str, ...]] = {
    "packing": ("false",),
    "report_to": ("none", "[]"),
    "load_in_8bit": ("false",),
    "push_to_hub": ("false",),
    "trust_remote_code": ("false",),
    "do_train": ("true",),
    "group_by_length": ("true",),
    "logging_steps": ("1",),
    "train_on_inputs": ("false",),
    "assistant_only_loss": ("true",),
    "completion_only_loss": ("true",),
}
"""Name -> values that describe what is done here in any case."""

_SHOWN = "Leave it out: every step is recorded. To evaluate more or less often, write evaluations."
_KEPT = "Leave it out: runs and models are kept in the library. To name the model, write name."
_SAVED = "Write checkpoint_minutes (the time between two checkpoints) or save_steps."
_MEASURED = "Write evaluations: how many times to evaluate during training."
_PUSHED = "Leave it out: push the finished model with `modelforge push`. To name the model, write name."
_FOUR_BIT = "Write tuning.type: qlora, which loads the base model in 4 bits (NF4)."
_ANSWERS = "Leave it out: only answers are trained on. To choose the column with the answers, write columns."
_COLUMNS = "Write columns, as in `columns: {prompt: question, response: answer}`."
_ONE_DEVICE = "Leave it out: a run uses one device. To save memory, write tuning.type: qlora."
_REWARDS = "Write grpo.rewards: a list of rewards, each with its type and weight."

INSTEAD: dict[str, str] = {
    "output_dir": _KEPT,
    "overwrite_output_dir": _KEPT,
    "run_name": "Write name: the name of the finished model.",
    "logging_steps": _SHOWN,
    "logging_strategy": _SHOWN,
    "logging_first_step": _SHOWN,
    "logging_dir": _SHOWN,
    "report_to": "Leave it out: nothing is sent to other services. To name the run, write name.",
    "do_train": "Leave it out: a recipe always trains. To stop after a number of steps, write max_steps.",
    "do_eval": "Write eval_split: the share of the examples held out for evaluation; 0 evaluates nothing.",
    "eval_strategy": _MEASURED,
    "evaluation_strategy": _MEASURED,
    "eval_steps": _MEASURED,
    "val_set_size": "Write eval_split: the share of the examples held out for evaluation, from 0 to 0.5.",
    "val_size": "Write eval_split: the share of the examples held out for evaluation, from 0 to 0.5.",
    "test_size": "Write eval_split: the share of the examples held out for evaluation, from 0 to 0.5.",
    "dataset_test_split": "Write eval_dataset: a file or a dataset to evaluate with.",
    "per_device_eval_batch_size": "Leave it out: evaluation uses per_device_train_batch_size.",
    "metric_for_best_model": "Leave it out: load_best_model_at_end uses the loss on the held-out examples.",
    "greater_is_better": "Leave it out: load_best_model_at_end uses the loss on the held-out examples.",
    "save_strategy": _SAVED,
    "save_total_limit": _SAVED,
    "save_only_model": _SAVED,
    "resume_from_checkpoint": "Leave it out: continue a run with `modelforge runs resume`, or write auto_resume: true.",
    "push_to_hub": _PUSHED,
    "hub_model_id": _PUSHED,
    "warmup_ratio": "Write warmup_steps: the number of steps, not their share.",
    "batch_size": "Write per_device_train_batch_size and gradient_accumulation_steps: each step uses both.",
    "train_batch_size": "Write per_device_train_batch_size and gradient_accumulation_steps: each step uses both.",
    "global_batch_size": "Write per_device_train_batch_size and gradient_accumulation_steps: each step uses both.",
    "auto_find_batch_size": "Write per_device_train_batch_size: `modelforge plan` says which one fits.",
    "packing": "Leave it out: rows are not packed but batched by length. To limit their length, write max_length.",
    "group_by_length": "Leave it out: rows are always batched by length. To limit their length, write max_length.",
    "padding_free": "Leave it out: rows are batched by length. To limit their length, write max_length.",
    "max_prompt_length": "Write max_length: the longest example, its prompt included.",
    "max_new_tokens": "Write grpo.max_completion_length: the longest answer written during training.",
    "model_max_length": "Write max_length: the longest example.",
    "bf16": "Write dtype: bfloat16, float32, float16 or auto.",
    "fp16": "Write dtype: float16, float32, bfloat16 or auto.",
    "tf32": "Write dtype: the number format of the computation.",
    "load_in_4bit": _FOUR_BIT,
    "load_in_8bit": _FOUR_BIT,
    "quantization_bit": _FOUR_BIT,
    "quantization_config": _FOUR_BIT,
    "bnb_4bit_quant_type": _FOUR_BIT,
    "bnb_4bit_compute_dtype": "Write dtype: the number format of the computation.",
    "use_peft": "Write tuning.type: lora, qlora or full.",
    "finetuning_type": "Write tuning.type: lora, qlora or full.",
    "peft_config": "Write tuning: {type: lora, r: 16, lora_alpha: 32}; or single settings such as tuning.r.",
    "lora_config": "Write tuning: {type: lora, r: 16, lora_alpha: 32}; or single settings such as tuning.r.",
    "lora_target": "Write tuning.target_modules: all-linear, or names of layers.",
    "lora_target_linear": "Write tuning.target_modules: all-linear.",
    "task_type": "Write task: what the model does with the examples.",
    "lora_task_type": "Write task: what the model does with the examples.",
    "bias": "Leave it out: biases are not trained with tuning.type: lora.",
    "modules_to_save": "Leave it out: only adapters are trained with tuning.type: lora; full trains all layers.",
    "layers_to_transform": "Write tuning.top_layers: how many of the topmost layers are trained.",
    "freeze_trainable_layers": "Write tuning.top_layers: how many of the topmost layers are trained.",
    "stage": "Write method: sft, dpo or grpo.",
    "rl": "Write method: sft, dpo or grpo.",
    "trainer_type": "Write method: sft, dpo or grpo.",
    "beta": "Write dpo.beta (with method: dpo) or grpo.beta (with method: grpo).",
    "pref_beta": "Write dpo.beta.",
    "loss_type": "Write dpo.loss_type (with method: dpo).",
    "pref_loss": "Write dpo.loss_type (with method: dpo).",
    "label_smoothing_factor": "Leave it out: only DPO has label smoothing, dpo.label_smoothing.",
    "reward_funcs": _REWARDS,
    "reward_weights": _REWARDS,
    "reward_model_name_or_path": _REWARDS,
    "train_dataset": "Write dataset: a file, a Hub dataset id, or the id of a dataset in the library.",
    "dataset_path": "Write dataset: a file, a Hub dataset id, or the id of a dataset in the library.",
    "data_path": "Write dataset: a file, a Hub dataset id, or the id of a dataset in the library.",
    "datasets": "Write dataset: one file, Hub dataset id, or id of a dataset in the library.",
    "dataset_text_field": "Write columns, as in `columns: {text: NAME}`.",
    "prompt_column": _COLUMNS,
    "response_column": _COLUMNS,
    "formatting_func": _COLUMNS,
    "completion_only_loss": _ANSWERS,
    "assistant_only_loss": _ANSWERS,
    "train_on_inputs": _ANSWERS,
    "template": "Leave it out: the chat template of the base_model is used.",
    "chat_template": "Leave it out: the chat template of the base_model is used.",
    "trust_remote_code": "Leave it out: code of a model is never run. Choose a base_model that does not need it.",
    "max_samples": "Write max_steps, or a smaller num_train_epochs.",
    "max_train_samples": "Write max_steps, or a smaller num_train_epochs.",
    "data_seed": "Write seed, which also decides the order of the examples.",
    "flash_attention": "Write attn_implementation: auto, sdpa or eager.",
    "flash_attn": "Write attn_implementation: auto, sdpa or eager.",
    "use_flash_attention_2": "Write attn_implementation: auto, sdpa or eager.",
    "gradient_checkpointing_kwargs": "Write gradient_checkpointing: on, off or auto.",
    "neftune_noise_alpha": "Leave it out. Against overfitting, write tuning.lora_dropout or weight_decay.",
    "adam_beta1": "Leave it out: the optimizer of optim has its default betas.",
    "adam_beta2": "Leave it out: the optimizer of optim has its default betas.",
    "adam_epsilon": "Leave it out: the optimizer of optim has its default epsilon.",
    "device_map": _ONE_DEVICE,
    "deepspeed": _ONE_DEVICE,
    "fsdp": _ONE_DEVICE,
    "ddp_find_unused_parameters": _ONE_DEVICE,
    "use_cpu": "Leave it out: the fastest device is used. To choose the number format, write dtype.",
    "use_liger_kernel": "Leave it out: it is not supported. To save memory, write gradient_checkpointing: on.",
    "torch_compile": "Leave it out: it is not supported. To choose the number format, write dtype.",
    "dataloader_num_workers": "Leave it out: it is automatic. To change the batch, write per_device_train_batch_size.",
    "dataset_num_proc": "Leave it out: it is chosen automatically. To limit the length of rows, write max_length.",
    "remove_unused_columns": "Leave it out: only the columns named in columns are used.",
}
"""Name -> what to write instead; also for other values of the names in `SAME_VALUES` and `NO_EFFECT`."""

INSTEAD_OF_VALUES: dict[str, dict[str, str]] = {
    "optim": {
        "adamw_bnb_8bit": "Write optim: paged_adamw_8bit.",
        "adamw_8bit": "Write optim: paged_adamw_8bit.",
        "paged_adamw_32bit": "Write optim: adamw_torch, or paged_adamw_8bit for less memory.",
        "adamw_hf": "Write optim: adamw_torch.",
    },
    "lr_scheduler_type": {
        "constant_with_warmup": "Write lr_scheduler_type: constant, or linear with warmup_steps.",
        "cosine_with_restarts": "Write lr_scheduler_type: cosine.",
        "polynomial": "Write lr_scheduler_type: linear.",
    },
    "attn_implementation": {
        "flash_attention_2": "Write attn_implementation: sdpa, which uses flash attention where torch has it.",
        "flash_attention_3": "Write attn_implementation: sdpa, which uses flash attention where torch has it.",
    },
    "dtype": {
        "bf16": "Write dtype: bfloat16.",
        "fp16": "Write dtype: float16.",
        "fp32": "Write dtype: float32.",
        "torch.bfloat16": "Write dtype: bfloat16.",
        "torch.float16": "Write dtype: float16.",
        "torch.float32": "Write dtype: float32.",
    },
    "method": {
        "ppo": "Write method: grpo, which learns from rewards too.",
        "kto": "Write method: dpo, with a better and a worse answer in each row.",
        "orpo": "Write method: dpo, which learns from the same examples.",
        "cpo": "Write method: dpo, which learns from the same examples.",
        "simpo": "Write method: dpo, which learns from the same examples.",
        "rloo": "Write method: grpo, which learns from rewards too.",
    },
}
"""Setting -> a value from other programs -> what to write instead."""


def find_instead(name: str) -> str:
    """What to write instead of a name, also a nested one such as ``tuning.lora_r``; "" if it is not listed."""
    last = name.rpartition(".")[2]
    return f"Write {SAME[last]}." if last in SAME else INSTEAD.get(last, "")


def translate(settings: Mapping[str, Any]) -> dict[str, Any]:
    """The settings with the names of this recipe; translated ones have full names such as ``tuning.r``.

    Raises RecipeError for a name without an equivalent, and for names that contradict each other.
    """
    own = {name: value for name, value in settings.items() if not _is_foreign(name)}
    chosen: dict[str, list[Any]] = {}  # setting -> the values that agree with all names so far
    for name, value in settings.items():
        if not _is_foreign(name) or _text(value) in NO_EFFECT.get(name, ()):
            continue
        setting, allowed = _read(name, value)
        given = _find(own, setting)
        before = given if given is not None else chosen.get(setting, allowed)
        chosen[setting] = [each for each in before if each in allowed]
        if not chosen[setting]:
            raise RecipeError(
                f"{name}: {_text(value)} contradicts another value given for {setting}.",
                where="recipe",
                fix=f"Write {setting} only.",
            )
    return {**own, **{setting: values[0] for setting, values in chosen.items()}}


def _is_foreign(name: str) -> bool:
    return name in SAME or name in SAME_VALUES or name in INSTEAD


def _read(name: str, value: Any) -> tuple[str, list[Any]]:
    """(the setting that a name means, the values of it that agree with the given one)."""
    if name in SAME:
        return SAME[name], [value]
    if found := SAME_VALUES.get(name, {}).get(_text(value)):
        return found[0], list(found[1])
    raise RecipeError(f"There is no setting {name!r} here.", where="recipe", fix=INSTEAD[name])


def _find(settings: Mapping[str, Any], name: str) -> list[Any] | None:
    """The value of a setting by its full name, alone in a list; None where it is not given."""
    value: Any = settings
    if name in settings:
        return [settings[name]]
    for part in name.split("."):
        if not isinstance(value, Mapping) or part not in value:
            return None
        value = value[part]
    return [value]


def _text(value: Any) -> str:
    return str(value).lower()
