"""One kind of record: add, get, find, list, update, delete. Validates records when they are written and read.

Each operation is a transaction unless one is open (`Store.transaction`), and sees only the records of the person for
whom it runs (`caller.py`).
"""

from __future__ import annotations

import difflib
import gc
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from pydantic import TypeAdapter, ValidationError
from pydantic_core import PydanticSerializationError

from modelforge.caller import check_may_train, current_caller
from modelforge.errors import NotFoundError, StoreError
from modelforge.store.records import Record
from modelforge.store.storage import Database

R = TypeVar("R", bound=Record)
Document = dict[str, Any]  # a record's fields as plain JSON values

_CONTAINERS = frozenset((dict, list))
_MANY = 500  # records


@dataclass(frozen=True)
class _Listing(Generic[R]):
    """Records of one committed state, cached because validating 10,000 takes 50 ms."""

    rows: object  # the rows object that they were made from; None if that may still change
    made: dict[str, tuple[Document, R]]  # id -> the stored fields and the record made from them
    newest_first: list[R]


class Table(Generic[R]):
    """noun: the name of a record in messages, such as "model"; the table is named by its plural."""

    def __init__(self, database: Database, record_type: type[R], noun: str) -> None:
        self._documents = database.table(f"{noun}s")
        self._storage = database.storage
        self._record_type = record_type
        self._list_of_records = TypeAdapter(list[record_type])  # type: ignore[valid-type]
        self._noun = noun
        self._listing: _Listing[R] = _Listing(None, {}, [])

    def add(self, record: R) -> R:
        """Add a record. Returns it as it was stored. Raises StoreError when its id exists."""
        check_may_train("changing anything")
        document = self._serialise(record)
        with self._storage.transaction():
            if record.id in self._documents.rows():
                raise StoreError(f"A {self._noun} with the id {record.id} already exists.")
            self._documents.put_record(record.id, document)
        return self._stored(document)

    def get(self, id: str) -> R:
        """The record with exactly that id. Raises NotFoundError."""
        document = self._documents.rows().get(id)
        if document is None or not current_caller().sees(id, document.get("owner", "")):
            raise self._missing(id)
        return self._restore([document])[0]

    def find(self, text: str) -> R:
        """The record with that id, else the only one whose id starts with it, else the only one of that name.

        Raises NotFoundError, which suggests similar names or lists the possible records.
        """
        records = self.all() if text else []
        begins = [record for record in records if record.id.startswith(text)]
        named = [record for record in records if record.label == text]
        if any(record.id == text for record in begins):
            return self.get(text)
        possible = {record.id: record for record in [*begins, *named]}
        # A text that is a prefix of one id and the name of another record is ambiguous: the caller may delete it.
        if len(possible) == 1 or len(named) == 1 < len(begins):
            return self.get((named or begins)[0].id)
        if possible:
            raise NotFoundError(
                f"{text!r} matches {len(possible)} {self._noun}s.",
                fix=f"Use more of the id: {', '.join(list(possible)[:5])}{', ...' if len(possible) > 5 else ''}.",
            )
        raise self._missing(text)

    def all(self) -> list[R]:
        """All records, the newest first. Other callers share them: do not change their contents."""
        rows, listing = self._documents.rows(), self._listing
        if listing.rows is not rows or self._storage.in_transaction:
            with _without_collecting(many=len(rows) > _MANY):
                listing = self._listing = self._list(rows)
        caller = current_caller()
        if caller.is_owner:
            return list(listing.newest_first)
        return [record for record in listing.newest_first if caller.sees(record.id, record.owner)]

    def update(self, id: str, **changes: Any) -> R:
        """Change some fields. Returns the record as it was stored.

        Raises NotFoundError, StoreError for an invalid value, TypeError for an unknown field.
        """
        for name in changes:
            if name not in self._record_type.model_fields:
                raise TypeError(f"{self._record_type.__name__} has no field {name!r}")
        check_may_train("changing anything")
        with self._storage.transaction():
            fields = {**self.get(id).model_dump(), **changes}
            document = self._serialise(self._restore([fields])[0])
            self._documents.put_record(id, document)
        return self._stored(document)

    def delete(self, id: str) -> None:
        """Raises NotFoundError when no record has exactly that id."""
        check_may_train("deleting")
        self.get(id)
        self._documents.remove_record(id)

    def count(self) -> int:
        return len(self.all())

    def _list(self, rows: dict[str, Document]) -> _Listing[R]:
        known = self._listing.made
        made: dict[str, tuple[Document, R]] = {}
        fresh: dict[str, Document] = {}
        for id, document in rows.items():
            kept = known.get(id)
            if kept is not None and (kept[0] is document or kept[0] == document):
                made[id] = kept
            else:
                fresh[id] = document
        for (id, document), record in zip(fresh.items(), self._restore(list(fresh.values())), strict=True):
            made[id] = (document, record)
        records = [made[id][1] for id in reversed(rows)]  # the later one first if the times are equal
        records.sort(key=lambda record: record.created, reverse=True)
        # The rows of an open transaction can still change.
        return _Listing(None if self._storage.in_transaction else rows, made, records)

    def _stored(self, document: Document) -> R:
        """The record of a document just written; a second one is cached for the next list."""
        mine, ours = self._restore([document, document])
        self._listing.made[mine.id] = (document, ours)
        return mine

    def _restore(self, documents: list[Document]) -> list[R]:
        """Records that share nothing with the stored documents, so that callers cannot change those by accident."""
        try:
            return self._list_of_records.validate_python(_copy(documents))
        except ValidationError as error:
            first = error.errors(include_url=False)[0]
            number, *path = first["loc"]
            field = ".".join(str(part) for part in path)
            raise StoreError(
                f"{first.get('input')!r} cannot be stored as {field} of a {self._noun}: {first['msg'].lower()}.",
                where=f"{self._noun} {documents[int(number)].get('id', '')}",
            ) from error

    def _serialise(self, record: R) -> Document:
        """As plain JSON values: paths and times become text, NaN becomes null."""
        try:
            return record.model_dump(mode="json")
        except PydanticSerializationError as error:
            raise StoreError(f"This cannot be stored: {error}.", where=f"{self._noun} {record.id}") from error

    def _missing(self, text: str) -> NotFoundError:
        names = {name: record for record in reversed(self.all()) for name in (record.id, record.label) if name}
        lowered = {name.lower(): name for name in names}
        near = [names[lowered[match]] for match in difflib.get_close_matches(text.lower(), lowered, n=3)]
        shown = list(dict.fromkeys(f"{record.label} ({record.id})" if record.label else record.id for record in near))
        if shown:
            fix = f"Did you mean {' or '.join(shown)}?"
        elif names:
            fix = f"None of the {self.count()} {self._noun}s has this id or name."
        else:
            fix = f"There are no {self._noun}s yet."
        return NotFoundError(f"There is no {self._noun} {text!r}.", fix=fix)


def _copy(value: Any) -> Any:
    if isinstance(value, dict):
        # four times as fast as isinstance of a union
        return {name: _copy(item) if type(item) in _CONTAINERS else item for name, item in value.items()}
    return [_copy(item) if type(item) in _CONTAINERS else item for item in value]


@contextmanager
def _without_collecting(*, many: bool) -> Iterator[None]:
    """Pause garbage collection while thousands of records are made: it takes half of the time.

    It pauses for other threads too, for some hundredths of a second.
    """
    pause = many and gc.isenabled()
    if pause:
        gc.disable()
    try:
        yield
    finally:
        if pause:
            gc.enable()
