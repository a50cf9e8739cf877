"""The exports service of a Forge: write a model in a form that other programs take, check it, keep it.

Exports are made one at a time and need the memory: they wait for no run, and end when one starts. Whatever fails, is
cancelled or killed leaves nothing.
"""

from __future__ import annotations

import gc
import logging
import threading
import time
from collections.abc import Callable
from concurrent.futures import CancelledError
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from modelforge import paths, quotas
from modelforge.caller import OWNER, acting_as, check_may_train, current_caller
from modelforge.errors import (
    ExportError,
    ModelForgeError,
    RunStateError,
    check_space,
    explain_os_errors,
    report_full_disk,
)
from modelforge.exports.formats import FORMATS, check_format, estimate_size
from modelforge.models.chat import Playground
from modelforge.models.folder import read_manifest
from modelforge.store import ExportRecord, ModelRecord, Store, utc_now
from modelforge.store.folders import delete_folder, place_folder, unfinished

log = logging.getLogger("modelforge")

_LOOK_SECONDS = 2.0  # how often it looks whether a run has started
_STEPS = {"load": (0.0, 0.1), "read": (0.1, 0.3), "write": (0.3, 0.7), "check": (0.7, 1.0)}
TITLES = {
    "load": "Loading the model",
    "read": "Answering held-out prompts with the model",
    "write": "Writing the files",
    "check": "Answering the same prompts with the exported files",
}


@dataclass
class Job:
    """An export in progress, or how it ended. owner: of the person. step: a key of `TITLES`. share: of all the work.
    error: what went wrong, for people; "" if nothing did. export: what it made."""

    id: str
    model_id: str
    format: str
    quantization: str
    owner: str
    step: str = "load"
    share: float = 0.0
    error: str = ""
    is_cancelled: bool = False
    export: ExportRecord | None = None
    ended: threading.Event = field(default_factory=threading.Event)


class Exports:
    """refuse_busy: raises RunStateError while a run is in progress. The playground gives up its model for an export."""

    def __init__(self, store: Store, playground: Playground, refuse_busy: Callable[[], None]) -> None:
        self._store, self._playground, self._refuse_busy = store, playground, refuse_busy
        self._one_at_a_time, self._lock = threading.Lock(), threading.Lock()
        self._jobs: dict[str, Job] = {}  # model -> its latest

    def start(self, model: str, format: str, quantization: str = "") -> Job:
        """Export a model in the background, into the home. Raises ModelForgeError at once for what cannot work."""
        check_may_train("exporting models")
        quotas.check_disk(self._store)
        record = self._store.models.find(model)
        quantization = self._check(record, format, quantization)
        with self._lock:
            if any(not job.ended.is_set() for job in self._jobs.values()):
                raise RunStateError("Another export is in progress.", fix="Wait until it has ended, or cancel it.")
            id = paths.new_id("export")
            job = self._jobs[record.id] = Job(id, record.id, format, quantization, current_caller().id)
        caller = current_caller()
        threading.Thread(target=self._work, args=(job, record, caller), name="modelforge-export", daemon=True).start()
        return job

    def find_job(self, model_id: str) -> Job | None:
        """The latest export of a model in this process, if this person may see it."""
        job = self._jobs.get(model_id)
        return job if job and current_caller().sees(job.id, job.owner) else None

    def cancel(self, model_id: str) -> None:
        """Make the export of a model end within moments."""
        if job := self.find_job(model_id):
            job.is_cancelled = True

    def all(self, model_id: str = "") -> list[ExportRecord]:
        """Every export, or those of a model, the newest first."""
        return [each for each in self._store.exports.all() if model_id in ("", each.model_id)]

    def path(self, export: ExportRecord) -> Path:
        return paths.export_dir(export.id)

    def delete(self, id: str) -> None:
        """Delete an export and its files."""
        check_may_train("deleting exports")
        record = self._store.exports.get(id)
        delete_folder(self.path(record), lambda: self._store.forget(record.id))

    def estimate(self, record: ModelRecord, format: str, quantization: str) -> tuple[int, int] | None:
        """(bytes of the files, bytes needed meanwhile); None where the base model's files are not here."""
        from modelforge.exports.source import count_parameters, find_stored_bits

        parameters = count_parameters(record)
        return estimate_size(format, quantization, parameters, find_stored_bits(record)) if parameters else None

    def write(
        self, model: str, format: str, quantization: str, out: Path, watch: Callable[[str, float], None] | None = None
    ) -> ExportRecord:
        """Export a model into a folder that is new or empty. Blocks. watch: gets a key of `TITLES` and the share of all
        the work; what it raises cancels. Raises ModelForgeError; then nothing is written."""
        check_may_train("exporting models")
        record = self._store.models.find(model)
        quantization = self._check(record, format, quantization)
        with explain_os_errors(out, "The export cannot be written there"):
            if out.exists() and (not out.is_dir() or any(out.iterdir())):
                raise ExportError("There is something there already.", where=str(out), fix="Choose a new folder.")
            out.parent.mkdir(parents=True, exist_ok=True)
        job = Job(paths.new_id("export"), record.id, format, quantization, current_caller().id)
        return self._export(job, record, out, watch or (lambda step, share: None))

    def _check(self, record: ModelRecord, format: str, quantization: str) -> str:
        quantization = check_format(record, format, quantization)
        read_manifest(record.id)  # its files are there
        self._refuse_busy()
        return quantization

    def _work(self, job: Job, record: ModelRecord, caller: Any) -> None:
        def watch(step: str, share: float) -> None:
            job.step, job.share = step, share
            if job.is_cancelled:
                raise CancelledError

        try:
            with acting_as(caller):
                export = self._export(job, record, paths.export_dir(job.id), watch)
                job.export = self._store.exports.add(export)
        except CancelledError:
            job.error = "Cancelled; nothing was written."
        except ModelForgeError as error:
            job.error = str(error)
        except MemoryError:
            job.error = "There is not enough memory to export this model. Close other programs, and try again."
        except Exception:  # the edge of the thread: nobody else would say it
            log.exception("An export failed")
            job.error = "The export failed because of an error in ModelForge; its log has the details."
        finally:
            job.ended.set()

    def _export(self, job: Job, record: ModelRecord, out: Path, watch: Callable[[str, float], None]) -> ExportRecord:
        if not self._one_at_a_time.acquire(blocking=False):
            raise RunStateError("Another export is in progress.", fix="Wait until it has ended.")
        try:
            self._playground.unload()
            with explain_os_errors(out, "The export cannot be written there"), unfinished(out.parent) as place:
                if room := self.estimate(record, job.format, job.quantization):
                    check_space(place, room[1])
                folder = place / "files"
                folder.mkdir()
                with (
                    acting_as(OWNER),
                    report_full_disk(place),
                ):  # who may use a model uses its base model too, wherever that lies
                    parity = _write_and_check(record, job, folder, _watch_runs(watch, self._refuse_busy))
                self._store.models.get(record.id)  # it may have been deleted meanwhile
                files = [{"name": each.name, "bytes": each.stat().st_size} for each in sorted(folder.iterdir())]
                if out.exists():
                    out.rmdir()
                place_folder(folder, out)
        finally:
            self._one_at_a_time.release()
            gc.collect()
        return ExportRecord(
            id=job.id, created=utc_now(), owner=job.owner, model_id=record.id, format=job.format,
            quantization=job.quantization, files=files, parity=parity,
        )  # fmt: skip


def _write_and_check(
    record: ModelRecord, job: Job, folder: Path, watch: Callable[[str, float], None]
) -> dict[str, Any]:
    """The parity of what was written into the folder. Raises ExportError where the files do not answer as the model."""
    from modelforge.exports.parity import BOUNDS, compare
    from modelforge.exports.probes import make_probes
    from modelforge.exports.readers import TransformersReader
    from modelforge.exports.source import load_source

    form, notes = FORMATS[job.format], list[str]()
    watch("load", 0.0)
    source = load_source(record)
    probes = make_probes(source, notes)
    if not probes:
        what = "The chat template of this model refuses every prompt that the export would be checked with."
        raise ExportError(what, where=record.name, fix="Train it again with a base model whose template works.")
    meter = _Meter(watch, "read", len(probes))
    own = TransformersReader(source.loaded.tuned, source.loaded.tokenizer, record.architecture, meter.pulse)
    wanted = [meter.count(each) for each in own.read(probes)]
    del own
    form.write(source, folder, job.quantization, lambda share: watch("write", share))
    source.free()
    gc.collect()
    meter = _Meter(watch, "check", len(probes))
    with form.open_back(source, folder, meter.pulse) as reader:
        found = [meter.count(each) for each in reader.read(probes, [each.forced for each in wanted])]
        engine = reader.engine
    is_rounded = job.format == "merged" and source.dtype != "float32"
    bound = BOUNDS["bf16" if is_rounded else job.quantization or job.format]
    decode = source.loaded.tokenizer.decode
    parity = compare(probes, wanted, found, bound, engine=engine, decode=decode, notes=notes)
    if not parity.ok:
        what = f"The exported files do not answer as the model does. {' '.join(parity.problems)}"
        raise ExportError(what, where=record.name, fix="Nothing was kept. Choose a form with more bits, or merged.")
    return parity.as_json()


class _Meter:
    """Reports the share of the prompts that are answered, also within one."""

    def __init__(self, watch: Callable[[str, float], None], step: str, count: int) -> None:
        self._watch, self._step, self._count, self._done = watch, step, count, 0

    def pulse(self) -> None:
        self._watch(self._step, self._done / max(self._count, 1))

    def count(self, reading: Any) -> Any:
        self._done += 1
        self.pulse()
        return reading


def _watch_runs(watch: Callable[[str, float], None], refuse_busy: Callable[[], None]) -> Callable[[str, float], None]:
    """The share of a step as one of all the work; looks now and then whether a run has started."""
    looked = time.monotonic()

    def look(step: str, share: float) -> None:
        nonlocal looked
        if time.monotonic() - looked > _LOOK_SECONDS:
            refuse_busy()
            looked = time.monotonic()
        begin, end = _STEPS[step]
        watch(step, begin + (end - begin) * min(share, 1.0))

    return look
