"""Writes a checked file as a dataset under home, and reads it back. A dataset is there in full or not at all."""

from __future__ import annotations

import errno
import hashlib
import json
import os
import secrets
import shutil
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from pathlib import Path

import orjson

from modelforge.data.report import Report
from modelforge.errors import DatasetError, DiskFullError, NotFoundError
from modelforge.paths import dataset_dir, home
from modelforge.recipe import Task
from modelforge.tasks.base import MappedRow

ROWS_FILE = "rows.jsonl"
MANIFEST_FILE = "dataset.json"
_SPARE_BYTES = 10_000_000  # kept free for everything else that writes meanwhile


@dataclass(frozen=True)
class Dataset:
    """The manifest of a dataset. shape: the name of the form of its rows. file: the name of the file that it was made
    from, without its folder. mapping: role -> column. repairs: what was mended, and how often. sha256: over task and
    rows. created: UTC, ISO 8601."""

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
    """Write the rows of a report. The same rows for the same task are one dataset: the one there is, is returned.

    Raises DatasetError where the report has errors, DiskFullError before anything is written.
    """
    if not report.ok:
        first = report.all_problems.first_error or report.problems[0]
        place = f", row {first.row}" if first.row else ""
        place += f" (line {first.line})" if first.line else ""
        more = f" ({report.counts.errors - 1} more errors.)" if report.counts.errors > 1 else ""
        raise DatasetError(f"{first.problem}{more}", where=f"{Path(report.file).name}{place}", fix=first.fix)
    folder = home() / "datasets"
    folder.mkdir(parents=True, exist_ok=True)
    needed = report.mapped_rows.size + _SPARE_BYTES
    _check_space(folder, needed)
    unfinished = folder / f".unfinished-{secrets.token_hex(6)}"
    try:
        unfinished.mkdir()
        sha256 = _write_rows(unfinished / ROWS_FILE, report)
        dataset = _describe(report, sha256, name)
        return _put_in_place(unfinished, dataset)
    except OSError as error:
        if error.errno == errno.ENOSPC:
            raise DiskFullError(needed=needed, free=shutil.disk_usage(folder).free, where=str(home())) from error
        raise
    finally:
        shutil.rmtree(unfinished, ignore_errors=True)


def read_manifest(dataset_id: str) -> Dataset:
    """The manifest of a dataset. Raises NotFoundError where there is none of that id, DatasetError if it is damaged."""
    path = dataset_dir(dataset_id) / MANIFEST_FILE
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
        return Dataset(**(values | {"task": Task(values["task"])}))
    except FileNotFoundError as error:
        raise NotFoundError(f"There is no dataset {dataset_id!r}.", fix="Add its file again.") from error
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise DatasetError("This dataset is damaged.", where=str(path), fix="Add its file again.") from error


def read_rows(dataset_id: str) -> list[MappedRow]:
    """All mapped rows, in order; their hash is compared with the manifest's, so that they are the ones checked."""
    try:
        return [orjson.loads(line) for line in _read_lines(dataset_id)]
    except ValueError as error:
        path = dataset_dir(dataset_id) / ROWS_FILE
        raise DatasetError("This dataset is damaged.", where=str(path), fix="Add its file again.") from error


def _read_lines(dataset_id: str) -> Iterator[bytes]:
    """The lines of a dataset. Raises DatasetError, at the end at the latest, where they are not the ones that were
    written."""
    dataset = read_manifest(dataset_id)
    path = dataset_dir(dataset_id) / ROWS_FILE
    digest = _start_digest(dataset.task)
    try:
        with path.open("rb") as file:  # bytes are split at \n only; text may hold other separators
            for line in file:
                digest.update(line)
                yield line
    except OSError as error:
        raise DatasetError("This dataset is damaged.", where=str(path), fix="Add its file again.") from error
    if digest.hexdigest() != dataset.sha256:
        raise DatasetError("The rows of this dataset were changed.", where=str(path), fix="Add its file again.")


def _start_digest(task: Task) -> hashlib._Hash:
    return hashlib.sha256(f"{task.value}\n".encode())


def _check_space(folder: Path, needed: int) -> None:
    free = shutil.disk_usage(folder).free
    if free < needed:
        raise DiskFullError(needed=needed, free=free, where=str(home()))


def _write_rows(path: Path, report: Report) -> str:
    """Write all rows; returns the sha256 over task and rows."""
    digest = _start_digest(report.task)
    with path.open("wb") as file:
        for chunk in report.mapped_rows.chunks():
            digest.update(chunk)
            file.write(chunk)
        file.flush()
        os.fsync(file.fileno())
    return digest.hexdigest()


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


def _put_in_place(unfinished: Path, dataset: Dataset) -> Dataset:
    """Rename the finished folder to where it belongs, so that a kill leaves at most a folder that nobody looks at. An
    equal dataset that is there already stays, unless it is damaged: we hold the very rows that belong there."""
    folder = dataset_dir(dataset.id)
    if folder.exists():
        try:
            for _ in _read_lines(dataset.id):
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
        if not (folder / MANIFEST_FILE).exists():  # else another process wrote the same dataset meanwhile
            raise
    return read_manifest(dataset.id)
