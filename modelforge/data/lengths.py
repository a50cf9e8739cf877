"""How long the rows of a dataset are in tokens: what a max_length would cut off, and which one to propose.

It owns counting and the numbers made of it; how they are drawn is the concern of `ui.histogram`.
"""

from __future__ import annotations

import math
from bisect import bisect_left, bisect_right
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, TypeVar

from modelforge.data.encode import ChatEncoder
from modelforge.errors import DatasetError
from modelforge.recipe import bounds, fields

SAMPLED = 2000  # rows; the share of cut rows is then known to about a percentage point
_MOST_CHARACTERS = 4_000_000  # about a million tokens, a second or two of work
_GRAIN = 64  # tokens; a max_length is proposed in steps of this
_TEMPLATE_TOKENS = 20  # of a question and its answer, about
_LEADS = (1, 2, 4, 5, 8)  # bars of a histogram are one of these wide, times a power of ten

Item = TypeVar("Item")


@dataclass(frozen=True)
class Lengths:
    """Token counts of a sample of rows.

    rows: all rows there are. measured: how many were looked at, of which the template refused `refused`. tokens: the
    counts of the others, rising. A chat's count is an upper one: for each answer a token above the encoder's, or three
    where the template does not end an answer with the end-of-text token.
    """

    rows: int
    measured: int
    refused: int
    tokens: tuple[int, ...]

    def count_cut(self, max_length: int) -> int:
        """How many of the measured rows are longer."""
        return len(self.tokens) - bisect_right(self.tokens, max_length)

    def share_cut(self, max_length: int) -> tuple[float, float]:
        """(share of the measured rows that are longer, share of their tokens that are beyond), from 0 to 1."""
        if not self.tokens:
            return 0.0, 0.0
        cut = self.count_cut(max_length)
        lost = sum(self.tokens[len(self.tokens) - cut :]) - cut * max_length
        return cut / len(self.tokens), lost / max(sum(self.tokens), 1)

    def proposed(self, limit: int | None = None) -> int:
        """The smallest multiple of 64 that leaves 99% of the rows whole; at most `limit`, the model's context."""
        longest = bounds(fields()["max_length"])["le"]
        wanted = max(_GRAIN, math.ceil(self._nearly_longest() / _GRAIN) * _GRAIN)
        return min(wanted, int(longest), *([] if limit is None else [limit]))

    def bins(self, max_bars: int = 24) -> tuple[tuple[int, ...], tuple[int, ...]]:
        """(edges, counts) of a histogram: one edge more than counts; a row of n tokens is in edge <= n < next edge.

        Bars are of one width, but where a few rows are far longer than all others, the last bar holds those.
        """
        if not self.tokens:
            return (), ()
        longest = self.tokens[-1]
        stray = longest > 2 * self._nearly_longest()
        reach = self._nearly_longest() if stray else longest
        width = _round_up((reach + 1) / max(max_bars - stray, 1))
        edges = list(range(0, reach + 1 + width, width))
        if stray:
            edges.append(longest + 1)
        below = [bisect_left(self.tokens, edge) for edge in edges]
        return tuple(edges), tuple(after - before for before, after in pairwise(below))

    def describe(self, max_length: int, limit: int | None = None) -> str:
        """ "At max_length 512, 3 of 400 rows (0.8%) are cut and 1.2% of the tokens are lost. Proposed: 640." """
        rows, cut, proposed = len(self.tokens), self.count_cut(max_length), self.proposed(limit)
        share, lost = self.share_cut(max_length)
        verb = "is" if cut == 1 else "are"
        said = f"At max_length {max_length}, " + (
            f"{cut} of {rows} rows ({_percent(share)}) {verb} cut and {_percent(lost)} of the tokens are lost."
            if cut
            else f"none of {rows} rows is cut."
        )
        if proposed != max_length:
            said += f" Proposed: {proposed}."
        if self.measured < self.rows:
            said += f" Measured were {self.measured} of {self.rows} rows, evenly spaced."
        return said

    def _nearly_longest(self) -> int:
        """The length that 99% of the rows do not exceed."""
        return self.tokens[len(self.tokens) - 1 - len(self.tokens) // 100] if self.tokens else 0


def measure(rows: Sequence[Mapping[str, Any]], encoder: ChatEncoder, *, sampled: int = SAMPLED) -> Lengths:
    """Count the tokens of mapped rows: of all, or of `sampled` evenly spaced ones; of fewer where they are very long.

    Each row is rendered once and all are tokenized in one go, so that a thousand rows take a fraction of a second. Of a
    preference pair the longer answer counts; of a question, its context counts too.
    """
    rendered = [_render(row, encoder) for row in _space_evenly(rows, sampled)]
    characters = sum(len(text.text) for texts in rendered for text in texts)
    if characters > _MOST_CHARACTERS:
        rendered = _space_evenly(rendered, max(1, len(rendered) * _MOST_CHARACTERS // characters))
    counts = iter(encoder.count_tokens([text.text for texts in rendered for text in texts]))
    lengths = [max(next(counts) + text.more for text in texts) for texts in rendered if texts]
    return Lengths(len(rows), len(rendered), len(rendered) - len(lengths), tuple(sorted(lengths)))


@dataclass(frozen=True)
class _Text:
    """What is tokenized for a row, and how many tokens it can have besides."""

    text: str
    more: int


def _render(row: Mapping[str, Any], encoder: ChatEncoder) -> list[_Text]:
    """The row as text; several where the longest counts, none where the template refuses it."""
    try:
        return _render_form(row, encoder)
    except DatasetError:
        return []


def _render_form(row: Mapping[str, Any], encoder: ChatEncoder) -> list[_Text]:
    if "messages" in row:
        return [_render_chat(row["messages"], row.get("tools") or (), encoder)]
    if "text" in row:
        return [_Text(row["text"], len(encoder.text_begin) + 1)]
    if "chosen" in row:
        return [_render_chat([*row["prompt"], *row[side]], (), encoder) for side in ("chosen", "rejected")]
    if "prompt" in row:
        return [_Text(encoder.template.render(row["prompt"], asking=True), 0)]
    # The newline stands for the sign between the two, which is not the same in all models.
    return [_Text(f"{row['question']}\n{row['context']}", encoder.tokenizer.num_special_tokens_to_add(pair=True))]


def _render_chat(messages: Sequence[Mapping[str, Any]], tools: Sequence[Any], encoder: ChatEncoder) -> _Text:
    eos = str(encoder.tokenizer.eos_token)
    text = encoder.template.render_answered([dict(message) for message in messages], tools)
    kept, found, rest = text.rpartition(eos)
    if found and not rest.strip():
        text = kept + found  # what the template puts after the last answer is not encoded
    answers = sum(message["role"] == "assistant" for message in messages)
    # The encoder cuts where an answer begins, and puts an end-of-text token where the template has none.
    return _Text(text, answers + 2 * max(0, answers - text.count(eos)))


def _space_evenly(items: Sequence[Item], count: int) -> list[Item]:
    """`count` of the items in their order, as far from each other as can be; all of them where there are no more."""
    if len(items) <= count:
        return list(items)
    return [items[index * len(items) // count] for index in range(count)]


def _round_up(width: float) -> int:
    """The next whole number that reads well as the width of a bar."""
    magnitude = 1
    while True:
        for lead in _LEADS:
            if lead * magnitude >= width:
                return lead * magnitude
        magnitude *= 10


def _percent(share: float) -> str:
    """ "0.8%"; what is little is not nothing."""
    return "less than 0.1%" if 0 < share < 0.0005 else f"{share * 100:.1f}%"


def longest_row(rows: Sequence[Mapping[str, Any]]) -> int:
    """About how many tokens the longest row has, by its characters alone: rather too many, at three characters a token
    (English has four to five), and twice what a chat template adds. 0 where there are no rows."""
    longest = max((_count_characters(row) for row in rows), default=0)
    return longest // 3 + 2 * _TEMPLATE_TOKENS if longest else 0


def mean_row(content_bytes: int, rows: int) -> float:
    """About how many tokens a row has in the mean: four bytes a token in English, and what a chat template adds."""
    return content_bytes / max(rows, 1) / 4 + _TEMPLATE_TOKENS


def _count_characters(value: Any) -> int:
    if isinstance(value, str):
        return len(value)
    if isinstance(value, Mapping):
        return sum(map(_count_characters, value.values()))
    return sum(map(_count_characters, value)) if isinstance(value, list | tuple) else 0
