"""Base models before any training, to be talked to: who may name which, and the record under which one is loaded.

Whoever names one may name what the Train tab lets them name: `base_model` decides that, also here. Such a record is not
in the store; its id is made of the name.
"""

from __future__ import annotations

import hashlib
import time

from modelforge import base_model, catalog, hardware
from modelforge.base_model import Look
from modelforge.caller import check_may_train, current_caller
from modelforge.errors import BaseModelError, MemoryFullError
from modelforge.recipe import Task
from modelforge.store import ModelRecord

UNTRAINED = "none"
"""What such a record has as its tuning."""
_KEPT_SECONDS = 60.0  # of what was found: the Hub can take seconds to answer
_MOST_KEPT = 200
_found: dict[tuple[str, str], tuple[float, Look, Task]] = {}


def is_untrained(record: ModelRecord) -> bool:
    return record.tuning == UNTRAINED


def find_untrained(name: str) -> ModelRecord:
    """The record of a base model. name: an id of the Hub or, from this machine, a folder. Its description says what the
    model is. Downloads no weights.

    Raises BaseModelError for a name that this person may not use, a model that cannot be loaded or that the Hub does
    not tell about, AccessError for who may only chat, MemoryFullError for one too large for this machine.
    """
    check_may_train("choosing another model")
    name = base_model.canonical(name.strip())
    found, task = _look(name)
    _check_memory(name, found.parameters)
    if found.architecture is None:
        fix = "Connect to the internet, or choose a base model that is on this machine."
        raise BaseModelError(f"{name} is not on this machine and the Hub does not answer.", where=name, fix=fix)
    return ModelRecord(
        id=f"base-{hashlib.sha256(name.encode()).hexdigest()[:12]}",
        created="",
        name=name.replace("\\", "/").rpartition("/")[2] or name,
        base_model=name,
        custom_base_model=catalog.find(name) is None,
        task=task,
        method="",
        tuning=UNTRAINED,
        architecture=found.architecture.name,
        dataset_name="",
        description=found.sentence,
    )


def fetch(record: ModelRecord) -> None:
    """Download the weights if necessary. Raises BaseModelError, DownloadError, DiskFullError."""
    base_model.resolve(record.base_model, Task(record.task))


def _look(name: str) -> tuple[Look, Task]:
    """What is known of it, for the first task that its architecture suits."""
    person = current_caller()
    key = (name, "local" if person.is_local else f"person {person.id}")
    looked_at, found, task = _found.get(key, (0.0, None, Task.TEXT_GENERATION))
    if found is None or time.monotonic() - looked_at > _KEPT_SECONDS:
        found, task = _look_for_each_task(name)
        if not found.error and found.place != "unknown":
            if len(_found) >= _MOST_KEPT:
                _found.clear()
            _found[key] = (time.monotonic(), found, task)
    if found.error:
        raise found.error
    return found, task


def _look_for_each_task(name: str) -> tuple[Look, Task]:
    first = None
    for task in Task:
        found = base_model.look(name, task)
        if not found.error:
            return found, task
        first = first or found
    assert first is not None  # noqa: S101 - there are tasks
    return first, Task.TEXT_GENERATION


def _check_memory(name: str, parameters: int) -> None:
    """A processor holds weights in float32, an accelerator in 16 bits; see `loaded.load_weights`."""
    device = hardware.detect().device
    needed = parameters * (4 if device.kind == "cpu" else 2)
    if needed > device.memory_bytes:
        size = hardware.describe_bytes
        raise MemoryFullError(
            f"{name} needs {size(needed)} of memory, and this machine has {size(device.memory_bytes)}.",
            where=name,
            fix="Choose a smaller base model.",
        )
