"""How good an answer is, as a number: pure functions of texts, each with its source.

All go from 0 to 1 and higher is better, but for chrf (0 to 100) and perplexity (from 1, lower is better). It does
not know models, tasks or rows; the metrics of a task are declared in `tasks/`, those of a method in `choices/`. ROUGE
and chrF come from rouge_score and sacrebleu, which are loaded when they are first used; SQuAD's measures are our own,
since its published script is their definition.
"""

from __future__ import annotations

import math
import re
import string
import unicodedata
from collections import Counter
from collections.abc import Callable, Hashable, Iterable, Mapping, Sequence
from functools import lru_cache
from typing import Any

from modelforge.text import find_all, normalize

PERPLEXITY = "perplexity"
"""Needs no answer, like the loss that it is computed of: both are measured on the expected text itself."""

MOST_WORDS = 2000
"""Words of a text that ROUGE compares; rouge_score fills a table of all words of one text by all of the other."""

HIGHEST_LOSS = 80.0  # e to it is far below overflow
_ENGLISH_WORD = re.compile(r"[a-z0-9]+")
# Thai and Lao, Burmese, Khmer, kana, Chinese characters: written without blanks between words.
_UNSPACED = re.compile(
    "[\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u3040-\u30ff\u3400-\u9fff\uf900-\ufaff\U00020000-\U0003ffff]"
)
_ARTICLE = re.compile(r"\b(a|an|the)\b")
_PUNCTUATION = str.maketrans("", "", string.punctuation)


def rouge1(answer: str, reference: str) -> float:
    """F-measure of single words in common. See `rouge2`."""
    return _score_rouge("rouge1", answer, reference)


def rouge2(answer: str, reference: str) -> float:
    """F-measure of pairs of neighbouring words in common; 0 where either text has none.

    ROUGE-N of Lin 2004 (https://aclanthology.org/W04-1013), by rouge_score without stemming
    (https://github.com/google-research/google-research/tree/master/rouge). The words are those of `split_words`.
    """
    return _score_rouge("rouge2", answer, reference)


def rouge_l(answer: str, reference: str) -> float:
    """F-measure of the longest common subsequence of words: ROUGE-L over the whole text (Lin 2004, section 3.1), by
    rouge_score, where precision and recall weigh the same."""
    return _score_rouge("rougeL", answer, reference)


def exact_match(answer: str, reference: str) -> float:
    """1 where both texts are identical after `normalise`, else 0; as SQuAD's evaluation script has it
    (https://rajpurkar.github.io/SQuAD-explorer, Rajpurkar et al. 2016, section 6.1)."""
    return float(normalise(answer) == normalise(reference))


def f1(answer: str, reference: str) -> float:
    """F-measure of words in common after `normalise`, as SQuAD 2.0's evaluation script has it: where a text is empty, 1
    if the other is too, else 0."""
    answered, expected = normalise(answer).split(), normalise(reference).split()
    if not answered or not expected:
        return float(answered == expected)
    return _f_measure(_count_common(answered, expected), len(answered), len(expected))


def chrf(answers: Sequence[str], references: Sequence[str]) -> float:
    """chrF2 of all answers together, 0 to 100: F-measure, with recall weighing twice, of character n-grams of length 1
    to 6 without white space.

    Popović 2015 (https://aclanthology.org/W15-3049), by sacrebleu with its defaults
    (https://github.com/mjpost/sacrebleu): counts are summed over all texts first, then precision and recall are
    averaged over those lengths that occur on both sides.
    """
    from sacrebleu.metrics.chrf import CHRF

    pairs = list(zip(answers, references, strict=True))
    return float(CHRF().corpus_score([answer for answer, _ in pairs], [[reference for _, reference in pairs]]).score)


def perplexity(loss: float) -> float:
    """e^loss of a mean negative log likelihood in nats a token (Jelinek et al. 1977), held below overflow."""
    return math.exp(min(loss, HIGHEST_LOSS))


def can_compare(metric: str, reference: str) -> bool:
    """Whether a metric of `METRICS` says anything about answers to this reference: is anything of it left to
    compare?"""
    if metric.startswith("rouge"):
        return bool(split_words(reference))
    return bool(reference.strip() if metric == "chrf" else normalise(reference))


def count_words(text: str) -> int:
    return len(text.split())


def split_words(text: str) -> list[str]:
    """The words of a text in lower case.

    Of ASCII text those of rouge_score, ``[a-z0-9]+``. In other scripts a word is letters, digits and the marks upon
    them; where no blanks stand between words each character is one, as Unicode has it without a dictionary
    (https://unicode.org/reports/tr29).
    """
    text = text.lower()
    if text.isascii():
        return find_all(_ENGLISH_WORD, text)
    signs = normalize("NFC", text)
    # category M: a mark, such as a vowel of Devanagari
    kept = (sign if sign.isalnum() or unicodedata.category(sign).startswith("M") else " " for sign in signs)
    return _UNSPACED.sub(r" \g<0> ", "".join(kept)).split()


def normalise(text: str) -> str:
    """Lower case, without ASCII punctuation and English articles, white space made single; as SQuAD's
    normalize_answer."""
    return " ".join(_ARTICLE.sub(" ", text.lower().translate(_PUNCTUATION)).split())


TELLING = ("mean_reward", "reward_margin", "f1", "loss", "rougeL", "perplexity")
"""What decides whether a model got better: the first of these that was measured. The loss of GRPO says nothing about
quality, and that of preference pairs and spans less than the metrics of the task."""
LOWER_IS_BETTER = frozenset({"loss", PERPLEXITY})


def rank(measured: Mapping[str, float]) -> tuple[float, float]:
    """A number that is higher the better the telling metric is; where two are equal, the loss decides."""
    name = next((name for name in TELLING if name in measured), None)
    value = measured[name] if name else 0.0
    return (-value if name in LOWER_IS_BETTER else value), -measured.get("loss", 0.0)


def before_of(metrics: Mapping[str, Any]) -> Mapping[str, float]:
    """What the model that a run started from measures; empty where it was not measured.

    metrics: a run's or a model's, "before", "base" and "tuned" -> metric -> value, as far as they were measured. Older
    ones name only "base", and mean "before" by it.
    """
    return metrics.get("before") or metrics.get("base") or {}


def sides_of(metrics: Mapping[str, Any]) -> dict[str, Mapping[str, float]]:
    """{"before", "base", "tuned"} -> metric -> value; "base", the untrained base model, only where it differs."""
    before, base = before_of(metrics), metrics.get("base") or {}
    between = {} if before == base or not base else {"base": base}
    return {"before": before, **between, "tuned": metrics.get("tuned") or {}}


Metric = Callable[[Sequence[str], Sequence[str]], float]
"""Of answers and the texts expected in their place, as many, at least one."""


def _mean(score: Callable[[str, str], float]) -> Metric:
    def mean(answers: Sequence[str], references: Sequence[str]) -> float:
        return sum(score(*pair) for pair in zip(answers, references, strict=True)) / len(answers)

    return mean


METRICS: dict[str, Metric] = {
    "rouge1": _mean(rouge1),
    "rouge2": _mean(rouge2),
    "rougeL": _mean(rouge_l),
    "chrf": chrf,
    "exact_match": _mean(exact_match),
    "f1": _mean(f1),
}
"""Every metric that compares answers with references, by its name. A new one is a function and a line here."""


class _Words:
    """The tokenizer that rouge_score gets."""

    def tokenize(self, text: str) -> list[str]:
        return split_words(text)[:MOST_WORDS]


@lru_cache
def _find_scorer(name: str) -> Any:
    from rouge_score.rouge_scorer import RougeScorer  # loads nltk: not before the first score

    return RougeScorer([name], tokenizer=_Words())


def _score_rouge(name: str, answer: str, reference: str) -> float:
    return float(_find_scorer(name).score(reference, answer)[name].fmeasure)


def _count_common(one: Iterable[Hashable], other: Iterable[Hashable]) -> int:
    """How many the two have in common, each as often as it is in both."""
    return (Counter(one) & Counter(other)).total()


def _f_measure(common: int, given: int, wanted: int) -> float:
    """Harmonic mean of precision common/given and recall common/wanted."""
    return 2 * common / (given + wanted) if common else 0.0
