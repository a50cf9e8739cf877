"""The Recipe: everything that decides a run, defined once.

Each setting has one definition here: type, default, bounds, unit and one plain sentence of help. The form, the command
line, the messages and the documentation are derived from it. Names are those of TRL, transformers and PEFT wherever
they have one. This file does not depend on hardware, datasets or models: it checks what the settings alone can show.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from functools import partial
from pathlib import Path
from typing import Any, Literal, Self

import yaml
from pydantic import Field, ModelWrapValidatorHandler, ValidationError, ValidationInfo, field_validator, model_validator
from pydantic.fields import FieldInfo

from modelforge import paths
from modelforge.errors import RecipeError
from modelforge.recipe.foreign_names import translate
from modelforge.recipe.messages import explain, find_nearest
from modelforge.recipe.nested import Dpo, Grpo, Kto, Tuning
from modelforge.recipe.proof import BLOCK
from modelforge.recipe.settings import Settings, setting
from modelforge.recipe.task import Task, parse_task
from modelforge.recipe.yaml_text import read_text, read_yaml

# How a setting is defined, by the group that it is shown in.
run, model, data, training, hardware = (
    partial(setting, group=group) for group in ("run", "model", "data", "training", "hardware")
)

STARTER = "HuggingFaceTB/SmolLM2-135M-Instruct"
STARTERS_BY_TASK = {
    Task.TEXT_GENERATION: STARTER,
    Task.SUMMARIZATION: STARTER,
    Task.EXTRACTIVE_QUESTION_ANSWERING: "sentence-transformers/all-MiniLM-L6-v2",
}
"""Task -> the base model of a recipe that names none: models that do not need the Hub."""

LEARNING_RATES = {
    "sft": {"lora": 2e-4, "qlora": 2e-4, "full": 5e-5},
    "dpo": {"lora": 5e-5, "qlora": 5e-5, "full": 5e-6},
    "kto": {"lora": 5e-5, "qlora": 5e-5, "full": 5e-6},
    "grpo": {"lora": 1e-4, "qlora": 1e-4, "full": 5e-6},
}
"""Method -> tuning -> the learning rate of a recipe that names none, as in the examples of TRL and PEFT."""

Repair = Literal[
    "skip_bad_rows",
    "strip",
    "leave_out_parts",
    "keep_good_answers",
    "numbers_to_text",
    "relocate_answers",
    "drop_duplicates",
    "drop_near_duplicates",
]

_FORM = "Write one setting per line, as `name: value`."

STORED = {"stored": True}
"""The context in which a recipe is validated that was valid when it was written (`stored.py`)."""


class Recipe(Settings):
    """Everything that decides a run; immutable. Build it, or read it with `from_yaml` or `from_file`."""

    name: str = run("", "Name of the finished model. If empty, it is named after the dataset.", max_length=120)
    task: Task = model(Task.TEXT_GENERATION, "What the model learns to do with your examples.")
    base_model: str = model(
        lambda settings: STARTERS_BY_TASK[settings.get("task", Task.TEXT_GENERATION)],
        "The model that training starts from: a Hub id or a folder.",
        min_length=1,
    )
    parent: str = model(
        "", "A finished model to train further: its id or name. If empty, training starts from the base model."
    )
    method: Literal["sft", "dpo", "kto", "grpo"] = model(
        "sft",
        "The training objective. sft: learn the answers in your examples; dpo: learn to prefer the better "
        "of two answers; kto: learn from answers labelled good or bad; grpo: learn to earn rewards.",
    )
    dataset: str = data("", "The examples: a file, a Hub dataset id, or the id of a dataset in the library.")
    dataset_config: str = data("", "Configuration of a Hub dataset that has several. If empty, its default.")
    dataset_split: str = data("", "Split of a Hub dataset. If empty, train.")
    eval_dataset: str = data(
        "", "Separate examples to evaluate with, a file or a dataset. If empty, a share of the dataset is held out."
    )
    columns: dict[str, str] = data({}, "Which column has which role, as role: column. If empty, it is detected.")
    repairs: tuple[Repair, ...] = data(
        (), "Fixes to apply to the dataset's file. Without them, nothing is dropped or changed."
    )
    tuning: Tuning = Field(default_factory=Tuning)
    dpo: Dpo = Field(default_factory=Dpo)
    kto: Kto = Field(default_factory=Kto)
    grpo: Grpo = Field(default_factory=Grpo)
    num_train_epochs: float = training(3.0, "How many times to train on every example.", unit="epochs", gt=0, le=1000)
    max_steps: int = training(
        0, "Stop after this many optimizer steps; 0 uses the number of epochs.", unit="steps", ge=0, le=10_000_000
    )
    learning_rate: float = training(
        lambda settings: LEARNING_RATES[settings.get("method", "sft")][(settings.get("tuning") or Tuning()).type],
        "Size of each step. Too high and the model forgets, too low and it learns nothing.",
        gt=0,
        le=1,
    )
    lr_scheduler_type: Literal["linear", "cosine", "constant"] = training(
        "linear", "How the learning rate decreases during training."
    )
    warmup_steps: int = training(
        0, "Steps over which the learning rate rises from zero.", unit="steps", ge=0, le=100_000
    )
    weight_decay: float = training(0.0, "How strongly the trained weights are pulled towards zero.", ge=0, le=1)
    max_grad_norm: float = training(1.0, "Gradients with a larger norm are scaled down to it.", gt=0, le=1000)
    per_device_train_batch_size: int = training(
        4, "Examples processed at once: more is steadier and needs more memory.", unit="examples", ge=1, le=1024
    )
    gradient_accumulation_steps: int = training(
        1,
        "Batches added up before each step: works like a larger batch, without its memory.",
        unit="batches",
        ge=1,
        le=1024,
    )
    max_length: int = data(
        512, "Longest example. Longer ones are cut off and counted.", unit="tokens", ge=8, le=131_072
    )
    long_texts: Literal["divide", "cut"] = data(
        "divide",
        "What happens to plain text longer than max_length. divide: it becomes several pieces, at the ends of "
        "paragraphs or sentences; cut: its end is lost.",
    )
    max_target_length: int = data(
        128, "Longest summary of an encoder-decoder. Longer ones are cut off and counted.", unit="tokens", ge=4, le=8192
    )
    doc_stride: int = data(
        128, "Overlap of windows when a text is too long to read at once.", unit="tokens", ge=0, le=8192
    )
    max_answer_length: int = data(30, "Longest answer to find in a text.", unit="tokens", ge=1, le=1024)
    eval_split: float = data(0.1, "Share of the examples held out for evaluation; 0 evaluates nothing.", ge=0, le=0.5)
    min_eval_rows: int = data(
        40,
        "Hold out at least this many examples, as long as that is at most a quarter of them: fewer can rarely show "
        "whether the model got better.",
        unit="examples",
        ge=0,
        le=10_000,
    )
    train_share: float = data(
        1.0,
        "Share of the training examples to train on; those held out stay the same. Runs on a half and a quarter show "
        "what more data would give.",
        gt=0,
        le=1,
    )
    verdict_metric: Literal[
        "auto", "loss", "rougeL", "rouge1", "rouge2", "chrf", "exact_match", "f1", "preference_accuracy",
        "reward_margin", "mean_reward",
    ] = training(
        "auto",
        "What decides whether the model got better, named before the run; auto: ROUGE-L of the answers, F1 of answers "
        "found in a text, the share of pairs whose better answer is preferred, or the mean reward.",
    )  # fmt: skip
    evaluations: int = training(
        4,
        "How many times to evaluate on the held-out examples during training, in addition to the start.",
        unit="times",
        ge=1,
        le=100,
    )
    checkpoint_minutes: float = run(
        5.0,
        "Time between two checkpoints: at most this much work is lost if the machine stops.",
        unit="minutes",
        gt=0,
        le=1440,
    )
    save_steps: int = run(
        0, "Also save a checkpoint every this many steps; 0 saves by time only.", unit="steps", ge=0, le=1_000_000
    )
    auto_resume: bool = run(
        False, "Resume automatically when the app is opened again after it was closed or the machine stopped."
    )
    load_best_model_at_end: bool = training(
        True, "Keep the weights with the best result on the held-out examples instead of the last ones."
    )
    early_stopping_patience: int = training(
        3,
        "Stop after this many evaluations in a row without an improvement; 0 never stops early.",
        unit="evaluations",
        ge=0,
        le=100,
    )
    gradient_checkpointing: Literal["auto", "on", "off"] = hardware(
        "auto", "Compute some values twice to save memory; auto does this only if memory is short."
    )
    dtype: Literal["auto", "float32", "bfloat16", "float16"] = hardware(
        "auto", "Number format of the computation; auto chooses one that is fast and safe on this machine."
    )
    attn_implementation: Literal["auto", "sdpa", "eager"] = hardware(
        "auto", "How attention is computed; auto uses the fast implementation in torch."
    )
    optim: Literal["auto", "adamw_torch", "adamw_torch_fused", "paged_adamw_8bit", "adafactor"] = hardware(
        "auto", "The optimizer; auto uses AdamW, in 8 bits if an NVIDIA GPU is short of memory."
    )
    report_to: Literal["none", "trackio", "wandb", "tensorboard"] = run(
        "none",
        "Also record the run's numbers with another program, which must be installed; nothing is sent unless that "
        "program is set up to.",
    )
    seed: int = run(0, "The same seed gives the same run.", ge=0, le=2**31 - 1)

    @field_validator("task", mode="before")
    @classmethod
    def _accept_alias(cls, value: Any) -> Any:
        return parse_task(value) if isinstance(value, str) else value

    @field_validator("repairs", mode="before")
    @classmethod
    def _split_names(cls, value: Any) -> Any:
        names = [name.strip() for name in value.split(",")] if isinstance(value, str) else value
        each_once = isinstance(names, list | tuple) and all(isinstance(name, str) for name in names)
        return tuple(name for name in dict.fromkeys(names) if name) if each_once else names

    @field_validator("report_to", mode="before")
    @classmethod
    def _accept_list(cls, value: Any) -> Any:
        # transformers takes a list; YAML reads an empty value as None
        values = value if isinstance(value, list) else [value or "none"]
        return (values or ["none"])[0] if len(values) <= 1 else value

    @field_validator("max_steps", mode="before")
    @classmethod
    def _accept_minus_one(cls, value: Any) -> Any:
        return 0 if value == -1 else value  # transformers writes -1 for "use the number of epochs"

    @field_validator("gradient_checkpointing", mode="before")
    @classmethod
    def _accept_switch(cls, value: Any) -> Any:
        # YAML reads on and off as booleans.
        return {True: "on", False: "off"}[value] if isinstance(value, bool) else value

    @model_validator(mode="after")
    def _check_groups(self, info: ValidationInfo) -> Self:
        if info.context is STORED:
            return self
        completions = self.per_device_train_batch_size * self.gradient_accumulation_steps
        if self.method == "grpo" and completions % self.grpo.num_generations:
            raise ValueError(
                f"with grpo, per_device_train_batch_size times gradient_accumulation_steps ({completions} answers) "
                f"must be a multiple of grpo.num_generations ({self.grpo.num_generations})"
            )
        if self.method == "grpo" and not self.grpo.rewards:
            raise ValueError("grpo needs at least one reward in grpo.rewards")
        if self.method == "kto" and self.kto.loss_type == "kto" and self.per_device_train_batch_size < 2:
            raise ValueError(
                "the loss kto needs a per_device_train_batch_size of at least 2: it compares each answer with others "
                "of its batch"
            )
        if self.method == "dpo" and self.dpo.loss_type == "exo_pair" and not self.dpo.label_smoothing:
            raise ValueError("the loss exo_pair needs dpo.label_smoothing above 0; 0.001 is usual")
        return self

    @model_validator(mode="wrap")
    @classmethod
    def _explain_problems(cls, values: Any, validate: ModelWrapValidatorHandler[Self], info: ValidationInfo) -> Self:
        if info.context is STORED or not isinstance(values, Mapping):
            return validate(values)
        try:
            return validate(_merge({}, translate(values)))
        except ValidationError as error:
            raise explain(error, fields()) from error

    @classmethod
    def build(cls, settings: Mapping[str, Any]) -> Self:
        """A recipe from plain values. Raises RecipeError with the setting, its value and its bounds."""
        return cls.model_validate(dict(settings))

    @classmethod
    def from_yaml(cls, text: str, *, where: str = "recipe") -> Self:
        """A recipe from text; the proof that a finished run added to it is left out. Raises RecipeError."""
        loaded = read_yaml(text, where=where, what="This is not valid YAML.", fix=_FORM)
        if not isinstance(loaded, dict):
            raise RecipeError("A recipe is a list of settings.", where=where, fix=_FORM)
        return cls.build({str(key): value for key, value in loaded.items() if key != BLOCK})

    @classmethod
    def from_file(cls, path: Path) -> Self:
        """Read a recipe; relative paths of datasets and of the base model are relative to the recipe's folder."""
        recipe = cls.from_yaml(read_text(path), where=str(path))
        beside = {
            field: paths.existing(str(path.parent / getattr(recipe, field)))
            for field in ("dataset", "eval_dataset", "base_model")
        }
        given = {field: str(found) for field, found in beside.items() if found and getattr(recipe, field)}
        return recipe.model_copy(update=given)

    def with_settings(self, settings: Mapping[str, Any]) -> Self:
        """A copy with some settings replaced, validated again; a dot names a nested setting, as in ``tuning.r``."""
        return self.build(_merge(self.model_dump(mode="json", exclude_unset=True), translate(settings)))

    def to_yaml(self) -> str:
        return yaml.safe_dump(self.model_dump(mode="json"), sort_keys=False, allow_unicode=True)


def _merge(values: Mapping[str, Any], settings: Mapping[str, Any]) -> dict[str, Any]:
    """The values with some settings replaced; a dot names a nested setting."""
    merged = dict(values)
    for name, value in settings.items():
        target = merged
        *parents, last = str(name).split(".")
        leaf = fields().get(".".join(parents))
        for parent in parents:
            inner = target.get(parent, {})
            inner = inner.model_dump(exclude_unset=True) if isinstance(inner, Settings) else inner
            if (leaf and leaf.annotation != dict[str, str]) or not isinstance(inner, dict):
                raise RecipeError(f"There is no setting {name!r}.", fix=find_nearest(name, fields()))
            target[parent] = target = dict(inner)
        target[last] = value
    return merged


def parse_assignments(pairs: Iterable[str]) -> dict[str, Any]:
    """``["tuning.r=8", "max_steps=20"]`` -> ``{"tuning.r": 8, "max_steps": 20}``; values are read as YAML."""
    settings: dict[str, Any] = {}
    for pair in pairs:
        name, equals, value = pair.partition("=")
        if not equals:
            raise RecipeError(f"{pair!r} is not of the form NAME=VALUE.", fix="For example: --set learning_rate=1e-4")
        what, fix = f"{value[:200]!r} is not a value.", "Put text with special characters in quotes."
        settings[name.strip()] = read_yaml(value, where=f"setting {name}", what=what, fix=fix) if value.strip() else ""
    return settings


def fields() -> dict[str, FieldInfo]:
    """Every setting by its full name (``tuning.r`` for nested ones), in the order of their definition."""
    found: dict[str, FieldInfo] = {}
    for name, info in Recipe.model_fields.items():
        if isinstance(info.annotation, type) and issubclass(info.annotation, Settings):
            found |= {f"{name}.{inner}": inner_info for inner, inner_info in info.annotation.model_fields.items()}
        else:
            found[name] = info
    return found
