"""More data, or more epochs? What the curve of a run and two runs on a half and a quarter of its data tell of both.

Data: the metric of three runs on the same held-out rows, against the doublings of their training rows. Two simple laws
are continued by one doubling: each doubling gives the same (a straight line over log2 of the rows), and each gives the
same share of what the one before gave (a power law, Hestness et al. 2017, arXiv 1712.00409, over its irreducible rest).
The interval reaches from the lower end of both to the upper end of both, so that it holds where either law does; rows
are resampled together in all runs. It does not know that another seed would give another run.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from modelforge.scores.intervals import Combine, Numbers, draw_metrics, expand_level
from modelforge.scores.metrics import LOWER_IS_BETTER
from modelforge.scores.titles import SHOWN
from modelforge.scores.verdict import SMALLEST

MORE, LITTLE, UNCLEAR = "more data would help", "more data would hardly help", "cannot tell"
EPOCHS_MORE, EPOCHS_ENOUGH, EPOCHS_WORSE = (
    "more epochs would help", "more epochs have stopped helping", "it got worse after epoch {epoch}",
)  # fmt: skip
FEWEST_ROWS = 20  # measured
FEWEST_TRAINED = 40  # rows of the whole run: of fewer, a quarter is a handful
_DRAWS = 1_999
_HIGHEST = {"chrf": 100.0, "reward_margin": math.inf, "mean_reward": math.inf}  # of all others 1
_HARDLY = 3.0  # times the smallest difference that matters: below it, twice the data is not worth its making
_FEWEST_EVALUATIONS = 3  # during training
_STILL = 0.05  # share of all that was gained, which the last stretch must add for it to be still improving
_LOST = 0.02  # share of it, from which on it got worse


@dataclass(frozen=True)
class Forecast:
    """word: one of three. why: sentences. points: (training rows, metric). gain, low, high: what doubling the training
    rows would probably add to the metric, with 95% certainty; None where that cannot be computed."""

    word: str
    why: str
    metric: str = ""
    points: Sequence[tuple[int, float]] = ()
    gain: float | None = None
    low: float | None = None
    high: float | None = None


@dataclass(frozen=True)
class Epochs:
    """What more epochs would do: a few words, and a sentence."""

    word: str
    why: str


def forecast_doubling(metric: str, trained: Sequence[int], sides: Sequence[Numbers], combine: Combine) -> Forecast:
    """What twice the training rows would give. trained: the rows of three runs, rising. sides: for each run, the
    statistics of the metric on the same held-out rows (rows, kinds)."""
    values = [float(combine(side.sum(0))) for side in sides]
    points, rows = tuple(zip(trained, values, strict=True)), len(sides[0])
    told = describe_points(metric, points)
    if trained[-1] < FEWEST_TRAINED:
        few = f"{trained[-1]} training rows are too few to divide: at least {FEWEST_TRAINED} are needed."
        return Forecast(UNCLEAR, f"{told} {few}", metric, points)
    if rows < FEWEST_ROWS:
        few = f"{rows} held-out rows are too few for a forecast: at least {FEWEST_ROWS} are needed."
        return Forecast(UNCLEAR, f"{told} {few}", metric, points)
    sign = -1.0 if metric in LOWER_IS_BETTER else 1.0
    most = values[-1] if sign < 0 else _HIGHEST.get(metric, 1.0) - values[-1]
    line, power = continue_laws(trained, sign * np.array([values]))
    gain = min(float(line[0] + power[0]) / 2, most)
    drawn = draw_metrics(sides, combine, draws=_DRAWS)
    laws = continue_laws(trained, sign * drawn)
    tail = (1 - expand_level(rows)) / 2
    low = min(float(np.quantile(law, tail)) for law in laws)
    high = max(float(np.quantile(law, 1 - tail)) for law in laws)
    steps = sign * np.diff(values)
    smallest = SMALLEST.get(metric, 0.01)
    fell = [float(np.quantile(sign * (drawn[:, place + 1] - drawn[:, place]), 1 - tail)) < 0 for place in (0, 1)]
    word, reason = choose_word(low, min(high, most), smallest, rises=bool((steps > 0).all()), fell=any(fell))
    ends = sorted((sign * low, sign * high))
    found = Forecast(word, "", metric, points, sign * gain, *ends)
    return Forecast(
        word, f"{told} {describe_gain(found, values[-1])} {reason}".strip(), metric, points, sign * gain, *ends
    )


def choose_word(low: float, high: float, smallest: float, *, rises: bool, fell: bool) -> tuple[str, str]:
    """(the word, why it is none). low, high: of the gain, better being higher. fell: a larger share of the data was
    clearly worse."""
    if fell:
        return UNCLEAR, "A run on more of the data was worse than one on less, so there is no trend to continue."
    if rises and low > 0 and high >= smallest:
        return MORE, ""
    if high < _HARDLY * smallest:
        return LITTLE, ""
    return UNCLEAR, "Both a gain and none are possible: hold out more rows to tell."


def continue_laws(trained: Sequence[int], metrics: Numbers) -> tuple[Numbers, Numbers]:
    """What one more doubling adds, by the straight line and by the power law -> two of (draws).

    metrics: of the three runs, better being higher (draws, 3).
    """
    places = np.log2(np.array(trained, dtype=float))
    centred = places - places.mean()
    line = metrics @ centred / (centred @ centred)
    first, second = (
        (metrics[:, index + 1] - metrics[:, index]) / (places[index + 1] - places[index]) for index in (0, 1)
    )
    ratio = np.clip(second / np.where(first > 0, first, np.inf), 0, 1)
    power = np.where(second <= 0, 0.0, np.where(first > 0, second * ratio, second))
    return line, power


def describe_points(metric: str, points: Sequence[tuple[int, float]]) -> str:
    """ "ROUGE-L was 0.210 with 15 training rows, 0.280 with 30 and 0.330 with 60." """
    shown = SHOWN[metric]
    title = shown.in_sentence[0].upper() + shown.in_sentence[1:] if shown.title != "chrF" else shown.title
    first, *more = (f"{shown.write(value)} with {rows:,}" for rows, value in points)
    return f"{title} was {first} training rows, {', '.join(more[:-1])} and {more[-1]}."


def describe_gain(found: Forecast, now: float) -> str:
    """ "Twice as many would give about 0.370 (0.340 to 0.410 with 95% certainty)." """
    assert found.gain is not None and found.low is not None and found.high is not None  # noqa: S101
    most = 0.0 if found.metric in LOWER_IS_BETTER else _HIGHEST.get(found.metric, 1.0)
    values = (now + gain for gain in (found.gain, found.low, found.high))
    clip = max if found.metric in LOWER_IS_BETTER else min
    about, low, high = (SHOWN[found.metric].write(clip(value, most)) for value in values)
    return f"Twice as many would give about {about} ({low} to {high} with 95% certainty)."


def judge_epochs(metric: str, curve: Sequence[tuple[float, float]]) -> Epochs:
    """What more epochs would do. curve: (epoch, metric on the held-out rows) of each evaluation, rising; epoch 0 is
    before training."""
    during = [point for point in curve if point[0] > 0]
    if len(during) < _FEWEST_EVALUATIONS:
        times = "once" if len(during) == 1 else f"{len(during)} times"
        few = f"It was evaluated {times} during training; at least {_FEWEST_EVALUATIONS} evaluations are needed."
        return Epochs(UNCLEAR, f"{few} Set evaluations to 4 or more.")
    shown, sign = SHOWN[metric], -1.0 if metric in LOWER_IS_BETTER else 1.0
    best = max(range(len(curve)), key=lambda index: sign * curve[index][1])
    start, top, end = curve[0][1], curve[best], curve[-1]
    gained, smallest = sign * (top[1] - start), SMALLEST.get(metric, 0.01)
    if sign * (top[1] - end[1]) > max(_LOST * gained, smallest):
        told = (
            f"{shown.title} was best at epoch {top[0]:.3g} ({shown.write(top[1])}), then went to {shown.write(end[1])}."
        )
        kept = (
            "Fewer epochs or a lower learning_rate would do as well; the best weights were kept if the recipe says so."
        )
        return Epochs(EPOCHS_WORSE.format(epoch=f"{top[0]:.3g}"), f"{told} {kept}")
    last = sign * (end[1] - curve[-2][1])
    told = f"{shown.title} went from {shown.write(curve[-2][1])} to {shown.write(end[1])} at the end, of"
    told += f" {shown.write(start)} at the start."
    if last > max(_STILL * gained, smallest):
        return Epochs(EPOCHS_MORE, f"{told} It was still improving at epoch {end[0]:.3g}.")
    return Epochs(EPOCHS_ENOUGH, f"{told} That is hardly an improvement any more.")
