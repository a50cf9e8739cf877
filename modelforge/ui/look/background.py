"""Calls in threads, so that a page can show their progress however long one step takes."""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import CancelledError, Future
from concurrent.futures import wait as wait_for
from typing import Any, Generic, TypeVar

from modelforge.caller import acting_as, current_caller

Result = TypeVar("Result")

FOLLOW_SECONDS = 0.3


class BackgroundCall(Generic[Result]):
    """A call in a thread, for the same person. It gets a function to report its progress; `progress` is the latest."""

    def __init__(self, call: Callable[[Callable[[Any], None]], Result]) -> None:
        self.progress: Any = None
        self._is_cancelled = False
        self._caller = current_caller()
        self._result: Future[Result] = Future()
        threading.Thread(target=self._work, args=[call], name="modelforge-background", daemon=True).start()

    def wait(self, seconds: float) -> bool:
        """Wait up to so many seconds; whether it is done."""
        return bool(wait_for([self._result], seconds).done)

    def cancel(self) -> None:
        """Stop when it next reports its progress."""
        self._is_cancelled = True

    def result(self) -> Result:
        """Wait for the result. Raises what the call raised, CancelledError if it was cancelled."""
        return self._result.result()

    def _work(self, call: Callable[[Callable[[Any], None]], Result]) -> None:
        try:
            with acting_as(self._caller):
                self._result.set_result(call(self._note))
        except Exception as error:  # noqa: BLE001 - raised by `result`
            self._result.set_exception(error)

    def _note(self, progress: Any) -> None:
        if self._is_cancelled:
            raise CancelledError
        self.progress = progress
