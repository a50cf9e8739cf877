"""Writing a text from another, token by token, with an encoder-decoder: one as a stream, or many side by side.

The counterpart of `generate.py`, which does the same with decoders.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import torch

from modelforge.loading import window_of
from modelforge.models.generate import choose_token, grow_text, make_generator, stop_tokens
from modelforge.models.sampling import Sampling

Turn = Callable[[], AbstractContextManager[Any]]


def write_text(
    model: Any, tokenizer: Any, input_ids: Sequence[int], sampling: Sampling, turn: Turn = nullcontext
) -> Iterator[str]:
    """Yield the text that the model writes for a source (token ids) in pieces; their concatenation is the whole text.

    model: an encoder-decoder in eval mode; where its window is bounded, no more is read or written. turn: entered for
    each step of the model and left before anything is yielded, so that several answers can take turns.
    """
    yield from grow_text(tokenizer, _draw_tokens(model, tokenizer, input_ids, sampling, turn))


def write_texts(
    model: Any, tokenizer: Any, sources: Sequence[Sequence[int]], max_new_tokens: int, turn: Turn = nullcontext
) -> list[str]:
    """The likeliest texts of B sources (token ids), written side by side; those of `write_text` at temperature 0."""
    read, mask = _read(model, tokenizer, sources, turn)
    stops, first = stop_tokens(model, tokenizer), _first_token(model)
    written: list[list[int]] = [[] for _ in sources]
    writing, cache = set(range(len(sources))), None
    given = torch.full((len(sources), 1), first, device=model.device)
    for place in range(min(max_new_tokens, window_of(model.config))):
        logits, cache = _step(model, read, mask, given, cache=cache, turn=turn)
        tokens = _force(model, place, logits.argmax(-1))  # (B)
        for row, token in enumerate(tokens.tolist()):
            if token in stops:
                writing.discard(row)
            if row in writing:
                written[row].append(token)
        if not writing:
            break
        given = tokens[:, None]
    return [str(tokenizer.decode(tokens, skip_special_tokens=True)) for tokens in written]


def _draw_tokens(model: Any, tokenizer: Any, input_ids: Sequence[int], sampling: Sampling, turn: Turn) -> Iterator[int]:
    generator = make_generator(sampling)
    read, mask = _read(model, tokenizer, [input_ids], turn)
    stops, cache = stop_tokens(model, tokenizer), None
    given = torch.full((1, 1), _first_token(model), device=model.device)
    for place in range(min(sampling.max_new_tokens, window_of(model.config))):
        logits, cache = _step(model, read, mask, given, cache=cache, turn=turn)
        drawn = torch.tensor([choose_token(logits[0].cpu(), sampling, generator)], device=model.device)
        token = int(_force(model, place, drawn)[0])
        if token in stops:
            return
        yield token
        given = torch.tensor([[token]], device=model.device)


def _read(model: Any, tokenizer: Any, sources: Sequence[Sequence[int]], turn: Turn) -> tuple[Any, torch.Tensor]:
    """(the output of the encoder, the mask (B, T) that is 0 on padding)."""
    window = window_of(model.config)
    sources = [ids if len(ids) <= window else [*ids[: window - 1], ids[-1]] for ids in sources]  # the end stays
    longest = max(map(len, sources))
    filler = tokenizer.pad_token_id
    given = torch.tensor([list(ids) + [filler] * (longest - len(ids)) for ids in sources], device=model.device)
    mask = torch.tensor([[1] * len(ids) + [0] * (longest - len(ids)) for ids in sources], device=model.device)
    with turn(), torch.inference_mode():
        return model.get_encoder()(input_ids=given, attention_mask=mask), mask


def _step(model: Any, read: Any, mask: Any, given: Any, *, cache: Any, turn: Turn) -> tuple[torch.Tensor, Any]:
    """(logits (B, V) of the next token, the cache)."""
    with turn(), torch.inference_mode():
        output = model(
            encoder_outputs=read, attention_mask=mask, decoder_input_ids=given, past_key_values=cache, use_cache=True
        )
    return output.logits[:, -1].float(), output.past_key_values


def _first_token(model: Any) -> int:
    for settings in (model.generation_config, model.config):
        for name in ("decoder_start_token_id", "bos_token_id"):
            if getattr(settings, name, None) is not None:
                return int(getattr(settings, name))
    return int(model.config.pad_token_id)


def _force(model: Any, place: int, tokens: torch.Tensor) -> torch.Tensor:
    """The tokens (B), or the one that a model always begins with, as BART does."""
    forced = getattr(model.generation_config, "forced_bos_token_id", None)
    return torch.full_like(tokens, forced) if place == 0 and forced is not None else tokens
