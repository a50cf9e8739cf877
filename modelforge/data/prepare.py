"""Writes the rows of a checked file as a dataset under home, and reads them back. A dataset is complete or absent."""

from __future__ import annotations

import errno
import hashlib
import json
import os
import secrets
import shutil
from collections.abc import Generator, Iterator
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pyarrow as pa

from modelforge.data.forms import ROW, Form, form_of
from modelforge.data.report import Report
from modelforge.data.row_cache import Digest
from modelforge.errors import DatasetError, DiskFullError, NotFoundError
from modelforge.paths import dataset_dir, home
from modelforge.recipe import Task
from modelforge.tasks.base import MappedRow

ROWS_FILE = "rows.arrow"
OLD_ROWS_FILE = "rows.jsonl"
MANIFEST_FILE = "dataset.json"
_SPARE_BYTES = 10_000_000  # left free for other writers


@dataclass(frozen=True)
class Dataset:
    """The manifest of a dataset. shape: the name of its shape. file: the name of the original file, without folder.
    mapping: role -> column. repairs: name -> how often it was applied. sha256: over task and rows. created: UTC, ISO
    8601."""

    id: str
    name: str
    task: Task
    rows: int
    duplicates: int
    file: str
    format: str
    encoding: str
    mapping: dict[str, str]
    sha256: str
    created: str
    shape: str = ""
    file_rows: int = 0
    repairs: dict[str, int] = field(default_factory=dict)
    schema: int = 2


def prepare(report: Report, *, name: str = "") -> Dataset:
    """Write the rows of a report. If a dataset with the same rows and task exists, it is returned.

    Raises DatasetError if the report has errors, DiskFullError before anything is written.
    """
    refuse_errors(report)
    folder = home() / "datasets"
    folder.mkdir(parents=True, exist_ok=True)
    needed = report.mapped_rows.size + _SPARE_BYTES
    _check_space(folder, needed)
    unfinished = folder / f".unfinished-{secrets.token_hex(6)}"
    try:
        unfinished.mkdir()
        dataset = _describe(report, _write_rows(unfinished / ROWS_FILE, report), name)
        return _publish(unfinished, dataset)
    except OSError as error:
        if error.errno == errno.ENOSPC:
            raise DiskFullError(needed=needed, free=shutil.disk_usage(folder).free, where=str(home())) from error
        raise
    finally:
        shutil.rmtree(unfinished, ignore_errors=True)


def refuse_errors(report: Report) -> None:
    """Raise the first error of a report, if any, as a DatasetError that names file, row and line."""
    if report.ok:
        return
    first = report.all_problems.first_error or report.problems[0]
    place = f", row {first.row}" if first.row else ""
    place += f" (line {first.line})" if first.line else ""
    more = f" ({report.counts.errors - 1} more errors.)" if report.counts.errors > 1 else ""
    raise DatasetError(f"{first.problem}{more}", where=f"{Path(report.file).name}{place}", fix=first.fix)


def read_manifest(dataset_id: str) -> Dataset:
    """The manifest of a dataset. Raises NotFoundError if it does not exist, DatasetError if it is damaged."""
    path = dataset_dir(dataset_id) / MANIFEST_FILE
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
        return Dataset(**(values | {"task": Task(values["task"])}))
    except FileNotFoundError as error:
        raise NotFoundError(f"There is no dataset {dataset_id!r}.", fix="Add its file again.") from error
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise DatasetError("This dataset is damaged.", where=str(path), fix="Add its file again.") from error


def read_rows(dataset_id: str) -> list[MappedRow]:
    """All mapped rows, in order. Raises DatasetError if their hash is not the manifest's."""
    return list(_read(dataset_id))


def _read(dataset_id: str) -> Iterator[MappedRow]:
    """The rows of a dataset. Raises DatasetError, at the end at the latest, if they were changed."""
    for form, columns in _read_batches(dataset_id):
        yield from map(form.unpack, zip(*(column.to_pylist() for column in columns), strict=True))


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


def _read_arrow(path: Path, task: Task) -> Generator[tuple[Form, list[Any]], None, str]:
    """Batches of rows as columns of their form. Returns the hash over task and rows."""
    with pa.memory_map(str(path)) as file:
        batches = pa.ipc.open_file(file)
        form = form_of(batches.schema.names)
        digest = Digest(form)
        for index in range(batches.num_record_batches):
            batch = batches.get_batch(index)
            digest.update(batch)
            yield form, batch.columns
    return _hash(task, digest.hexdigest())


def _read_old(path: Path, task: Task) -> Generator[tuple[Form, list[Any]], None, str]:
    """Like `_read_arrow`, for datasets of schema 1, which are JSON Lines."""
    digest = hashlib.sha256(f"{task.value}\n".encode())
    with path.open("rb") as file:  # bytes are split at \n only; text can contain other line separators
        for line in file:
            digest.update(line)
            yield ROW, [pa.array([line.decode()])]
    return digest.hexdigest()


def _hash(task: Task, content: str) -> str:
    return hashlib.sha256(f"{task.value}\n{content}\n".encode()).hexdigest()


def _check_space(folder: Path, needed: int) -> None:
    free = shutil.disk_usage(folder).free
    if free < needed:
        raise DiskFullError(needed=needed, free=free, where=str(home()))


def _write_rows(path: Path, report: Report) -> str:
    """Write all rows. Returns the SHA-256 over task and rows."""
    content = report.mapped_rows.write(path)
    with path.open("rb+") as file:
        os.fsync(file.fileno())
    return _hash(report.task, content)


def _describe(report: Report, sha256: str, name: str) -> Dataset:
    return Dataset(
        id=f"dataset-{sha256[:12]}",
        name=name.strip() or Path(report.file).stem,
        task=report.task,
        shape=report.shape.name,
        rows=len(report.mapped_rows),
        file_rows=report.rows,
        duplicates=report.counts.duplicates,
        file=Path(report.file).name,
        format=report.format,
        encoding=report.encoding,
        mapping=dict(report.mapping.columns),
        repairs={name: count.done for name, count in report.repairs.items() if count.done},
        sha256=sha256,
        created=datetime.now(UTC).isoformat(timespec="seconds"),
    )


def _publish(unfinished: Path, dataset: Dataset) -> Dataset:
    """Rename the finished folder to its final place, so that a kill leaves at most an unfinished folder. An existing
    equal dataset stays unless it is damaged."""
    folder = dataset_dir(dataset.id)
    if folder.exists():
        try:
            for _ in _read_batches(dataset.id):
                pass
            return read_manifest(dataset.id)
        except (DatasetError, NotFoundError):
            shutil.rmtree(folder)
    with (unfinished / MANIFEST_FILE).open("wb") as file:
        file.write(json.dumps(asdict(dataset), indent=2).encode())
        file.flush()
        os.fsync(file.fileno())
    try:
        unfinished.rename(folder)
    except OSError:
        if not (folder / MANIFEST_FILE).exists():  # otherwise another process has just written the same dataset
            raise
    return read_manifest(dataset.id)
