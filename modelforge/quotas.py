"""How much of a shared machine each person may use; the owner may use all of it.

`apply` reads the limits when the app opens. Until then, as on the command line and in local mode, there are none.
"""

from __future__ import annotations

import contextlib
import json
import os
from collections.abc import Mapping
from dataclasses import dataclass, fields
from pathlib import Path

from modelforge import paths
from modelforge.caller import current_caller
from modelforge.errors import AccessError
from modelforge.store import Store

ASK = "Ask the owner of this app for more."


@dataclass(frozen=True)
class Quotas:
    """Of each person. upload_mb, disk_gb: 10^6 and 10^9 bytes. runs: in progress and in the queue. run_hours: of one
    run, which then saves its model."""

    upload_mb: float = 200
    rows: float = 200_000
    disk_gb: float = 10
    runs: float = 3
    run_hours: float = 4


_limits: Quotas | None = None


def apply(environment: Mapping[str, str] = os.environ) -> None:
    """Set the limits. MODELFORGE_QUOTAS: others than the usual ones, as in "rows=50000 run_hours=1". Raises
    AccessError."""
    global _limits  # noqa: PLW0603 - of the process, like the app
    _limits = read(environment.get("MODELFORGE_QUOTAS", ""))


def read(text: str) -> Quotas:
    """Quotas from text such as "rows=50000 run_hours=1"."""
    known = {field.name for field in fields(Quotas)}
    given = {}
    for part in text.split():
        name, _, value = part.partition("=")
        try:
            given[name] = float(value)
        except ValueError:
            given[name] = -1.0
        if name not in known or not given[name] >= 0:
            raise AccessError(
                f"{part!r} is not a quota.", where="MODELFORGE_QUOTAS", fix=f"Write NAME=NUMBER: {', '.join(known)}."
            )
    return Quotas(**given)


def current() -> Quotas | None:
    """The limits of the person for whom this runs; None for the owner."""
    return None if current_caller().is_owner else _limits or Quotas()


def check_rows(rows: int) -> None:
    """Raises AccessError for a dataset that is too long."""
    limits = current()
    if limits and rows > limits.rows:
        raise AccessError(f"A dataset may have {limits.rows:,.0f} rows here; this one has {rows:,}.", fix=ASK)


def check_disk(store: Store) -> None:
    """Raises AccessError for somebody whose datasets, runs and models have filled the share of the disk."""
    limits = current()
    if limits and (used := used_bytes(store)) >= limits.disk_gb * 1e9:
        what = f"Your files here take {used / 1e9:.1f} GB; each person may use {limits.disk_gb:g} GB."
        raise AccessError(what, fix=f"Delete datasets, runs, models, exports or answered files. {ASK}")


def check_runs(store: Store, more: int) -> None:
    """Raises AccessError for somebody who would have more runs waiting or in progress than each may."""
    limits = current()
    active = sum(run.state.active for run in store.runs.all())
    if limits and active + more > limits.runs:
        what = f"Each person may have {limits.runs:g} runs in the queue; you have {active}, and want {more} more."
        raise AccessError(what, fix=f"Wait until one has ended. {ASK}")


def used_bytes(store: Store) -> int:
    """Of the files of all that this person sees."""
    folders = [
        *(paths.dataset_dir(record.id) for record in store.datasets.all()),
        *(paths.run_dir(record.id) for record in store.runs.all()),
        *(paths.model_dir(record.id) for record in store.models.all()),
        *(paths.export_dir(record.id) for record in store.exports.all()),
        *_find_batches(),
    ]
    return sum(file.stat().st_size for folder in folders for file in folder.rglob("*") if file.is_file())


def _find_batches() -> list[Path]:
    """The folders of the files that were answered for this person: they are in no table."""
    caller, found = current_caller(), []
    for record in (paths.home() / "batches").glob("*/batch.json"):
        with contextlib.suppress(OSError, ValueError, AttributeError):  # damaged: nobody's
            if caller.is_owner or json.loads(record.read_text(encoding="utf-8")).get("owner") == caller.id:
                found.append(record.parent)
    return found
