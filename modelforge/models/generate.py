"""Writing answers token by token with a loaded decoder: one for a chat, or many side by side.

These loops replace `generate`: the model is free for others between two tokens, an answer can be stopped after any
token, and random numbers come from a separate generator, so that a chat does not change a run in progress.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import torch

from modelforge.errors import RecipeError
from modelforge.models.sampling import Message, Sampling


def write_answer(
    model: Any,
    tokenizer: Any,
    messages: Sequence[Message],
    sampling: Sampling,
    turn: Callable[[], AbstractContextManager[Any]] = nullcontext,
) -> Iterator[str]:
    """Yield the answer to a conversation in pieces; their concatenation is the whole answer.

    model: a decoder in eval mode. turn: entered for each step of the model and left before anything is yielded, so
    that several answers can take turns. Pieces never end inside a character.
    """
    ids, longest = _encode(tokenizer, messages), sampling.max_new_tokens
    window = getattr(model.config.get_text_config(), "max_position_embeddings", None)
    if window:
        # The end of the conversation is what is answered; a long answer may take half of the window from it.
        ids = ids[-max(window - longest, window // 2) :]
        longest = min(longest, window - len(ids))
    sampling = sampling.model_copy(update={"max_new_tokens": longest})
    yield from grow_text(tokenizer, _draw_tokens(model, ids, stop_tokens(model, tokenizer), sampling, turn))


def grow_text(tokenizer: Any, drawn: Iterable[int]) -> Iterator[str]:
    """The text of tokens as they come, in pieces that end at whole characters."""
    tokens: list[int] = []
    shown = ""
    for token in drawn:
        tokens.append(token)
        text = tokenizer.decode(tokens, skip_special_tokens=True)
        if not text.endswith("\ufffd"):  # the rest of this character comes with the next token
            yield text[len(shown) :]
            shown = text
    rest = tokenizer.decode(tokens, skip_special_tokens=True)[len(shown) :]
    if rest:
        yield rest


def write_answers(
    model: Any,
    tokenizer: Any,
    prompts: Sequence[Sequence[int]],
    max_new_tokens: int,
    turn: Callable[[], AbstractContextManager[Any]] = nullcontext,
) -> list[str]:
    """The likeliest answers to B prompts (token ids), written side by side; those of `write_answer` at temperature 0.

    max_new_tokens: the longest answer; half of the model's window at most. Of a prompt that is too long for the
    window only the end is used. turn: as for `write_answer`.
    """
    window = getattr(model.config.get_text_config(), "max_position_embeddings", None)
    if window:
        max_new_tokens = min(max_new_tokens, window // 2)
        prompts = [ids[-(window - max_new_tokens) :] for ids in prompts]
    width = max(map(len, prompts))
    padding = [width - len(ids) for ids in prompts]  # on the left: all answers begin at the same place
    rows = zip(padding, prompts, strict=True)
    given = torch.tensor([[tokenizer.pad_token_id] * pad + list(ids) for pad, ids in rows], device=model.device)
    mask = torch.tensor([[0] * pad + [1] * (width - pad) for pad in padding], device=model.device)  # (B, T)
    places = (mask.cumsum(1) - 1).clamp(min=0)  # (B, T): the first token of a prompt is at 0, whatever stands before
    takes_places = _takes(model, "position_ids")  # architectures without them read the mask
    stops = stop_tokens(model, tokenizer)
    answers: list[list[int]] = [[] for _ in prompts]
    writing, cache = set(range(len(prompts))), None
    for _ in range(max_new_tokens):
        with turn(), torch.inference_mode():
            output = model(
                input_ids=given,
                attention_mask=mask,
                past_key_values=cache,
                use_cache=True,
                logits_to_keep=1,
                **({"position_ids": places} if takes_places else {}),
            )
        cache, tokens = output.past_key_values, output.logits[:, -1].float().argmax(-1)  # (B)
        for row, token in enumerate(tokens.tolist()):
            if token in stops:
                writing.discard(row)
            if row in writing:
                answers[row].append(token)
        if not writing:
            break
        given, places = tokens[:, None], places[:, -1:] + 1
        mask = torch.cat((mask, mask.new_ones(len(prompts), 1)), dim=1)
    return [str(tokenizer.decode(tokens, skip_special_tokens=True)) for tokens in answers]


def _takes(model: Any, name: str) -> bool:
    """Whether the architecture's forward has a parameter of that name."""
    decoder = model.get_base_model() if hasattr(model, "get_base_model") else model
    return name in inspect.signature(decoder.forward).parameters


def _encode(tokenizer: Any, messages: Sequence[Message]) -> list[int]:
    from jinja2 import TemplateError

    try:
        ids = tokenizer.apply_chat_template(list(messages), add_generation_prompt=True, return_dict=True)["input_ids"]
    except TemplateError as error:
        raise RecipeError(
            f"The model's chat template refuses this conversation: {error}.",
            where="messages",
            fix="Leave the system prompt empty, and let user and assistant take turns.",
        ) from error
    return list(ids)


def _draw_tokens(
    model: Any, ids: list[int], stops: set[int], sampling: Sampling, turn: Callable[[], AbstractContextManager[Any]]
) -> Iterator[int]:
    generator = make_generator(sampling)
    given, cache = torch.tensor([ids], device=model.device), None
    for _ in range(sampling.max_new_tokens):
        with turn(), torch.inference_mode():
            output = model(input_ids=given, past_key_values=cache, use_cache=True, logits_to_keep=1)
        cache = output.past_key_values
        token = choose_token(output.logits[0, -1].float().cpu(), sampling, generator)
        if token in stops:
            return
        yield token
        given = torch.tensor([[token]], device=model.device)


def make_generator(sampling: Sampling) -> torch.Generator:
    """A generator of random numbers for one answer, from the seed or from a new one."""
    generator = torch.Generator(device="cpu")
    if sampling.seed is not None:
        generator.manual_seed(sampling.seed)
    else:
        generator.seed()
    return generator


def choose_token(logits: torch.Tensor, sampling: Sampling, generator: torch.Generator) -> int:
    """logits (V) -> a token id. Nucleus sampling as in arXiv 1904.09751."""
    if sampling.temperature == 0:
        return int(logits.argmax())
    likelihoods, order = torch.softmax(logits / sampling.temperature, dim=-1).sort(descending=True)
    outside = likelihoods.cumsum(0) - likelihoods >= sampling.top_p  # the likeliest one always stays
    likelihoods[outside] = 0.0
    return int(order[torch.multinomial(likelihoods, 1, generator=generator)])


def stop_tokens(model: Any, tokenizer: Any) -> set[int]:
    """The tokens with which an answer ends."""
    configured = getattr(model.generation_config, "eos_token_id", None)
    several = configured if isinstance(configured, list) else [configured]
    return {token for token in (*several, tokenizer.eos_token_id) if token is not None}
