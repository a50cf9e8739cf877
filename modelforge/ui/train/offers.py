"""What the Train tab offers: datasets, methods, base models, tunings, and the settings proposed for a goal.

It depends on the dataset and the machine; nothing is offered that a start would refuse.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from modelforge import base_model, catalog, hardware
from modelforge.base_model import Look
from modelforge.caller import current_caller
from modelforge.choices.combinations import architectures_of, metrics_of
from modelforge.choices.methods import METHODS
from modelforge.choices.tunings import TUNINGS, tunings_of
from modelforge.data.checks import check
from modelforge.data.lengths import longest_row, mean_row
from modelforge.data.samples import Sample, samples
from modelforge.forge import Forge
from modelforge.goals import goals
from modelforge.recipe import STARTERS_BY_TASK, Recipe, Task
from modelforge.scores.titles import SHOWN
from modelforge.scores.verdict import FEWEST_ROWS
from modelforge.store import ModelRecord
from modelforge.tasks import SHAPES, TASKS
from modelforge.tasks.base import Shape
from modelforge.ui.look.fields import read_defaults

LOOK_KEPT_SECONDS = 120.0  # how long the Hub's answer about a model is kept

_looks: dict[tuple[str, Task, str], tuple[float, Look]] = {}


@dataclass(frozen=True)
class Examples:
    """The chosen dataset: a sample, or one of the library. name: of a sample, or an id. max_length: proposed for it,
    longest: tokens of the longest row, about; both 0 if unknown. mean_tokens: of a row, about. eval_dataset: id of the
    dataset to evaluate on, "" for a held-out share of this one."""

    name: str
    task: Task
    shape: Shape
    rows: int
    mean_tokens: float
    has_references: bool = False
    max_length: int = 0
    longest: int = 0
    eval_dataset: str = ""

    @property
    def sentence(self) -> str:
        """What it is and what is trained with it."""
        return f"{TASKS[self.task].title}. {self.shape.sentence}"


def find_examples(forge: Forge, name: str | None) -> Examples:
    """Raises NotFoundError."""
    for sample in samples():
        if sample.name == name:
            mean, longest = mean_row(sample.path.stat().st_size, sample.rows), _longest_of(sample)
            return Examples(sample.name, sample.task, TASKS[sample.task].shapes[0], sample.rows, mean, longest=longest)
    record = forge.datasets.find(name or "")
    task = Task(record.task)
    known = {each.id for each in forge.datasets.all()}
    return Examples(
        record.id,
        task,
        SHAPES.get(record.shape, TASKS[task].shapes[0]),
        record.rows,
        mean_row(record.bytes, record.rows),
        "reference" in record.columns,
        record.max_length,
        record.longest,
        record.eval_dataset if record.eval_dataset in known else "",
    )


@lru_cache
def _longest_of(sample: Sample) -> int:
    return longest_row(check(sample.path, sample.task).mapped_rows)


def list_datasets(
    forge: Forge, chosen: str | None, parent: ModelRecord | None = None
) -> tuple[list[tuple[str, str]], str]:
    """(choices, the selected one): own datasets first, then the samples. parent: only those it can be trained on."""
    records = (each for each in forge.datasets.all() if _is_suited(Task(each.task), SHAPES.get(each.shape), parent))
    own = [(f"{each.name} ({each.rows} rows)", each.id) for each in records]
    bundled = [
        (f"Sample: {sample.name} ({sample.rows} rows)", sample.name)
        for sample in samples()
        if _is_suited(sample.task, None, parent)
    ]
    values = [value for _, value in own + bundled]
    return own + bundled, chosen if chosen in values else (bundled or own)[0][1]


def _is_suited(task: Task, shape: Shape | None, parent: ModelRecord | None) -> bool:
    if parent is None:
        return True
    able = (shape or TASKS[task].shapes[0]).methods
    return task.value == parent.task and any(parent.architecture in architectures_of(task, each) for each in able)


def list_measuring(forge: Forge, examples: Examples) -> list[tuple[str, str]]:
    """Datasets that a run on these examples can be evaluated on: others of the same kind."""
    return [
        (f"{each.name} ({each.rows} rows)", each.id)
        for each in forge.datasets.all()
        if each.task == examples.task and each.id != examples.name and each.shape in ("", examples.shape.name)
    ]


def list_methods(examples: Examples) -> list[tuple[str, str]]:
    return [(METHODS[name].title, name) for name in examples.shape.methods]


def describe_verdict(examples: Examples, method: str, metric: str, held_out: int | None) -> tuple[str, bool]:
    """(what the verdict will rest on, whether that can be enough). held_out: rows; None for another dataset's."""
    name = metrics_of(examples.task, method, examples.shape.name)[0] if metric == "auto" else metric
    shown = SHOWN[name]
    sentence = f"Whether it got better will rest on {shown.in_sentence} ({shown.what})"
    if held_out is None:
        return f"{sentence}, measured on the other dataset.", True
    if not held_out:
        return "Nothing is held out, so whether it got better will not be measured.", False
    rows = "1 example" if held_out == 1 else f"{held_out:,} examples"
    few = f" Fewer than {FEWEST_ROWS} cannot show it: add examples." if held_out < FEWEST_ROWS else ""
    return f"{sentence}, measured on about {rows} held out of the dataset.{few}", not few


def list_tunings() -> list[tuple[str, str]]:
    """Those that this machine supports."""
    return [(TUNINGS[name].title, name) for name in tunings_of(hardware.detect().device.kind)]


def list_base_models(task: Task, method: str, tuning: str) -> list[tuple[str, str]]:
    """Base models that fit this machine, the task and the method, offline ones first."""
    able = architectures_of(task, method)
    known = {entry.id: entry for entry in catalog.entries()}
    entries = [known[name] for name in catalog.recommended(hardware.detect(), task, method, tuning)]
    size = hardware.describe_parameters
    return [
        (f"{entry.id} ({size(entry.parameters)}{', works offline' if entry.offline else ''})", entry.id)
        for entry in entries
        if entry.architecture in able
    ]


def choose_base_model(
    wanted: str | None, offered: list[tuple[str, str]], *, task: Task, method: str, kept: bool
) -> str:
    """The wanted one if it supports the task, otherwise the first of those offered. kept: it was chosen for this same
    task, so one that is not in the catalogue stays."""
    entry = catalog.find(wanted or "")
    if entry and task in entry.tasks and entry.architecture in architectures_of(task, method):
        return entry.id
    if wanted and entry is None and kept:
        return wanted
    return next((value for _, value in offered), STARTERS_BY_TASK[task])


def look_at(name: str, task: Task) -> Look:
    """`base_model.look`, cached for a while: the Hub can take seconds to answer."""
    now, person = time.monotonic(), current_caller()
    key = (name, task, "local" if person.is_local else person.id)
    checked_at, found = _looks.get(key, (0.0, None))
    if found is None or now - checked_at > LOOK_KEPT_SECONDS or found.place == "unknown":
        found = base_model.look(name, task)
        if len(_looks) > 200:
            _looks.clear()
        _looks[key] = (now, found)
    return found


def describe_base(name: str, task: Task) -> tuple[str, int]:
    """(name of its architecture, number of parameters or 0), from the catalogue where it is in it."""
    entry = catalog.find(name)
    if entry:
        return entry.architecture, entry.parameters
    found = look_at(name, task)
    return (found.architecture.name if found.architecture else TASKS[task].architectures[0]), found.parameters


def propose_settings(
    goal: str, examples: Examples, *, method: str, tuning: str, architecture: str, parameters: int
) -> dict[str, Any]:
    """Full name -> value of every setting: defaults, what the goal proposes, and what the dataset needs."""
    proposed = goals()[goal].propose(
        examples.rows,
        task=examples.task,
        method=method,
        tuning=tuning,
        architecture=architecture,
        parameters=parameters,
        hardware=hardware.detect(),
    )
    of_dataset = {"eval_dataset": examples.eval_dataset, "max_length": examples.max_length or Recipe().max_length}
    return {**read_defaults(examples.task.value, method, tuning), **proposed, **of_dataset}
