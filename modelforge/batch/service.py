"""The files that are answered in the app, one at a time: queued, followed, cancelled, resumed after a kill, deleted.

Each is a folder in home/batches/: what was given, the answers, and `batch.json`, which says how far it is. Runs go
first: while one is in progress, a file waits.
"""

from __future__ import annotations

import json
import logging
import os
import shutil
import threading
import time
from collections.abc import Mapping
from concurrent.futures import CancelledError
from pathlib import Path
from typing import Any

import psutil
from pydantic import BaseModel, ConfigDict

from modelforge import paths, quotas
from modelforge.batch.answer import Progress, answer_file, describe_problem
from modelforge.batch.questions import Questions
from modelforge.caller import OWNER, acting_as, check_may_train, current_caller
from modelforge.errors import DatasetError, ModelForgeError, NotFoundError, RunStateError
from modelforge.models.library import Models
from modelforge.processes import find_start_time, is_alive
from modelforge.runs.service import Runs
from modelforge.store import Store, utc_now
from modelforge.store.files import save_file
from modelforge.store.folders import delete_folder

log = logging.getLogger("modelforge")

RECORD, ANSWERS = "batch.json", "answers"
QUEUED, RUNNING, WAITING, DONE, CANCELLED, FAILED, INTERRUPTED = (
    *("queued", "running", "waiting for a run", "done", "cancelled", "failed", "interrupted"),
)
ACTIVE, RESUMABLE = (QUEUED, RUNNING, WAITING), (CANCELLED, FAILED, INTERRUPTED)
MOST_KEPT = 100
SHOWN_PROBLEMS = 20
_SAVED_EVERY = 1.0  # seconds
_LOOKS_EVERY = 2.0  # seconds, for runs


class Batch(BaseModel):
    """One file that is answered. file: its name for people; given: in the folder. pid, process_started: of the process
    that answers."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    id: str
    owner: str
    created: str
    model: str
    model_name: str
    base: bool
    file: str
    given: str
    ending: str
    max_new_tokens: int
    columns: dict[str, str] = {}
    state: str = QUEUED
    rows: int = 0
    done: int = 0
    skipped: int = 0
    share: float = 0.0
    seconds: float = 0.0
    problems: tuple[str, ...] = ()
    error: str = ""
    pid: int = 0
    process_started: float = 0.0

    @property
    def folder(self) -> Path:
        return paths.batch_dir(self.id)

    @property
    def answers(self) -> Path:
        return self.folder / f"{ANSWERS}{self.ending}"


class Batches:
    """The batch service of a Forge."""

    def __init__(self, store: Store, models: Models, runs: Runs) -> None:
        self._store, self._models, self._runs = store, models, runs
        self._lock = threading.Lock()
        self._waiting: list[str] = []
        self._cancelled: set[str] = set()
        self._thread: threading.Thread | None = None

    def start(
        self,
        model: str,
        file: Path,
        *,
        ending: str = ".jsonl",
        base: bool = False,
        max_new_tokens: int = 256,
        columns: Mapping[str, str] | None = None,
    ) -> Batch:
        """Queue a file, of which a copy is kept. Raises ModelForgeError where it cannot be answered for certain."""
        check_may_train("answering files")
        quotas.check_disk(self._store)
        if len(self.all()) >= MOST_KEPT:
            raise DatasetError(f"{MOST_KEPT} answered files are kept.", where=file.name, fix="Delete some of them.")
        record = self._models.find(model)
        Questions(file, record, columns)
        made = Batch(
            id=paths.new_id("batch"), owner=current_caller().id, created=utc_now(), model=record.id,
            model_name=record.name, base=base, file=file.name, given=f"given{file.suffix[:12]}", ending=ending,
            max_new_tokens=max_new_tokens, columns=dict(columns or {}), **_this_process(),
        )  # fmt: skip
        paths.make_folder(made.folder)
        shutil.copyfile(file, made.folder / made.given)
        (made.folder / made.given).chmod(paths.PRIVATE_FILE)
        return self._enqueue(made)

    def resume(self, batch_id: str) -> Batch:
        """Continue one that was cancelled, failed or was interrupted. Raises RunStateError for any other."""
        check_may_train("answering files")
        batch = self.get(batch_id)
        if batch.state not in RESUMABLE:
            raise RunStateError(f"This cannot be resumed; it is {batch.state}.", where=batch.file)
        return self._enqueue(batch.model_copy(update={"state": QUEUED, "error": "", **_this_process()}))

    def cancel(self, batch_id: str) -> None:
        """End it before its next token; what is answered is kept."""
        batch = self.get(batch_id)
        if batch.state not in ACTIVE:
            raise RunStateError(f"This is not in progress; it is {batch.state}.", where=batch.file)
        with self._lock:
            self._cancelled.add(batch.id)
            if batch.id in self._waiting:
                self._waiting.remove(batch.id)
                self._save(batch, state=CANCELLED)

    def delete(self, batch_id: str) -> None:
        check_may_train("deleting")
        batch = self.get(batch_id)
        if batch.state in ACTIVE:
            raise RunStateError("This is in progress.", where=batch.file, fix="Cancel it first.")
        delete_folder(batch.folder, lambda: None)

    def get(self, batch_id: str) -> Batch:
        """Raises NotFoundError."""
        batch = self._read(paths.batch_dir(batch_id) / RECORD)
        caller = current_caller()
        if batch is None or not (caller.is_owner or batch.owner == caller.id) or not caller.may_train:
            raise NotFoundError(f"There is no batch {batch_id!r}.", fix="It may have been deleted.")
        return batch

    def all(self) -> list[Batch]:
        """Those of this person, the newest first."""
        caller = current_caller()
        found = [self._read(path) for path in (paths.home() / "batches").glob(f"*/{RECORD}")]
        own = [each for each in found if each and (caller.is_owner or each.owner == caller.id) and caller.may_train]
        return sorted(own, key=lambda each: each.created, reverse=True)

    def wait(self, batch_id: str, seconds: float) -> Batch:
        """Wait until it has ended, at most that long."""
        until = time.monotonic() + seconds
        while (batch := self.get(batch_id)).state in ACTIVE and time.monotonic() < until:
            time.sleep(0.05)
        return batch

    def _enqueue(self, batch: Batch) -> Batch:
        self._save(batch)
        with self._lock:
            self._cancelled.discard(batch.id)
            self._waiting.append(batch.id)
            if self._thread is None or not self._thread.is_alive():
                self._thread = threading.Thread(target=self._work, name="modelforge-batch", daemon=True)
                self._thread.start()
        return batch

    def _work(self) -> None:
        with acting_as(OWNER):
            while True:
                with self._lock:
                    if not self._waiting:
                        self._thread = None
                        return
                    batch_id = self._waiting.pop(0)
                if batch := self._read(paths.batch_dir(batch_id) / RECORD):
                    self._answer(batch)

    def _answer(self, batch: Batch) -> None:
        now = batch = self._save(batch, state=RUNNING)
        saved = looked = 0.0

        def watch(progress: Progress) -> None:
            nonlocal now, saved, looked
            if time.monotonic() - looked > _LOOKS_EVERY:
                self._wait_for_runs(now)
                looked = time.monotonic()
            if batch.id in self._cancelled:
                raise CancelledError
            if time.monotonic() - saved > _SAVED_EVERY:
                now, saved = self._save(now, **_describe(progress, batch)), time.monotonic()

        try:
            self._wait_for_runs(batch)
            found = answer_file(
                self._models[batch.model].playground,
                self._models.find(batch.model),
                batch.folder / batch.given,
                batch.answers,
                resume=True,
                base=batch.base,
                max_new_tokens=batch.max_new_tokens,
                columns=batch.columns,
                watch=watch,
            )
            self._save(now, **{**_describe(found, batch), "state": DONE, "share": 1.0})
        except CancelledError:
            self._save(now, state=CANCELLED)
        except ModelForgeError as error:
            self._save(now, state=FAILED, error=str(error))
        except Exception as error:
            log.exception("a file could not be answered")
            self._save(now, state=FAILED, error=f"{type(error).__name__}: {error}. This is a bug.")

    def _wait_for_runs(self, batch: Batch) -> None:
        """A run needs the memory and the processor."""
        while self._runs.is_busy():
            if batch.id in self._cancelled:
                raise CancelledError
            self._save(batch, state=WAITING)
            time.sleep(_LOOKS_EVERY)

    def _save(self, batch: Batch, **changes: Any) -> Batch:
        batch = batch.model_copy(update=changes)
        save_file(batch.folder / RECORD, batch.model_dump_json().encode())
        return batch

    def _read(self, path: Path) -> Batch | None:
        """One whose process is gone was interrupted."""
        try:
            batch = Batch.model_validate(json.loads(path.read_text(encoding="utf-8")))
        except (OSError, ValueError):
            return None
        if batch.state in ACTIVE and not is_alive(batch.pid, batch.process_started):
            return batch.model_copy(update={"state": INTERRUPTED})
        return batch


def _describe(progress: Progress, batch: Batch) -> dict[str, Any]:
    told = tuple(describe_problem(batch.file, each) for each in progress.problems[:SHOWN_PROBLEMS])
    counts = {"rows": progress.rows, "done": progress.done, "skipped": progress.broken, "share": progress.share}
    return {**counts, "state": RUNNING, "seconds": progress.seconds, "problems": told}


def _this_process() -> dict[str, Any]:
    return {"pid": os.getpid(), "process_started": find_start_time(psutil.Process())}
