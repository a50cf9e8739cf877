"""The old ModelForge's SQLite file: where it is, and its rows, not interpreted.

The file is copied together with the files that SQLite keeps beside it, and only the copy is opened: opening the file
itself would create or change the files beside it, wait for a process that has it open, or miss what is in its log.
"""

from __future__ import annotations

import contextlib
import shutil
import sqlite3
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from modelforge import paths
from modelforge.errors import StoreError

TABLES = {
    "fine_tuned_models": (
        ("id", "model_name", "base_model", "task"),
        ("description", "creation_date", "model_path", "is_custom_base_model"),
    ),
    "models": (
        ("id", "name", "base_model", "task"),
        ("strategy", "provider", "path", "created_at", "updated_at", "compute_profile", "config", "is_active"),
    ),
}
"""Table -> (required columns, optional columns); docs/audit.md, "The old database"."""

LONGEST_VALUE = 10_000  # of a value, in characters; the rest is not read
_MAGIC = b"SQLite format 3\0"
_BESIDE = ("-wal", "-journal")
_ATTEMPTS = 3


@dataclass(frozen=True)
class OldRow:
    """values: column -> value from SQLite (None, int, float, str, bytes); `id` is always there."""

    table: str
    values: dict[str, Any]


def usual_place() -> Path:
    """Where the old ModelForge kept its database on this machine."""
    import platformdirs

    return Path(platformdirs.user_data_dir("ModelForge")) / "database" / "modelforge.sqlite"


def read_database(text: str | Path) -> tuple[list[OldRow], str]:
    """All rows of all three shapes, and why the rows after the last one could not be read, or "". Raises StoreError
    when there is no such file or it is not such a database."""
    path = paths.existing(str(text))
    if path is None:
        raise StoreError(
            "There is no database of an older ModelForge here.",
            where=str(text),
            fix="Give its path: modelforge import-legacy PATH/modelforge.sqlite.",
        )
    with _opened(path) as connection:
        try:
            found = _find_tables(connection)
        except sqlite3.Error as error:
            raise _not_a_database(path, f"it is damaged ({error})") from error
        if not found:
            raise _not_a_database(path, f"it has no table {' or '.join(TABLES)} with the columns of a model")
        rows: list[OldRow] = []
        damages = [_read_table(connection, table, columns, rows) for table, columns in found.items()]
        damage = " ".join(filter(None, damages))
        if not rows and damage:
            raise _not_a_database(path, f"it is damaged ({damage})")
        return rows, damage


def _not_a_database(path: Path, reason: str) -> StoreError:
    return StoreError(
        f"This is not a database of an older ModelForge: {reason}.",
        where=str(path),
        fix="Choose the file modelforge.sqlite, or a backup of it.",
    )


@contextlib.contextmanager
def _opened(path: Path) -> Iterator[sqlite3.Connection]:
    """A connection to a copy of the database and its log in a temporary folder."""
    try:
        if not path.is_file():  # a folder, or a pipe without an end
            raise _not_a_database(path, "it is not a file")
        with path.open("rb") as file:
            if file.read(len(_MAGIC)) != _MAGIC:
                raise _not_a_database(path, "it is not an SQLite file")
        with tempfile.TemporaryDirectory(prefix="modelforge-", ignore_cleanup_errors=True) as folder:
            copy = Path(folder) / "copy.sqlite"
            _copy_unchanged(path, copy)
            opened = sqlite3.connect(f"{copy.as_uri()}?mode=rw", uri=True, isolation_level=None)
            with contextlib.closing(opened) as connection:
                connection.text_factory = lambda data: data.decode("utf-8", errors="replace")
                yield connection
    except OSError as error:
        raise StoreError(
            f"The old database cannot be read: {error.strerror or error}.",
            where=str(path),
            fix="Check its permissions, and that there is space for a copy of it.",
        ) from error


def _copy_unchanged(path: Path, copy: Path) -> None:
    """Copy the file and its log in a consistent state: repeated if one of them changed during the copy."""
    for _ in range(_ATTEMPTS):
        before = _parts(path)
        for suffix in before:
            shutil.copyfile(f"{path}{suffix}", f"{copy}{suffix}")
        if _parts(path) == before:
            return
        for suffix in before:
            Path(f"{copy}{suffix}").unlink(missing_ok=True)
    raise StoreError("The old database is being written to.", where=str(path), fix="Close the old ModelForge first.")


def _parts(path: Path) -> dict[str, tuple[int, int, int]]:
    """Suffix -> inode, time and size, of the files that make up the database."""
    found = {}
    for suffix in ("", *_BESIDE):
        with contextlib.suppress(FileNotFoundError):
            status = Path(f"{path}{suffix}").stat()
            found[suffix] = (status.st_ino, status.st_mtime_ns, status.st_size)
    return found


def _find_tables(connection: sqlite3.Connection) -> dict[str, list[str]]:
    """Table -> the columns to read. Only real tables: a view could run any query."""
    connection.execute("PRAGMA trusted_schema = OFF")
    listed = connection.execute("SELECT name FROM sqlite_master WHERE type = 'table' AND sql NOT LIKE '%VIRTUAL%'")
    names = {str(name).lower() for (name,) in listed}
    found = {}
    for table, (required, optional) in TABLES.items():
        if table in names:
            columns = {str(row[1]).lower() for row in connection.execute(f"PRAGMA table_info({table})")}
            if columns.issuperset(required):
                found[table] = [name for name in (*required, *optional) if name in columns]
    return found


def _read_table(connection: sqlite3.Connection, table: str, columns: list[str], rows: list[OldRow]) -> str:
    """Add a table's rows; returns "", or why the rest of them cannot be read."""
    # The names are those of TABLES, never of the file. What is longer than LONGEST_VALUE is not loaded.
    selected = ", ".join(
        f"CASE WHEN typeof({name}) IN ('text', 'blob') THEN substr({name}, 1, {LONGEST_VALUE}) ELSE {name} END"
        for name in columns
    )
    try:
        for values in connection.execute(f"SELECT {selected} FROM {table}"):  # noqa: S608
            rows.append(OldRow(table, dict(zip(columns, values, strict=True))))
    except sqlite3.Error as error:
        return f"{table}: {error}."
    return ""
