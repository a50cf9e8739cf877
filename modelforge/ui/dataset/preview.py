"""Rows as the starter sees them, and how long they are. How tokens and texts become HTML is in `tokens`."""

from __future__ import annotations

import functools
import weakref
from bisect import bisect_right
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from modelforge import loading, starter, warmup
from modelforge.data.row_cache import MappedRows
from modelforge.data.token_text import Token
from modelforge.errors import BaseModelError, DatasetError
from modelforge.recipe import STARTER, Recipe
from modelforge.tasks.turns import say
from modelforge.ui.dataset.tokens import show_text, show_tokens
from modelforge.ui.look import html

if TYPE_CHECKING:
    from modelforge.data.encode import ChatEncoder
    from modelforge.data.lengths import Lengths

ROWS = 3
PIECES = 4  # of one long text
MOST_CHARACTERS = 6000  # of a text that is shown without its tokens


def find_encoder(max_length: int) -> ChatEncoder | None:
    """The starter's encoder; None instead of a download."""
    if not starter.is_fetched(STARTER):
        return None
    warmup.wait_for_first()
    from modelforge.data.encode import ChatEncoder

    try:
        return ChatEncoder(_load_tokenizer(), max_length)
    except BaseModelError:  # reported where the base model is chosen
        return None


def load_starters_tokenizer() -> None:
    """Load it ahead of need: the rows of every dataset are shown with it."""
    if starter.is_fetched(STARTER):
        _load_tokenizer()


@functools.cache
def _load_tokenizer() -> Any:
    return loading.load_tokenizer(starter.folder(STARTER), STARTER)


_lengths: weakref.WeakKeyDictionary[MappedRows, Lengths] = weakref.WeakKeyDictionary()


def measure_rows(rows: MappedRows) -> Lengths | None:
    """Lengths of rows, measured once while the rows are open; None without a tokenizer."""
    if rows not in _lengths and (encoder := find_encoder(Recipe().max_length)):
        from modelforge.data.lengths import measure

        _lengths[rows] = measure(rows, encoder)
    return _lengths.get(rows)


def show_lengths(lengths: Lengths, max_length: int) -> str:
    """HTML: how long the rows are, and a sentence on what max_length cuts and what is proposed."""
    refused = ""
    if lengths.refused:
        sentence = f"{lengths.refused} of {lengths.measured} rows are rejected by the chat template of this base model."
        refused = html.note(sentence, "bad")
    if not lengths.tokens:
        return refused or html.note("There are no rows to measure.")
    edges, counts = lengths.bins()
    kind = "warning" if lengths.count_cut(max_length) and not lengths.are_texts else "quiet"
    return html.note(lengths.describe(max_length), kind) + refused + draw_lengths(edges, counts, max_length)


def preview_rows(rows: Sequence[Mapping[str, Any]], encoder: ChatEncoder | None) -> str:
    """HTML of the first few mapped rows; "" when there are none."""
    if not rows:
        return ""
    bodies = "".join(_show_row(row, f"Row {number}", encoder) for number, row in enumerate(rows[:ROWS], start=1))
    return f"<h3>Preview</h3>{_legend(rows[0], encoder)}{bodies}"


def preview_row(row: Mapping[str, Any], place: str, encoder: ChatEncoder | None) -> str:
    """HTML of one mapped row and its legend. place: which row it is."""
    return _legend(row, encoder) + _show_row(row, place, encoder)


def _legend(row: Mapping[str, Any], encoder: ChatEncoder | None) -> str:
    """One line on what the colours mean for rows of this shape."""
    learned = '<b class="mf-learned">coloured</b>'
    tokens = '<b class="mf-token">shades</b> <b class="mf-token">are</b> <b class="mf-token">tokens</b>'
    signs = '<span class="mf-sign" data-sign="↵"></span> a line break'
    cut = '<b class="mf-cut">grey</b> is cut off'
    if "answers" in row:
        parts = [f"The {learned} part is the expected answer", signs]
    elif encoder is None:
        missing = "The tokenizer of this base model is not on this machine, so the rows are shown without its template"
        parts = [missing, *([f"{learned}: learned"] if "prompt" not in row else []), signs]
    elif "chosen" in row:
        worse = '<b class="mf-rejected">red</b>'
        parts = [f"The model learns to prefer the {learned} answer to the {worse} one", tokens, cut, signs]
    elif "label" in row:
        bad = '<b class="mf-rejected">red</b>'
        parts = [f"A {learned} answer is labelled good, a {bad} one bad, and made less likely", tokens, cut, signs]
    elif "prompt" in row:
        parts = ["The prompt that the model gets", tokens, cut, signs]
    else:
        parts = [f"What the model sees. It learns to write the {learned} part", tokens, cut, signs]
    return f'<div class="mf-note mf-quiet mf-keys">{"; ".join(parts)}.</div>'


def _show_row(row: Mapping[str, Any], place: str, encoder: ChatEncoder | None) -> str:
    """A line about the row, then the row."""
    if "answers" in row:
        return _head(place) + _box(_show_question(row))
    if encoder is None:
        return _head(place) + _box(_show_turns(row))
    try:
        if "text" in row and len(pieces := encoder.preview_pieces(row)) > 1:
            return _show_pieces(pieces, place, encoder.max_length)
        encoded = encoder.encode_row(row)
        css = "mf-learned" if row.get("label", True) else "mf-rejected"
        body = _box(show_tokens(encoder.preview_tokens(row), encoder.max_length, encoded.cut, css))
        if "rejected" in row:
            body += _show_rejected(row, encoder)
    except DatasetError as error:
        return _head(place) + html.note(str(error), "bad") + _box(_show_turns(row))
    learned = sum(label >= 0 for label in encoded.labels)
    total = len(encoded.input_ids) + encoded.cut
    if "label" in row:
        place += f": labelled {'good' if row['label'] else 'bad'}"
    losses = "".join(html.note(sentence, "warning") for sentence in encoder.losses(row))
    return _head(f"{place}{',' if 'label' in row else ':'} {total} tokens, {learned} of them learned") + losses + body


def _show_pieces(pieces: Sequence[Sequence[Token]], place: str, max_length: int) -> str:
    """A long text as what it is trained in."""
    heads = [f"Piece {number} of {len(pieces)}" for number in range(1, len(pieces) + 1)]
    shown = [_head(head) + _box(show_tokens(piece, max_length, 0)) for head, piece in zip(heads, pieces, strict=True)]
    left_out = len(shown) - PIECES
    more = html.note(f"{left_out:,} more pieces are not shown.") if left_out > 0 else ""
    sentence = f"{place}: longer than max_length, divided into {len(pieces)} pieces; all of it is learned"
    return _head(sentence) + "".join(shown[:PIECES]) + more


def _show_rejected(row: Mapping[str, Any], encoder: ChatEncoder) -> str:
    """The worse answer of a pair, without its prompt."""
    row = {"prompt": row["prompt"], "chosen": row["rejected"]}
    tokens = encoder.preview_tokens(row)
    begin = next((index for index, token in enumerate(tokens) if token.trained), 0)
    return _box(show_tokens(tokens[begin:], encoder.max_length, encoder.encode_row(row).cut, "mf-rejected"))


def _show_turns(row: Mapping[str, Any]) -> str:
    """The row without a template: each message with its role, the answers coloured."""
    if "text" in row:
        return f'<mark class="mf-learned">{show_text(_shorten(row["text"]))}</mark>'
    parts = []
    for side, css in (
        ("messages", "mf-learned"),
        ("prompt", ""),
        ("chosen", "mf-learned"),
        ("rejected", "mf-rejected"),
        ("completion", "mf-learned" if row.get("label") else "mf-rejected"),
    ):
        for message in row.get(side, ()):
            content = show_text(_shorten(say(message)))
            coloured = bool(css) and message["role"] == "assistant"
            body = f'<mark class="{css}">{content}</mark>' if coloured else content
            parts.append(f"{html.text(message['role'])}: {body}\n")
    return "".join(parts)


def _show_question(row: Mapping[str, Any]) -> str:
    """The question, then its context with the answers coloured in place."""
    context, found = row["context"], row["answers"]
    answers = list(zip(found["text"], found["answer_start"], strict=False))
    places = [(start, start + len(text)) for text, start in answers if context[start : start + len(text)] == text]
    parts, place = [], 0
    for start, stop in sorted(places):
        if stop <= place:
            continue  # one answer within another
        begin = max(start, place)
        parts.append(show_text(_shorten(context[place:begin])))
        parts.append(f'<mark class="mf-learned">{show_text(context[begin:stop])}</mark>')
        place = stop
    parts.append(show_text(_shorten(context[place:])))
    strays = [text for text, start in answers if context[start : start + len(text)] != text]
    notes = ['<span class="mf-gap">(no answer)</span>\n' if not answers else ""]
    notes += [f'<span class="mf-gap">(not at the given position)</span> {show_text(text)}\n' for text in strays]
    return f"<b>{show_text(row['question'])}</b>\n{''.join(notes)}\n{''.join(parts)}"


def _shorten(text: str) -> str:
    """The beginning and the end of a very long text."""
    if len(text) <= MOST_CHARACTERS:
        return text
    half, left_out = MOST_CHARACTERS // 2, len(text) - MOST_CHARACTERS
    return f"{text[:half]} … {left_out} characters are not shown … {text[-half:]}"


def _head(title: str) -> str:
    return f'<div class="mf-preview-head">{html.text(title)}</div>'


def _box(inner: str) -> str:
    return f'<pre class="mf-preview">{inner}</pre>'


def draw_lengths(edges: Sequence[int], counts: Sequence[int], max_length: int) -> str:
    """Bars of equal width as HTML, one for each pair of edges; their height is the count. "" without bars.

    HTML instead of SVG, so that the numbers stay readable in a narrow window.
    """
    if not counts:
        return ""
    highest = max(*counts, 1)
    bars = "".join(
        f'<div class="{_bar_class(first, after, max_length)}" style="height:{_height(count, highest):.1f}%" '
        f'title="{first} to {after - 1} tokens: {count} rows"></div>'
        for first, after, count in zip(edges, edges[1:], counts, strict=False)
    )
    place = _place(edges, max_length)
    within = max_length < edges[-1]
    side = " mf-line-left" if place > 0.5 else ""  # so that its label stays inside the box
    line = (
        f'<div class="mf-line{side}" style="left:{place * 100:.2f}%"><span>max_length {max_length}</span></div>'
        if within
        else ""
    )
    label = f"Token lengths of {sum(counts)} rows, from {edges[0]} to {edges[-1] - 1} tokens"
    return (
        f'<div class="mf-histogram" role="img" aria-label="{label}">'
        f'<div class="mf-bars">{bars}{line}</div><div class="mf-axis">{_ticks(edges)}</div></div>'
    )


def _height(count: int, highest: int) -> float:
    """In percent; one row among thousands stays visible."""
    return max(100 * count / highest, 1.5) if count else 0.0


def _bar_class(first: int, after: int, max_length: int) -> str:
    if first > max_length:
        return "mf-column mf-beyond"
    return "mf-column" if after - 1 <= max_length else "mf-column mf-partly"


def _place(edges: Sequence[int], tokens: int) -> float:
    """The horizontal position of a number of tokens, from 0 to 1; all bars have the same width."""
    bars = len(edges) - 1
    bar = min(bisect_right(edges, tokens) - 1, bars - 1)
    inside = (tokens - edges[bar]) / (edges[bar + 1] - edges[bar])
    return (bar + min(inside, 1.0)) / bars


def _ticks(edges: Sequence[int]) -> str:
    """About five numbers below the bars, including the first and the last."""
    bars = len(edges) - 1
    step = max(round(bars / 4), 1)
    ticks = [_tick(str(edges[index]), index / bars) for index in range(0, bars, step) if bars - index > step / 2]
    is_wider = edges[-1] - edges[-2] > edges[1]  # the last bar holds the few rows that are much longer
    return "".join([*ticks, _tick(f"… {edges[-1] - 1}" if is_wider else str(edges[-1]), 1.0)])


def _tick(label: str, place: float) -> str:
    shift = {0.0: "0", 1.0: "-100%"}.get(place, "-50%")
    return f'<span style="left:{place * 100:.2f}%;transform:translateX({shift})">{label}</span>'
