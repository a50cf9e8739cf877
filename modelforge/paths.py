"""Where files are on disk. Functions, not constants: tests and Spaces set the home with an environment variable.

Ids are made here and are opaque; names that users type never become paths.
"""

from __future__ import annotations

import os
import re
import secrets
import shutil
import time
from contextlib import suppress
from functools import cache
from pathlib import Path
from typing import Any

from modelforge.errors import NotFoundError

SPACE_STORAGE = Path("/data")
"""Where a Hugging Face Space has its persistent storage, if it has any."""
_STALE_SECONDS = 24 * 3600
_ID = re.compile(r"[a-z]+-[0-9a-f]{12}")


def home() -> Path:
    """The folder that holds everything ModelForge keeps: $MODELFORGE_HOME, else the persistent storage of a Space, else
    the platform's user data folder."""
    chosen = os.environ.get("MODELFORGE_HOME")
    if chosen:
        return Path(chosen).expanduser().absolute()
    if os.environ.get("SPACE_ID") and os.access(SPACE_STORAGE, os.W_OK):
        return SPACE_STORAGE / "modelforge"
    import platformdirs

    return Path(platformdirs.user_data_dir("ModelForge", appauthor=False))


def database() -> Path:
    return home() / "modelforge.json"


def cache_dir() -> Path:
    return home() / "cache"


def prepare_cache(names: str) -> Path:
    """The cache folder, created, without what killed processes left there more than a day ago. names: their pattern."""
    folder = cache_dir()
    folder.mkdir(parents=True, exist_ok=True)
    for left in folder.glob(names):
        with suppress(OSError):  # already deleted, or in use
            if left.stat().st_mtime < time.time() - _STALE_SECONDS:
                if left.is_dir():
                    shutil.rmtree(left, ignore_errors=True)
                else:
                    left.unlink()
    return folder


def dataset_dir(dataset_id: str) -> Path:
    return home() / "datasets" / _checked(dataset_id, "dataset")


def run_dir(run_id: str) -> Path:
    return home() / "runs" / _checked(run_id, "run")


def model_dir(model_id: str) -> Path:
    return home() / "models" / _checked(model_id, "model")


def existing(text: str) -> Path | None:
    """The absolute path of an existing file or folder that a user typed, else None."""
    try:
        path = Path(text).expanduser().absolute()
        return path if path.exists() else None
    except (OSError, RuntimeError, ValueError):  # too long, an unknown user's home, a null character
        return None


def asset(name: str) -> Path:
    """A file that ships with the app, such as ``asset("style.css")``."""
    return Path(__file__).parent.parent / "assets" / name


@cache
def read_asset(name: str) -> Any:
    """What a YAML file that ships with the app holds; read once, so it must not be changed."""
    import yaml

    return yaml.safe_load(asset(name).read_text(encoding="utf-8"))


def new_id(kind: str) -> str:
    """A fresh id such as ``run-5f2c9a01b3de`` (48 random bits)."""
    return f"{kind}-{secrets.token_hex(6)}"


def _checked(identifier: str, kind: str) -> str:
    """Refuse anything that is not an id made here, so that no typed text becomes a path."""
    if not _ID.fullmatch(identifier):
        raise NotFoundError(f"There is no {kind} {identifier!r}.", fix=f"List them with `modelforge {kind}s list`.")
    return identifier
