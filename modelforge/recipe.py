"""The Recipe: everything that decides a run, defined once.

Each setting has one definition here: type, default, bounds, unit and one plain sentence of help. The form, the command
line, the messages and the documentation are derived from it. Names are those of TRL, transformers and PEFT wherever
they have one. This file knows nothing of hardware, datasets or models; it checks what can be checked by looking.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Mapping
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any, Literal, Self

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator
from pydantic.fields import FieldInfo

from modelforge import paths
from modelforge.errors import RecipeError

STARTER = "HuggingFaceTB/SmolLM2-135M-Instruct"


class Task(StrEnum):
    """What the columns mean and how an answer is shown and scored."""

    TEXT_GENERATION = "text-generation"
    SUMMARIZATION = "summarization"
    EXTRACTIVE_QUESTION_ANSWERING = "extractive-question-answering"


TASK_ALIASES = {"question-answering": Task.EXTRACTIVE_QUESTION_ANSWERING}


def parse_task(name: str) -> Task:
    """The task of that name or alias. Raises RecipeError, listing exactly the names that are accepted."""
    wanted = name.strip().lower()
    if wanted in TASK_ALIASES:
        return TASK_ALIASES[wanted]
    try:
        return Task(wanted)
    except ValueError:
        accepted = ", ".join([*(task.value for task in Task), *TASK_ALIASES])
        raise RecipeError(f"{name!r} is not a task.", where="setting task", fix=f"Accepted are: {accepted}.") from None


Repair = Literal[
    "skip_bad_rows", "strip", "numbers_to_text", "relocate_answers", "drop_duplicates", "drop_near_duplicates"
]


class _Settings(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False, str_strip_whitespace=True)


def setting(default: Any, help: str, *, group: str, unit: str = "", **bounds: Any) -> Any:
    """One setting: its default, its sentence of help, the group it is shown in, its unit, and pydantic's bounds."""
    return Field(default, description=help, json_schema_extra={"group": group, "unit": unit}, **bounds)


class Tuning(_Settings):
    """Which weights move, and how the frozen ones are stored. Names are those of peft.LoraConfig."""

    type: Literal["lora"] = setting(
        "lora",
        "Which weights are trained: lora adds small matrices and leaves the base model as it is.",
        group="tuning",
    )
    r: int = setting(
        16, "Rank of the added matrices: higher learns more and needs more memory.", group="tuning", ge=1, le=512
    )
    lora_alpha: float = setting(
        32, "Strength of the added matrices, divided by r; twice r is a sound choice.", group="tuning", gt=0, le=2048
    )
    lora_dropout: float = setting(
        0.0,
        "Share of adapter inputs dropped while training, against overfitting; 0 is fastest.",
        group="tuning",
        ge=0,
        lt=1,
    )
    target_modules: Annotated[str, Field(min_length=1)] = setting(
        "all-linear",
        "Layers that get an adapter: all-linear, or names separated by commas such as q_proj,v_proj.",
        group="tuning",
    )

    @field_validator("target_modules", mode="before")
    @classmethod
    def _join_names(cls, value: Any) -> Any:
        return ",".join(value) if isinstance(value, list) and all(isinstance(name, str) for name in value) else value


class Recipe(_Settings):
    """Everything that decides a run; immutable. Build it, or read it with `from_yaml` or `from_file`."""

    name: str = setting(
        "", "What to call the finished model; left empty, a name is made from the dataset.", group="run", max_length=120
    )
    base_model: str = setting(
        STARTER, "The model that training starts from: a Hub id or a folder.", group="model", min_length=1
    )
    task: Task = setting(Task.TEXT_GENERATION, "What the model shall do with your examples.", group="model")
    method: Literal["sft"] = setting(
        "sft", "The training objective: sft learns to give the answers of your examples.", group="model"
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
        2.0e-4, "Size of each step: too high forgets, too low learns nothing.", group="training", gt=0, le=1
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
    gradient_checkpointing: Literal["auto", "on", "off"] = setting(
        "auto", "Compute some values twice to save memory; auto does so only when memory is short.", group="hardware"
    )
    dtype: Literal["auto", "float32", "bfloat16", "float16"] = setting(
        "auto",
        "Number format of the computation; auto takes the one that is fast and safe on this machine.",
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

    @classmethod
    def build(cls, settings: Mapping[str, Any]) -> Self:
        """A recipe from plain values. Raises RecipeError naming the setting, its value and the bounds enforced."""
        try:
            return cls.model_validate(dict(settings))
        except ValidationError as error:
            raise _explain(error) from error

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
        values = self.model_dump(mode="json")
        for name, value in settings.items():
            target = values
            *parents, last = name.split(".")
            for parent in parents:
                target = target.setdefault(parent, {})
                if not isinstance(target, dict):
                    raise RecipeError(f"There is no setting {name!r}.", fix=_nearest(name))
            target[last] = value
        return self.build(values)

    def to_yaml(self) -> str:
        return yaml.safe_dump(self.model_dump(mode="json"), sort_keys=False, allow_unicode=True)


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
        if name == "tuning":
            found |= {f"tuning.{inner}": inner_info for inner, inner_info in Tuning.model_fields.items()}
        else:
            found[name] = info
    return found


def bounds(info: FieldInfo) -> dict[str, float]:
    """The bounds that are enforced: some of ge, gt, le, lt."""
    return {
        name: getattr(limit, name)
        for limit in info.metadata
        for name in ("ge", "gt", "le", "lt")
        if getattr(limit, name, None) is not None
    }


def describe_bounds(info: FieldInfo) -> str:
    """ "at least 1 and at most 512" — from the enforced bounds themselves, so that the two cannot differ."""
    words = {"ge": "at least", "gt": "more than", "le": "at most", "lt": "less than"}
    return " and ".join(
        f"{words[name]} {limit:g}" if abs(limit) < 1e6 else f"{words[name]} {limit:.0f}"
        for name, limit in bounds(info).items()
    )


def _explain(error: ValidationError) -> RecipeError:
    """The first problem as one sentence; the others are counted."""
    problems = error.errors(include_url=False)
    first = problems[0]
    # A place inside a list is no name; that of a setting inside another is.
    name = ".".join(part for part in first["loc"] if isinstance(part, str))
    known = fields()
    more = f" ({len(problems) - 1} more settings are wrong.)" if len(problems) > 1 else ""
    if first["type"] == "extra_forbidden":
        return RecipeError(f"There is no setting {name!r}.{more}", where="recipe", fix=_nearest(name))
    value = first["input"]
    if first["type"] == "literal_error":
        return RecipeError(
            f"{value!r} is not possible here.{more}",
            where=f"setting {name}",
            fix=f"Accepted are: {first['ctx']['expected']}.",
        )
    info = known.get(name)
    limits = describe_bounds(info) if info else ""
    if limits and first["type"].startswith(("greater_than", "less_than")):
        return RecipeError(f"{value!r} is out of bounds.{more}", where=f"setting {name}", fix=f"It must be {limits}.")
    fix = f"It must be {limits}." if limits else (info.description or "") if info else ""
    return RecipeError(f"{value!r} cannot be used: {first['msg'].lower()}.{more}", where=f"setting {name}", fix=fix)


def _nearest(name: str) -> str:
    known = list(fields())
    close = difflib.get_close_matches(name, known, n=1)
    return f"Did you mean {close[0]}?" if close else f"Settings are: {', '.join(known)}."
