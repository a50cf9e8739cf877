"""The finished models: list, find, rename, delete. Records in the store, files in home/models/<id>/."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from modelforge import paths
from modelforge.caller import check_may_train, current_caller
from modelforge.engines import files
from modelforge.errors import NotFoundError, RecipeError
from modelforge.models import folder, hub
from modelforge.models.card import model_card
from modelforge.models.chat import Playground
from modelforge.models.hub import PushProgress, PushResult
from modelforge.models.sampling import Message, Sampling
from modelforge.store import ModelRecord, Store
from modelforge.store.folders import delete_folder

if TYPE_CHECKING:
    from modelforge.models.evaluate import Evaluation
    from modelforge.models.spans import Span

LONGEST_NAME = 120


@dataclass(frozen=True)
class Model:
    """A handle on one finished model."""

    record: ModelRecord
    playground: Playground
    parent: ModelRecord | None = None

    def chat(self, said: str | Sequence[Message], *, base: bool = False, sampling: Sampling | None = None) -> str:
        """The answer to a sentence or a conversation; base: the untrained model's."""
        messages = [{"role": "user", "content": said}] if isinstance(said, str) else said
        return "".join(self.playground.answer(self.record, messages, sampling or Sampling(), base=base))

    def summarise(self, document: str, *, base: bool = False, sampling: Sampling | None = None) -> str:
        """The summary of a document; base: the untrained model's."""
        return "".join(self.playground.summarise(self.record, document, sampling or Sampling(), base=base))

    def find_answer(self, context: str, question: str, *, base: bool = False) -> Span:
        """Where in the context the answer is; base: as the untrained model finds it."""
        return self.playground.find_answer(self.record, context, question, base=base)

    def evaluate(
        self,
        *,
        data: Path | None = None,
        limit: int | None = None,
        against: ModelRecord | None = None,
        watch: Callable[[float], None] | None = None,
    ) -> Evaluation:
        """Measure the model, its base, and the model that was trained further, if any, on the rows held out in
        training or on those of the file `data`; and say whether it got better.

        limit: at most that many rows, evenly spaced. against: another model to compare with. watch: called with the
        share of the work that is done, also for each token; what it raises cancels. Raises DatasetError for a file with
        errors (naming row and line) and where there are no rows, NotFoundError or BaseModelError where files of a model
        are missing, RecipeError for models that are not measured in the same way.
        """
        from modelforge.models.evaluate import evaluate  # loads torch: not before the first evaluation

        return evaluate(
            self.record, self.playground, parent=self.parent, against=against, data=data, limit=limit, watch=watch
        )


class Models:
    """The models service of a Forge."""

    def __init__(self, store: Store, playground: Playground) -> None:
        self._store = store
        self._playground = playground

    def __getitem__(self, text: str) -> Model:
        record = self.find(text)
        parents = (each for each in self.all() if each.id == record.parent and not self.find_problem(each))
        return Model(record, self._playground, next(parents, None))

    def all(self) -> list[ModelRecord]:
        """Every model, the newest first."""
        return self._store.models.all()

    def find(self, text: str) -> ModelRecord:
        """A model by id, unique prefix or name. Raises NotFoundError, also for empty text."""
        if not text or not text.strip():
            raise NotFoundError("No model is chosen.", fix="Choose one of your models, or train one first.")
        return self._store.models.find(text.strip())

    def path(self, record: ModelRecord) -> Path:
        return paths.model_dir(record.id)

    def manifest(self, record: ModelRecord) -> dict[str, Any]:
        """What the model's folder says of it, under the name that it has now."""
        return {**folder.read_manifest(record.id), "name": record.name}

    def find_problem(self, record: ModelRecord) -> NotFoundError | None:
        """Why a model cannot be used: its files are missing or damaged. None where they are not."""
        try:
            self.manifest(record)
        except NotFoundError as error:
            return error
        return None

    def rename(self, model_id: str, name: str) -> ModelRecord:
        """Change the name of a model; its files stay where they are."""
        name = " ".join(name.split())
        if not 0 < len(name) <= LONGEST_NAME:
            raise RecipeError("A name must have between 1 and 120 characters.", where="name", fix="Enter another name.")
        record = self.find(model_id)
        manifest = self.manifest(record)  # before anything is changed: its files may be missing
        record = self._store.models.update(record.id, name=name)
        folder.write_manifest(record.id, {**manifest, "name": name})
        return record

    def delete(self, text: str) -> ModelRecord:
        """Delete a model and its files, completely or not at all; its exports first."""
        check_may_train("deleting models")
        record = self.find(text)
        self._playground.unload(record.id)
        files.forget(self.path(record))
        for export in self._store.exports.all():
            if export.model_id == record.id:
                delete_folder(paths.export_dir(export.id), lambda id=export.id: self._store.forget(id))  # type: ignore[misc]
        delete_folder(self.path(record), lambda: self._store.forget(record.id))
        return record

    def card(self, text: str, repo_id: str | None = None) -> str:
        """The model card that a push sends."""
        return model_card(self.manifest(self.find(text)), repo_id)

    def push(
        self,
        text: str,
        repo_id: str,
        *,
        token: str | None = None,
        private: bool = True,
        progress: Callable[[PushProgress], None] = lambda _: None,
    ) -> PushResult:
        """Send a model to the Hub. token None: the person's own, which is that of the hub login on this machine. Raises
        HubError."""
        check_may_train("pushing models")
        if token is None and current_caller().hub_token is not None:
            token = current_caller().token
        record = self.find(text)
        repo_id = hub.check_repo_id(repo_id)
        card = self.card(record.id, repo_id if "/" in repo_id else None)
        return hub.push(self.path(record), repo_id, card=card, token=token, private=private, progress=progress)
