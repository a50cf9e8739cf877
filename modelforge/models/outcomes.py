"""What each side made of each row, kept beside a model's manifest, and all that follows from it without measuring
again: metrics, differences with their intervals, the verdict, regressions, and comparisons of runs.

It loads no torch. `measures.py` makes outcomes.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import Any

from modelforge import paths
from modelforge.data.forms import dump_row
from modelforge.scores.intervals import Interval, Numbers, find_interval
from modelforge.scores.metrics import LOWER_IS_BETTER, PERPLEXITY, normalise
from modelforge.scores.rewards import contains_phrase
from modelforge.scores.titles import SHOWN
from modelforge.scores.verdict import UNCLEAR, Verdict, describe_change, judge
from modelforge.store.files import save_file
from modelforge.tasks.base import MappedRow

FILE = "outcomes.json"
WORST = BEST = 10  # rows listed beside those that were right and are wrong now
TUNED, BASE, BEFORE, AGAINST = "tuned", "base", "before", "against"


@dataclass(frozen=True)
class Outcome:
    """One row. id: of its content, the same wherever the row is measured. row: its number, from 1, in the file or the
    dataset. prompt, expected: as text. answers: side -> what it answered, where answers are written. scores: side ->
    metric -> the score of this row alone; one that cannot be computed is missing. tokens: labelled ones, which the loss
    is a mean of. known: whether the row was trained on, too."""

    id: str
    row: int
    prompt: str
    expected: str
    answers: dict[str, str] = field(default_factory=dict)
    scores: dict[str, dict[str, float]] = field(default_factory=dict)
    tokens: int = 0
    known: bool = False

    def is_right(self, side: str) -> bool | None:
        """Whether the side's answer is the expected one, or has it as a phrase; None where rows are not right or
        wrong."""
        scores = self.scores.get(side, {})
        for metric in ("preference_accuracy", "exact_match"):
            if scores.get(metric) == 1:
                return True
        if "preference_accuracy" in scores or "f1" in scores:
            return False
        wanted = normalise(self.expected)
        if not wanted or side not in self.answers or "mean_reward" in scores:
            return None
        return contains_phrase(normalise(self.answers[side]), wanted)


@dataclass(frozen=True)
class Measured:
    """A measurement: the outcomes of rows, in their order. against: the side that "tuned" is compared with. metrics:
    the measured ones; the verdict rests on the first that is there for both sides. notes: a sentence for whatever
    could not be measured, and for whatever makes the verdict doubtful."""

    outcomes: Sequence[Outcome]
    against: str
    metrics: Sequence[str]
    notes: Sequence[str] = ()

    @property
    def sides(self) -> dict[str, dict[str, float]]:
        """Side -> metric -> value over all rows."""
        names = dict.fromkeys(side for each in self.outcomes for side in each.scores)
        return {
            side: {
                metric: combine(metric, rows, side) for metric in self.metrics if (rows := self._scored(metric, side))
            }
            for side in names
        }

    def compare(self) -> dict[str, Interval]:
        """Metric -> the difference between "tuned" and the other side, on the rows for which both have it."""
        listed = {metric: self._scored(metric, self.against, TUNED) for metric in self.metrics}
        return {metric: self._find_interval(metric, rows) for metric, rows in listed.items() if rows}

    def judge(self) -> Verdict:
        """The verdict; on the rows that were not trained on, if there are any."""
        for metric in self.metrics:
            if rows := self._scored(metric, self.against, TUNED):
                break
        else:
            return Verdict(None, "", len(self.outcomes), "There is nothing to compare with, so there is no verdict.")
        fresh = [each for each in rows if not each.known]
        before, after = (combine(metric, fresh or rows, side) for side in (self.against, TUNED))
        found = judge(metric, before, after, self._find_interval(metric, fresh or rows), len(fresh or rows))
        if fresh:
            return found
        why = "All of these rows were trained on: they show what was memorised, not what was learned."
        return replace(found, word=UNCLEAR, why=f"{describe_change(metric, before, after)} {why}")

    def _find_interval(self, metric: str, rows: Sequence[Outcome]) -> Interval:
        from modelforge.scores.statistics import (
            find_combine,
        )  # loads sacrebleu: a page that lists rows does not need it

        before, after = (stack(metric, rows, side) for side in (self.against, TUNED))
        return find_interval(before, after, find_combine(metric))

    def _scored(self, metric: str, *sides: str) -> list[Outcome]:
        """The rows for which all these sides have the metric."""
        name = "loss" if metric == PERPLEXITY else metric
        return [each for each in self.outcomes if all(name in each.scores.get(side, {}) for side in sides)]

    def list_regressions(self) -> list[Outcome]:
        """Rows that were right before and are wrong now, then the `WORST` of the rows that score lower now."""
        lost = self.list_lost()
        return lost + [each for each in self.list_worst() if each not in lost]

    def list_lost(self) -> list[Outcome]:
        """Rows that were right before and are wrong now."""
        return [each for each in self.outcomes if each.is_right(self.against) and each.is_right(TUNED) is False]

    def list_worst(self) -> list[Outcome]:
        """The `WORST` of the rows that score lower now."""
        return [each for each in self.rank_gains() if self.gain(each) < 0][:WORST]

    def list_gains(self) -> list[Outcome]:
        """The `BEST` of the rows that score higher now."""
        return [each for each in reversed(self.rank_gains()) if self.gain(each) > 0][:BEST]

    def rank_gains(self) -> list[Outcome]:
        """All rows, the worst change first."""
        return sorted(self.outcomes, key=self.gain)

    def describe_row(self, outcome: Outcome) -> str:
        """ "ROUGE-L 0.210 → 0.330", of the metric of the verdict; "" where the row has none."""
        for metric in self.metrics:
            before, after = (outcome.scores.get(side, {}).get(metric) for side in (self.against, TUNED))
            if before is not None and after is not None:
                shown = SHOWN[metric]
                return f"{shown.title} {shown.write(before)} → {shown.write(after)}"
        return ""

    def gain(self, outcome: Outcome) -> float:
        """How much better the row scores than before on the metric of the verdict; 0 where that is not known."""
        for metric in self.metrics:
            before, after = (outcome.scores.get(side, {}).get(metric) for side in (self.against, TUNED))
            if before is not None and after is not None:
                return before - after if metric in LOWER_IS_BETTER else after - before
        return 0.0


def compare_tuned(first: Measured, second: Measured) -> dict[str, Interval]:
    """Metric -> the difference from the first's "tuned" to the second's, on the rows that both have. No loss or
    perplexity where the two count other tokens."""
    known = {each.id: each for each in first.outcomes}
    pairs = [(known[each.id], each) for each in second.outcomes if each.id in known]
    together = [
        replace(
            after,
            answers={AGAINST: before.answers.get(TUNED, ""), TUNED: after.answers.get(TUNED, "")},
            scores={AGAINST: before.scores.get(TUNED, {}), TUNED: after.scores.get(TUNED, {})},
        )
        for before, after in pairs
    ]
    is_same = all(before.tokens == after.tokens for before, after in pairs)
    metrics = [name for name in second.metrics if is_same or name not in ("loss", PERPLEXITY)]
    return Measured(together, AGAINST, metrics).compare()


def combine(metric: str, rows: Sequence[Outcome], side: str) -> float:
    """A metric of a side over these rows."""
    from modelforge.scores.statistics import find_combine

    return float(find_combine(metric)(stack(metric, rows, side).sum(0)))


def stack(metric: str, rows: Sequence[Outcome], side: str) -> Numbers:
    """The statistics that a metric of a side is computed of (rows, kinds)."""
    from modelforge.scores.statistics import stack_losses, stack_means, stack_pieces

    if metric == "chrf":
        return stack_pieces([each.answers[side] for each in rows], [each.expected for each in rows])
    scores = [each.scores[side]["loss" if metric == PERPLEXITY else metric] for each in rows]
    if metric in ("loss", PERPLEXITY):
        return stack_losses(scores, [each.tokens for each in rows])
    return stack_means(scores)


def identify_row(row: MappedRow) -> str:
    """16 hexadecimal digits of the content of a mapped row."""
    return hashlib.sha256(dump_row(row)).hexdigest()[:16]


def save_outcomes(model_id: str, measured: Measured) -> None:
    """Write what was measured into the model's folder."""
    text = json.dumps(asdict(measured), ensure_ascii=False, separators=(",", ":"))
    save_file(paths.model_dir(model_id) / FILE, text.encode("utf-8", "surrogatepass"))


def read_outcomes(model_id: str) -> Measured | None:
    """What was measured when the model was trained; None where nothing was kept, or it cannot be read."""
    try:
        found: dict[str, Any] = json.loads((paths.model_dir(model_id) / FILE).read_bytes())
        return Measured(**{**found, "outcomes": [Outcome(**each) for each in found["outcomes"]]})
    except (OSError, ValueError, KeyError, TypeError):
        return None
