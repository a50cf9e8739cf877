"""Base models worth starting from, by task and by what fits. The list is data: assets/models.yaml."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache

from modelforge import paths, starter
from modelforge.hardware import Hardware, describe_parameters
from modelforge.recipe import Task
from modelforge.tasks import TASKS

BYTES_PER_PARAMETER = {"lora": 2.0, "qlora": 0.75, "full": 16.0}
"""Tuning -> bytes for each parameter of a base model, without activations: frozen weights in 16 bits; in NF4 (0.52
bytes, arXiv 2305.14314) with embeddings in 16 bits; or weights, gradients and both moments of Adam in float32. A rough
filter for the models on offer; the planner computes the figures of the chosen one."""


@dataclass(frozen=True)
class Entry:
    """One base model of the catalogue.

    parameters: a count. architecture: a name of `modelforge.architecture`. context: the longest text, in tokens. gated:
    access must be granted on the Hub. languages: in words. released: a year.
    """

    id: str
    parameters: int
    architecture: str
    context: int
    licence: str
    gated: bool
    languages: str
    released: int
    tasks: tuple[Task, ...]
    sentence: str

    @property
    def offline(self) -> bool:
        return self.id in starter.STARTERS

    @property
    def facts(self) -> str:
        """The facts to choose by, in one line."""
        known = (
            describe_parameters(self.parameters),
            self.architecture,
            f"{self.context:,} tokens",
            self.languages,
            self.licence,
            str(self.released),
            "works offline" if self.offline else "",
            "gated: request access first" if self.gated else "",
        )
        return " · ".join(fact for fact in known if fact)


@cache
def entries() -> tuple[Entry, ...]:
    """Every base model of the catalogue, in the order of preference."""
    listed = paths.read_asset("models.yaml")
    return tuple(Entry(**{**row, "tasks": tuple(Task(task) for task in row["tasks"])}) for row in listed)


def find(name: str) -> Entry | None:
    """The entry of an id, if there is one."""
    return next((entry for entry in entries() if entry.id == name), None)


def recommended(hardware: Hardware, task: Task, method: str | None = None, tuning: str | None = None) -> list[str]:
    """Ids that fit this machine for a task, the best first: those that work offline, then open ones, then gated ones.

    method and tuning: of the recipe, else the task's usual method with LoRA. Nothing is recommended for a method that
    cannot train the task.
    """
    if method and method not in TASKS[task].methods:
        return []
    largest = largest_parameters(hardware, tuning or "lora")
    fitting = [entry for entry in entries() if task in entry.tasks and entry.parameters <= largest]
    return [entry.id for entry in sorted(fitting, key=lambda entry: (not entry.offline, entry.gated))]


def largest_parameters(hardware: Hardware, tuning: str) -> int:
    """About how many parameters a base model may have here for a tuning.

    A processor keeps frozen weights in float32 and is limited to a billion with any tuning: time is short there, not
    memory.
    """
    on_processor = hardware.device.kind == "cpu"
    bytes_each = 4.0 if on_processor and tuning == "lora" else BYTES_PER_PARAMETER[tuning]
    fitting = int(hardware.device.memory_bytes * 2 / 3 / bytes_each)
    return min(fitting, 1_000_000_000) if on_processor else fitting
