"""The lengths of a dataset's rows as bars, with a line where max_length cuts. It needs no script."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Sequence


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
