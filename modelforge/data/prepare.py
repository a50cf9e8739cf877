"""Writes a checked file as a dataset under home, and reads it back. A dataset is there in full or not at all."""

from __future__ import annotations

import errno
import hashlib
import json
import os
import secrets
import shutil
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path

from modelforge.data.checks import Report, dump_row
from modelforge.errors import DatasetError, DiskFullError, NotFoundError
from modelforge.paths import dataset_dir, home
from modelforge.recipe import Task
from modelforge.tasks.base import MappedRow

ROWS_FILE = "rows.jsonl"
MANIFEST_FILE = "dataset.json"
_SPARE_BYTES = 10_000_000  # kept free for everything else that writes meanwhile


@dataclass(frozen=True)
class Dataset:
    """The manifest of a dataset. file: the name of the file that it was made from, without its folder. mapping: role ->
    column. sha256: over task and rows. created: UTC, ISO 8601."""

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
    schema: int = 1


def prepare(report: Report, *, name: str = "") -> Dataset:
    """Write the rows of a report. The same rows for the same task are one dataset: the one there is, is returned.

    Raises DatasetError where the report has errors, DiskFullError before anything is written.
    """
    if not report.ok:
        first = next(problem for problem in report.problems if problem.severity == "error")
        place = f", row {first.row} (line {first.line})" if first.row else ""
        more = f" ({report.counts.errors - 1} more errors.)" if report.counts.errors > 1 else ""
        raise DatasetError(f"{first.problem}{more}", where=f"{Path(report.file).name}{place}", fix=first.fix)
    size, sha256 = _measure(report.task, report.mapped_rows)
    dataset_id = f"dataset-{sha256[:12]}"
    folder = dataset_dir(dataset_id)
    if folder.exists():
        try:
            read_rows(dataset_id)
        except (DatasetError, NotFoundError):
            shutil.rmtree(folder)  # damaged, and we hold the very rows that belong there
        else:
            return read_manifest(dataset_id)
    dataset = Dataset(
        id=dataset_id,
        name=name.strip() or Path(report.file).stem,
        task=report.task,
        rows=len(report.mapped_rows),
        duplicates=report.counts.duplicates,
        file=Path(report.file).name,
        format=report.format,
        encoding=report.encoding,
        mapping=dict(report.mapping.columns),
        sha256=sha256,
        created=datetime.now(UTC).isoformat(timespec="seconds"),
    )
    folder.parent.mkdir(parents=True, exist_ok=True)
    _check_space(folder.parent, size + _SPARE_BYTES)
    _write(folder, dataset, report.mapped_rows, size)
    return dataset


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
    dataset = read_manifest(dataset_id)
    path = dataset_dir(dataset_id) / ROWS_FILE
    digest = _start_digest(dataset.task)
    rows = []
    try:
        with path.open("rb") as file:  # bytes are split at \n only; text may hold other separators
            for line in file:
                digest.update(line)
                rows.append(json.loads(line))
    except (OSError, ValueError) as error:
        raise DatasetError("This dataset is damaged.", where=str(path), fix="Add its file again.") from error
    if digest.hexdigest() != dataset.sha256:
        raise DatasetError("The rows of this dataset were changed.", where=str(path), fix="Add its file again.")
    return rows


def _measure(task: Task, rows: Iterable[MappedRow]) -> tuple[int, str]:
    """Bytes and sha256 of the rows as they will be written."""
    digest = _start_digest(task)
    size = 0
    for row in rows:
        line = _encode(row)
        digest.update(line)
        size += len(line)
    return size, digest.hexdigest()


def _start_digest(task: Task) -> hashlib._Hash:
    return hashlib.sha256(f"{task.value}\n".encode())


def _encode(row: MappedRow) -> bytes:
    return f"{dump_row(row)}\n".encode()


def _check_space(folder: Path, needed: int) -> None:
    free = shutil.disk_usage(folder).free
    if free < needed:
        raise DiskFullError(needed=needed, free=free, where=str(home()))


def _write(folder: Path, dataset: Dataset, rows: Iterable[MappedRow], size: int) -> None:
    """Write into a folder beside and rename it, so that a kill leaves at most a folder that nobody looks at."""
    unfinished = folder.parent / f".unfinished-{secrets.token_hex(6)}"
    manifest = json.dumps(asdict(dataset), indent=2).encode()
    try:
        unfinished.mkdir()
        for name, chunks in ((ROWS_FILE, map(_encode, rows)), (MANIFEST_FILE, iter([manifest]))):
            with (unfinished / name).open("wb") as file:
                file.writelines(chunks)
                file.flush()
                os.fsync(file.fileno())
        unfinished.rename(folder)
    except OSError as error:
        if error.errno == errno.ENOSPC:
            raise DiskFullError(needed=size, free=shutil.disk_usage(folder.parent).free, where=str(home())) from error
        if not (folder / MANIFEST_FILE).exists():  # else another process wrote the same dataset meanwhile
            raise
    finally:
        shutil.rmtree(unfinished, ignore_errors=True)
