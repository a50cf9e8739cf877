"""The registry's records: one frozen record for each dataset, run, model and export.

Fields added by a newer minor version are kept when an older one writes the record again (`extra="allow"`). Folders are
not stored: they follow from the id (`paths.model_dir(id)`), so nothing here depends on the location of the home or the
current directory. This module does not know how records are stored.
"""

from __future__ import annotations

from datetime import UTC, datetime
from enum import StrEnum
from typing import Any

from pydantic import BaseModel, ConfigDict


def utc_now() -> str:
    """The current time as in records: UTC ISO 8601 with milliseconds, `2026-11-02T10:00:00.000+00:00`."""
    return datetime.now(UTC).isoformat(timespec="milliseconds")


class RunState(StrEnum):
    queued = "queued"
    preparing = "preparing"
    running = "running"
    stopping = "stopping"
    finished = "finished"
    stopped = "stopped"
    failed = "failed"
    interrupted = "interrupted"
    paused = "paused"

    @property
    def resumable(self) -> bool:
        """Whether it can be continued from its last checkpoint, or started over."""
        return self in (RunState.interrupted, RunState.paused, RunState.failed)

    @property
    def active(self) -> bool:
        """Whether a process trains it, or has it in its queue."""
        return self in (RunState.queued, RunState.preparing, RunState.running, RunState.stopping)


class Record(BaseModel):
    """The fields of all records. `created` is UTC ISO 8601 (`utc_now`); lists are sorted by it. owner: the id of the
    person whose it is (`Caller.id`); "" is the owner of the app, also for records from before there were others."""

    model_config = ConfigDict(frozen=True, extra="allow")

    id: str
    created: str
    owner: str = ""

    @property
    def label(self) -> str:
        """Its name for people; "" if it has none."""
        return ""


class DatasetRecord(Record):
    """A dataset. shape: the form of its rows. source: the file's name as the user gave it; file_rows: its number of
    rows. columns: role -> column. sha256, bytes: of its content. repairs: the number of fixes of each kind.
    eval_dataset: the id of the dataset to evaluate on, if one was given with it. max_length: recommended tokens for
    its rows; longest: approximate tokens of the longest row; 0 if unknown."""

    name: str
    task: str
    source: str
    format: str
    rows: int
    columns: dict[str, str]
    sha256: str
    bytes: int
    shape: str = ""
    file_rows: int = 0
    problems: dict[str, int] = {}
    repairs: dict[str, int] = {}
    eval_dataset: str = ""
    max_length: int = 0
    longest: int = 0

    @property
    def label(self) -> str:
        return self.name


class RunRecord(Record):
    """A run. error: kind, what, where, fix. times: UTC ISO 8601.

    pid and process_started (seconds, see `processes.find_start_time`) tell whether its process is still alive.
    queued: when it was queued; runs that swap places in the queue swap these times, so that the order is kept on disk.
    """

    state: RunState
    recipe: dict[str, Any]
    recipe_version: int = 1
    dataset_id: str
    dataset_name: str
    model_id: str | None = None
    started: str | None = None
    finished: str | None = None
    step: int = 0
    total_steps: int = 0
    error: dict[str, str] | None = None
    metrics: dict[str, Any] = {}
    peak_bytes: int = 0
    pid: int | None = None
    process_started: float | None = None
    queued: str = ""

    @property
    def label(self) -> str:
        return str(self.recipe.get("name") or "")

    @property
    def dataset_ids(self) -> tuple[str, ...]:
        """The datasets that it trains and evaluates on."""
        return tuple(filter(None, (self.dataset_id, self.recipe.get("eval_dataset"))))


class ModelRecord(Record):
    """A finished model. custom_base_model: the base model is the user's own choice, not from the catalogue.

    files_missing_from: where an import did not find its files; "" for a model that has them.
    """

    name: str
    base_model: str
    custom_base_model: bool
    task: str
    method: str
    tuning: str
    architecture: str = "decoder"
    parent: str | None = None
    run_id: str | None = None
    dataset_id: str | None = None
    dataset_name: str
    metrics: dict[str, Any] = {}
    description: str = ""
    files_missing_from: str = ""

    @property
    def label(self) -> str:
        return self.name


class ExportRecord(Record):
    """A model in a form that other programs take. files: {"name", "bytes"} of each. quantization: "" where the form has
    none. parity: how its answers compare with the model's, as `exports.parity.Parity`."""

    model_id: str
    format: str
    quantization: str = ""
    files: list[dict[str, Any]] = []
    parity: dict[str, Any] = {}
