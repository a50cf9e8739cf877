"""A registry file of its own for each test, and records to put into it."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from modelforge import paths
from modelforge.store import DatasetRecord, ModelRecord, RunRecord, RunState, Store

_SECONDS = itertools.count()


def _created() -> str:
    seconds = next(_SECONDS)
    return f"2026-11-02T{seconds // 3600 % 24:02}:{seconds // 60 % 60:02}:{seconds % 60:02}.000+00:00"


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "home" / "modelforge.json"


@pytest.fixture
def store(path: Path) -> Store:
    return Store(path)


@pytest.fixture
def make_model() -> Callable[..., ModelRecord]:
    def make(**changes: Any) -> ModelRecord:
        fields: dict[str, Any] = {
            "id": paths.new_id("model"),
            "created": _created(),
            "name": "Café answers",
            "base_model": "HuggingFaceTB/SmolLM2-135M-Instruct",
            "custom_base_model": False,
            "task": "text-generation",
            "method": "sft",
            "tuning": "lora",
            "dataset_name": "faq.csv",
        }
        return ModelRecord(**(fields | changes))

    return make


@pytest.fixture
def make_run() -> Callable[..., RunRecord]:
    def make(**changes: Any) -> RunRecord:
        fields: dict[str, Any] = {
            "id": paths.new_id("run"),
            "created": _created(),
            "state": RunState.queued,
            "recipe": {"base_model": "x", "tuning": {"type": "lora", "r": 16}},
            "dataset_id": paths.new_id("dataset"),
            "dataset_name": "faq.csv",
        }
        return RunRecord(**(fields | changes))

    return make


@pytest.fixture
def make_dataset() -> Callable[..., DatasetRecord]:
    def make(**changes: Any) -> DatasetRecord:
        fields: dict[str, Any] = {
            "id": paths.new_id("dataset"),
            "created": _created(),
            "name": "faq",
            "task": "text-generation",
            "source": "FAQ 2026.csv",
            "format": "csv",
            "rows": 24,
            "columns": {"prompt": "question", "completion": "answer"},
            "sha256": "0" * 64,
            "bytes": 4096,
        }
        return DatasetRecord(**(fields | changes))

    return make


@pytest.fixture
def beside(path: Path) -> Callable[[str], list[Path]]:
    """The files next to the registry whose names match, such as `beside("*.damaged-*")`."""
    return lambda pattern: sorted(path.parent.glob(pattern))
