"""Writing token by token: the same tokens as transformers' own generate, in whole characters, within the window."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
import torch

from modelforge.errors import RecipeError
from modelforge.models.generate import choose_token, write_answer, write_answers
from modelforge.models.sampling import Sampling
from tests import tiny

ASKED = [{"role": "user", "content": "What colour is the lamp of house 0?"}]


@pytest.fixture(scope="module")
def model() -> Any:
    return tiny.model().eval()


@pytest.fixture(scope="module")
def tokenizer() -> Any:
    return tiny.tokenizer()


def generated(model: Any, tokenizer: Any, count: int) -> str:
    """What transformers' generate answers greedily."""
    given = tokenizer.apply_chat_template(ASKED, add_generation_prompt=True, return_tensors="pt", return_dict=True)
    with torch.inference_mode():
        ids = model.generate(**given, max_new_tokens=count, do_sample=False)[0, given["input_ids"].shape[1] :]
    return str(tokenizer.decode(ids, skip_special_tokens=True))


@pytest.mark.parametrize("count", [1, 7, 60])
def test_greedy_answer_is_that_of_transformers(model: Any, tokenizer: Any, count: int) -> None:
    answer = "".join(write_answer(model, tokenizer, ASKED, Sampling(max_new_tokens=count)))
    assert answer == generated(model, tokenizer, count)


def test_answers_side_by_side_are_those_of_a_chat(model: Any, tokenizer: Any) -> None:
    asked = [tiny.messages(prompt, "")[:1] for prompt, _ in tiny.PAIRS[:5]] + [tiny.messages("Why? " * 20, "")[:1]]
    prompts = [
        tokenizer.apply_chat_template(each, add_generation_prompt=True, return_dict=True)["input_ids"] for each in asked
    ]
    alone = ["".join(write_answer(model, tokenizer, each, Sampling(max_new_tokens=30))) for each in asked]
    assert len(set(alone)) > 1
    assert write_answers(model, tokenizer, prompts, 30) == alone


def test_answers_side_by_side_stay_within_the_window(tokenizer: Any) -> None:
    small = tiny.model(max_position_embeddings=32).eval()
    prompts = [tokenizer("lamp " * count)["input_ids"] for count in (2, 40)]
    cut = [prompts[0], prompts[1][-16:]]
    assert write_answers(small, tokenizer, prompts, 500) == write_answers(small, tokenizer, cut, 16)


def test_pieces_end_at_whole_characters(model: Any, tokenizer: Any) -> None:
    for seed in range(3):
        lively = Sampling(max_new_tokens=80, temperature=1.5, seed=seed)
        pieces = list(write_answer(model, tokenizer, ASKED, lively))
        assert len(pieces) > 5
        assert not any(piece.endswith("\ufffd") for piece in pieces[:-1])


def test_same_seed_draws_the_same_answer(model: Any, tokenizer: Any) -> None:
    def draw(seed: int | None) -> str:
        return "".join(write_answer(model, tokenizer, ASKED, Sampling(max_new_tokens=20, temperature=1.0, seed=seed)))

    assert draw(3) == draw(3)
    assert len({draw(3), draw(4), draw(None), draw(None)}) == 4


def test_drawing_leaves_the_random_numbers_of_training_alone(model: Any, tokenizer: Any) -> None:
    torch.manual_seed(5)
    expected = torch.rand(3)
    torch.manual_seed(5)
    list(write_answer(model, tokenizer, ASKED, Sampling(max_new_tokens=5, temperature=1.0)))
    assert torch.equal(torch.rand(3), expected)


def test_end_of_text_ends_the_answer(tokenizer: Any) -> None:
    quiet = tiny.model(tie_word_embeddings=False).eval()
    quiet.lm_head.weight.data.zero_()
    quiet.generation_config.eos_token_id = [7, 0]  # all logits are equal, so the first token, 0, is chosen
    assert list(write_answer(quiet, tokenizer, ASKED, Sampling(max_new_tokens=50))) == []


def test_answer_can_be_left_after_any_token(model: Any, tokenizer: Any) -> None:
    entered = 0

    @contextmanager
    def turn() -> Iterator[None]:
        nonlocal entered
        entered += 1
        yield

    answer = write_answer(model, tokenizer, ASKED, Sampling(max_new_tokens=50), turn)
    next(answer)
    answer.close()
    assert entered < 20  # a character may take several tokens


@pytest.mark.parametrize("window", [16, 64])
@pytest.mark.parametrize("wanted", [8, 64, 4096])
def test_long_conversations_keep_their_end_and_stay_within_the_window(tokenizer: Any, window: int, wanted: int) -> None:
    narrow = tiny.model(max_position_embeddings=window).eval()
    lengths: list[int] = []
    forward = narrow.forward

    def watch(**given: Any) -> Any:
        lengths.append(given["input_ids"].shape[1])
        return forward(**given)

    narrow.forward = watch
    long = [{"role": "user", "content": "the lamp of house " * 50}]
    list(write_answer(narrow, tokenizer, long, Sampling(max_new_tokens=wanted)))
    assert lengths[0] >= window // 2  # the question is not lost to a long answer
    assert sum(lengths) <= window


def test_template_that_refuses_the_conversation_is_told(model: Any) -> None:
    strict = tiny.tokenizer()
    strict.chat_template = "{{ raise_exception('no system turns here') }}"
    with pytest.raises(RecipeError, match="no system turns here") as caught:
        list(write_answer(model, strict, ASKED, Sampling()))
    assert "system prompt" in caught.value.fix


def test_nucleus_draws_only_from_the_likeliest() -> None:
    logits = torch.tensor([0.0, 5.0, 4.9, -3.0])
    generator = torch.Generator().manual_seed(0)
    drawn = {choose_token(logits.clone(), Sampling(temperature=1.0, top_p=0.9), generator) for _ in range(200)}
    assert drawn == {1, 2}
    assert {choose_token(logits.clone(), Sampling(temperature=1.0, top_p=1e-6), generator) for _ in range(50)} == {1}
    assert choose_token(logits, Sampling(), generator) == 1
    likely = [choose_token(logits.clone(), Sampling(temperature=0.01, top_p=1.0), generator) for _ in range(100)]
    assert set(likely) <= {1, 2} and likely.count(1) > 95


@pytest.mark.parametrize(
    ("settings", "name"),
    [
        ({"max_new_tokens": 0}, "max_new_tokens"),
        ({"max_new_tokens": 8193}, "max_new_tokens"),
        ({"temperature": -0.1}, "temperature"),
        ({"temperature": float("nan")}, "temperature"),
        ({"top_p": 0}, "top_p"),
        ({"seed": -1}, "seed"),
        ({"seed": 2**31}, "seed"),
    ],
)
def test_setting_out_of_bounds_is_refused_by_name(settings: dict[str, Any], name: str) -> None:
    with pytest.raises(RecipeError) as caught:
        Sampling.build(**settings)
    assert caught.value.where == name and caught.value.fix


@pytest.mark.parametrize(
    "settings", [{"temperature": 0}, {"temperature": 2}, {"top_p": 1}, {"seed": 0}, {"seed": None}]
)
def test_setting_at_its_bound_is_accepted(settings: dict[str, Any]) -> None:
    assert Sampling.build(**settings)
