"""The registry file, made durable: read whole, replaced whole, backed up, repaired, migrated.

Beside `modelforge.json` lie `.bak` (the state before the last write), `.lock`, and while a write is under way `.tmp`.
A write: serialise, write the temporary file, fsync, keep the old file as `.bak`, rename, fsync the folder. A kill at
any moment leaves the old file or the new one. This file knows tables as plain dicts, nothing of records or TinyDB.
"""

from __future__ import annotations

import contextlib
import os
import shutil
from dataclasses import dataclass
from pathlib import Path

from modelforge.errors import StoreError
from modelforge.store import files, manifests
from modelforge.store.envelope import HEAD_BYTES, SCHEMA, DamagedFileError, decode, encode
from modelforge.store.lock import TransactionLock
from modelforge.store.migrations import Tables, migrate


@dataclass(frozen=True)
class Signature:
    """Tells whether a file is still the one that was read.

    Inode, time and size alone do not: a file system gives a freed inode again, and its clock ticks in 4 ms.
    """

    inode: int
    modified_ns: int
    size_bytes: int
    head: bytes  # holds the checksum

    @classmethod
    def of(cls, status: os.stat_result, head: bytes) -> Signature:
        return cls(status.st_ino, status.st_mtime_ns, status.st_size, head[:HEAD_BYTES])


@dataclass(frozen=True)
class Snapshot:
    """A committed state. Its tables are shared by all readers and never changed."""

    tables: Tables
    signature: Signature | None
    schema: int

    @property
    def newer(self) -> bool:
        return self.schema > SCHEMA


def _empty() -> Snapshot:
    return Snapshot({}, None, SCHEMA)


class DurableFile:
    """message: "", or what had to be done to the file since it was opened, in sentences for the user."""

    def __init__(self, path: Path) -> None:
        self._home = path.absolute().parent  # of the folders that it can be rebuilt from
        self.path = Path(os.path.realpath(path))  # changing the directory must not change the file
        self.backup = self._beside("bak")
        self.lock = TransactionLock(self._beside("lock"))
        self.message = ""
        self._snapshot = _empty()
        self._is_new = False  # there was nothing at all when it was opened, and nothing was written since

    def read(self) -> Snapshot:
        """The last committed state; cheap while the file stays as it is. Repairs and migrates when it must.

        Raises StoreError when the file is there but cannot be read.
        """
        snapshot = self._load_or_repair()
        if snapshot.schema < SCHEMA:
            snapshot = self._migrate()
        elif snapshot.newer:
            self._say(
                f"{self.path} was written by a newer ModelForge (schema {snapshot.schema}, this one knows {SCHEMA}). "
                "It is opened read-only: update ModelForge to make changes."
            )
        self._snapshot = snapshot
        return snapshot

    def write(self, tables: Tables) -> None:
        """Replace the state by these tables, which are not to be changed any more. The lock must be held.

        Raises StoreError and DiskFullError; the old state is then still there, unless it was the very last step that
        failed (fsync of the folder). What is there is whole in any case, and read again.
        """
        data = encode(tables)
        with files.mapped_errors(self.path, "written", needed_bytes=len(data)):
            self._snapshot = Snapshot(tables, self._replace(data, keep_backup=self.path.exists()), SCHEMA)

    def remove_leftovers(self) -> None:
        """Remove what a killed writer left half written. Where that cannot be done it does no harm either."""
        leftovers = [self._beside("tmp"), self._beside("bak.tmp")]
        if any(file.exists() for file in leftovers):
            with contextlib.suppress(StoreError, OSError), self.lock:  # or somebody is writing just now
                for file in leftovers:
                    file.unlink(missing_ok=True)

    def forget(self) -> None:
        """Drop what is kept in memory; the next read opens the file again."""
        self._snapshot = _empty()

    def _load_or_repair(self) -> Snapshot:
        with files.mapped_errors(self.path, "read"):
            try:
                return self._load()
            except FileNotFoundError:
                return self._repair() if self._is_lost() else _empty()
            except DamagedFileError:
                return self._repair()

    def _is_lost(self) -> bool:
        """Whether a file that is not there once was. In a new home folders appear before their first record."""
        if self.backup.exists():
            return True
        self._is_new = self._is_new or not manifests.is_anything_left(self._home)
        return not self._is_new

    def _load(self) -> Snapshot:
        """Raises FileNotFoundError and DamagedFileError."""
        known = self._snapshot
        with self.path.open("rb") as file:
            head = file.read(HEAD_BYTES)
            signature = Signature.of(os.fstat(file.fileno()), head)
            if signature == known.signature:
                return known
            data = head + file.read()
        tables, schema = decode(data)
        self._is_new = False
        return Snapshot(tables, signature, schema)

    def _replace(self, data: bytes, *, keep_backup: bool) -> Signature:
        # One fixed name: only the holder of the lock writes, and what a killed writer left is overwritten.
        temporary = self._beside("tmp")
        status = files.write_file(temporary, data)
        try:
            if keep_backup:
                shutil.copymode(self.path, temporary)
                files.copy_by_link(self.path, self.backup)
            files.replace_file(temporary, self.path)
        except BaseException:
            temporary.unlink(missing_ok=True)
            self._beside("bak.tmp").unlink(missing_ok=True)
            raise
        self._is_new = False
        files.sync_folder(self.path.parent)
        return Signature.of(status, data)

    def _repair(self) -> Snapshot:
        """Set a damaged file aside, load the backup, add what only the folders tell of. Another process may have done
        it in the meantime."""
        with self.lock:
            lost = "was missing"
            try:
                return self._load()
            except FileNotFoundError:
                pass
            except DamagedFileError as damage:
                lost = f"was damaged ({damage}) and is kept as {files.set_aside(self.path)}"
            backup, told = self._read_backup()
            data, also_told = self._rebuild(backup)
            if data:  # in one step: a kill leaves all of it to do, or nothing
                self._replace(data, keep_backup=False)
            self._say(" ".join(filter(None, (f"{self.path} {lost}.", told, also_told))))
            return self._load() if data else _empty()

    def _read_backup(self) -> tuple[bytes, str]:
        """What the backup holds, b"" where there is no good one, and what is to be said of it."""
        try:
            data = self.backup.read_bytes()
            decode(data)
        except FileNotFoundError:
            return b"", "There is no backup."
        except DamagedFileError as damage:
            return b"", f"Its backup is damaged too ({damage}) and is kept as {files.set_aside(self.backup)}."
        return data, "Its backup was loaded: the last change may be missing."

    def _rebuild(self, backup: bytes) -> tuple[bytes, str]:
        """The backup with the models and datasets that only their folders tell of, b"" where there is nothing, and
        what is to be said of them."""
        tables, schema = decode(backup) if backup else ({}, SCHEMA)
        if schema != SCHEMA:
            return backup, ""  # an older one is migrated next, a newer one is not touched
        found = manifests.find_lost(self._home, tables)
        unreadable = f" {len(found.unreadable)} of them cannot be read." if found.unreadable else ""
        if not found.tables:
            empty = f"The registry starts empty; the folders of datasets, runs and models are untouched.{unreadable}"
            return backup, "" if backup else empty
        whole = {**tables, **{name: {**tables.get(name, {}), **lost} for name, lost in found.tables.items()}}
        if backup:
            told = f"Added from their folders, because it lacked them: {found.counted}.{unreadable}"
        else:
            told = (
                f"The registry was rebuilt from the folders: {found.counted}.{unreadable} "
                "The list of runs is gone; their logs are still in the folder runs."
            )
        return encode(whole), told

    def _migrate(self) -> Snapshot:
        """Bring an older file to the current schema, after copying it. Another process may have done it already."""
        with self.lock:
            old = self._load_or_repair()
            if old.schema >= SCHEMA:
                return old
            with files.mapped_errors(self.path, "brought up to date"):
                copy = self._keep_copy(self._beside(f"schema-{old.schema}"))
            self.write(migrate(old.tables, old.schema))
            self._say(f"{self.path} was brought from schema {old.schema} to {SCHEMA}; the old file is kept as {copy}.")
            return self._snapshot

    def _keep_copy(self, wanted: Path) -> Path:
        """A copy of the file under that name, or one like it where another file has that; returns its path."""
        data = self.path.read_bytes()
        if wanted.exists() and wanted.read_bytes() == data:  # of a process that was killed before it had migrated
            return wanted
        temporary, copy = self._beside("tmp"), files.free_name(wanted)
        files.write_file(temporary, data)
        files.replace_file(temporary, copy)
        return copy

    def _say(self, sentence: str) -> None:
        if sentence not in self.message:
            self.message = f"{self.message} {sentence}".strip()

    def _beside(self, suffix: str) -> Path:
        return self.path.with_name(f"{self.path.name}.{suffix}")
