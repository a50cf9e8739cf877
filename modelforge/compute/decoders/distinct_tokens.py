"""Which places of a batch have to be computed: no padding, and what rows begin with in common once.

Rows are padded on the right to the longest. With causal attention a token depends on itself and those before it alone,
so that rows that begin alike (a system prompt; the prompt of a pair of answers) are alike there in every layer.

Attention sees every row at its whole length, the longest first, so that rows that have ended can be left out.

Shapes: B rows, T tokens of the longest, N distinct tokens of all rows.
"""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch

from modelforge.compute.product import ROW_MULTIPLE, round_up

WORTH = 0.08
"""The share of a batch's places from which leaving them out pays for the copies that this takes: with 10% a step of
the starter takes 5 to 8% less time, with 5% none."""


@dataclass(frozen=True)
class Places:
    """Where the N tokens that are computed are in a tensor (B, T), its rows in some order.

    own (N): the place (of B T) of each token. source (B T): which token each place shows; of padding any. alone (B T):
    the same where that token is computed for this place, else N. begun (B at most): (row, earlier row, how many tokens
    both begin with), each after that of the earlier row. added: how many of the tokens, the last ones, are shown
    nowhere, and make N a multiple of `ROW_MULTIPLE`; their gradients are 0.
    """

    own: Any
    source: Any
    alone: Any
    begun: tuple[tuple[int, int, int], ...]
    added: int = 0

    def reorder(self, order: Sequence[int]) -> Places:
        """The same where row `order[0]` comes first, and so on."""
        rows, width = torch.tensor(order), len(self.source) // len(order)
        moved = rows.argsort()  # where each row goes
        return Places(
            moved[self.own // width] * width + self.own % width,
            self.source.view(-1, width)[rows].flatten(),
            self.alone.view(-1, width)[rows].flatten(),
            tuple((int(moved[row]), int(moved[earlier]), count) for row, earlier, count in self.begun),
            self.added,
        )

    def clear_added(self, grads: Any) -> Any:
        """Gradients of tokens (N, D), those of added ones 0."""
        if self.added:
            grads[-self.added :] = 0
        return grads


@dataclass(frozen=True)
class Distinct:
    """The same tokens as the rows of a batch have them, and as attention does: the longest row first, and the lengths
    of those (B)."""

    in_batch: Places
    in_attention: Places
    lengths: tuple[int, ...]


class _Batch(threading.local):
    """What is known of the batch that a model gets next in this thread."""

    rows: Any = None  # token ids (B, T), lengths (B)
    used: Any = None  # (B, T) the places whose last hidden states are used; None: any
    distinct: Distinct | None = None  # of these, once somebody has asked
    is_known = False


_batch = _Batch()


def note_batch(input_ids: Any, lengths: Any, used: Any = None) -> None:
    """Say which batch a model gets next in this thread: token ids (B, T), how many of each row are no padding (B), and
    the places whose last hidden states are used (B, T), if not all."""
    _batch.rows, _batch.used, _batch.distinct, _batch.is_known = (input_ids, lengths), used, None, False


def forget_batch() -> None:
    _batch.rows, _batch.used, _batch.distinct, _batch.is_known = None, None, None, False


@contextlib.contextmanager
def noted_batch(input_ids: Any, lengths: Any, used: Any = None) -> Iterator[None]:
    """`note_batch` for a while."""
    note_batch(input_ids, lengths, used)
    try:
        yield
    finally:
        forget_batch()


def find_distinct(x: Any) -> Distinct | None:
    """Of the batch that x (B, T, D) belongs to, where enough of it can be left out; else None."""
    if _batch.rows is None or _batch.rows[0].shape != x.shape[:2]:
        return None
    if not _batch.is_known:
        ids, lengths = (part.tolist() for part in _batch.rows)
        _batch.distinct, _batch.is_known = describe(ids, lengths), True
    return _batch.distinct


def find_used(x: Any) -> Any:
    """The places (B, T) whose last hidden states are used, of the batch that x (B, T, D) belongs to; None: any."""
    return None if _batch.rows is None or _batch.rows[0].shape != x.shape[:2] else _batch.used


def describe(ids: Sequence[Sequence[int]], lengths: Sequence[int], multiple: int = ROW_MULTIPLE) -> Distinct | None:
    """The same of token ids (B, T) and lengths (B). multiple: what N is made a multiple of.

    In the order of their tokens, no earlier row has more in common with a row than the one just before it.
    """
    rows = [list(row[:length]) for row, length in zip(ids, lengths, strict=True)]
    order = sorted(range(len(rows)), key=rows.__getitem__)
    source = torch.zeros(len(rows), len(ids[0]), dtype=torch.long)
    own: list[int] = []
    begun = []
    for earlier, row in zip([None, *order], order, strict=False):
        count = 0
        if earlier is not None and (count := _count_common(rows[earlier], rows[row])):
            begun.append((row, earlier, count))
            source[row, :count] = source[earlier, :count]
        source[row, count : lengths[row]] = torch.arange(len(own), len(own) + lengths[row] - count)
        own += range(row * len(ids[0]) + count, row * len(ids[0]) + lengths[row])
    added = round_up(len(own), multiple) - len(own)
    own += own[:1] * added
    if len(own) > (1 - WORTH) * source.numel():
        return None
    places = torch.tensor(own)
    count = len(own) - added
    alone = torch.full((source.numel(),), len(own)).index_copy_(0, places[:count], torch.arange(count))
    found = Places(places, source.flatten(), alone, tuple(begun), added)
    longest_first = sorted(range(len(rows)), key=lambda row: -lengths[row])
    return Distinct(found, found.reorder(longest_first), tuple(lengths[row] for row in longest_first))


def _count_common(one: Sequence[int], other: Sequence[int]) -> int:
    """How many tokens two rows begin with in common."""
    pairs = zip(one, other, strict=False)
    return next((count for count, (left, right) in enumerate(pairs) if left != right), min(len(one), len(other)))


def take_tokens(x: Any, places: Places | None) -> Any:
    """(B, T, D) -> (N, D); all B T places where places is None."""
    rows = x.reshape(-1, x.shape[-1])
    return rows if places is None else rows.index_select(0, places.own)


def put_back(tokens: Any, places: Places | None, batch: int) -> Any:
    """(N, D) -> (B, T, D), with any finite numbers as padding."""
    rows = tokens if places is None else tokens.index_select(0, places.source)
    return rows.view(batch, -1, tokens.shape[-1])


def sum_gradients(grad: Any, places: Places | None) -> Any:
    """The gradient of what `put_back` takes (N, D), from that of what it gives (B, T, D), which is overwritten."""
    for row, earlier, count in reversed(places.begun if places else ()):
        grad[earlier, :count] += grad[row, :count]
    rows = take_tokens(grad, places)
    return places.clear_added(rows) if places else rows


def place_gradients(grad: Any, places: Places | None, batch: int) -> Any:
    """The gradient of what `take_tokens` takes (B, T, D), from that of what it gives (N, D), 0 where one is added."""
    if places is not None:
        grad = torch.cat((grad, grad.new_zeros(1, grad.shape[-1]))).index_select(0, places.alone)
    return grad.view(batch, -1, grad.shape[-1])
