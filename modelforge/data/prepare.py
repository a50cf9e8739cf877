"""Writes the rows of a checked file as a dataset under home, and reads them back. A dataset is complete or absent."""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Generator, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, cast

import pyarrow as pa

from modelforge.caller import current_caller
from modelforge.data.forms import FORMS, ROW, Form
from modelforge.data.report import Report
from modelforge.data.row_cache import Digest
from modelforge.errors import DatasetError, NotFoundError, check_space, report_full_disk
from modelforge.paths import dataset_dir, home, make_folder
from modelforge.store import DatasetRecord, manifests
from modelforge.store.folders import place_folder, unfinished
from modelforge.tasks.base import MappedRow

ROWS_FILE, OLD_ROWS_FILE = manifests.ROWS_FILES
_FORM_OF = {form.columns: form for form in FORMS.values()}
LONGEST_NAME = 120  # characters
_SPARE_BYTES = 10_000_000  # left free for other writers


def prepare(report: Report, *, name: str = "") -> DatasetRecord:
    """Write the rows of a report. If a dataset with the same rows and task exists, it is returned.

    Raises DatasetError if the report has errors, DiskFullError before anything is written.
    """
    refuse_errors(report)
    folder = make_folder(home() / "datasets")
    needed = report.mapped_rows.size + _SPARE_BYTES
    check_space(home(), needed)
    with unfinished(folder) as partial, report_full_disk(home(), needed):
        content = report.mapped_rows.write(partial / ROWS_FILE)
        return _publish(partial, _describe(report, _hash(report.task, content), name))


def refuse_errors(report: Report) -> None:
    """Raise the first error of a report, if any, as a DatasetError that names file, row and line."""
    if report.ok:
        return
    first = report.all_problems.first_error or report.problems[0]
    place = f", row {first.row}" if first.row else ""
    place += f" (line {first.line})" if first.line else ""
    more = f" ({report.counts.errors - 1} more errors.)" if report.counts.errors > 1 else ""
    raise DatasetError(f"{first.problem}{more}", where=f"{Path(report.file).name}{place}", fix=first.fix)


def read_manifest(dataset_id: str) -> DatasetRecord:
    """The record of a dataset. Raises NotFoundError if it does not exist, DatasetError if it is damaged."""
    path = dataset_dir(dataset_id) / manifests.DATASET.manifest
    try:
        return cast(DatasetRecord, manifests.read_record(manifests.DATASET, path))
    except FileNotFoundError as error:
        raise NotFoundError(f"There is no dataset {dataset_id!r}.", fix="Add its file again.") from error
    except (OSError, *manifests.UNREADABLE) as error:
        raise DatasetError("This dataset is damaged.", where=str(path), fix="Add its file again.") from error


def read_rows(dataset_id: str) -> list[MappedRow]:
    """All mapped rows, in order. Raises DatasetError if their hash is not the manifest's."""
    rows: list[MappedRow] = []
    for form, columns in _read_batches(dataset_id):
        rows += map(form.unpack, zip(*(column.to_pylist() for column in columns), strict=True))
    return rows


def _read_batches(dataset_id: str) -> Iterator[tuple[Form, list[Any]]]:
    dataset = read_manifest(dataset_id)
    folder = dataset_dir(dataset_id)
    old = folder / OLD_ROWS_FILE
    path = old if old.exists() else folder / ROWS_FILE
    try:
        sha256 = yield from (_read_old(path, dataset.task) if path is old else _read_arrow(path, dataset.task))
    except (OSError, ValueError, KeyError) as error:  # including Arrow's own
        raise DatasetError("This dataset is damaged.", where=str(path), fix="Add its file again.") from error
    if sha256 != dataset.sha256:
        raise DatasetError("The rows of this dataset were changed.", where=str(path), fix="Add its file again.")


def _read_arrow(path: Path, task: str) -> Generator[tuple[Form, list[Any]], None, str]:
    """Batches of rows as columns of their form. Returns the hash over task and rows."""
    with pa.memory_map(str(path)) as file:
        batches = pa.ipc.open_file(file)
        form = _FORM_OF[tuple(batches.schema.names)]
        digest = Digest(form)
        for index in range(batches.num_record_batches):
            batch = batches.get_batch(index)
            digest.update(batch)
            yield form, batch.columns
    return _hash(task, digest.hexdigest())


def _read_old(path: Path, task: str) -> Generator[tuple[Form, list[Any]], None, str]:
    """Like `_read_arrow`, for datasets of schema 1, which are JSON Lines."""
    digest = hashlib.sha256(f"{task}\n".encode())
    with path.open("rb") as file:  # bytes are split at \n only; text can contain other line separators
        for line in file:
            digest.update(line)
            yield ROW, [pa.array([line.decode()])]
    return digest.hexdigest()


def _hash(task: str, content: str) -> str:
    return hashlib.sha256(f"{task}\n{content}\n".encode()).hexdigest()


def _describe(report: Report, sha256: str, name: str) -> dict[str, Any]:
    """The manifest. file: the name of the original file, without folder. mapping: role -> column. repairs: name -> how
    often it was applied. sha256: over task and rows."""
    owner = current_caller().id
    number = hashlib.sha256(f"{owner}\n{sha256}".encode()).hexdigest() if owner else sha256
    return {
        "id": f"dataset-{number[:12]}",
        "owner": owner,
        "name": name.strip() or Path(report.file).stem[:LONGEST_NAME],
        "task": report.task.value,
        "rows": len(report.mapped_rows),
        "duplicates": report.counts.duplicates,
        "file": Path(report.file).name,
        "format": report.format,
        "encoding": report.encoding,
        "mapping": dict(report.mapping.columns),
        "sha256": sha256,
        "created": datetime.now(UTC).isoformat(timespec="seconds"),
        "shape": report.shape.name,
        "file_rows": report.rows,
        "repairs": {name: count.done for name, count in report.repairs.items() if count.done},
        "schema": 2,
    }


def _publish(partial: Path, manifest: dict[str, Any]) -> DatasetRecord:
    """Give the finished folder its name. An existing equal dataset stays unless it is damaged."""
    folder = dataset_dir(manifest["id"])
    (partial / manifests.DATASET.manifest).write_text(json.dumps(manifest, indent=2), encoding="utf-8")
    if folder.exists():
        try:
            for _ in _read_batches(manifest["id"]):
                pass
            return read_manifest(manifest["id"])
        except (DatasetError, NotFoundError):
            shutil.rmtree(folder)
    try:
        place_folder(partial, folder)
    except OSError:
        if not (folder / manifests.DATASET.manifest).exists():  # else another process has written the same dataset
            raise
    return read_manifest(manifest["id"])
