"""The registry file, made durable: read whole, replaced whole, backed up, repaired, migrated.

Next to `modelforge.json` are `.bak` (the state before the last write), `.lock`, and during a write `.tmp`.
A write: serialise, write the temporary file, fsync, keep the old file as `.bak`, rename, fsync the folder. A kill at
any moment leaves the old file or the new one. On a full disk `.reserve` makes room: it is freed then, and filled
again once there is space. This module sees tables as plain dicts, not records or TinyDB.
"""

from __future__ import annotations

import contextlib
import os
import shutil
from dataclasses import dataclass
from pathlib import Path

from modelforge.errors import StoreError, explain_os_errors, is_disk_full
from modelforge.store import files, manifests
from modelforge.store.envelope import HEAD_BYTES, SCHEMA, DamagedFileError, decode, encode
from modelforge.store.lock import TransactionLock
from modelforge.store.migrations import Tables, migrate

Signature = tuple[int, int, int, bytes]
"""Identifies the version of a file that was read: its inode, time, size, and head, which holds the checksum.

The first three are not enough: file systems reuse inodes, and their clocks tick every 4 ms.
"""


def _sign(status: os.stat_result, head: bytes) -> Signature:
    return status.st_ino, status.st_mtime_ns, status.st_size, head[:HEAD_BYTES]


@dataclass(frozen=True)
class Snapshot:
    """A committed state. All readers share its tables, which never change."""

    tables: Tables
    signature: Signature | None
    schema: int

    @property
    def newer(self) -> bool:
        return self.schema > SCHEMA


def _empty() -> Snapshot:
    return Snapshot({}, None, SCHEMA)


RESERVE_BYTES = 1 << 20  # at least; always twice as much as the registry


class DurableFile:
    """message: "", or what was done to the file since it was opened, for the user."""

    def __init__(self, path: Path) -> None:
        self._home = path.absolute().parent  # holds the folders that it can be rebuilt from
        self.path = Path(os.path.realpath(path))  # changing the directory must not change the file
        self.backup = self._beside("bak")
        self._reserve = self._beside("reserve")
        self.lock = TransactionLock(self._beside("lock"))
        self.message = ""
        self._snapshot = _empty()
        self._is_new = False  # the home was empty when it was opened, and nothing was written since

    def read(self) -> Snapshot:
        """The last committed state; cheap while the file does not change. Repairs and migrates if necessary.

        Raises StoreError when the file exists but cannot be read.
        """
        snapshot = self._load_or_repair()
        if snapshot.schema < SCHEMA:
            snapshot = self._migrate()
        elif snapshot.newer:
            self._add_message(
                f"{self.path} was written by a newer ModelForge (schema {snapshot.schema}, this one supports "
                f"{SCHEMA}). It is opened read-only. Update ModelForge to make changes."
            )
        self._snapshot = snapshot
        return snapshot

    def write(self, tables: Tables) -> None:
        """Replace the state by these tables, which must not change afterwards. The lock must be held.

        Raises StoreError and DiskFullError. The old state is then kept, unless only the last step failed (fsync of
        the folder). The file is complete either way, and is read again.
        """
        data = encode(tables)
        with explain_os_errors(self.path, "The registry cannot be written", needed_bytes=len(data)):
            self._snapshot = Snapshot(tables, self._replace(data, keep_backup=self.path.exists()), SCHEMA)
        self._fill_reserve(len(data))

    def remove_leftovers(self) -> None:
        """Remove the unfinished files of a killed writer. Leaving them is harmless."""
        leftovers = [self._beside("tmp"), self._beside("bak.tmp")]
        if any(file.exists() for file in leftovers):
            with contextlib.suppress(StoreError, OSError), self.lock:  # or another process is writing
                for file in leftovers:
                    file.unlink(missing_ok=True)

    def forget(self) -> None:
        """Free the memory; the next read opens the file again."""
        self._snapshot = _empty()

    def _load_or_repair(self) -> Snapshot:
        with explain_os_errors(self.path, "The registry cannot be read"):
            try:
                return self._load()
            except FileNotFoundError:
                return self._repair() if self._is_lost() else _empty()
            except DamagedFileError:
                return self._repair()

    def _is_lost(self) -> bool:
        """Whether a missing file existed before. In a new home, folders appear before their first record."""
        if self.backup.exists():
            return True
        self._is_new = self._is_new or not manifests.is_anything_left(self._home)
        return not self._is_new

    def _load(self) -> Snapshot:
        """Raises FileNotFoundError and DamagedFileError."""
        known = self._snapshot
        with self.path.open("rb") as file:
            head = file.read(HEAD_BYTES)
            signature = _sign(os.fstat(file.fileno()), head)
            if signature == known.signature:
                return known
            data = head + file.read()
        tables, schema = decode(data)
        self._is_new = False
        return Snapshot(tables, signature, schema)

    def _replace(self, data: bytes, *, keep_backup: bool) -> Signature:
        """On a full disk the reserve goes first. Then, if the registry does not grow, its backup: there is a new one at
        the end, and deleting works even where the disk was full before there was a reserve."""
        shrinks = self.path.exists() and len(data) <= self.path.stat().st_size
        for spare in (self._reserve, *([self.backup] if shrinks else [])):
            try:
                return self._replace_once(data, keep_backup=keep_backup)
            except OSError as error:
                if not is_disk_full(error):
                    raise
            spare.unlink(missing_ok=True)
            files.sync_folder(self.path.parent)  # some file systems give the space back only then
        return self._replace_once(data, keep_backup=keep_backup)

    def _fill_reserve(self, size: int) -> None:
        """Keep twice the registry's size, rounded up to a power of two, where the disk has four times as much free."""
        needed = max(RESERVE_BYTES, 1 << (2 * size).bit_length())
        with contextlib.suppress(OSError):  # it is there for when the disk is full, so it cannot always be
            kept = self._reserve.stat().st_size if self._reserve.exists() else 0
            if kept < needed and shutil.disk_usage(self.path.parent).free > 4 * needed:
                files.write_file(self._reserve, os.urandom(needed))  # zeros would take no space on some file systems

    def _replace_once(self, data: bytes, *, keep_backup: bool) -> Signature:
        # One fixed name: only the holder of the lock writes, and overwrites what a killed writer left.
        temporary = self._beside("tmp")
        status = files.write_file(temporary, data)
        try:
            if keep_backup:
                files.copy_by_link(self.path, self.backup)
            files.replace_file(temporary, self.path)
        except BaseException:
            temporary.unlink(missing_ok=True)
            self._beside("bak.tmp").unlink(missing_ok=True)
            raise
        self._is_new = False
        files.sync_folder(self.path.parent)
        return _sign(status, data)

    def _repair(self) -> Snapshot:
        """Move a damaged file aside, load the backup, add the records that only the folders have. Another process may
        have done it in the meantime."""
        with self.lock:
            lost = "was missing"
            try:
                return self._load()
            except FileNotFoundError:
                pass
            except DamagedFileError as damage:
                lost = f"was damaged ({damage}) and is kept as {files.set_aside(self.path)}"
            backup, backup_message = self._read_backup()
            data, rebuild_message = self._rebuild(backup)
            if data:  # in one step: a kill leaves everything to do, or nothing
                self._replace(data, keep_backup=False)
            self._add_message(" ".join(filter(None, (f"{self.path} {lost}.", backup_message, rebuild_message))))
            return self._load() if data else _empty()

    def _read_backup(self) -> tuple[bytes, str]:
        """The content of the backup, b"" if there is no intact one, and a message."""
        try:
            data = self.backup.read_bytes()
            decode(data)
        except FileNotFoundError:
            return b"", "There is no backup."
        except DamagedFileError as damage:
            return b"", f"Its backup is damaged too ({damage}) and is kept as {files.set_aside(self.backup)}."
        return data, "Its backup was loaded: the last change may be missing."

    def _rebuild(self, backup: bytes) -> tuple[bytes, str]:
        """The backup with the models and datasets that only their folders have, b"" if there is nothing, and a
        message."""
        tables, schema = decode(backup) if backup else ({}, SCHEMA)
        if schema != SCHEMA:
            return backup, ""  # an older one is migrated next, a newer one is left alone
        found = manifests.find_lost(self._home, tables)
        unreadable = f" {len(found.unreadable)} of them cannot be read." if found.unreadable else ""
        if not found.tables:
            empty = f"The registry starts empty; the folders of datasets, runs and models are untouched.{unreadable}"
            return backup, "" if backup else empty
        whole = {**tables, **{name: {**tables.get(name, {}), **lost} for name, lost in found.tables.items()}}
        if backup:
            message = f"Restored from their folders: {found.counted}.{unreadable}"
        else:
            message = (
                f"The registry was rebuilt from the folders: {found.counted}.{unreadable} "
                "The list of runs is lost; their logs are still in the folder runs."
            )
        return encode(whole), message

    def _migrate(self) -> Snapshot:
        """Upgrade an older file to the current schema, after copying it. Another process may have done it already."""
        with self.lock:
            old = self._load_or_repair()
            if old.schema >= SCHEMA:
                return old
            with explain_os_errors(self.path, "The registry cannot be upgraded"):
                copy = self._keep_copy(self._beside(f"schema-{old.schema}"))
            self.write(migrate(old.tables, old.schema))
            self._add_message(
                f"{self.path} was upgraded from schema {old.schema} to {SCHEMA}; the old file is kept as {copy}."
            )
            return self._snapshot

    def _keep_copy(self, wanted: Path) -> Path:
        """Copy the file to that name, or to a similar one if another file has it. Returns the path."""
        data = self.path.read_bytes()
        if wanted.exists() and wanted.read_bytes() == data:  # by a process that was killed before it migrated
            return wanted
        temporary, copy = self._beside("tmp"), files.free_name(wanted)
        files.write_file(temporary, data)
        files.replace_file(temporary, copy)
        return copy

    def _add_message(self, sentence: str) -> None:
        if sentence not in self.message:
            self.message = f"{self.message} {sentence}".strip()

    def _beside(self, suffix: str) -> Path:
        return self.path.with_name(f"{self.path.name}.{suffix}")
