"""Conversations of the Playground: trees of turns, of which one branch is shown; kept, found by text, written as files.

Editing a question or regenerating an answer adds a turn beside the old one, so that every branch stays reachable. Files
are `store/documents.py`'s.
"""

from __future__ import annotations

import json
from typing import Self

from pydantic import BaseModel, ConfigDict, ValidationError

from modelforge.errors import NotFoundError, RecipeError
from modelforge.models.sampling import Message
from modelforge.store.documents import Documents

MOST_KEPT = 200
LARGEST_BYTES = 1_000_000
LONGEST_NAME = 120
LONGEST_TEXT = 100_000  # characters of one turn
ROOT = -1
_SHOWN_CHARACTERS = 48


class Turn(BaseModel):
    """parent: the place of the turn before it in the conversation's list; ROOT for a first one. by: who answered. note:
    how fast, and what was cut."""

    model_config = ConfigDict(frozen=True)

    parent: int
    role: str
    text: str
    by: str = ""
    note: str = ""


class Conversation(BaseModel):
    """id: "" until it is saved. model: what was chosen to answer, as the Playground's list names it. at: the turn that
    the shown branch ends with."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    id: str = ""
    name: str = ""
    model: str = ""
    base: bool = False
    system: str = ""
    turns: tuple[Turn, ...] = ()
    at: int = ROOT
    updated: str = ""

    @property
    def label(self) -> str:
        first = next((turn.text for turn in self.turns), "")
        return self.name or shorten(first) or "Empty conversation"

    @property
    def branch(self) -> list[int]:
        """The places of the turns that are shown, the first one first."""
        return self.branch_to(self.at)

    def branch_to(self, at: int) -> list[int]:
        found: list[int] = []
        while at != ROOT:
            found.append(at)
            at = self.turns[at].parent
        return found[::-1]

    @property
    def ends(self) -> list[int]:
        """The last turns of all branches."""
        parents = {turn.parent for turn in self.turns}
        return [place for place in range(len(self.turns)) if place not in parents]

    def messages(self, at: int | None = None) -> list[Message]:
        """What a model gets to read of the branch that ends there."""
        opening = [{"role": "system", "content": self.system}] if self.system.strip() else []
        turns = [self.turns[place] for place in (self.branch if at is None else self.branch_to(at))]
        return [*opening, *({"role": turn.role, "content": turn.text} for turn in turns)]

    def add(self, turn: Turn) -> Self:
        """With a turn more, which is shown."""
        return self.model_copy(update={"turns": (*self.turns, turn), "at": len(self.turns)})

    def ask(self, text: str) -> Self:
        """With a question at the end of the branch. Raises RecipeError."""
        return self.add(Turn(parent=self.at, role="user", text=check_text(text)))

    def answer(self, text: str, by: str, note: str) -> Self:
        return self.add(Turn(parent=self.at, role="assistant", text=text, by=by, note=note))

    def edit(self, shown: int, text: str) -> Self:
        """A new branch that begins with another text at a place of the shown one. Raises RecipeError."""
        place = self.branch[shown]
        return self.add(self.turns[place].model_copy(update={"text": check_text(text)}))

    def rewind(self) -> Self:
        """Shown up to its last question, to be answered once more. Raises RecipeError."""
        for place in reversed(self.branch):
            if self.turns[place].role == "user":
                return self.model_copy(update={"at": place})
        raise RecipeError("There is nothing to answer yet.", fix="Type a question first.")

    def show(self, at: int) -> Self:
        """The branch that ends with that turn. Raises NotFoundError."""
        if at not in self.ends:
            raise NotFoundError("There is no such branch.", fix="Choose one of the list.")
        return self.model_copy(update={"at": at})

    def contains(self, text: str) -> bool:
        wanted = text.casefold()
        return any(wanted in each.casefold() for each in (self.name, self.system, *(turn.text for turn in self.turns)))

    def as_jsonl(self) -> str:
        """A line for each branch: {"messages": [...]}, which the Dataset tab reads."""
        rows = ({"messages": self.messages(end)} for end in self.ends)
        return "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)

    def as_markdown(self) -> str:
        """The shown branch."""
        parts = [f"# {' '.join(self.label.split())}"]
        parts += [f"**System**\n\n{self.system}"] if self.system.strip() else []
        for place in self.branch:
            turn = self.turns[place]
            parts.append(f"**{turn.by or turn.role.capitalize()}**\n\n{turn.text}")
        return "\n\n".join(parts) + "\n"


def check_text(text: str) -> str:
    """Raises RecipeError for a turn that is empty or too long."""
    if not text.strip():
        raise RecipeError("The question is empty.", fix="Type a question first.")
    if len(text) > LONGEST_TEXT:
        raise RecipeError(
            f"A question may have {LONGEST_TEXT:,} characters; this one has {len(text):,}.", fix="Shorten it."
        )
    return text


def shorten(text: str) -> str:
    line = " ".join(text.split())
    return line if len(line) <= _SHOWN_CHARACTERS else f"{line[: _SHOWN_CHARACTERS - 1]}…"


class Conversations:
    """Those of the person for whom this runs."""

    def __init__(self) -> None:
        self._documents = Documents("conversation", MOST_KEPT, LARGEST_BYTES)

    def save(self, conversation: Conversation) -> Conversation:
        """Raises StoreError for one that is too long, DiskFullError."""
        return Conversation.model_validate(self._documents.save(conversation.model_dump(mode="json")))

    def get(self, conversation_id: str) -> Conversation:
        """Raises NotFoundError."""
        try:
            return Conversation.model_validate(self._documents.get(conversation_id))
        except ValidationError as error:
            raise NotFoundError("This conversation is damaged.", where=conversation_id, fix="Delete it.") from error

    def find(self, text: str = "") -> list[Conversation]:
        """Those with that text in them, the one that changed last first."""
        found = [self._read(each) for each in self._documents.all()]
        return [each for each in found if each and each.contains(text.strip())]

    def rename(self, conversation_id: str, name: str) -> Conversation:
        name = " ".join(name.split())
        if not 0 < len(name) <= LONGEST_NAME:
            what = f"A name must have 1 to {LONGEST_NAME} characters."
            raise RecipeError(what, where="name", fix="Enter another name.")
        return self.save(self.get(conversation_id).model_copy(update={"name": name}))

    def delete(self, conversation_id: str) -> None:
        self._documents.delete(conversation_id)

    @staticmethod
    def _read(document: dict[str, object]) -> Conversation | None:
        try:
            return Conversation.model_validate(document)
        except ValidationError:  # `get` tells of it
            return None
