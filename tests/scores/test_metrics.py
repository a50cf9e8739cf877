"""The metrics against values worked out by hand, and against those that their papers and programs give."""

from __future__ import annotations

import math

import pytest

from modelforge.scores import metrics
from modelforge.scores.metrics import METRICS, chrf, exact_match, f1, rouge1, rouge2, rouge_l, split_words

KILLED = "police killed the gunman"  # Lin 2004, section 3.1: the reference of its example


@pytest.mark.parametrize(
    ("answer", "score1", "score2", "score_l"),
    [
        (KILLED, 1, 1, 1),
        ("police kill the gunman", 3 / 4, 1 / 3, 3 / 4),  # the paper's S2
        ("the gunman kill police", 3 / 4, 1 / 3, 2 / 4),  # the paper's S3: the same pair of words, another order
        ("Police, KILLED - the gunman!", 1, 1, 1),
        ("the the the the", 1 / 4, 0, 1 / 4),  # a word counts no more often than the reference has it
        ("police", 2 / 5, 0, 2 / 5),  # precision 1, recall 1/4
        ("police killed", 2 / 3, 1 / 2, 2 / 3),  # pairs: precision 1, recall 1/3
        ("nothing alike", 0, 0, 0),
        ("", 0, 0, 0),
        ("?!", 0, 0, 0),
    ],
)
def test_rouge_counts_words_pairs_and_the_longest_common_subsequence(
    answer: str, score1: float, score2: float, score_l: float
) -> None:
    assert rouge1(answer, KILLED) == pytest.approx(score1)
    assert rouge2(answer, KILLED) == pytest.approx(score2)
    assert rouge_l(answer, KILLED) == pytest.approx(score_l)
    assert rouge_l(KILLED, answer) == pytest.approx(score_l)


@pytest.mark.parametrize(("answer", "score"), [("testing one", 4 / 5), ("testing two", 4 / 5), ("two testing", 2 / 5)])
def test_rouge_l_is_that_of_the_tests_of_rouge_score(answer: str, score: float) -> None:
    assert rouge_l(answer, "testing one two") == pytest.approx(score)


@pytest.mark.parametrize("answer", ["Police killed the gunman!", "The gunman; killed 2 police-men", "", "a b a b c"])
def test_rouge_of_english_is_that_of_rouge_score_as_it_comes(answer: str) -> None:
    from rouge_score.rouge_scorer import RougeScorer

    theirs = RougeScorer(["rouge1", "rouge2", "rougeL"]).score(KILLED, answer)
    assert (rouge1(answer, KILLED), rouge2(answer, KILLED), rouge_l(answer, KILLED)) == pytest.approx(
        tuple(theirs[name].fmeasure for name in ("rouge1", "rouge2", "rougeL"))
    )


def test_what_cannot_be_compared_is_known() -> None:
    assert not metrics.can_compare("rougeL", "🏮") and metrics.can_compare("chrf", "🏮")
    assert not metrics.can_compare("exact_match", "the!") and not metrics.can_compare("chrf", " ")
    assert all(metrics.can_compare(name, "Yes.") for name in METRICS)


def test_very_long_texts_are_compared_up_to_a_bound() -> None:
    long = "word " * 100_000
    assert rouge_l(long, long) == 1


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("It's 42 o'clock_now.", ["it", "s", "42", "o", "clock", "now"]),
        ("Größe: Übung", ["größe", "übung"]),
        ("Пётр и Волк", ["пётр", "и", "волк"]),
        ("हिन्दी भाषा", ["हिन्दी", "भाषा"]),
        ("私は猫 cat", ["私", "は", "猫", "cat"]),
        ("cafe\u0301", ["café"]),  # an accent of its own
        ("🏮", []),
    ],
)
def test_words_of_other_scripts_stay_whole(text: str, words: list[str]) -> None:
    assert split_words(text) == words
    assert rouge1(text, text) == (1 if words else 0)


@pytest.mark.parametrize(
    ("answers", "references", "score"),
    [
        (["a"], ["a"], 100),
        (["a b c"], ["abc"], 100),  # white space does not count
        (["abcdefg"], ["hijklmnop"], 0),
        ([""], ["reference"], 0),
        (["aa"], ["ab"], 25),  # 1/2 of the letters, 0 of the pairs
        (["a", "b"], ["a", "c"], 50),  # counts are summed over texts before they are divided
        (["abc"], ["ab"], 87.5),  # precision (2/3 + 1/2) / 2, recall 1: 5 * 7/12 / (4 * 7/12 + 1)
        (["ab"], ["abc"], 63.6364),  # precision 1, recall 7/12: 5 * 7/12 / (4 + 7/12)
        (["Größe"], ["größe"], 54.3333),  # (4/5 + 3/4 + 2/3 + 1/2 + 0) / 5 of letters, pairs and longer, both ways
    ],
)
def test_chrf_weighs_recall_twice_and_sums_over_texts(answers: list[str], references: list[str], score: float) -> None:
    assert chrf(answers, references) == pytest.approx(score, abs=1e-4)


@pytest.mark.parametrize(
    ("answer", "reference", "same", "overlap"),
    [
        ("The Eiffel Tower.", "eiffel  tower", 1, 1),
        ("in Paris, France", "Paris", 0, 1 / 2),  # precision 1/3, recall 1
        ("a", "the", 1, 1),  # nothing but articles: both are empty
        ("", "Paris", 0, 0),
        ("an Anthem", "anthem", 1, 1),
        ("1,000", "1000", 1, 1),
        ("Lyon", "Paris", 0, 0),
    ],
)
def test_squad_metrics_look_past_case_articles_and_punctuation(
    answer: str, reference: str, same: float, overlap: float
) -> None:
    assert exact_match(answer, reference) == same
    assert f1(answer, reference) == pytest.approx(overlap)


def test_metric_by_name_is_the_mean_over_rows() -> None:
    assert METRICS.keys() == {"rouge1", "rouge2", "rougeL", "chrf", "exact_match", "f1"}
    assert METRICS["exact_match"](["a b", "c"], ["a b", "d"]) == 0.5
    assert METRICS["rouge1"]([KILLED, "police"], [KILLED, KILLED]) == pytest.approx((1 + 2 / 5) / 2)
    for name, metric in METRICS.items():
        assert metric(["same words"], ["same words"]) == (100 if name == "chrf" else 1)
        with pytest.raises(ValueError, match=r"longer|shorter"):
            metric(["one", "two"], ["one"])


def test_perplexity_is_e_to_the_loss_and_never_overflows() -> None:
    assert metrics.perplexity(0.0) == 1
    assert metrics.perplexity(math.log(50)) == pytest.approx(50)  # as if choosing among 50 tokens at random
    assert math.isfinite(metrics.perplexity(1e6))
