"""The served model of the app: one at a time, started and stopped by the owner."""

from __future__ import annotations

import threading

from modelforge.caller import current_caller
from modelforge.errors import AccessError
from modelforge.models.chat import Playground
from modelforge.models.library import Models
from modelforge.serve.server import Server, choose_key


class Serving:
    """The serving service of a Forge. current: what is served now, or None."""

    def __init__(self, models: Models, playground: Playground) -> None:
        self._models, self._playground = models, playground
        self._lock = threading.Lock()
        self.current: Server | None = None

    def start(self, text: str, *, host: str = "127.0.0.1", port: int = 0) -> tuple[Server, str]:
        """Serve a model by id, unique prefix or name, instead of what was served before. -> (the server, its key if
        that was made now, to be shown once). Raises AccessError, NotFoundError, RecipeError."""
        check_may_serve()
        key, is_new = choose_key()
        record = self._models.find(text)
        if problem := self._models.find_problem(record):
            raise problem
        server = Server(self._playground, record, key, host=host, port=port)
        with self._lock:
            self._stop()
            server.start()
            self.current = server
        return server, key if is_new else ""

    def stop(self) -> None:
        """Stop to serve. Answers in progress have some seconds to end."""
        check_may_serve()
        with self._lock:
            self._stop()

    def _stop(self) -> None:
        if self.current is not None:
            self.current.stop()
            self.current = None


def check_may_serve() -> None:
    """Raises AccessError for anybody but the owner: whoever has the key uses this machine."""
    if not current_caller().is_owner:
        raise AccessError("Only the owner of this app can put a model on a port.", fix="Ask its owner.")
