"""What each person writes in the Playground: a JSON file for each document, in home/<kind>s/, each replaced whole.

They are seen and changed by the person who wrote them, and by nobody else, the owner of the app included. They are not
in the registry: each is written after every answer, and the registry is one file. Their number and size are bounded.
"""

from __future__ import annotations

import logging
import threading
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import orjson

from modelforge import paths
from modelforge.caller import check_may_train, current_caller
from modelforge.errors import NotFoundError, StoreError, explain_os_errors
from modelforge.store.files import save_file

log = logging.getLogger("modelforge")
Document = dict[str, Any]


@dataclass
class Documents:
    """kind: "conversation" or "vote", also the beginning of their ids. most: of each person; the oldest are deleted.
    most_bytes: of one document."""

    kind: str
    most: int
    most_bytes: int
    _known: dict[Path, tuple[tuple[int, int], Document]] = field(default_factory=dict)
    _lock: threading.RLock = field(default_factory=threading.RLock)

    def save(self, document: Document) -> Document:
        """Write a document, a new one if it has no id. Returns it with its id and times.

        Raises StoreError for one that is too large, DiskFullError, AccessError for who may only chat.
        """
        check_may_train(f"saving a {self.kind}")
        now = datetime.now(UTC).isoformat(timespec="microseconds")  # several are written in a millisecond
        with self._lock:
            if document.get("id"):
                created = self.get(document["id"])["created"]
            else:
                document, created = {**document, "id": paths.new_id(self.kind)}, now
            written = {**document, "owner": current_caller().id, "created": created, "updated": now}
            data = orjson.dumps(written)
            if len(data) > self.most_bytes:
                raise StoreError(
                    f"This {self.kind} is too long to be saved: at most {self.most_bytes / 1e6:g} MB are kept.",
                    fix="Start a new one.",
                )
            save_file(paths.document(self.kind, written["id"]), data)
            for old in self.all()[self.most :]:
                self.delete(old["id"])
        return written

    def get(self, document_id: str) -> Document:
        """A copy of a document of this person. Raises NotFoundError."""
        path = paths.document(self.kind, document_id)
        try:
            found = self._read(path)
        except (OSError, ValueError):
            found = None
        if found is None or found.get("owner") != current_caller().id or not current_caller().may_train:
            raise NotFoundError(f"There is no {self.kind} {document_id!r}.", fix="It may have been deleted.")
        return dict(found)

    def all(self) -> list[Document]:
        """This person's, the one that changed last first. They are shared with other callers: do not change them."""
        caller, found = current_caller(), []
        with self._lock:
            there = list((paths.home() / f"{self.kind}s").glob(f"{self.kind}-*.json")) if caller.may_train else []
            for path in there:
                try:
                    document = self._read(path)
                except FileNotFoundError:
                    continue
                except (OSError, ValueError) as error:  # one damaged file must not hide the others
                    log.warning("%s cannot be read: %s", path, error)
                    continue
                if document.get("owner") == caller.id:
                    found.append(document)
        return sorted(found, key=lambda each: (each["updated"], each["id"]), reverse=True)

    def delete(self, document_id: str) -> None:
        """Works on a full disk. Raises NotFoundError, StoreError."""
        path = paths.document(self.kind, self.get(document_id)["id"])
        with self._lock, explain_os_errors(path, "This cannot be deleted"):
            path.unlink(missing_ok=True)
            self._known.pop(path, None)

    def _read(self, path: Path) -> Document:
        """Raises OSError, ValueError."""
        status = path.stat()
        mark = (status.st_mtime_ns, status.st_size)
        known = self._known.get(path)
        if known is None or known[0] != mark:
            if status.st_size > self.most_bytes:
                raise ValueError("it is larger than any that was written")
            document = orjson.loads(path.read_bytes())
            if not isinstance(document, dict) or document.get("id") != path.stem or "updated" not in document:
                raise ValueError(f"it is not a {self.kind}")
            known = self._known[path] = (mark, document)
        return known[1]
