"""Finding the answer to a question in a text with an encoder that has a span head.

Of all windows of the text the best span is taken, by the sum of its start's and its end's logit, as BERT's run_squad
does (https://github.com/google-research/bert). How a text is cut into windows is `data/windows.py`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field, replace
from typing import Any

import torch

from modelforge.data.windows import NOWHERE, Window, WindowEncoder
from modelforge.loading import window_of
from modelforge.recipe import Recipe
from modelforge.scores.metrics import METRICS

N_BEST = 20  # starts and ends looked at in each window; those of BERT's run_squad
WINDOWS_AT_ONCE = 16


@dataclass(frozen=True)
class Span:
    """An answer. start, end: its place in the context, in characters; end is exclusive. text "" with start and end 0:
    the text has no answer. score: its probability among the best candidates, from 0 to 1. others: the next best ones,
    without "no answer", whose probability is no_answer; None where that was not trained."""

    text: str
    start: int
    end: int
    score: float
    others: tuple[Span, ...] = field(default=(), repr=False, compare=False)
    no_answer: float | None = field(default=None, repr=False, compare=False)


@dataclass(frozen=True)
class _Candidate:
    logit: float
    start: int
    end: int


def window_encoder(tokenizer: Any, recipe: Recipe, config: Any) -> WindowEncoder:
    """Windows of the recipe's length, at most the model's."""
    return WindowEncoder(tokenizer, min(recipe.max_length, window_of(config)), recipe.doc_stride)


def find_answers(
    model: Any,
    encoder: WindowEncoder,
    asked: Sequence[tuple[str, str]],
    *,
    max_answer_length: int,
    may_be_missing: bool,
    turn: Callable[[], AbstractContextManager[Any]] = nullcontext,
) -> list[Span]:
    """The answers to (context, question) pairs.

    model: an encoder with a span head, in eval mode. max_answer_length: tokens. may_be_missing: whether "no answer" is
    one. turn: entered for each batch of windows.
    """
    owners: list[int] = []
    windows: list[Window] = []
    for row, (context, question) in enumerate(asked):
        found, _ = encoder.encode_row({"context": context, "question": question})
        owners += [row] * len(found)
        windows += found
    candidates: list[list[_Candidate]] = [[] for _ in asked]
    nothing = [float("inf")] * len(asked)  # no answer: only where no window has one
    for first in range(0, len(windows), WINDOWS_AT_ONCE):
        batch = windows[first : first + WINDOWS_AT_ONCE]
        inputs = pad_windows(encoder.tokenizer, [window.inputs for window in batch])
        with turn(), torch.inference_mode():
            output = model(**{name: values.to(model.device) for name, values in inputs.items()})
        starts, ends = output.start_logits.float().cpu(), output.end_logits.float().cpu()  # each (B, T)
        for place, window in enumerate(batch):
            row = owners[first + place]
            candidates[row] += _list_candidates(window, starts[place], ends[place], max_answer_length)
            nothing[row] = min(nothing[row], float(starts[place][NOWHERE] + ends[place][NOWHERE]))
    return [
        _choose(asked[row][0], candidates[row], nothing[row] if may_be_missing else None) for row in range(len(asked))
    ]


def pad_windows(tokenizer: Any, windows: Sequence[dict[str, list[int]]], multiple: int = 1) -> dict[str, torch.Tensor]:
    """Windows padded on the right to the longest, or the next multiple of some length, with a mask: an encoder looks in
    both directions. -> each of their inputs (B, T), attention_mask (B, T)
    """
    padded = tokenizer.pad(
        list(windows),
        padding_side="right",
        pad_to_multiple_of=multiple,
        return_attention_mask=True,
        return_tensors="pt",
    )
    return dict(padded)


def _list_candidates(window: Window, starts: torch.Tensor, ends: torch.Tensor, longest: int) -> list[_Candidate]:
    """The best spans of one window. starts, ends: logits (T)."""
    inside = torch.tensor([span is not None for span in window.spans])
    count = len(window.spans)
    starts, ends = (logits[:count].masked_fill(~inside, -torch.inf) for logits in (starts, ends))
    best = min(N_BEST, int(inside.sum()))
    found = []
    end_places = ends.topk(best).indices.tolist()
    for start in starts.topk(best).indices.tolist():
        for end in end_places:
            if start <= end < start + longest:
                first, last = window.spans[start], window.spans[end]
                assert first is not None and last is not None  # noqa: S101 - only these have finite logits
                found.append(_Candidate(float(starts[start] + ends[end]), first[0], last[1]))
    return found


def _choose(context: str, candidates: list[_Candidate], nothing: float | None) -> Span:
    likeliest: dict[tuple[int, int], _Candidate] = {}  # windows overlap: one span counts once
    for candidate in sorted(candidates, key=lambda candidate: -candidate.logit):
        likeliest.setdefault((candidate.start, candidate.end), candidate)
    best = list(likeliest.values())[:N_BEST]
    if nothing is not None:
        best.append(_Candidate(nothing, 0, 0))
    if not best:
        return Span("", 0, 0, 0.0)
    shares = torch.softmax(torch.tensor([candidate.logit for candidate in best]), dim=0).tolist()
    spans = [
        Span(context[each.start : each.end], each.start, each.end, share)
        for each, share in zip(best, shares, strict=True)
    ]
    chosen: Span = spans[shares.index(max(shares))]
    others = tuple(each for each in spans if each is not chosen and each.end)
    return replace(chosen, others=others, no_answer=None if nothing is None else shares[-1])


def score_spans(answers: Sequence[str], rows: Sequence[Any]) -> dict[str, float]:
    """exact_match and f1 of answers to mapped rows: of several expected answers the one that agrees best counts, as in
    SQuAD's evaluation script; a row without any expects ""."""
    found = {}
    for name in ("exact_match", "f1"):
        best = (
            max(METRICS[name]([answer], [expected]) for expected in (row["answers"]["text"] or [""]))
            for answer, row in zip(answers, rows, strict=True)
        )
        found[name] = sum(best) / len(answers)
    return found
