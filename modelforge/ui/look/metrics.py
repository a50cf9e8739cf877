"""The metrics of models for people: their names, how they are written, and which direction is better."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from modelforge.scores.metrics import LOWER_IS_BETTER, TELLING, before_of, sides_of
from modelforge.ui.look import html


@dataclass(frozen=True)
class Shown:
    """One metric. form: the format of its value. what: what it is, in a few words."""

    title: str
    form: str
    what: str

    def write(self, value: float) -> str:
        return self.form.format(value)


SHOWN: dict[str, Shown] = {
    "mean_reward": Shown("Mean reward", "{:.3f}", "what answers earn on average"),
    "reward_margin": Shown("Reward margin", "{:.3f}", "how clearly the better answer is preferred"),
    "preference_accuracy": Shown("Better answer preferred", "{:.0%}", "share of pairs"),
    "f1": Shown("F1", "{:.1%}", "words in common with the expected answer"),
    "exact_match": Shown("Exact match", "{:.1%}", "answers that are exactly the expected text"),
    "rougeL": Shown("ROUGE-L", "{:.3f}", "longest run of words in common"),
    "rouge1": Shown("ROUGE-1", "{:.3f}", "words in common"),
    "rouge2": Shown("ROUGE-2", "{:.3f}", "pairs of words in common"),
    "chrf": Shown("chrF", "{:.1f}", "pieces of words in common"),
    "loss": Shown("Held-out loss", "{:.3f}", "how unexpected the right answers are"),
    "perplexity": Shown("Perplexity", "{:.1f}", "the loss as a number of choices"),
}
"""In the order in which they are shown."""


def find_telling(metrics: Mapping[str, Any]) -> str | None:
    """The metric that decides whether a model got better, of those measured before and after; see `before_of`."""
    before, tuned = before_of(metrics), metrics.get("tuned") or {}
    return next((name for name in TELLING if name in before and name in tuned), None)


def is_better(name: str, before: float, after: float) -> bool:
    return after < before if name in LOWER_IS_BETTER else after > before


def describe_change(metrics: Mapping[str, Any]) -> str:
    """ "Held-out loss 2.310 → 1.080", before and after training, of the telling metric."""
    name = find_telling(metrics)
    if name is None:
        return "not measured"
    shown = SHOWN[name]
    return f"{shown.title} {shown.write(before_of(metrics)[name])} → {shown.write(metrics['tuned'][name])}"


def describe_outcome(metrics: Mapping[str, Any]) -> tuple[str, bool]:
    """(one sentence on whether the model got better, False where it did not)."""
    name = find_telling(metrics)
    if name is None:
        return "Finished. Nothing was held out, so quality was not measured; try the model in the Playground.", True
    before, after = before_of(metrics)[name], metrics["tuned"][name]
    better = is_better(name, before, after)
    verb = "went" if not better else "rose" if after > before else "fell"
    shown = SHOWN[name]
    is_acronym = shown.title[1:2].isupper() or shown.title == "F1"
    title = "loss" if name == "loss" else shown.title if is_acronym else shown.title.lower()
    change = f"{verb} from {shown.write(before)} to {shown.write(after)}"
    if shown.write(before) == shown.write(after):
        change = f"stayed at about {shown.write(after)}"
    return f"Finished, {'and' if better else 'but not'} better: on held-out examples the {title} {change}.", better


def show_metrics(metrics: Mapping[str, Any]) -> str:
    """A table of all that was measured: before training, of the base model where that is another, and after."""
    sides = sides_of(metrics)
    rows = (
        {
            "Metric": shown.title,
            **{
                side.capitalize(): shown.write(measured[name]) if name in measured else html.NOTHING
                for side, measured in sides.items()
            },
            "Change": _judge(name, sides["before"], sides["tuned"]),
            "What it is": f"{'lower' if name in LOWER_IS_BETTER else 'higher'} is better: {shown.what}",
        }
        for name, shown in SHOWN.items()
        if any(name in measured for measured in sides.values())
    )
    return html.table(rows, empty="Nothing was held out, so nothing was measured.")


def _judge(name: str, before: Mapping[str, float], tuned: Mapping[str, float]) -> str:
    if name not in before or name not in tuned:
        return html.NOTHING
    if SHOWN[name].write(before[name]) == SHOWN[name].write(tuned[name]):
        return "= no change"
    return "▲ better" if is_better(name, before[name], tuned[name]) else "▼ worse"
