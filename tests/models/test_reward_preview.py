"""Rewards tried on answers before training: drawn as training draws them, and warned about where they teach nothing."""

from __future__ import annotations

from dataclasses import FrozenInstanceError
from typing import Any

import pytest

from modelforge.models.reward_preview import RewardSample, find_warnings, preview_rewards
from modelforge.recipe.nested import Grpo
from modelforge.recipe.rewards import Length, MatchesReference, ValidJson
from tests import tiny

ROWS = [{"prompt": tiny.messages(*pair)[:1], "reference": pair[1]} for pair in tiny.PAIRS[:10]]
SETTINGS = Grpo(
    max_completion_length=12, rewards=(Length(least=3, weight=2), MatchesReference(), Length(unit="characters"))
)


@pytest.fixture(scope="module")
def model() -> Any:
    return tiny.model()


@pytest.fixture(scope="module")
def tokenizer() -> Any:
    return tiny.tokenizer()


def sample(total: float, *, highest: float = 1.0, is_cut: bool = False) -> RewardSample:
    return RewardSample("Why?", "", "So.", {"length": total}, total, highest, is_cut)


def test_answers_are_scored_by_every_reward(model: Any, tokenizer: Any) -> None:
    samples = preview_rewards(model, tokenizer, ROWS, SETTINGS)
    assert len(samples) == 4
    for each in samples:
        assert list(each.scores) == ["length", "matches_reference", "length_2"]
        lengths, matches, characters = each.scores.values()
        assert each.total == pytest.approx(2 * lengths + matches + characters)
        assert each.highest == 4
    assert len({each.answer for each in samples}) == 4
    with pytest.raises(FrozenInstanceError):
        samples[0].total = 9.0  # type: ignore[misc]


@pytest.mark.parametrize(("count", "places"), [(1, [0]), (4, [0, 2, 5, 7]), (10, range(10)), (99, range(10))])
def test_rows_are_chosen_evenly(model: Any, tokenizer: Any, count: int, places: Any) -> None:
    quick = SETTINGS.model_copy(update={"max_completion_length": 4})
    samples = preview_rewards(model, tokenizer, ROWS, quick, count=count)
    assert [each.prompt for each in samples] == [ROWS[place]["prompt"][0]["content"] for place in places]
    assert [each.reference for each in samples] == [ROWS[place]["reference"] for place in places]


def test_row_may_have_no_reference_and_there_may_be_no_rows(model: Any, tokenizer: Any) -> None:
    settings = Grpo(max_completion_length=4, rewards=(ValidJson(),))
    [only] = preview_rewards(model, tokenizer, [{"prompt": ROWS[0]["prompt"]}], settings)
    assert only.reference == ""
    assert preview_rewards(model, tokenizer, [], settings) == []


def test_same_seed_draws_the_same_answers(model: Any, tokenizer: Any) -> None:
    first, again, other = (preview_rewards(model, tokenizer, ROWS, SETTINGS, seed=seed) for seed in (3, 3, 2**31 - 1))
    assert first == again
    assert [each.answer for each in first] != [each.answer for each in other]


def test_same_prompt_asked_twice_is_answered_twice(model: Any, tokenizer: Any) -> None:
    one, other = preview_rewards(model, tokenizer, [ROWS[0]] * 2, SETTINGS)
    assert one.answer != other.answer


@pytest.mark.parametrize("training", [True, False])
def test_model_is_left_in_its_mode(model: Any, tokenizer: Any, training: bool) -> None:
    model.train(training)
    preview_rewards(model, tokenizer, ROWS, SETTINGS, count=1)
    assert model.training is training


def test_answer_that_ends_by_itself_is_not_cut(tokenizer: Any) -> None:
    quiet = tiny.model(tie_word_embeddings=False)
    quiet.lm_head.weight.data.zero_()
    quiet.generation_config.eos_token_id = list(range(1, len(tokenizer)))  # all tokens are equally likely
    assert not any(each.is_cut for each in preview_rewards(quiet, tokenizer, ROWS, SETTINGS))


def test_answer_as_long_as_may_be_is_cut(tokenizer: Any) -> None:
    endless = tiny.model(tie_word_embeddings=False)
    endless.lm_head.weight.data.zero_()
    endless.lm_head.weight.data[5] = 1e4  # 5 or 6, by the sign of what comes in: neither ends a text
    endless.lm_head.weight.data[6] = -1e4
    samples = preview_rewards(endless, tokenizer, ROWS, SETTINGS)
    assert all(each.is_cut for each in samples)
    assert any("grpo.max_completion_length" in warning for warning in find_warnings(samples))


# ---- warnings --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("samples", "said"),
    [
        ([], []),
        ([sample(0.2), sample(0.3)], []),
        ([sample(1.0), sample(0.3)], []),
        ([sample(0.4)], []),
        ([sample(0.0), sample(0.0), sample(0.0)], ["All 3 answers earned the same reward (0.00)"]),
        ([sample(1.0), sample(1.0)], ["All 2 answers already earned the highest reward (1.00)"]),
        ([sample(0.0, highest=0.0), sample(0.0, highest=0.0)], ["already earned the highest reward (0.00)"]),
        ([sample(1.0)], ["The only answer already earned"]),
        ([sample(0.2, is_cut=True), sample(0.3)], []),
        ([sample(0.2, is_cut=True), sample(0.3, is_cut=True)], ["All 2 answers reached the maximum length"]),
        ([sample(0.2, is_cut=True), sample(0.2, is_cut=True)], ["earned the same", "reached the maximum length"]),
    ],
)
def test_what_teaches_nothing_is_warned_about(samples: list[RewardSample], said: list[str]) -> None:
    warnings = find_warnings(samples)
    assert len(warnings) == len(said)
    for warning, words in zip(warnings, said, strict=True):
        assert words in warning and warning.endswith(".")
