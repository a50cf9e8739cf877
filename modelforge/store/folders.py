"""Whole folders on disk: written, placed and deleted, each of them completely or not at all.

with unfinished(paths.models_dir()) as partial:
    ...                                 # write into it; a kill leaves what the next start removes
    place_folder(partial, target)       # its contents on the disk first, then its name
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from modelforge.errors import DiskFullError, explain_os_errors
from modelforge.paths import PRIVATE_FILE, PRIVATE_FOLDER
from modelforge.store.files import WINDOWS, sync_folder
from modelforge.store.leftovers import begin_folder, name_deleted, remove


@contextmanager
def unfinished(place: Path) -> Iterator[Path]:
    """A folder within `place` to write in; what is not placed when the block ends is removed."""
    folder = begin_folder(place)
    try:
        yield folder
    finally:
        remove(folder)


def place_folder(partial: Path, target: Path) -> None:
    """Give a folder that is completely written its name: first its contents last, then the name.

    partial: on the same drive as target. After a power cut at any moment target is there with all its contents, or not
    at all; when this returns it is there. Only this user can read it. Raises OSError, also where target exists.
    """
    for folder, _, names in os.walk(partial, topdown=False):
        for name in names:
            path = Path(folder, name)
            path.chmod(PRIVATE_FILE)
            with path.open("rb+" if WINDOWS else "rb") as file:  # Windows syncs what can be written
                os.fsync(file.fileno())
        Path(folder).chmod(PRIVATE_FOLDER)
        sync_folder(Path(folder))
    partial.rename(target)
    try:
        sync_folder(target.parent)
    except BaseException:
        target.rename(partial)
        raise


def delete_folder(folder: Path, forget: Callable[[], None]) -> None:
    """Delete a folder and the record of it. forget: removes the record, in a transaction.

    Works on a full disk: where the record cannot be removed, the files go first, which makes room. Any other error
    leaves both. What a kill leaves is deleted at the next start. Raises what `forget` raises, and StoreError.
    """
    doomed = name_deleted(folder)
    if folder.exists():
        with explain_os_errors(folder, "This cannot be deleted"):
            folder.rename(doomed)
    try:
        forget()
    except DiskFullError:
        shutil.rmtree(doomed, ignore_errors=True)
        forget()
    except BaseException:
        if doomed.exists():
            doomed.rename(folder)
        raise
    remove(doomed)
