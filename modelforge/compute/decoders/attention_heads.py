"""Brings the heads of tokens to where attention wants them, and back, each time as one copy.

Products give tokens one after the other, each with its heads; attention wants heads one after the other, each with its
tokens, in rows of one length. So positions are turned into the heads of tokens, where there is no padding.

Shapes: B rows, T tokens of the longest, N tokens that are computed, H query heads, K key heads, G = H / K of them for
each key head, d numbers a head.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch.nn import functional

from modelforge.compute.decoders.causal_attention import count_weights
from modelforge.compute.decoders.distinct_tokens import Distinct
from modelforge.compute.kernels.plain import Turns
from modelforge.compute.kernels.use import kernels_for
from modelforge.compute.product import round_up

LENGTH_MULTIPLE = 32
"""Attention's rows are a multiple of it long: a softmax takes 1 ns a score in rows of 125, and 0.36 in
rows of 320."""
CHOSEN = 0.5
"""The share of tokens that the last layer may go on with after attention, to leave out the others. With fewer tokens
left out it saves less than 2% of a step, and has a shape of its own (see `product.ROW_MULTIPLE`)."""
KEPT_WEIGHTS = 12e6
"""Bytes that attention weights of a layer may take to be kept for the backward pass. The starter's with four rows of
512 tokens in bfloat16 take 10.6 MB, for 3% of a step; in float32 they are computed again."""


@dataclass(frozen=True)
class Shape:
    """batch: B. length: T. key_heads: K. groups: G. size: d."""

    batch: int
    length: int
    key_heads: int
    groups: int
    size: int

    @property
    def heads(self) -> tuple[int, int]:
        """H and K."""
        return self.key_heads * self.groups, self.key_heads


class HeadOrder:
    """Where each head of each token is, in one batch.

    Of tokens: (N, H + 2 K, d), the heads of q, k and v. In attention: q (B K, T G, d), the heads of a group side by
    side at each token, k and v (B K, T, d); as one tensor of all their heads, `joined`, one after the other.
    """

    def __init__(self, shape: Shape, distinct: Distinct | None, used: Any, x: Any) -> None:
        self.shape, self.distinct, self.used, device = shape, distinct, used, x.device
        places = torch.arange(shape.batch * shape.length, device=device)
        found = distinct.in_attention if distinct else None
        own, source, alone = (found.own, found.source, found.alone) if found else (places, places, places)
        self.columns = own % shape.length  # (N) the position of each token in its row
        more = -shape.length % LENGTH_MULTIPLE
        width = shape.length + more  # of what is added, token 0 is shown, and nothing is computed for it
        source = functional.pad(source.view(shape.batch, -1), (0, more))
        alone = functional.pad(alone.view(shape.batch, -1), (0, more), value=len(own))
        self._leaves_out = distinct is not None or more > 0
        keys, groups = torch.arange(shape.key_heads, device=device), torch.arange(shape.groups, device=device)
        heads = len(keys) * len(groups)
        # to attention: (B, K, T, G) and (B, K, T), which head of which token
        of_group = keys[:, None, None] * len(groups) + groups
        token = source.view(shape.batch, 1, width) * (heads + 2 * len(keys))
        key = token + heads + keys[:, None]
        self._heads = torch.cat([part.flatten() for part in (token[..., None] + of_group, key, key + len(keys))])
        self._alone = (alone.view(shape.batch, 1, width, 1) * heads + of_group).flatten()
        # from attention: (N, H) and (N, K), which place among all heads of it
        key = (own // shape.length)[:, None] * len(keys) * width + keys * width + self.columns[:, None]
        query = (key[..., None] * len(groups) + groups).flatten(1)
        self._queries, self._count = query.flatten(), shape.batch * width * len(keys)
        self._sizes = (self._count * len(groups), self._count, self._count)  # of q, k and v, in heads
        key = key + self._count * len(groups)
        self._places = torch.cat((query, key, key + self._count), 1).flatten()
        # whose gradients are added to those of others: tokens that an earlier row begins with too
        self._alike = [self._find_heads(*each) for each in reversed(found.begun)] if found else []
        weights = count_weights(shape.batch * len(keys), len(groups), width, distinct.lengths if distinct else ())
        self.keeps_weights = weights * x.element_size() <= KEPT_WEIGHTS  # those of attention, for the backward pass
        self._turned: tuple[Any, Any, float, Turns] | None = None
        self.chosen = self._find_chosen(distinct.in_batch.source if distinct else places)

    def _find_heads(self, row: int, earlier: int, count: int) -> tuple[Any, Any]:
        """Where the heads of the first `count` tokens of two rows are in attention, of `earlier` and of `row`."""
        places = torch.arange(sum(self._sizes), device=self.columns.device).split(self._sizes)
        parts = [
            part.view(self.shape.batch, self.shape.key_heads, -1)[..., : count * size]
            for part, size in zip(places, (self.shape.groups, 1, 1), strict=True)
        ]
        return tuple(torch.cat([part[each].flatten() for part in parts]) for each in (earlier, row))

    def _find_chosen(self, source: Any) -> Any:
        """The tokens (at most N) whose last hidden states are used, and some more to make them a multiple of
        `ROW_MULTIPLE`, if enough are left; else None. source (B T): the token of each place."""
        if self.used is None:
            return None
        is_chosen = torch.zeros(len(self.columns), dtype=torch.bool, device=source.device)
        is_chosen[source[self.used.flatten()]] = True
        chosen, others = is_chosen.nonzero()[:, 0], is_chosen.logical_not().nonzero()[:, 0]
        wanted = round_up(len(chosen))
        if not 0 < wanted <= CHOSEN * len(is_chosen):
            return None
        return torch.cat((chosen, others[: wanted - len(chosen)]))

    def turns(self, cos: Any, sin: Any, scaling: float) -> Turns:
        """Of cos and sin (1 or B, T, d), those of q scaled; all layers of a model have the same."""
        known = self._turned
        if known is None or known[0] is not cos or known[1] is not sin or known[2] != scaling:
            parts = [part.expand(self.shape.batch, -1, -1).reshape(-1, 1, part.shape[-1]) for part in (cos, sin)]
            if self.distinct:
                parts = [part.index_select(0, self.columns) for part in parts]
            scaled = parts[0] * scaling, parts[1] * scaling
            known = self._turned = cos, sin, scaling, (scaled, (parts[0], parts[1]))
        return known[3]

    def split(self, joined: Any) -> tuple[Any, Any, Any]:
        """q, k and v of attention as parts of one tensor (all heads, d)."""
        parts = joined.split(self._sizes)
        q, k, v = (part.view(self.shape.batch * self.shape.key_heads, -1, self.shape.size) for part in parts)
        return q, k, v

    def to_attention(self, heads: Any, turns: Turns) -> Any:
        """Heads of tokens (N, (H + 2 K) d) -> joined, turned to their positions."""
        return kernels_for(heads).turn_heads(heads, self._heads, turns, self.shape.heads)

    def from_attention(self, attended: Any) -> Any:
        """(B K, T G, d) -> (N, H d)"""
        return attended.view(-1, self.shape.size).index_select(0, self._queries).view(len(self.columns), -1)

    def place_gradients(self, grad: Any) -> Any:
        """The gradient of what `from_attention` takes, from that of what it gives."""
        padded = torch.cat((grad, grad.new_zeros(1, grad.shape[-1]))) if self._leaves_out else grad
        rows = padded.reshape(-1, self.shape.size).index_select(0, self._alone)
        return rows.view(self.shape.batch * self.shape.key_heads, -1, self.shape.size)

    def sum_gradients(self, joined: Any, turns: Turns) -> Any:
        """The gradient of what `to_attention` takes, from that of what it gives, which is overwritten."""
        kernels = kernels_for(joined)
        for earlier, row in self._alike:
            kernels.add_rows(joined.view(-1, self.shape.size), earlier, row)
        grads = kernels.turn_heads(joined, self._places, turns, self.shape.heads, back=True)
        grads = grads.view(len(self.columns), -1)
        return self.distinct.in_attention.clear_added(grads) if self.distinct else grads


class KnownOrder:
    """The order of the batch that all layers compute now."""

    def __init__(self) -> None:
        self.known: Any = None  # the last one that was found

    def find(self, shape: Shape, distinct: Distinct | None, used: Any, x: Any) -> HeadOrder:
        """Of the batch that x is. used: as of `find_used`."""
        known = self.known
        if known is None or known.shape != shape or known.distinct is not distinct or known.used is not used:
            known = self.known = HeadOrder(shape, distinct, used, x)
        found: HeadOrder = known
        return found
