"""Every error that a user can meet, as one tree.

    ModelForgeError
    ├── RecipeError         a setting is missing, unknown, of the wrong type or out of bounds
    ├── DatasetError        a file cannot be read, mapped, checked or prepared
    ├── BaseModelError      a base model does not exist, is not accessible or cannot do the task
    ├── NotFoundError       no dataset, run or model has this id or name
    ├── StoreError          the registry, or a folder of the home, cannot be read or written
    ├── DiskFullError       the target drive has too little space
    ├── MemoryFullError     the device ran out of memory
    ├── TrainingError       a run could not start or continue (nothing to train on)
    ├── RunawayError        the loss or the weights of a run became NaN or infinite
    ├── RunStateError       the run, model or dataset is in a state that does not allow this (busy, in use)
    ├── DownloadError       something could not be downloaded (no network, wrong checksum)
    ├── ExportError         a model cannot be written in this form, or the files do not answer as the model does
    ├── HubError            the Hugging Face Hub refused a request (sign-in, permission, name)
    └── AccessError         the app does not open in this way, or a person may not do this (paths, quotas)

An error says *what* happened, *where* (file, row, column, setting) and *how to fix it*. Any other
exception is a bug: the worker and the command line report it as one.
"""

from __future__ import annotations

import errno
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

_NO_SPACE = (errno.ENOSPC, errno.EDQUOT)


class ModelForgeError(Exception):
    """Base of all errors shown to users.

    what: one sentence, what happened. where: the file, row, column or setting, or "". fix: one sentence, how to fix it.
    """

    kind = "error"

    def __init__(self, what: str, *, where: str = "", fix: str = "") -> None:
        self.what = what
        self.where = where
        self.fix = fix
        super().__init__(what)

    def __str__(self) -> str:
        message = f"{self.where}: {self.what}" if self.where else self.what
        return f"{message} {self.fix}" if self.fix else message


class RecipeError(ModelForgeError):
    kind = "recipe"


class DatasetError(ModelForgeError):
    kind = "data"


class BaseModelError(ModelForgeError):
    kind = "base model"


class NotFoundError(ModelForgeError):
    kind = "not found"


class StoreError(ModelForgeError):
    kind = "store"


class DiskFullError(ModelForgeError):
    """needed and free are bytes."""

    kind = "disk"

    def __init__(self, *, needed: int, free: int, where: str) -> None:
        self.needed = needed
        self.free = free
        super().__init__(
            f"Not enough disk space: {needed / 1e9:.2f} GB needed, {free / 1e9:.2f} GB free.",
            where=where,
            fix="Free some space, or set MODELFORGE_HOME to a folder on a larger drive.",
        )


class MemoryFullError(ModelForgeError):
    kind = "out of memory"


class TrainingError(ModelForgeError):
    kind = "training"


class RunawayError(ModelForgeError):
    kind = "nan"


class RunStateError(ModelForgeError):
    kind = "state"


class DownloadError(ModelForgeError):
    kind = "download"


class ExportError(ModelForgeError):
    kind = "export"


class HubError(ModelForgeError):
    kind = "hub"


class AccessError(ModelForgeError):
    kind = "access"


def is_disk_full(error: BaseException) -> bool:
    """Whether an error, or its cause, is a lack of disk space; safetensors and datasets have their own words for it."""
    if isinstance(error, OSError) and (error.errno in _NO_SPACE or "Not enough disk space" in str(error)):
        return True
    if type(error).__name__ == "SafetensorError" and f"os error {errno.ENOSPC}" in str(error):
        return True
    return error.__cause__ is not None and is_disk_full(error.__cause__)


def check_space(folder: Path, needed: int) -> None:
    """Raise DiskFullError unless so many bytes are free on the drive of an existing folder."""
    free = shutil.disk_usage(folder).free
    if free < needed:
        raise DiskFullError(needed=needed, free=free, where=str(folder))


@contextmanager
def explain_os_errors(path: Path, what: str, *, needed_bytes: int = 0) -> Iterator[None]:
    """An OSError in the block becomes a DiskFullError, or a StoreError with its reason. what: "The registry cannot be
    read", without the full stop. path: need not exist."""
    try:
        yield
    except OSError as error:
        if is_disk_full(error):
            free = shutil.disk_usage(next(folder for folder in path.parents if folder.exists())).free
            raise DiskFullError(needed=needed_bytes or free + 1, free=free, where=str(path)) from error
        raise StoreError(
            f"{what}: {error.strerror or error}.",
            where=str(path),
            fix="Check that you may read and write there, or set MODELFORGE_HOME to another folder.",
        ) from error


@contextmanager
def report_full_disk(folder: Path, needed: int = 0) -> Iterator[None]:
    """Raise DiskFullError if the drive of an existing folder is full. needed: bytes; 0 if unknown."""
    try:
        yield
    except Exception as error:
        if not is_disk_full(error):
            raise
        free = shutil.disk_usage(folder).free
        raise DiskFullError(needed=needed or free + 1, free=free, where=str(folder)) from error
