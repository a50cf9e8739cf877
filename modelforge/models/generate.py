"""Writing token by token with a decoder or an encoder-decoder: one text as a stream, or many side by side.

These loops replace `generate`: the model is free for others between two tokens, an answer can be stopped after any
token, and random numbers come from a separate generator, so that a chat does not change a run in progress.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import torch

from modelforge.compute.decoders.key_cache import make_room
from modelforge.compute.tune import unwrap
from modelforge.loading import window_of
from modelforge.models.prompt import Said, TextPieces, encode_prompt, fit_prompt
from modelforge.models.sampling import LENGTH, STOP, Sampling, Writing

Turn = Callable[[], AbstractContextManager[Any]]
"""Entered for each step of the model and left before anything is yielded, so that several answers can take turns."""
Steps = Generator[torch.Tensor, torch.Tensor | None, None]
"""Yields the logits (B, V) of the next tokens of B texts; the chosen tokens (B) are sent to it, None to begin."""


def write_answer(
    model: Any,
    tokenizer: Any,
    said: Said,
    sampling: Sampling,
    turn: Turn = nullcontext,
    *,
    writing: Writing | None = None,
    whole: bool = False,
) -> Iterator[str]:
    """Yield the answer to a conversation, or what continues a text, in pieces; their concatenation is the whole answer.

    model: a decoder in eval mode. writing: is filled in. whole: see `fit_prompt`. Pieces never end inside a character.
    """
    writing = writing or Writing()
    writing.is_plain = not isinstance(said, str) and not tokenizer.chat_template
    ids, window = encode_prompt(tokenizer, said), window_of(model.config)
    ids, longest = fit_prompt(ids, sampling.max_new_tokens, window, writing, whole=whole)
    steps = _decode(model, tokenizer, [ids], turn)
    yield from _stream(model, tokenizer, steps, sampling, longest, ids, writing)


def write_answers(
    model: Any, tokenizer: Any, prompts: Sequence[Sequence[int]], max_new_tokens: int, turn: Turn = nullcontext
) -> list[str]:
    """The likeliest answers to B prompts (token ids), written side by side; those of `write_answer` at temperature 0.

    max_new_tokens: the longest answer; half of the model's window at most. Of a prompt that is too long for the
    window only the end is used.
    """
    window = window_of(model.config)
    longest = min(max_new_tokens, window // 2)
    prompts = [ids[-(window - longest) :] for ids in prompts]
    return _collect(model, tokenizer, _decode(model, tokenizer, prompts, turn), len(prompts), longest)


def write_text(
    model: Any,
    tokenizer: Any,
    input_ids: Sequence[int],
    sampling: Sampling,
    turn: Turn = nullcontext,
    *,
    writing: Writing | None = None,
) -> Iterator[str]:
    """Yield the text that the model writes for a source (token ids) in pieces; their concatenation is the whole text.

    model: an encoder-decoder in eval mode; where its window is bounded, no more is read or written.
    """
    longest = min(sampling.max_new_tokens, window_of(model.config))
    steps, seen = _transform(model, tokenizer, [input_ids], turn), [_first_token(model)]
    yield from _stream(model, tokenizer, steps, sampling, longest, seen, writing or Writing())


def write_texts(
    model: Any, tokenizer: Any, sources: Sequence[Sequence[int]], max_new_tokens: int, turn: Turn = nullcontext
) -> list[str]:
    """The likeliest texts of B sources (token ids), written side by side; those of `write_text` at temperature 0."""
    longest = min(max_new_tokens, window_of(model.config))
    return _collect(model, tokenizer, _transform(model, tokenizer, sources, turn), len(sources), longest)


def _stream(  # noqa: PLR0917 - all of them different things
    model: Any,
    tokenizer: Any,
    steps: Steps,
    sampling: Sampling,
    longest: int,
    seen: Sequence[int],
    writing: Writing,
) -> Iterator[str]:
    """The text of at most `longest` drawn tokens as they come, in pieces that end at whole characters. seen: the tokens
    before them, for the repetition penalty."""
    generator = torch.Generator(device="cpu")
    if sampling.seed is not None:
        generator.manual_seed(sampling.seed)
    else:
        generator.seed()
    stops, given = stop_tokens(model, tokenizer), None
    pieces = TextPieces(tokenizer)
    writing.ending = LENGTH
    for _ in range(longest):
        token = choose_token(steps.send(given)[0].cpu(), sampling, generator, [*seen, *pieces.tokens])
        if token in stops:
            writing.ending = STOP
            break
        writing.tokens += 1
        yield pieces.add(token)  # also where it is empty: an answer can be stopped after any token
        given = torch.tensor([token], device=model.device)
    if rest := pieces.end():
        yield rest


def _collect(model: Any, tokenizer: Any, steps: Steps, count: int, longest: int) -> list[str]:
    """The texts of the likeliest tokens, at most `longest` each."""
    stops, given = stop_tokens(model, tokenizer), None
    texts: list[list[int]] = [[] for _ in range(count)]
    writing = set(range(count))
    for _ in range(longest):
        given = steps.send(given).argmax(-1)  # (B)
        for row, token in enumerate(given.tolist()):
            if token in stops:
                writing.discard(row)
            if row in writing:
                texts[row].append(token)
        if not writing:
            break
    return [str(tokenizer.decode(tokens, skip_special_tokens=True)) for tokens in texts]


def _decode(model: Any, tokenizer: Any, prompts: Sequence[Sequence[int]], turn: Turn) -> Steps:
    """The steps of a decoder. Prompts are padded on the left: all answers begin at the same place."""
    padded = _pad(tokenizer, prompts, "left").to(model.device)
    given, mask = padded["input_ids"], padded["attention_mask"]
    is_padded = not bool(mask.all())
    takes_places = "position_ids" in inspect.signature(unwrap(model).forward).parameters  # others read the mask
    cache = None
    while True:
        padding = {"attention_mask": mask} if is_padded else {}
        if is_padded and takes_places:  # (B, T): the first token of a prompt is at 0, whatever stands before
            padding["position_ids"] = (mask.cumsum(1) - 1).clamp(min=0)[:, -given.shape[1] :]
        # As an index: of a slice of several rows torch would multiply by a copy of the output matrix for each of them.
        last = torch.tensor([given.shape[1] - 1], device=given.device)
        with turn(), torch.inference_mode():
            output = model(input_ids=given, cache=cache, use_cache=True, logits_to_keep=last, **padding)
        if cache is None:
            make_room(output.cache)
        chosen = yield output.logits[:, -1].float()
        assert chosen is not None  # noqa: S101 - None only begins
        given, cache = chosen[:, None], output.cache
        mask = torch.cat((mask, mask.new_ones(len(prompts), 1)), dim=1)


def _transform(model: Any, tokenizer: Any, sources: Sequence[Sequence[int]], turn: Turn) -> Steps:
    """The steps of an encoder-decoder."""
    window = window_of(model.config)
    sources = [ids if len(ids) <= window else [*ids[: window - 1], ids[-1]] for ids in sources]  # the end stays
    padded = _pad(tokenizer, sources, "right").to(model.device)
    with turn(), torch.inference_mode():
        read = model.get_encoder()(input_ids=padded["input_ids"], attention_mask=padded["attention_mask"])
    inputs = {"encoder_outputs": read, "attention_mask": padded["attention_mask"], "use_cache": True}
    given = torch.full((len(sources), 1), _first_token(model), device=model.device)
    forced = getattr(model.generation_config, "forced_bos_token_id", None)  # some, as BART, always begin with one
    cache = None
    while True:
        with turn(), torch.inference_mode():
            output = model(**inputs, decoder_input_ids=given, cache=cache)
            logits = output.logits[:, -1].float()
        if cache is None:
            make_room(output.cache)
            if forced is not None:
                logits = torch.full_like(logits, -torch.inf)
                logits[:, forced] = 0
        chosen = yield logits
        assert chosen is not None  # noqa: S101 - None only begins
        given, cache = chosen[:, None], output.cache


def _pad(tokenizer: Any, rows: Sequence[Sequence[int]], side: str) -> Any:
    """input_ids (B, T), and attention_mask (B, T), which is 0 on padding."""
    return tokenizer.pad({"input_ids": [list(ids) for ids in rows]}, padding_side=side, return_tensors="pt")


def choose_token(logits: torch.Tensor, sampling: Sampling, generator: torch.Generator, seen: Sequence[int] = ()) -> int:
    """logits (V) -> a token id. seen: the tokens before it."""
    shaped = shape_logits(logits, sampling, seen)
    if sampling.temperature == 0:
        return int(shaped.argmax())
    return int(torch.multinomial(torch.softmax(shaped, dim=-1), 1, generator=generator))


def shape_logits(logits: torch.Tensor, sampling: Sampling, seen: Sequence[int] = ()) -> torch.Tensor:
    """logits (V) -> the same, with -inf for tokens that are not drawn from.

    In the order of transformers' `generate`: repetition penalty (CTRL, arXiv 1909.05858), temperature, top_k, top_p
    (nucleus, arXiv 1904.09751), min_p (arXiv 2407.01082). The likeliest token always stays.
    """
    if sampling.repetition_penalty != 1 and seen:
        places = torch.tensor(sorted({*seen}), device=logits.device)
        scores, penalty = logits[places], sampling.repetition_penalty
        logits = logits.index_copy(0, places, torch.where(scores < 0, scores * penalty, scores / penalty))
    if sampling.temperature == 0:
        return logits
    logits = logits / sampling.temperature
    if sampling.top_k:
        logits = logits.masked_fill(logits < logits.topk(min(sampling.top_k, len(logits))).values[-1], -torch.inf)
    if sampling.top_p < 1:
        likelihoods, order = torch.softmax(logits, dim=-1).sort()
        outside = likelihoods.cumsum(0) <= 1 - sampling.top_p
        outside[-1] = False
        logits = logits.masked_fill(torch.zeros_like(outside).scatter(0, order, outside), -torch.inf)
    if sampling.min_p:
        likelihoods = torch.softmax(logits, dim=-1)
        logits = logits.masked_fill(likelihoods < sampling.min_p * likelihoods.max(), -torch.inf)
    return logits


def stop_tokens(model: Any, tokenizer: Any) -> set[int]:
    """The tokens with which an answer ends."""
    configured = getattr(model.generation_config, "eos_token_id", None)
    several = configured if isinstance(configured, list) else [configured]
    return {token for token in (*several, tokenizer.eos_token_id) if token is not None}


def _first_token(model: Any) -> int:
    """The token with which the text of an encoder-decoder begins."""
    for settings in (model.generation_config, model.config):
        for name in ("decoder_start_token_id", "bos_token_id"):
            if getattr(settings, name, None) is not None:
                return int(getattr(settings, name))
    return int(model.config.pad_token_id)
