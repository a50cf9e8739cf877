"""The charts of a run as SVG, without a script: a number at every step, and the same on held-out rows."""

from __future__ import annotations

import math
from collections.abc import Sequence

from modelforge.ui.look import html

WIDTH, HEIGHT = 720, 260
LEFT, RIGHT, TOP, BOTTOM = 60, 24, 16, 34

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
        f"{_grid(lowest, highest, last)}"
        f"{line(steps, 'mf-loss-raw')}{line(_smoothed(steps), 'mf-loss')}{line(held_out, 'mf-held-out')}{dots}</svg>"
        f'<div class="mf-legend"><span class="mf-key-loss">{html.text(step_title)}</span>'
        f'<span class="mf-key-held-out">{html.text(held_out_title)}</span></div>'
    )


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


def _grid(lowest: float, highest: float, last: int) -> str:
    parts = []
    for index in range(5):
        y = TOP + (HEIGHT - TOP - BOTTOM) * index / 4
        value = highest - (highest - lowest) * index / 4
        parts.append(f'<line class="mf-grid" x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{y:.1f}" y2="{y:.1f}"/>')
        parts.append(f'<text x="{LEFT - 8}" y="{y + 4:.1f}" text-anchor="end">{value:.3g}</text>')
    for step in range(0, last + 1, max(round(last / 4), 1)):  # whole steps: a short run has fewer than five
        x = LEFT + (WIDTH - LEFT - RIGHT) * step / last
        parts.append(f'<text x="{x:.1f}" y="{HEIGHT - 12}" text-anchor="middle">{step}</text>')
    return "".join(parts)


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
