"""Pushes to and downloads from the Hub that are in progress, each in a thread of its own.

They belong to the process, not to a page: whoever started one sees it from any page, can cancel it, and can resume it.
In memory only: a token is never written, and what a closed app has not finished is begun again, which sends or fetches
no large file twice.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from concurrent.futures import CancelledError
from typing import Any, Literal

from modelforge.caller import acting_as, check_may_train, current_caller
from modelforge.errors import ModelForgeError, RunStateError

log = logging.getLogger("modelforge")

Kind = Literal["push", "pull"]
Work = Callable[[Callable[[Any], None]], Any]
"""Does it, and reports its progress to the function that it is given; what that raises ends it."""
_MOST_KEPT = 200


class Transfer:
    """One of them. title: what and where to, in words. progress: the latest. error: a sentence, "" without one."""

    def __init__(self, kind: Kind, title: str, work: Work) -> None:
        self.kind = kind
        self.title = title
        self.state: Literal["running", "finished", "cancelled", "failed"] = "running"
        self.progress: Any = None
        self.result: Any = None
        self.error = ""
        self._work: Work | None = work
        self._caller = current_caller()
        self._is_cancelled = False
        self._ended = threading.Event()
        threading.Thread(target=self._run, name=f"modelforge-{kind}", daemon=True).start()

    @property
    def work(self) -> Work | None:
        """What may be resumed; None where there is nothing more to do."""
        return self._work if self.state in ("cancelled", "failed") else None

    def wait(self, seconds: float | None = None) -> bool:
        """Wait until it has ended; whether it has."""
        return self._ended.wait(seconds)

    def cancel(self) -> None:
        """It ends at its next byte. Until it is resumed nothing more happens."""
        self._is_cancelled = True
        if self.state == "running":
            self.state = "cancelled"

    def _note(self, progress: Any) -> None:
        if self._is_cancelled:
            raise CancelledError
        self.progress = progress

    def _run(self) -> None:
        assert self._work is not None  # noqa: S101 - as it was made
        try:
            with acting_as(self._caller):
                self.result = self._work(self._note)
            self.state = "finished"  # also where Cancel came too late: what is done is said
            self._work = None
        except CancelledError:
            self.state = "cancelled"
        except ModelForgeError as error:
            self.error = str(error)
            self.state = "cancelled" if self._is_cancelled else "failed"
        except Exception as error:  # the edge of a worker
            log.exception("a %s failed", self.kind)
            self.error = f"{type(error).__name__}: {error}. This is a bug: the details are in the terminal."
            self.state = "failed"
        finally:
            self._ended.set()


class Transfers:
    """The transfers of this process: of each person the last push and the last download."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._of: dict[tuple[str, Kind], Transfer] = {}

    def start(self, kind: Kind, title: str, work: Work) -> Transfer:
        """Begin one. Raises RunStateError while one of the kind is in progress for this person."""
        check_may_train("pushing and downloading")
        key = current_caller().id, kind
        with self._lock:
            now = self._of.get(key)
            if now is not None and now.state == "running":
                raise RunStateError(
                    f"Another {kind} is in progress.", where=now.title, fix="Wait for it, or cancel it."
                )
            self._of.pop(key, None)
            self._of[key] = Transfer(kind, title, work)
            ended = [each for each, transfer in self._of.items() if transfer.wait(0)]
            for each in ended[: max(len(self._of) - _MOST_KEPT, 0)]:
                del self._of[each]
            return self._of[key]

    def find(self, kind: Kind) -> Transfer | None:
        """The last one of this person."""
        return self._of.get((current_caller().id, kind))

    def cancel(self, kind: Kind) -> None:
        if transfer := self.find(kind):
            transfer.cancel()

    def resume(self, kind: Kind) -> Transfer:
        """Begin the last one again; what has arrived is not sent or fetched again. Raises RunStateError."""
        transfer = self.find(kind)
        if transfer is None or transfer.work is None:
            raise RunStateError(f"There is no {kind} to resume.", fix="Start one.")
        return self.start(kind, transfer.title, transfer.work)
