"""How long the rows of a dataset are in tokens, what a max_length would cut off, and which one to propose."""

from __future__ import annotations

import math
from bisect import bisect_left, bisect_right
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import count, pairwise
from typing import Any, NamedTuple, TypeVar

from modelforge.data.encode import ChatEncoder
from modelforge.data.rows import walk_values
from modelforge.errors import DatasetError
from modelforge.recipe import bounds, fields

SAMPLED = 2000  # rows; gives the share of cut rows to about one percentage point
_MOST_CHARACTERS = 4_000_000  # about a million tokens, one or two seconds
_GRAIN = 64  # tokens; the proposed max_length is a multiple
_TEMPLATE_TOKENS = 20  # added to a question and its answer, approximately
_LEADS = (1, 2, 4, 5, 8)  # the width of a bar is one of these times a power of ten

Item = TypeVar("Item")


@dataclass(frozen=True)
class Lengths:
    """Token counts of a sample of rows.

    rows: the number of all rows. measured: the size of the sample, of which the template rejected `refused`. tokens:
    the counts of the others, in rising order. are_texts: plain text, which is divided instead of cut. The count of a
    chat is an upper bound: one token for each answer above the encoder's, or three if the template does not end an
    answer with the end-of-text token."""

    rows: int
    measured: int
    refused: int
    tokens: tuple[int, ...]
    are_texts: bool = False

    def count_cut(self, max_length: int) -> int:
        """The number of measured rows that are longer."""
        return len(self.tokens) - bisect_right(self.tokens, max_length)

    def share_cut(self, max_length: int) -> tuple[float, float]:
        """(share of measured rows that are cut, share of tokens that are cut off), from 0 to 1."""
        if not self.tokens:
            return 0.0, 0.0
        cut = self.count_cut(max_length)
        lost = sum(self.tokens[len(self.tokens) - cut :]) - cut * max_length
        return cut / len(self.tokens), lost / max(sum(self.tokens), 1)

    def proposed(self, limit: int | None = None) -> int:
        """The smallest multiple of 64 that does not cut 99% of the rows; at most `limit`, the model's context."""
        longest = bounds(fields()["max_length"])["le"]
        if self.are_texts and self._percentile_99() > (usual := int(fields()["max_length"].default)):
            return usual if limit is None else min(usual, limit)  # longer ones are divided, at no loss
        wanted = max(_GRAIN, math.ceil(self._percentile_99() / _GRAIN) * _GRAIN)
        return min(wanted, int(longest), *([] if limit is None else [limit]))

    def bins(self, max_bars: int = 24) -> tuple[tuple[int, ...], tuple[int, ...]]:
        """(edges, counts) of a histogram: one edge more than counts; a row of n tokens is in edge <= n < next edge.

        All bars have the same width, except that the last one holds the few rows that are far longer than all others.
        """
        if not self.tokens:
            return (), ()
        longest = self.tokens[-1]
        outlier = longest > 2 * self._percentile_99()
        reach = self._percentile_99() if outlier else longest
        width = _round_up((reach + 1) / max(max_bars - outlier, 1))
        edges = list(range(0, reach + 1 + width, width))
        if outlier:
            edges.append(longest + 1)
        below = [bisect_left(self.tokens, edge) for edge in edges]
        return tuple(edges), tuple(after - before for before, after in pairwise(below))

    def describe(self, max_length: int, limit: int | None = None) -> str:
        """ "At max_length 512, 3 of 400 rows (0.8%) are cut and 1.2% of the tokens are lost. Proposed: 640." """
        rows, cut, proposed = len(self.tokens), self.count_cut(max_length), self.proposed(limit)
        share, lost = self.share_cut(max_length)
        verb = "is" if cut == 1 else "are"
        pieces = sum(math.ceil(count / max_length) for count in self.tokens[rows - cut :])
        sentence = f"At max_length {max_length}, " + (
            f"{cut} of {rows} texts {verb} longer and divided into about {pieces} pieces; nothing is lost."
            if cut and self.are_texts
            else f"{cut} of {rows} rows ({_percent(share)}) {verb} cut and {_percent(lost)} of the tokens are lost."
            if cut
            else f"none of {rows} {'texts is divided' if self.are_texts else 'rows is cut'}."
        )
        if proposed != max_length:
            sentence += f" Proposed: {proposed}."
        if self.measured < self.rows:
            sentence += f" Measured on {self.measured} evenly spaced rows of {self.rows}."
        return sentence

    def _percentile_99(self) -> int:
        """The length that 99% of the rows do not exceed."""
        return self.tokens[len(self.tokens) - 1 - len(self.tokens) // 100] if self.tokens else 0


def measure(rows: Sequence[Mapping[str, Any]], encoder: ChatEncoder, *, sampled: int = SAMPLED) -> Lengths:
    """Count the tokens of mapped rows: of up to `sampled` evenly spaced rows, or of fewer if they are very long.

    Rows are tokenized in batches, so a thousand rows take a fraction of a second. A preference pair counts with its
    longer answer, a question with its context.
    """
    chosen = _space_evenly(rows, sampled)
    rendered = [_render(row, encoder) for row in chosen]
    characters = sum(len(text.text) for texts in rendered for text in texts)
    if characters > _MOST_CHARACTERS:
        rendered = _space_evenly(rendered, max(1, len(rendered) * _MOST_CHARACTERS // characters))
    counts = iter(encoder.count_tokens([text.text for texts in rendered for text in texts]))
    lengths = [max(next(counts) + text.more for text in texts) for texts in rendered if texts]
    are_texts = bool(chosen) and "text" in chosen[0]
    return Lengths(len(rows), len(rendered), len(rendered) - len(lengths), tuple(sorted(lengths)), are_texts)


class _Text(NamedTuple):
    """A text to tokenize, and how many tokens its row can have in addition."""

    text: str
    more: int


def _render(row: Mapping[str, Any], encoder: ChatEncoder) -> list[_Text]:
    """The row as text; several if the longest counts, none if the template rejects it."""
    try:
        if "messages" in row:
            return [_render_chat(row["messages"], row.get("tools") or (), encoder)]
        if "text" in row:
            return [_Text(row["text"], len(encoder.text_begin) + 1)]
        if answers := [row[side] for side in ("chosen", "rejected", "completion") if side in row]:
            return [_render_chat([*row["prompt"], *answer], (), encoder) for answer in answers]
        if "prompt" in row:
            return [_Text(encoder.template.render(row["prompt"], for_answer=True), 0)]
    except DatasetError:
        return []
    # The newline stands for the separator, which differs between models.
    return [_Text(f"{row['question']}\n{row['context']}", encoder.tokenizer.num_special_tokens_to_add(pair=True))]


def _render_chat(messages: Sequence[Mapping[str, Any]], tools: Sequence[Any], encoder: ChatEncoder) -> _Text:
    eos = str(encoder.tokenizer.eos_token)
    text = encoder.template.render_answered([dict(message) for message in messages], tools)
    kept, found, rest = text.rpartition(eos)
    if found and not rest.strip():
        text = kept + found  # what the template adds after the last answer is not encoded
    answers = sum(message["role"] == "assistant" for message in messages)
    # The encoder splits at each answer, and adds an end-of-text token if the template does not.
    return _Text(text, answers + 2 * max(0, answers - text.count(eos)))


def _space_evenly(items: Sequence[Item], most: int) -> list[Item]:
    """`most` evenly spaced items in their order; all of them if there are no more."""
    if len(items) <= most:
        return list(items)
    return [items[index * len(items) // most] for index in range(most)]


def _round_up(width: float) -> int:
    """The next round number, for the width of a bar."""
    rounds = (lead * int(10**power) for power in count() for lead in _LEADS)
    return next(each for each in rounds if each >= width)


def _percent(share: float) -> str:
    """ "0.8%"; a small share is never shown as 0."""
    return "less than 0.1%" if 0 < share < 0.0005 else f"{share * 100:.1f}%"


def longest_row(rows: Sequence[Mapping[str, Any]]) -> int:
    """An upper estimate of the tokens of the longest row from its characters: three characters a token (English has
    four to five), and twice what a chat template adds. 0 if there are no rows."""
    texts = ([value for value in walk_values(row) if isinstance(value, str)] for row in rows)
    longest = max((sum(map(len, each)) for each in texts), default=0)
    return longest // 3 + 2 * _TEMPLATE_TOKENS if longest else 0


def count_pieces(rows: int, mean_tokens: float, max_length: int) -> tuple[int, float]:
    """(rows, mean tokens) that texts become once those longer than max_length are divided, about."""
    pieces = max(mean_tokens / max_length, 1)
    return round(rows * pieces), mean_tokens / pieces


def mean_row(content_bytes: int, rows: int) -> float:
    """An estimate of the mean tokens of a row: four bytes a token, as in English, and what a chat template adds."""
    return content_bytes / max(rows, 1) / 4 + _TEMPLATE_TOKENS
