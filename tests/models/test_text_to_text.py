"""Writing with an encoder-decoder: the same tokens as transformers' own generate, alone and side by side."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
import torch

from modelforge.models.generate import write_text, write_texts
from modelforge.models.sampling import Sampling
from tests import tiny

TOKENIZER = tiny.text_to_text_tokenizer()
SOURCES = [TOKENIZER(f"{prompt} {answer}")["input_ids"] for prompt, answer in tiny.PAIRS[:6]] + [
    TOKENIZER("lamp " * 30)["input_ids"]
]


def bart() -> Any:
    """Another encoder-decoder: it begins with its end-of-text token and is made to say a first one."""
    from transformers import BartConfig, BartForConditionalGeneration

    torch.manual_seed(0)
    sizes = {"d_model": 32, "encoder_layers": 2, "decoder_layers": 2, "max_position_embeddings": 64}
    sizes |= {"encoder_ffn_dim": 64, "decoder_ffn_dim": 64, "encoder_attention_heads": 4, "decoder_attention_heads": 4}
    tokens = {"pad_token_id": 0, "bos_token_id": 3, "eos_token_id": 2, "decoder_start_token_id": 2}
    config = BartConfig(vocab_size=len(TOKENIZER), init_std=0.3, forced_bos_token_id=3, **sizes, **tokens)
    model = BartForConditionalGeneration(config)
    model.generation_config.forced_bos_token_id = 3
    model.generation_config.forced_eos_token_id = None
    return model


def t5() -> Any:
    """A T5 that says something else to each source."""
    model = tiny.text_to_text_model(initializer_factor=4.0)
    torch.manual_seed(1)
    model.lm_head.weight.data = torch.randn_like(model.lm_head.weight)
    return model


@pytest.fixture(scope="module", params=[t5, bart])
def model(request: pytest.FixtureRequest) -> Any:
    return request.param().eval()


def generated(model: Any, source: list[int], count: int) -> str:
    """What transformers' generate writes greedily."""
    with torch.inference_mode():
        ids = model.generate(
            input_ids=torch.tensor([source]),
            max_new_tokens=count,
            do_sample=False,
            num_beams=1,
            forced_eos_token_id=None,
        )
    return str(TOKENIZER.decode(ids[0, 1:], skip_special_tokens=True))


@pytest.mark.parametrize("count", [1, 7, 40])
def test_greedy_text_is_that_of_transformers(model: Any, count: int) -> None:
    for source in SOURCES:
        text = "".join(write_text(model, TOKENIZER, source, Sampling(max_new_tokens=count)))
        assert text == generated(model, source, count)


def test_texts_side_by_side_are_those_written_alone(model: Any) -> None:
    alone = ["".join(write_text(model, TOKENIZER, source, Sampling(max_new_tokens=30))) for source in SOURCES]
    assert len(set(alone)) > 1
    assert write_texts(model, TOKENIZER, SOURCES, 30) == alone


def test_same_seed_draws_the_same_text(model: Any) -> None:
    def draw(seed: int) -> str:
        return "".join(
            write_text(model, TOKENIZER, SOURCES[0], Sampling(max_new_tokens=20, temperature=1.5, seed=seed))
        )

    assert draw(3) == draw(3) != draw(4)


def test_end_of_text_ends_the_text() -> None:
    quiet = tiny.text_to_text_model().eval()
    quiet.lm_head.weight.data.zero_()
    quiet.generation_config.eos_token_id = [7, 0]  # all logits are equal, so the first token, 0, is chosen
    assert list(write_text(quiet, TOKENIZER, SOURCES[0], Sampling(max_new_tokens=50))) == []
    assert write_texts(quiet, TOKENIZER, SOURCES, 50) == [""] * len(SOURCES)


def test_text_can_be_left_after_any_token(model: Any) -> None:
    entered = 0

    @contextmanager
    def turn() -> Iterator[None]:
        nonlocal entered
        entered += 1
        yield

    text = write_text(model, TOKENIZER, SOURCES[0], Sampling(max_new_tokens=50), turn)
    next(text)
    text.close()
    assert entered < 20


def test_model_with_a_window_neither_reads_nor_writes_beyond_it() -> None:
    narrow = bart().eval()
    long = TOKENIZER("lamp " * 200)["input_ids"]
    assert len(long) > 64
    text = "".join(write_text(narrow, TOKENIZER, long, Sampling(max_new_tokens=500)))
    assert len(TOKENIZER(text, add_special_tokens=False)["input_ids"]) > 0
    assert write_texts(narrow, TOKENIZER, [long, SOURCES[0]], 500)[0] == text
