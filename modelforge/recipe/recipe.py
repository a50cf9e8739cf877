"""The Recipe: everything that decides a run, defined once.

Each setting has one definition here: type, default, bounds, unit and one plain sentence of help. The form, the command
line, the messages and the documentation are derived from it. Names are those of TRL, transformers and PEFT wherever
they have one. This file knows nothing of hardware, datasets or models; it checks what can be checked by looking.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, Literal, Self

import yaml
from pydantic import Field, ModelWrapValidatorHandler, ValidationError, ValidationInfo, field_validator, model_validator
from pydantic.fields import FieldInfo

from modelforge import paths
from modelforge.errors import RecipeError
from modelforge.recipe.foreign_names import translate
from modelforge.recipe.messages import explain, find_nearest
from modelforge.recipe.objectives import Dpo, Grpo
from modelforge.recipe.settings import Settings, setting
from modelforge.recipe.task import Task, parse_task
from modelforge.recipe.tuning import Tuning

STARTER = "HuggingFaceTB/SmolLM2-135M-Instruct"
STARTERS_BY_TASK = {
    Task.TEXT_GENERATION: STARTER,
    Task.SUMMARIZATION: STARTER,
    Task.EXTRACTIVE_QUESTION_ANSWERING: "sentence-transformers/all-MiniLM-L6-v2",
}
"""What a recipe starts from that names no base model: models that can be had without the Hub."""

LEARNING_RATES = {
    "sft": {"lora": 2e-4, "qlora": 2e-4, "full": 5e-5},
    "dpo": {"lora": 5e-5, "qlora": 5e-5, "full": 5e-6},
    "grpo": {"lora": 1e-4, "qlora": 1e-4, "full": 5e-6},
}
"""Method -> tuning -> the learning rate of a recipe that names none: the usual ones of TRL's and PEFT's examples."""

Repair = Literal[
    "skip_bad_rows", "strip", "numbers_to_text", "relocate_answers", "drop_duplicates", "drop_near_duplicates"
]

STORED = {"stored": True}
"""The context in which a recipe is validated that was valid when it was written (`stored.py`)."""


def _usual_learning_rate(settings: Mapping[str, Any]) -> float:
    """By method and tuning; those that are wrong are complained of elsewhere."""
    tuning = settings.get("tuning") or Tuning()
    return LEARNING_RATES[settings.get("method", "sft")][tuning.type]


class Recipe(Settings):
    """Everything that decides a run; immutable. Build it, or read it with `from_yaml` or `from_file`."""

    name: str = setting(
        "", "What to call the finished model; left empty, a name is made from the dataset.", group="run", max_length=120
    )
    task: Task = setting(Task.TEXT_GENERATION, "What the model shall do with your examples.", group="model")
    base_model: str = setting(
        lambda settings: STARTERS_BY_TASK[settings.get("task", Task.TEXT_GENERATION)],
        "The model that training starts from: a Hub id or a folder.",
        group="model",
        min_length=1,
    )
    parent: str = setting(
        "",
        "A finished model of yours to train further: its id or name; left empty, training starts from the base model.",
        group="model",
    )
    method: Literal["sft", "dpo", "grpo"] = setting(
        "sft",
        "The training objective: sft learns to give the answers of your examples, dpo to prefer the better of two, "
        "grpo to earn rewards.",
        group="model",
    )
    dataset: str = setting(
        "",
        "The examples: a file, a Hub dataset id, or the id of a dataset that is already in the library.",
        group="data",
    )
    dataset_config: str = setting(
        "", "Which part of a Hub dataset to take, where it has several; left empty, its default.", group="data"
    )
    dataset_split: str = setting(
        "", "Which split of a Hub dataset to take; left empty, the one called train.", group="data"
    )
    eval_dataset: str = setting(
        "",
        "Other examples to measure with, a file or a dataset; left empty, a share of the dataset is held out.",
        group="data",
    )
    columns: dict[str, str] = setting(
        {}, "Which column plays which role, as role: column; left empty, it is found out.", group="data"
    )
    repairs: tuple[Repair, ...] = setting(
        (), "What may be mended in the dataset's file: nothing is dropped or changed without it.", group="data"
    )
    tuning: Tuning = Field(default_factory=Tuning)
    dpo: Dpo = Field(default_factory=Dpo)
    grpo: Grpo = Field(default_factory=Grpo)
    num_train_epochs: float = setting(
        3.0, "How many times the training examples are gone through.", group="training", unit="epochs", gt=0, le=1000
    )
    max_steps: int = setting(
        0,
        "Stop after that many optimizer steps; 0 goes by the number of epochs.",
        group="training",
        unit="steps",
        ge=0,
        le=10_000_000,
    )
    learning_rate: float = setting(
        _usual_learning_rate,
        "Size of each step: too high forgets, too low learns nothing.",
        group="training",
        gt=0,
        le=1,
    )
    lr_scheduler_type: Literal["linear", "cosine", "constant"] = setting(
        "linear", "How the learning rate goes down in the course of training.", group="training"
    )
    warmup_steps: int = setting(
        0, "Steps in which the learning rate climbs from zero.", group="training", unit="steps", ge=0, le=100_000
    )
    weight_decay: float = setting(0.0, "Pull of the trained weights towards zero.", group="training", ge=0, le=1)
    max_grad_norm: float = setting(1.0, "Gradients longer than this are cut to it.", group="training", gt=0, le=1000)
    per_device_train_batch_size: int = setting(
        4,
        "Examples worked on at once: more is steadier and needs more memory.",
        group="training",
        unit="examples",
        ge=1,
        le=1024,
    )
    gradient_accumulation_steps: int = setting(
        1,
        "Batches added up before each step: a larger batch without its memory.",
        group="training",
        unit="batches",
        ge=1,
        le=1024,
    )
    max_length: int = setting(
        512, "Longest example; what is beyond is cut off and counted.", group="data", unit="tokens", ge=8, le=131_072
    )
    max_target_length: int = setting(
        128,
        "Longest summary of a model that reads with an encoder; what is beyond is cut off and counted.",
        group="data",
        unit="tokens",
        ge=4,
        le=8192,
    )
    doc_stride: int = setting(
        128,
        "By how much two windows of a text that is too long overlap, where answers are looked for in it.",
        group="data",
        unit="tokens",
        ge=0,
        le=8192,
    )
    max_answer_length: int = setting(
        30, "Longest answer that is looked for in a text.", group="data", unit="tokens", ge=1, le=1024
    )
    eval_split: float = setting(
        0.1, "Share of the examples held out to measure with; 0 measures nothing.", group="data", ge=0, le=0.5
    )
    evaluations: int = setting(
        4,
        "How often the held-out examples are measured while training, besides at the start.",
        group="training",
        unit="times",
        ge=1,
        le=100,
    )
    checkpoint_minutes: float = setting(
        5.0,
        "The run saves itself after so much work, so that no more is lost when the machine goes down.",
        group="run",
        unit="minutes",
        gt=0,
        le=1440,
    )
    save_steps: int = setting(
        0, "Save also after every so many steps; 0 goes by time alone.", group="run", unit="steps", ge=0, le=1_000_000
    )
    auto_resume: bool = setting(
        False,
        "Goes on by itself when the app is opened again, after it was closed or the machine went down.",
        group="run",
    )
    load_best_model_at_end: bool = setting(
        True, "Keep the weights that did best on the held-out examples, rather than the last ones.", group="training"
    )
    early_stopping_patience: int = setting(
        3,
        "Stop when so many measurements in a row were no better than the best one; 0 never stops early.",
        group="training",
        unit="measurements",
        ge=0,
        le=100,
    )
    gradient_checkpointing: Literal["auto", "on", "off"] = setting(
        "auto", "Compute some values twice to save memory; auto does so only when memory is short.", group="hardware"
    )
    dtype: Literal["auto", "float32", "bfloat16", "float16"] = setting(
        "auto",
        "Number format of the computation; auto takes the one that is fast and safe on this machine.",
        group="hardware",
    )
    attn_implementation: Literal["auto", "sdpa", "eager"] = setting(
        "auto", "How attention is computed; auto takes torch's own fast one.", group="hardware"
    )
    optim: Literal["auto", "adamw_torch", "adamw_torch_fused", "paged_adamw_8bit", "adafactor"] = setting(
        "auto",
        "The optimizer; auto takes AdamW, in 8 bits where an NVIDIA card has little memory for it.",
        group="hardware",
    )
    seed: int = setting(0, "Same seed, same run.", group="run", ge=0, le=2**31 - 1)

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

    @field_validator("max_steps", mode="before")
    @classmethod
    def _accept_minus_one(cls, value: Any) -> Any:
        return 0 if value == -1 else value  # -1 is how transformers says "go by epochs"

    @field_validator("gradient_checkpointing", mode="before")
    @classmethod
    def _accept_switch(cls, value: Any) -> Any:
        return {True: "on", False: "off"}[value] if isinstance(value, bool) else value  # YAML reads on and off so

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
        """A recipe from plain values. Raises RecipeError naming the setting, its value and the bounds enforced."""
        return cls.model_validate(dict(settings))

    @classmethod
    def from_yaml(cls, text: str, *, where: str = "recipe") -> Self:
        try:
            loaded = yaml.safe_load(text)
        except (yaml.YAMLError, RecursionError, ValueError) as error:  # ValueError: 2026-13-45 is no date
            mark = getattr(error, "problem_mark", None)
            line = f", line {mark.line + 1}" if mark else ""
            raise RecipeError(
                "This is not valid YAML.", where=f"{where}{line}", fix="Write one setting a line, as `name: value`."
            ) from error
        if not isinstance(loaded, dict):
            raise RecipeError(
                "A recipe is a list of settings.", where=where, fix="Write one setting a line, as `name: value`."
            )
        return cls.build({str(key): value for key, value in loaded.items()})

    @classmethod
    def from_file(cls, path: Path) -> Self:
        """Read a recipe; relative paths of datasets and the base model in it are taken from the recipe's own folder."""
        try:
            text = path.read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError) as error:
            raise RecipeError(
                "This recipe cannot be read.", where=str(path), fix="Give the path of a YAML file."
            ) from error
        recipe = cls.from_yaml(text, where=str(path))
        beside = {
            field: paths.existing(str(path.parent / getattr(recipe, field)))
            for field in ("dataset", "eval_dataset", "base_model")
        }
        given = {field: str(found) for field, found in beside.items() if found and getattr(recipe, field)}
        return recipe.model_copy(update=given)

    def with_settings(self, settings: Mapping[str, Any]) -> Self:
        """A copy with some settings replaced and all checked again; a dot reaches inside, as in ``tuning.r``."""
        return self.build(_merge(self.model_dump(mode="json", exclude_unset=True), translate(settings)))

    def to_yaml(self) -> str:
        return yaml.safe_dump(self.model_dump(mode="json"), sort_keys=False, allow_unicode=True)


def _merge(values: Mapping[str, Any], settings: Mapping[str, Any]) -> dict[str, Any]:
    """The values with settings replaced; a dot in a name reaches inside."""
    merged = dict(values)
    for name, value in settings.items():
        target = merged
        *parents, last = name.split(".")
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
        try:
            settings[name.strip()] = yaml.safe_load(value) if value.strip() else ""
        except (yaml.YAMLError, RecursionError, ValueError) as error:
            raise RecipeError(
                f"{value!r} is not a value.", where=f"setting {name}", fix="Put text with signs in quotes."
            ) from error
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
