"""The object that holds all services: `forge.datasets`, `forge.runs`, `forge.models`,
`forge.exports`.

forge = Forge()
run = forge.runs.start(Recipe(dataset="faq.csv"))
run.wait()
print(forge.models[run.model_id].chat("hi"))
"""

from __future__ import annotations

import threading

from modelforge.batch.service import Batches
from modelforge.data.library import Datasets
from modelforge.exports.service import Exports
from modelforge.legacy import Legacy
from modelforge.models.chat import Playground
from modelforge.models.conversations import Conversations
from modelforge.models.library import Models
from modelforge.models.transfers import Transfers
from modelforge.models.votes import Votes
from modelforge.runs.admission import Admission
from modelforge.runs.service import Runs
from modelforge.serve.service import Serving
from modelforge.store.home import open_store


class Forge:
    """Builds the services once. Cheap: torch is loaded by the first run or the first chat."""

    def __init__(self) -> None:
        self.store = open_store()
        self.playground = Playground()
        self.conversations = Conversations()
        self.votes = Votes()
        self.datasets = Datasets(self.store)
        self.models = Models(self.store, self.playground)
        self.legacy = Legacy(self.store)
        self.transfers = Transfers()
        self.runs = Runs(self.store, Admission(self.datasets, self.models), self.playground.unload)
        self.batches = Batches(self.store, self.models, self.runs)
        self.serving = Serving(self.models, self.playground)
        self.exports = Exports(self.store, self.playground, self.runs.refuse_beside_run)


_shared: Forge | None = None
_shared_lock = threading.Lock()


def shared_forge() -> Forge:
    """The only Forge of this process; thread-safe."""
    global _shared  # noqa: PLW0603 - the app's tabs and handlers share one worker
    with _shared_lock:
        if _shared is None:
            _shared = Forge()
        return _shared
