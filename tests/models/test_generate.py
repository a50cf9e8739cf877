"""Writing token by token: the same tokens as transformers' own generate, in whole characters, within the window."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
import torch

from modelforge.errors import RecipeError
from modelforge.models.generate import choose_token, shape_logits, write_answer, write_answers
from modelforge.models.sampling import PRESETS, Sampling, Writing
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


@pytest.mark.parametrize(
    "settings",
    [
        {"temperature": 0.7},
        {"top_k": 5},
        {"top_k": 900},
        {"top_p": 0.8},
        {"min_p": 0.1},
        {"repetition_penalty": 1.3},
        {"repetition_penalty": 0.8},
        {"temperature": 1.4, "top_k": 40, "top_p": 0.9, "min_p": 0.05, "repetition_penalty": 1.2},
        *PRESETS.values(),
    ],
)
def test_what_is_drawn_from_is_what_transformers_draws_from(model: Any, settings: dict[str, Any]) -> None:
    from transformers import GenerationConfig

    settings = {"temperature": 1.0, "top_p": 1.0, **settings}
    draws = settings["temperature"] > 0
    given = {name: value for name, value in settings.items() if draws or name == "repetition_penalty"}
    config = GenerationConfig(do_sample=draws, **{**given, "top_k": given.get("top_k", 0)})
    processors = model._get_logits_processor(config, input_ids_seq_length=6)
    generator = torch.Generator().manual_seed(1)
    for _ in range(20):
        logits = torch.randn(300, generator=generator) * 4
        seen = torch.randint(300, (12,), generator=generator)
        expected = processors(seen[None], logits[None].clone())[0]
        torch.testing.assert_close(shape_logits(logits, Sampling(**settings), seen.tolist()), expected)


def test_answer_with_a_repetition_penalty_is_that_of_transformers(model: Any, tokenizer: Any) -> None:
    given = tokenizer.apply_chat_template(ASKED, add_generation_prompt=True, return_tensors="pt", return_dict=True)
    settings = {"max_new_tokens": 30, "repetition_penalty": 1.5}
    ids = model.generate(**given, do_sample=False, **settings)[0, given["input_ids"].shape[1] :]
    answer = "".join(write_answer(model, tokenizer, ASKED, Sampling(**settings)))
    assert answer == tokenizer.decode(ids, skip_special_tokens=True)
    assert answer != generated(model, tokenizer, 30)


def test_what_was_cut_and_written_is_counted(tokenizer: Any) -> None:
    narrow, writing = tiny.model(max_position_embeddings=64).eval(), Writing()
    long = [{"role": "user", "content": "the lamp of house " * 50}]
    answer = "".join(write_answer(narrow, tokenizer, long, Sampling(max_new_tokens=8), writing=writing))
    whole = len(tokenizer.apply_chat_template(long, add_generation_prompt=True, return_dict=True)["input_ids"])
    assert (writing.prompt_tokens, writing.window, writing.cut_tokens) == (whole, 64, whole - 56)
    assert 0 < writing.tokens <= 8 and answer
    [note] = writing.notes
    assert all(f"{number:,}" in note for number in (whole, 64, whole - 56))


def test_model_without_a_chat_template_continues_the_text(model: Any) -> None:
    plain, writing = tiny.tokenizer(), Writing()
    plain.chat_template = None
    given = plain("The lamp is", return_tensors="pt")["input_ids"]
    ids = model.generate(given, max_new_tokens=10, do_sample=False)[0, given.shape[1] :]
    asked = [{"role": "user", "content": "The lamp is"}]
    answer = "".join(write_answer(model, plain, asked, Sampling(max_new_tokens=10), writing=writing))
    assert answer == plain.decode(ids, skip_special_tokens=True)
    assert "no chat template" in writing.notes[0]


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
        ({"min_p": 1.1}, "min_p"),
        ({"top_k": -1}, "top_k"),
        ({"repetition_penalty": 0}, "repetition_penalty"),
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
