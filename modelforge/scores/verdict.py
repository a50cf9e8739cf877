"""One word on whether training helped: better, no clear difference or worse, and the sentence that explains it.

A verdict rests on one metric, named before the run. It is *better* or *worse* only if all of these hold:
- the 95% interval of the difference leaves out zero;
- chance alone would give such a difference in at most `CHANCE` of comparisons, by the exact paired test;
- the difference is at least the smallest one that matters (`SMALLEST`).

The second makes the word rarer than the interval alone would: of comparisons of a model with itself at most 1 in 100
gets another word than *no clear difference* (tests/scores/test_verdict.py simulates it), and fewer than `FEWEST_ROWS`
rows never give one.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from modelforge.scores.intervals import Interval, student_quantile
from modelforge.scores.metrics import LOWER_IS_BETTER
from modelforge.scores.titles import SHOWN

BETTER, UNCLEAR, WORSE = "better", "no clear difference", "worse"
CHANCE = 0.01
FEWEST_ROWS = 8  # 2 / 2**8 is below CHANCE
SMALLEST = {
    "loss": 0.01,  # nats a token
    "perplexity": 0.1,
    "chrf": 1.0,  # of 100
    "reward_margin": 0.01,
    "mean_reward": 0.01,
}
"""Metric -> the smallest difference that matters; of all others `_SMALLEST_SHARE`."""
_SMALLEST_SHARE = 0.01
_POWER = 0.84  # standard errors: the number of rows that is enough finds the difference in 8 of 10 cases
_FEWEST_ADVISED, MOST_ADVISED = 20, 10_000  # rows


@dataclass(frozen=True)
class Verdict:
    """word: None where nothing could be compared. metric: what it rests on; "" without one. why: a sentence.

    shows: the smallest difference that these rows could have shown. enough: rows that would be enough; None where the
    word is clear, or more would not help.
    """

    word: str | None
    metric: str
    rows: int
    why: str
    shows: float | None = None
    enough: int | None = None


def judge(metric: str, before: float, after: float, interval: Interval, rows: int) -> Verdict:
    """The verdict on a metric of that many rows."""
    change = describe_difference(metric, before, after, interval, rows)
    smallest = SMALLEST.get(metric, _SMALLEST_SHARE)
    is_sure = interval.chance <= CHANCE and (interval.low > 0 or interval.high < 0)
    if is_sure and abs(interval.value) >= smallest:
        is_gain = (interval.value < 0) == (metric in LOWER_IS_BETTER)
        return Verdict(BETTER if is_gain else WORSE, metric, rows, change)
    shows, enough = find_enough(interval, rows, smallest)
    reason = _explain_doubt(metric, interval, rows, smallest, shows, enough)
    more = None if max(abs(interval.low), abs(interval.high)) < smallest or is_sure else enough
    return Verdict(UNCLEAR, metric, rows, f"{change} {reason}", shows, more)


def find_enough(interval: Interval, rows: int, smallest: float) -> tuple[float | None, int]:
    """(the smallest difference that these rows would show, how many would show the observed one in 8 of 10 cases).

    From the observed spread: the error of a mean falls with the root of the rows. None where the rows are too few for
    any difference. At least `_FEWEST_ADVISED` rows, since few say little about the spread; `MOST_ADVISED` at most.
    """
    if rows < 2:
        return None, 2 * _FEWEST_ADVISED
    error = interval.error * math.sqrt(rows / (rows - 1))  # the bootstrap's is that of the sample, too small of few
    quantile = student_quantile(1 - CHANCE / 2, rows - 1)
    shows = max(quantile * error, smallest) if rows >= FEWEST_ROWS else None
    wanted = rows * ((student_quantile(1 - CHANCE / 2, 100) + _POWER) * error / max(abs(interval.value), smallest)) ** 2
    return shows, min(max(_round_up(wanted), _FEWEST_ADVISED), MOST_ADVISED)


def describe_change(metric: str, before: float, after: float) -> str:
    """ "ROUGE-L rose by 0.120, from 0.210 to 0.330." """
    return f"{_say_change(metric, before, after)}."


def describe_difference(metric: str, before: float, after: float, interval: Interval, rows: int) -> str:
    """ "ROUGE-L rose by 0.120, from 0.210 to 0.330; between 0.050 and 0.180 with 95% certainty, on 40 rows." """
    write, counted = SHOWN[metric].write_change, "1 row" if rows == 1 else f"{rows} rows"
    change = _say_change(metric, before, after)
    if rows < 2 or interval.value == interval.low == interval.high == 0:
        return f"{change}, on {counted}."
    sign = 1 if interval.value >= 0 else -1
    near, far = sorted((sign * interval.low, sign * interval.high))
    along, against = ("rise", "fall") if sign > 0 else ("fall", "rise")
    span = f"between {write(near)} and {write(far)}"
    if near < 0:
        span = f"between a {against} of {write(near)} and a {along} of {write(far)}"
    return f"{change}; {span} with 95% certainty, on {counted}."


def _say_change(metric: str, before: float, after: float) -> str:
    shown = SHOWN[metric]
    title = shown.title if shown.title == "chrF" else shown.in_sentence[0].upper() + shown.in_sentence[1:]
    if shown.write(before) == shown.write(after):
        return f"{title} stayed at {shown.write(after)}"
    verb = "rose" if after > before else "fell"
    return f"{title} {verb} by {shown.write_change(after - before)}, from {shown.write(before)} to {shown.write(after)}"


def _explain_doubt(  # noqa: PLR0917 - all of them a result
    metric: str, interval: Interval, rows: int, smallest: float, shows: float | None, enough: int
) -> str:
    write = SHOWN[metric].write_change
    advice = f"Hold out about {enough:,} rows." if enough < MOST_ADVISED else f"Even {enough:,} rows may not show it."
    if shows is None:
        counted = "1 held-out row" if rows == 1 else f"{rows} held-out rows"
        doubt = f"With {counted} no difference can be distinguished from chance"
        return f"{doubt}: at least {FEWEST_ROWS} are needed. {advice}"
    if max(abs(interval.low), abs(interval.high)) < smallest:
        return f"Any difference is smaller than {write(smallest)}, too small to matter."
    if interval.chance <= CHANCE and (interval.low > 0 or interval.high < 0):
        return f"It is less than {write(smallest)}, too small to matter."
    if interval.low > 0 or interval.high < 0:
        share = f"{interval.chance:.0%}" if interval.chance >= 0.015 else f"{interval.chance:.1%}"
        return f"Chance alone gives such a difference in {share} of comparisons; a verdict needs 1% or less. {advice}"
    return f"With {rows} held-out rows only a difference above {write(shows)} would show. {advice}"


def _round_up(rows: float) -> int:
    """37.2 -> 40, 412 -> 450: to tens, and from 100 on to fifties."""
    step = 10 if rows <= 100 else 50
    return math.ceil(min(rows, MOST_ADVISED) / step) * step
