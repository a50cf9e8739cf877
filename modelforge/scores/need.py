"""Whether training is needed at all: a recommendation from what the base model makes of the held-out rows.

Each word needs evidence, and without it the recommendation is *cannot tell*:
- *a prompt is enough*: nearly all answers are the expected ones, so there is hardly anything to learn.
- *the base is better than your data*: most expected answers look like random letters, or fit another row's question as
  well as their own. That the base disagrees with the data is no evidence: its facts may be what is to be learned.
- *training can help*: many answers are not the expected ones, also with examples in the prompt; of long answers, which
  can be right in other words, examples must have made the expected ones likelier: so they have something in common.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import median

from modelforge.scores.intervals import student_quantile

PROMPT, TRAIN, DATA, UNCLEAR = (
    "a prompt is enough", "training can help", "the base is better than your data", "cannot tell",
)  # fmt: skip
FEWEST_ROWS = 8  # fewer never give a word
ENOUGH = 0.8  # share of answers as expected, from which on (with certainty) there is hardly anything to learn
SHORT_ANSWER = 10  # words; the same longer answer can be written in many ways
RANDOM_NATS = 1.9
"""Nats a byte. Random letters cannot have less than 3.0, under any model; blanks among them have little. Measured under
the starter: answers of random letters 3.7, invented facts in English 0.4."""
READABLE_NATS = 1.7  # nats a byte of the prompts: below it, the base model knows their language
LIKELIER = 0.1  # nats a token, by which the expected answers get likelier where examples help
FITS = 0.2
"""Nats a token, by which answers are likelier after their own question, at least. Measured under the starter on 19
rows: invented facts 1.8 to 2.2, the same answers shuffled among the questions -0.05 to 0.21."""
_FEWEST_FITTED = 16
_ALIKE = 0.6  # ROUGE-L, from which on long answers are close to the expected ones
_Z = 1.96


@dataclass(frozen=True)
class Advice:
    """word: one of the four. why: a sentence or two."""

    word: str
    why: str


@dataclass(frozen=True)
class Tried:
    """What the base model made of the rows.

    right: whether each answer is the expected one, as it is; right_few: with examples in the prompt, [] if not
    measured. examples: how many there were. words: of each expected answer. alike: ROUGE-L of the answers with
    examples, or without where there are none. likelier: of each row, by how many nats a token examples made the
    expected answer likelier. fits: of each row, by how many nats a token its expected answer is likelier after its own
    question than after another. random: nats a byte of the expected answers that are text of several words; prompts:
    the same of the prompts. does: what the base model does where it is right.
    """

    right: Sequence[bool]
    right_few: Sequence[bool] = ()
    examples: int = 0
    words: Sequence[int] = ()
    alike: Sequence[float] = ()
    likelier: Sequence[float] = ()
    fits: Sequence[float] = ()
    random: Sequence[float] = ()
    prompts: Sequence[float] = ()
    does: str = "gives the expected answer"


def advise(tried: Tried) -> Advice:
    """The recommendation."""
    if max(len(tried.right), len(tried.right_few)) < FEWEST_ROWS:
        rows = len(tried.right)
        counted = "1 held-out row says" if rows == 1 else f"{rows} held-out rows say"
        return Advice(UNCLEAR, f"{counted} too little: at least {FEWEST_ROWS}, better 20, are needed.")
    return _doubt_data(tried) or _count_right(tried)


def _doubt_data(tried: Tried) -> Advice | None:
    usual = median(tried.prompts) if len(tried.prompts) >= FEWEST_ROWS else READABLE_NATS
    if usual >= READABLE_NATS:
        return None  # it may be the base model that knows nothing of such text
    noisy = sum(nats > max(RANDOM_NATS, 2 * usual) for nats in tried.random)
    if len(tried.random) >= FEWEST_ROWS and share_interval(noisy, len(tried.random))[0] > 0.5:
        return Advice(
            DATA,
            f"To the base model {noisy} of {len(tried.random)} expected answers look like random letters. Training "
            "would teach it to write such answers: check the column of the answers first.",
        )
    if len(tried.fits) >= _FEWEST_FITTED and mean_interval(tried.fits)[1] < FITS:
        return Advice(
            DATA,
            "The expected answers are no likelier after their own question than after that of another row, so they do "
            "not seem to answer it. Training would teach the base model, whose answers follow the question, to ignore "
            "it: check whether questions and answers belong together.",
        )
    return None


def _count_right(tried: Tried) -> Advice:
    few = len(tried.right_few) >= FEWEST_ROWS and not _is_better_alone(tried.right, tried.right_few)
    right = tried.right_few if few else tried.right
    count, rows = sum(right), len(right)
    low, high = share_interval(count, rows)
    shown = "1 example" if tried.examples == 1 else f"{tried.examples} examples"
    how = f"With {shown} in the prompt" if few else "As it is"
    told = f"{how} the base model {tried.does} in {count} of {rows} rows"
    if low >= ENOUGH:
        start = "Use such a prompt before you train." if few else "It needs no training for this."
        return Advice(PROMPT, f"{told}: in at least {low:.0%} of all with 95% certainty. {start}")
    told += f": in {low:.0%} to {high:.0%} of all with 95% certainty."
    if high >= ENOUGH:
        return Advice(UNCLEAR, f"{told} More held-out rows would show whether a prompt is enough.")
    if not tried.words or median(tried.words) <= SHORT_ANSWER:
        return Advice(TRAIN, f"{told} Training on your examples can teach it the rest.")
    return _compare_long(tried)


def _is_better_alone(right: Sequence[bool], right_few: Sequence[bool]) -> bool:
    """Whether the base model does better as it is than with examples, or as well where that is enough."""
    alone, with_examples = (sum(each) / len(each) if each else 0.0 for each in (right, right_few))
    is_enough = bool(right) and share_interval(sum(right), len(right))[0] >= ENOUGH
    return alone > with_examples or (alone == with_examples and is_enough)


def _compare_long(tried: Tried) -> Advice:
    """Of long answers: few of them match word for word, whatever their worth."""
    told = "The expected answers are long, and a good answer in other words matches none of them."
    if len(tried.likelier) < FEWEST_ROWS:
        return Advice(UNCLEAR, f"{told} Compare the answers row by row.")
    low, high = mean_interval(tried.likelier)
    alike = mean_interval(tried.alike)[1] if len(tried.alike) >= FEWEST_ROWS else 1.0
    if low > LIKELIER and alike < _ALIKE:
        return Advice(
            TRAIN,
            f"Examples in the prompt make the expected answers likelier by {low:.2f} to {high:.2f} "
            "nats a token, so they have a style or facts in common that the base model lacks, and its answers are "
            f"still unlike them (ROUGE-L at most {alike:.2f} with 95% certainty). Training can teach it more of that.",
        )
    return Advice(
        UNCLEAR,
        f"{told} Examples in the prompt do not make them clearly likelier. Compare the answers row by row: if those "
        "with examples are good, a prompt is enough.",
    )


def share_interval(count: int, rows: int) -> tuple[float, float]:
    """The 95% interval of a share, by Wilson 1927 (Brown, Cai and DasGupta 2001 recommend it for few rows)."""
    share, square = count / rows, _Z**2 / rows
    middle, half = share + square / 2, _Z * math.sqrt(share * (1 - share) / rows + square / (4 * rows))
    return (middle - half) / (1 + square), (middle + half) / (1 + square)


def mean_interval(values: Sequence[float]) -> tuple[float, float]:
    """The 95% interval of a mean of at least two values, by Student's t."""
    count, mean = len(values), sum(values) / len(values)
    error = math.sqrt(sum((value - mean) ** 2 for value in values) / (count - 1) / count)
    half = student_quantile(0.975, count - 1) * error
    return mean - half, mean + half
