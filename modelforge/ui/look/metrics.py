"""The metrics of models for people: their names, how they are written, and which direction is better."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from modelforge.scores.metrics import LOWER_IS_BETTER, TELLING, before_of, sides_of
from modelforge.scores.titles import SHOWN, write_difference
from modelforge.ui.look import html


def find_telling(metrics: Mapping[str, Any]) -> str | None:
    """The metric that decides whether a model got better, of those measured before and after; see `before_of`."""
    before, tuned = before_of(metrics), metrics.get("tuned") or {}
    return next((name for name in TELLING if name in before and name in tuned), None)


def is_better(name: str, before: float, after: float) -> bool:
    return after < before if name in LOWER_IS_BETTER else after > before


def describe_change(metrics: Mapping[str, Any]) -> str:
    """ "better: ROUGE-L 0.210 → 0.330", before and after training, of the metric of the verdict; without the word for
    a model of before there were verdicts."""
    verdict = metrics.get("verdict") or {}
    name = verdict.get("metric") or find_telling(metrics)
    if name is None:
        return "not measured"
    shown, word = SHOWN[name], f"{verdict['word']}: " if verdict.get("word") else ""
    return f"{word}{shown.title} {shown.write(before_of(metrics)[name])} → {shown.write(metrics['tuned'][name])}"


def describe_outcome(metrics: Mapping[str, Any]) -> tuple[str, bool]:
    """(what is said of a finished run: the verdict, or which way the metric went where there is none; False where it
    did not get better)."""
    if verdict := metrics.get("verdict"):
        word = f"Finished: {verdict['word']}." if verdict["word"] else "Finished, without a verdict."
        return f"{word} {verdict['why']}", verdict["word"] == "better"
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
    """A table of all that was measured: before training, of the base model where that is another, and after; with the
    interval of each difference, where there is a verdict."""
    sides = sides_of(metrics)
    differences = (metrics.get("verdict") or {}).get("differences") or {}
    rows = (
        {
            "Metric": shown.title,
            **{
                side.capitalize(): shown.write(measured[name]) if name in measured else html.NOTHING
                for side, measured in sides.items()
            },
            "Difference": write_difference(name, differences.get(name)) or html.NOTHING
            if differences
            else _judge(name, sides["before"], sides["tuned"]),
            "What it is": f"{'lower' if name in LOWER_IS_BETTER else 'higher'} is better: {shown.what}",
        }
        for name, shown in SHOWN.items()
        if any(name in measured for measured in sides.values())
    )
    return html.table(rows, empty="Nothing was held out, so nothing was measured.", numbers=True)


def _judge(name: str, before: Mapping[str, float], tuned: Mapping[str, float]) -> str:
    if name not in before or name not in tuned:
        return html.NOTHING
    if SHOWN[name].write(before[name]) == SHOWN[name].write(tuned[name]):
        return "= no change"
    return "▲ better" if is_better(name, before[name], tuned[name]) else "▼ worse"
