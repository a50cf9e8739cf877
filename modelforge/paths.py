"""Where files are on disk. Functions, not constants: tests and Spaces set the home with an environment variable.

Ids are made here and are opaque; names that users type never become paths.
"""

from __future__ import annotations

import os
import re
import secrets
import stat
from contextlib import suppress
from functools import cache
from pathlib import Path
from typing import Any

from modelforge.errors import NotFoundError, StoreError, explain_os_errors

SPACE_STORAGE = Path("/data")
"""Where a Hugging Face Space has its persistent storage, if it has any."""
PRIVATE_FOLDER, PRIVATE_FILE = 0o700, 0o600
CANNOT_WRITE = "ModelForge cannot write in its folder"
_OTHERS = 0o077
# What is in the home. A home that somebody made of a folder with other things in it stays as open as it is.
_OURS = re.compile(
    r"datasets|runs|models|exports|batches|cache|uploads|conversations|votes"
    r"|(modelforge|app|imported)\.(json|lock).*|\..*\.(partial|deleted)"
)
NEVER_SERVED = (
    *("datasets", "runs", "models", "exports", "batches", "cache", "conversations", "votes"),
    *("modelforge.json", "modelforge.json.bak", "app.json"),
)
"""What the app never gives to a browser as it is: all of the home but uploads."""
_ID = re.compile(r"[a-z]+-[0-9a-f]{12}")


def home() -> Path:
    """The folder that holds everything ModelForge keeps: $MODELFORGE_HOME, else the persistent storage of a Space, else
    the platform's user data folder."""
    chosen = os.environ.get("MODELFORGE_HOME")
    if chosen:
        try:
            return Path(chosen).expanduser().absolute()
        except RuntimeError as error:
            what = f"The home folder in {chosen!r} is not known."
            raise StoreError(what, where="MODELFORGE_HOME", fix="Write the whole path.") from error
    if os.environ.get("SPACE_ID") and os.access(SPACE_STORAGE, os.W_OK):
        return SPACE_STORAGE / "modelforge"
    import platformdirs

    return Path(platformdirs.user_data_dir("ModelForge", appauthor=False))


def database() -> Path:
    return home() / "modelforge.json"


def cache_dir() -> Path:
    return home() / "cache"


def uploads_dir() -> Path:
    """Where files from the browser arrive. All in it is temporary."""
    return home() / "uploads"


def make_folder(path: Path) -> Path:
    """Create a folder of the home, and those above it, for this user alone. Returns it. Raises StoreError,
    DiskFullError."""
    with explain_os_errors(path, CANNOT_WRITE):
        for folder in (*reversed(path.parents), path):
            if not folder.exists():
                folder.mkdir(PRIVATE_FOLDER, exist_ok=True)
    return path


def make_private(home: Path) -> None:
    """Let no other user read what is in the home: earlier versions left that to the system's defaults. Raises
    StoreError."""
    with explain_os_errors(home, "ModelForge cannot read its folder"):
        entries = list(home.iterdir()) if home.exists() and os.name != "nt" else []
    ours = [path for path in entries if _OURS.fullmatch(path.name)]
    for path in ours:
        if _is_open(path):  # the folder itself last: it tells whether all in it is done
            for folder, folders, names in os.walk(path):
                for name in (*folders, *names):
                    _close(Path(folder, name))
            _close(path)
    if ours == entries and home.exists():
        _close(home)


def _is_open(path: Path) -> bool:
    mode = path.lstat().st_mode
    return bool(mode & _OTHERS) and not stat.S_ISLNK(mode)


def _close(path: Path) -> None:
    with suppress(OSError):  # somebody else's, removed meanwhile, or a drive that is read-only
        if _is_open(path):
            path.chmod(stat.S_IMODE(path.lstat().st_mode) & ~_OTHERS)


def dataset_dir(dataset_id: str) -> Path:
    return home() / "datasets" / _checked(dataset_id, "dataset")


def run_dir(run_id: str) -> Path:
    return home() / "runs" / _checked(run_id, "run")


def model_dir(model_id: str) -> Path:
    return home() / "models" / _checked(model_id, "model")


def export_dir(export_id: str) -> Path:
    return home() / "exports" / _checked(export_id, "export")


def batch_dir(batch_id: str) -> Path:
    return home() / "batches" / _checked(batch_id, "batch")


def document(kind: str, document_id: str) -> Path:
    """The file of a conversation or a vote (`store/documents.py`)."""
    return home() / f"{kind}s" / f"{_checked(document_id, kind)}.json"


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

    loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)  # ten times as fast, in all wheels
    return loader(asset(name).read_text(encoding="utf-8")).get_single_data()


def new_id(kind: str) -> str:
    """A fresh id such as ``run-5f2c9a01b3de`` (48 random bits)."""
    return f"{kind}-{secrets.token_hex(6)}"


def _checked(identifier: str, kind: str) -> str:
    """Refuse anything that is not an id made here, so that no typed text becomes a path."""
    if not _ID.fullmatch(identifier):
        raise NotFoundError(f"There is no {kind} {identifier!r}.", fix=f"List them with `modelforge {kind}s list`.")
    return identifier
