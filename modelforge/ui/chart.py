"""The chart of a run as SVG: loss of every step, and the held-out loss. Drawn here, so that it needs no script."""

from __future__ import annotations

import math
from collections.abc import Sequence

WIDTH, HEIGHT = 720, 260
LEFT, RIGHT, TOP, BOTTOM = 60, 24, 16, 34

Point = tuple[float, float]


def draw_loss(losses: Sequence[Point], held_out: Sequence[Point], total_steps: int) -> str:
    """(step, loss) of training steps and of evaluations -> an SVG element. Axes start at step 0."""
    known = [loss for _, loss in (*losses, *held_out) if math.isfinite(loss)]
    if not known:
        return '<div class="mf-note mf-quiet">The chart begins with the first step.</div>'
    lowest, highest = 0.0, 4 * _round_up(max(known) / 4 or 0.25)
    last = max(total_steps, 1)

    def place(point: Point) -> str:
        x = LEFT + (WIDTH - LEFT - RIGHT) * point[0] / last
        y = TOP + (HEIGHT - TOP - BOTTOM) * (1 - (point[1] - lowest) / (highest - lowest))
        return f"{x:.1f},{y:.1f}"

    def line(points: Sequence[Point], css: str) -> str:
        return f'<polyline class="{css}" points="{" ".join(map(place, points))}"/>' if points else ""

    smooth = _smoothed(losses)
    dots = "".join(
        f'<circle class="mf-held-out-dot" cx="{x}" cy="{y}" r="4">'
        f"<title>step {step:g}: held-out loss {loss:.4f}</title></circle>"
        for (step, loss) in held_out
        for x, y in [place((step, loss)).split(",")]
    )
    return (
        f'<svg class="mf-chart" viewBox="0 0 {WIDTH} {HEIGHT}" role="img" '
        f'aria-label="Loss over {len(losses)} steps, last {known[len(losses) - 1] if losses else known[-1]:.3f}">'
        f"{_grid(highest, last)}"
        f"{line(losses, 'mf-loss-raw')}{line(smooth, 'mf-loss')}{line(held_out, 'mf-held-out')}{dots}</svg>"
        '<div class="mf-legend"><span class="mf-key-loss">training loss</span>'
        '<span class="mf-key-held-out">held-out loss</span></div>'
    )


def _grid(highest: float, last: int) -> str:
    parts = []
    for index in range(5):
        y = TOP + (HEIGHT - TOP - BOTTOM) * index / 4
        parts.append(f'<line class="mf-grid" x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{y:.1f}" y2="{y:.1f}"/>')
        parts.append(f'<text x="{LEFT - 8}" y="{y + 4:.1f}" text-anchor="end">{highest * (1 - index / 4):.3g}</text>')
    for step in range(0, last + 1, max(round(last / 4), 1)):  # whole steps: a short run has fewer than five
        x = LEFT + (WIDTH - LEFT - RIGHT) * step / last
        parts.append(f'<text x="{x:.1f}" y="{HEIGHT - 12}" text-anchor="middle">{step}</text>')
    return "".join(parts)


def _round_up(value: float) -> float:
    """The next number that reads well on an axis: 0.979 -> 1, 0.23 -> 0.25."""
    magnitude = 10.0 ** math.floor(math.log10(value))
    return next(lead * magnitude for lead in (1, 1.5, 2, 2.5, 3, 4, 5, 7.5, 10, 15) if lead * magnitude >= value)


def _smoothed(points: Sequence[Point]) -> list[Point]:
    """A running mean (exponential, weight 0.9, corrected for its start)."""
    smoothed, mean = [], 0.0
    for index, (step, loss) in enumerate(points):
        mean = 0.9 * mean + 0.1 * loss
        smoothed.append((step, mean / (1 - 0.9 ** (index + 1))))
    return smoothed
