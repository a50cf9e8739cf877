"""The charts of runs as SVG, without a script: a number at every step, and the same on held-out rows."""

from __future__ import annotations

import math
from collections.abc import Sequence

from modelforge.ui.look import html

WIDTH, HEIGHT = 720, 260
LEFT, RIGHT, TOP, BOTTOM = 60, 24, 16, 34
LINE_HEIGHT = 14

Point = tuple[float, float]


def draw(
    steps: Sequence[Point],
    held_out: Sequence[Point],
    total_steps: int,
    *,
    title: str = "loss",
    step_title: str = "training loss",
    held_out_title: str = "held-out loss",
) -> str:
    """(step, value) of training steps and of evaluations -> an SVG element. The axes start at step 0 and include 0;
    values that are not finite are left out."""
    steps, held_out = _finite(steps), _finite(held_out)
    known = [value for _, value in (*steps, *held_out)]
    if not known:
        return '<div class="mf-note mf-quiet">The chart starts with the first step.</div>'
    lowest, highest = _bounds(known)
    last = max(total_steps, 1)

    def place(point: Point) -> str:
        x = LEFT + (WIDTH - LEFT - RIGHT) * point[0] / last
        y = TOP + (HEIGHT - TOP - BOTTOM) * (1 - (point[1] - lowest) / (highest - lowest))
        return f"{x:.1f},{y:.1f}"

    def line(points: Sequence[Point], css: str) -> str:
        return f'<polyline class="{css}" points="{" ".join(map(place, points))}"/>' if points else ""

    dots = "".join(
        f'<circle class="mf-held-out-dot" cx="{x}" cy="{y}" r="4">'
        f"<title>step {step:g}: {held_out_title} {value:.4f}</title></circle>"
        for (step, value) in held_out
        for x, y in [place((step, value)).split(",")]
    )
    newest = known[len(steps) - 1] if steps else known[-1]
    return (
        f'<svg class="mf-chart" viewBox="0 0 {WIDTH} {HEIGHT}" role="img" '
        f'aria-label="{html.text(title.capitalize())} over {len(steps)} steps, last {newest:.3f}">'
        f"{_grid(lowest, highest)}{_step_marks(last)}"
        f"{line(steps, 'mf-loss-raw')}{line(_smoothed(steps), 'mf-loss')}{line(held_out, 'mf-held-out')}{dots}</svg>"
        f'<div class="mf-legend"><span class="mf-key-loss">{html.text(step_title)}</span>'
        f'<span class="mf-key-held-out">{html.text(held_out_title)}</span></div>'
    )


Line = tuple[str, Sequence[Point], Sequence[Point]]
"""(label, points of training steps, points of evaluations) of a run; x is in steps, tokens or minutes."""


def draw_runs(lines: Sequence[Line], *, title: str, unit: str) -> str:
    """The curves of up to eight runs as one SVG element: smoothed, with a dot for each evaluation. Each has its number
    at its end, so that colours alone tell nothing apart. Nothing for runs without such a curve."""
    curves = [(label, _smoothed(_finite(steps)), _finite(held_out)) for label, steps, held_out in lines]
    known = [point for _, steps, held_out in curves for point in (*steps, *held_out)]
    if not known:
        return ""
    lowest, highest = _close_bounds([value for _, value in known])
    last = max(x for x, _ in known) or 1.0

    def place(point: Point) -> tuple[float, float]:
        across, up = WIDTH - LEFT - RIGHT, HEIGHT - TOP - BOTTOM
        return LEFT + across * point[0] / last, TOP + up * (1 - (point[1] - lowest) / (highest - lowest))

    drawn, keys = "", ""
    ends: list[tuple[float, float, int]] = []  # where each run's number is written
    for number, (label, steps, held_out) in enumerate(curves, start=1):
        keys += f'<span class="mf-run-{number}">{number} {html.text(label)}</span>'
        for points, css in ((steps, "mf-run-line"), (held_out, "mf-run-line mf-run-held-out")):
            joined = " ".join(f"{x:.1f},{y:.1f}" for x, y in map(place, points))
            drawn += f'<polyline class="{css} mf-run-{number}" points="{joined}"/>' if points else ""
        for point in held_out:
            x, y = place(point)
            said = f"{number}: held out {point[1]:.4f} at {point[0]:g} {unit}"
            drawn += f'<circle class="mf-run-{number}" cx="{x:.1f}" cy="{y:.1f}" r="4"><title>{said}</title></circle>'
        if end := max((*steps[-1:], *held_out[-1:]), default=None):
            ends.append((*place(end), number))
    drawn += "".join(
        f'<text class="mf-run-{number}" x="{x + 8:.1f}" y="{y + 4:.1f}">{number}</text>'
        for x, y, number in _spread(ends)
    )
    across = WIDTH - LEFT - RIGHT
    parts = [(LEFT + across * part / 4, _shorten(last * part / 4)) for part in range(5)]
    marks = "".join(f'<text x="{x:.1f}" y="{HEIGHT - 12}" text-anchor="middle">{mark}</text>' for x, mark in parts)
    marks = _step_marks(round(last)) if unit == "steps" else marks  # whole steps
    drawn = f"{_grid(lowest, highest)}{marks}{drawn}"
    return (
        f'<h3>{html.text(title)}</h3><svg class="mf-chart mf-chart-runs" viewBox="0 0 {WIDTH} {HEIGHT}" role="img" '
        f'aria-label="{html.text(title)} of {len(curves)} runs over {unit}">{drawn}</svg>'
        f'<div class="mf-legend mf-legend-runs">{keys}</div>'
    )


def _spread(ends: Sequence[tuple[float, float, int]]) -> list[tuple[float, float, int]]:
    """(x, y, number) of labels, moved apart where they would cover each other."""
    placed: list[tuple[float, float, int]] = []
    for x, y, number in sorted(ends, key=lambda end: end[1]):
        placed.append((x, max(y, placed[-1][1] + LINE_HEIGHT) if placed else y, number))
    below = max(placed[-1][1] - (HEIGHT - BOTTOM), 0) if placed else 0
    return [(x, y - below, number) for x, y, number in placed]


def _close_bounds(known: Sequence[float]) -> tuple[float, float]:
    """Four equal parts of round numbers that just hold all values: runs often differ by little."""
    low, high = min(known), max(known)
    part = _round_up((high - low) / 4 or abs(high) / 40 or 0.25)
    while (lowest := math.floor(low / part) * part) + 4 * part < high:
        part = _round_up(part * 1.1)
    return lowest, lowest + 4 * part


def _shorten(count: float) -> str:
    """12300 -> "12.3k"."""
    size, suffix = next((pair for pair in ((1e9, "G"), (1e6, "M"), (1e3, "k")) if count >= pair[0]), (1.0, ""))
    return f"{count / size:.3g}{suffix}"


def _finite(points: Sequence[Point]) -> list[Point]:
    return [point for point in points if math.isfinite(point[1])]


def _bounds(known: Sequence[float]) -> tuple[float, float]:
    """The lowest and highest number of the axis: four equal parts of round numbers that include 0."""
    highest, lowest = max(0.0, *known), min(0.0, *known)
    if lowest == 0:
        return 0.0, 4 * _round_up(highest / 4 or 0.25)
    part = _round_up((highest - lowest) / 4)
    below = math.ceil(-lowest / part)
    if below * part + highest > 4 * part:  # four parts from the lowest would not reach the highest
        part = _round_up(max(-lowest, highest) / 2)
        below = 2
    return -below * part, (4 - below) * part


def _grid(lowest: float, highest: float) -> str:
    parts = []
    for index in range(5):
        y = TOP + (HEIGHT - TOP - BOTTOM) * index / 4
        value = highest - (highest - lowest) * index / 4
        parts.append(f'<line class="mf-grid" x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{y:.1f}" y2="{y:.1f}"/>')
        parts.append(f'<text x="{LEFT - 8}" y="{y + 4:.1f}" text-anchor="end">{value:.4g}</text>')
    return "".join(parts)


def _step_marks(last: int) -> str:
    marks = []
    for step in range(0, last + 1, max(round(last / 4), 1)):  # whole steps: a short run has fewer than five
        x = LEFT + (WIDTH - LEFT - RIGHT) * step / last
        marks.append(f'<text x="{x:.1f}" y="{HEIGHT - 12}" text-anchor="middle">{step}</text>')
    return "".join(marks)


def _round_up(value: float) -> float:
    """The next round number: 0.979 -> 1, 0.23 -> 0.25."""
    magnitude = 10.0 ** math.floor(math.log10(value))
    return next(lead * magnitude for lead in (1, 1.5, 2, 2.5, 3, 4, 5, 7.5, 10, 15) if lead * magnitude >= value)


def _smoothed(points: Sequence[Point]) -> list[Point]:
    """Exponential moving average (weight 0.9, bias-corrected as in Adam)."""
    smoothed, mean = [], 0.0
    for index, (step, value) in enumerate(points):
        mean = 0.9 * mean + 0.1 * value
        smoothed.append((step, mean / (1 - 0.9 ** (index + 1))))
    return smoothed
