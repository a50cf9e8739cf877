"""Which of two models people preferred: votes counted, and how sure the count is."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from modelforge.scores.need import share_interval

LEFT, RIGHT, TIE, BOTH_BAD = "left", "right", "tie", "both bad"
VOTES = (LEFT, RIGHT, TIE, BOTH_BAD)


@dataclass(frozen=True)
class Tally:
    """Votes on two models. first, second: how often each was preferred."""

    first: int = 0
    second: int = 0
    ties: int = 0
    both_bad: int = 0

    @property
    def decided(self) -> int:
        return self.first + self.second

    @property
    def share(self) -> float:
        """Of the decided votes, those for the first."""
        return self.first / self.decided if self.decided else 0.0

    @property
    def interval(self) -> tuple[float, float]:
        """The 95% interval of that share (Wilson 1927). (0, 1) without a decided vote."""
        return share_interval(self.first, self.decided) if self.decided else (0.0, 1.0)

    @property
    def winner(self) -> int:
        """1 or 2 where the interval leaves out one half, else 0."""
        low, high = self.interval
        return 1 if low > 1 / 2 else 2 if high < 1 / 2 else 0


def count_votes(votes: Iterable[tuple[str, bool]]) -> Tally:
    """votes: (one of VOTES, whether the first model was on the left)."""
    counts = dict.fromkeys(("first", "second", "ties", "both_bad"), 0)
    for vote, first_is_left in votes:
        if vote in (LEFT, RIGHT):
            counts["first" if (vote == LEFT) is first_is_left else "second"] += 1
        else:
            counts["ties" if vote == TIE else "both_bad"] += 1
    return Tally(**counts)
