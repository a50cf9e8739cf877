"""Votes on two answers to one prompt: kept for each person, counted for each pair of models, written as preference
pairs."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

from pydantic import BaseModel, ConfigDict, ValidationError

from modelforge.errors import RecipeError
from modelforge.models.sampling import Message
from modelforge.scores.votes import LEFT, RIGHT, VOTES, Tally, count_votes
from modelforge.store.documents import Documents

MOST_KEPT = 2_000
LARGEST_BYTES = 500_000


class Side(BaseModel):
    """Who answered, as the Playground's list names it and for people; and the answer."""

    model_config = ConfigDict(frozen=True)

    model: str
    name: str
    answer: str


class Vote(BaseModel):
    """prompt: what both were given. vote: one of `scores.votes.VOTES`. blind: whether the names were hidden."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    id: str = ""
    prompt: tuple[Message, ...]
    left: Side
    right: Side
    vote: str
    blind: bool

    @property
    def pair(self) -> tuple[str, str]:
        """The two models, whichever side they were on."""
        first, second = sorted((self.left.model, self.right.model))
        return first, second

    @property
    def preference(self) -> tuple[Side, Side] | None:
        """(the better, the worse); None where neither was preferred, or a model cannot learn from them."""
        better, worse = (self.left, self.right) if self.vote == LEFT else (self.right, self.left)
        differ = better.answer.strip() and worse.answer.strip() and better.answer != worse.answer
        return (better, worse) if differ and self.vote in (LEFT, RIGHT) else None


class Votes:
    """Those of the person for whom this runs."""

    def __init__(self) -> None:
        self._documents = Documents("vote", MOST_KEPT, LARGEST_BYTES)

    def add(self, vote: Vote) -> Vote:
        """Raises RecipeError for an unknown vote, StoreError, DiskFullError."""
        if vote.vote not in VOTES:
            raise RecipeError(f"{vote.vote!r} is not a vote.", fix=f"Vote one of: {', '.join(VOTES)}.")
        return Vote.model_validate(self._documents.save(vote.model_dump(mode="json")))

    def all(self) -> list[Vote]:
        """The newest first."""
        found = []
        for document in self._documents.all():
            try:
                found.append(Vote.model_validate(document))
            except ValidationError:  # written by a newer version
                continue
        return found

    def tallies(self) -> list[tuple[tuple[str, str], tuple[str, str], Tally]]:
        """(the two models, their names, their votes) of each pair, the one that was voted on last first."""
        groups: dict[tuple[str, str], list[Vote]] = {}
        for vote in self.all():
            groups.setdefault(vote.pair, []).append(vote)
        found = []
        for (first, second), votes in groups.items():
            newest = votes[0]
            names = {side.model: side.name for side in (newest.left, newest.right)}
            tally = count_votes((vote.vote, vote.left.model == first) for vote in votes)
            found.append(((first, second), (names[first], names[second]), tally))
        return found

    def preferences(self) -> list[dict[str, Any]]:
        """{prompt, chosen, rejected} of each vote that preferred one answer, the oldest first: texts, or turns where a
        prompt has several."""
        found = [(vote.prompt, *vote.preference) for vote in reversed(self.all()) if vote.preference]
        if all(len(prompt) == 1 for prompt, _, _ in found):
            return [
                {"prompt": prompt[0]["content"], "chosen": better.answer, "rejected": worse.answer}
                for prompt, better, worse in found
            ]
        return [
            {"prompt": list(prompt), "chosen": _as_turns(better.answer), "rejected": _as_turns(worse.answer)}
            for prompt, better, worse in found
        ]

    def delete_all(self) -> int:
        """How many there were."""
        found = self._documents.all()
        for each in found:
            self._documents.delete(each["id"])
        return len(found)


def _as_turns(answer: str) -> list[Message]:
    return [{"role": "assistant", "content": answer}]


def write_jsonl(pairs: Sequence[dict[str, Any]]) -> bytes:
    return "".join(json.dumps(pair, ensure_ascii=False) + "\n" for pair in pairs).encode()
