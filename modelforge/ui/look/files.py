"""Files from and for the browser: in the home's folder of uploads, which only this user can read, and for a day."""

from __future__ import annotations

import contextlib
import os
import tempfile
from pathlib import Path

from modelforge import paths
from modelforge.errors import DiskFullError
from modelforge.store.leftovers import remove_leftovers


def keep_uploads_in_home() -> None:
    """Let Gradio put uploads into the home: its own folder for all users of a machine belongs to the first of them.

    Call it before a page is built: each widget notes the folder.
    """
    os.environ["GRADIO_TEMP_DIR"] = str(paths.uploads_dir())
    with contextlib.suppress(
        DiskFullError
    ):  # the app is what makes room; Gradio creates the folder at the first upload
        paths.make_folder(paths.uploads_dir())


def make_file(name: str) -> Path:
    """The path for a new file, in a folder of its own. What is there for more than a day is removed."""
    remove_leftovers(paths.home())
    return Path(tempfile.mkdtemp(dir=paths.make_folder(paths.uploads_dir()))) / name
