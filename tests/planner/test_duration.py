"""How long a run takes: from steps of rows as long as the dataset's, and what a run does besides steps."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from modelforge import hardware, starter
from modelforge.compute.compute import Compute
from modelforge.hardware import GIB, Probe
from modelforge.models import measures, side_by_side
from modelforge.planner import duration, outcomes
from modelforge.planner import plan as planner
from modelforge.planner.duration import describe_range, predict_seconds, usual_length
from modelforge.planner.outcomes import Outcome, add_outcome, measured_speed
from modelforge.recipe import STARTER, Recipe
from modelforge.training import verdict
from tests import tiny

PROBE = Probe("cpu", "a processor", (0, 0), 16 * GIB, {"float32": 100.0}, "2.13.0")
PLAIN = Compute("cpu", "float32", False, ())


@pytest.mark.slow
def test_fault_17_time_of_short_rows_is_measured_with_short_rows(tmp_path: Path) -> None:
    """Rows of 50 tokens in a dataset whose longest has 384: neither the matrix rate nor long steps tell their speed."""
    base = tiny.write_base(tmp_path / "base", num_hidden_layers=4)
    recipe = tiny.recipe(base, "", {"max_length": 512, "per_device_train_batch_size": 4, "max_steps": 100})
    here: dict[str, Any] = {"machine": hardware.detect(), "probe": PROBE}
    short = planner.plan(recipe, rows=60, longest=384, mean_tokens=50, calibrate=True, **here)
    long = planner.plan(recipe, rows=60, longest=384, mean_tokens=384, calibrate=True, **here)
    assert short.timing == long.timing == "step" and short.calibrated and long.calibrated
    assert short.tokens_per_second != long.tokens_per_second
    assert {short.tokens_per_second, long.tokens_per_second} == {*outcomes.read_cache("calibration.json").values()}
    assert 0 < short.seconds_low < short.seconds < short.seconds_high


def test_fault_17_speed_of_earlier_runs_serves_rows_of_about_the_same_length(home: Path) -> None:
    old = {"predicted": 1, "measured": 1, "tokens_per_second": 900.0, "base_model": "anna/tiny"}
    outcomes.write_cache("outcomes.json", {"kind": [old]})  # as the version before wrote it
    assert measured_speed("kind", "anna/tiny") == 900  # where no length is known
    assert measured_speed("kind", "anna/tiny", 50, 4) == 0
    add_outcome("kind", Outcome(1, 1, 240.0, "anna/tiny", 50, 4))
    assert measured_speed("kind", "anna/tiny", 60, 4) == 240
    assert measured_speed("kind", "anna/tiny", 400, 4) == measured_speed("kind", "anna/tiny", 50, 1) == 0
    assert measured_speed("kind", "anna/other", 50, 4) == measured_speed("other kind", "anna/tiny", 50, 4) == 0


def predict(settings: dict[str, Any], **more: Any) -> tuple[float, float, float]:
    known: dict[str, Any] = {"rows": 100, "row_tokens": 50.0, "speed": 200.0, "timing": "step"}
    sizes = {"weights": 500_000_000, "trained": 5_000_000}
    return predict_seconds(Recipe().with_settings(settings), PLAIN, **{**known, **sizes, **more})


def test_long_answers_leave_room_for_fewer_side_by_side() -> None:
    known = {"settings": {"max_steps": 8, "min_eval_rows": 16}, "rows": 64, "row_tokens": 214.0, "weights": 0}
    unknown, long = predict(**known)[0], predict(**known, longest=512.0)[0]  # two batches of 12; three of six
    written = 3 * 1.25 * (512 - 107) * (1 + 3 * 0.03) - 2 * 214 * (1 + 9 * 0.03)
    assert long - unknown == pytest.approx(2 * written * 0.9 * 0.02)
    summaries = {"settings": {"task": "summarization", "max_target_length": 64, "eval_split": 0.2, "min_eval_rows": 16}}
    short, cut = (predict(**{**known, **summaries}, longest=longest)[0] for longest in (64.0, 512.0))
    assert short == cut  # a summary ends there
    pairs = {"settings": {"method": "dpo", "max_steps": 8}}
    assert predict(**{**known, **pairs}, longest=512.0) == predict(**{**known, **pairs}, longest=64.0)


def test_answers_are_counted_as_they_are_written() -> None:
    counted = duration._AT_ONCE, duration._TOKENS_AT_ONCE, duration._LONGEST_ANSWER
    assert counted == (side_by_side.AT_ONCE, side_by_side.TOKENS_AT_ONCE, measures.LONGEST_ANSWER)
    assert duration.VERDICT_ROWS == verdict.MOST_ROWS_WRITTEN


def test_time_counts_what_a_run_does_besides_steps() -> None:
    bare = {"max_steps": 8, "eval_split": 0.0}
    steps, *_ = predict(bare, weights=0)
    assert steps == pytest.approx(8 * 4 * 50 / 200 + 2 * duration.SAMPLED_TOKENS * 0.9 * 0.02)  # and tiny answers
    assert predict(bare, weights=5_000_000_000)[0] > steps + 20  # answers of a large model
    measured, *_ = predict({"max_steps": 8, "evaluations": 4, "load_best_model_at_end": False}, weights=0)
    evaluated = 5 * 25 * 50 / 200 / 2  # a quarter of the rows, at the start and four times
    verdict = 2 * 2 * 50 * (1 + 13 * 0.03) * 0.9 * 0.02  # both sides, two batches of 16 at most
    between = 3 * duration.SAMPLED_TOKENS * 0.9 * 0.02  # answers after each evaluation but the last
    general = 2 * duration.GENERAL_TOKENS / 200 / 2
    assert measured - steps == pytest.approx(evaluated + verdict + between + general)
    assert predict({**bare, "save_steps": 2}, weights=0)[0] > steps
    spans = {"task": "extractive-question-answering", "base_model": "sentence-transformers/all-MiniLM-L6-v2"}
    assert predict({**bare, **spans}, weights=10**12)[0] < 10  # writes nothing


def test_range_is_wide_where_the_speed_is_a_guess_and_says_nothing_where_the_rows_are_not_counted() -> None:
    guess, step = (predict({"max_steps": 100}, timing=timing) for timing in ("guess", "step"))
    assert guess[0] == step[0]
    assert guess[1] < step[1] < step[0] < step[2] < guess[2]
    assert predict({}, rows=None) == (0, 0, 0)
    assert predict({"num_train_epochs": 2}) > predict({"num_train_epochs": 1})


def test_sampled_tokens_are_those_of_a_run() -> None:
    from modelforge.training import samples

    assert (samples.ANSWER_TOKENS, samples.MOST_TIMES) == (duration.SAMPLED_TOKENS, duration.SAMPLED_TIMES)


@pytest.mark.usefixtures("home_with_starter")
def test_general_texts_are_as_long_as_is_counted() -> None:
    from transformers import AutoTokenizer

    from modelforge.data.encode import ChatEncoder
    from modelforge.models.forgetting import encode_pieces

    tokenizer = AutoTokenizer.from_pretrained(starter.ensure(STARTER))
    tokens = sum(len(piece.encoded.input_ids) for piece in encode_pieces(ChatEncoder(tokenizer, 512)))
    assert tokens == pytest.approx(duration.GENERAL_TOKENS, rel=0.1)


@pytest.mark.parametrize(
    ("longest", "mean", "length"),
    [(400, 50, 48), (400, 61.3, 64), (400, 3, 8), (40, 90, 40), (400, None, 192), (2048, 430, 416), (2048, 437, 448)],
)
def test_timed_rows_have_about_the_mean_length(longest: int, mean: float | None, length: int) -> None:
    assert usual_length(longest, mean) == length


@pytest.mark.parametrize(
    ("low", "high", "words"),
    [
        (82, 131, "about 82 to 130 s"),
        (3.2, 9.7, "about 3 to 10 s"),
        (0.2, 0.3, "about 1 s"),
        (100, 400, "about 2 to 7 min"),
        (4_000, 30_000, "about 1 to 8 h"),
        (0, 0, ""),
    ],
)
def test_range_is_worded_in_one_unit(low: float, high: float, words: str) -> None:
    assert describe_range(low, high) == words
