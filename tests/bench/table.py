"""The table of figures as text."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from tests.bench.figures import Figure, Skipped

HEAD = ("", "ours", "beside", "theirs", "judged", "range", "target", "")


def draw(found: Iterable[Figure | Skipped]) -> str:
    """One line a figure; those that were skipped stand below, with the reason."""
    found = list(found)
    cells = [HEAD, *(_cells(each) for each in found if isinstance(each, Figure))]
    widths = [max(len(row[column]) for row in cells) for column in range(len(HEAD))]
    lines = ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in cells]
    lines += [f"not measured: {_name(each)}: {each.reason}" for each in found if isinstance(each, Skipped)]
    return "\n".join(lines)


def _cells(figure: Figure) -> Sequence[str]:
    row = figure.row
    unit = f" {row.unit}" if row.unit else ""
    return (
        row.name,
        f"{number(figure.ours)}{unit}",
        row.rival or "-",
        "-" if figure.theirs is None else f"{number(figure.theirs)}{unit}",
        number(figure.value),
        f"{number(figure.low)} to {number(figure.high)} ({figure.pairs})" if figure.pairs > 1 else "(1)",
        row.aim,
        "met" if figure.is_met else f"MISSED{f': {figure.fault}' if figure.fault else ''}",
    )


def _name(skipped: Skipped) -> str:
    return f"{skipped.row.name}, beside {skipped.row.rival}" if skipped.row.rival else skipped.row.name


def number(value: float) -> str:
    """Three digits: 0.213, 4.52, 81.3, 12,400."""
    size = abs(value)
    return f"{value:,.0f}" if size >= 100 else f"{value:.{3 if size < 1 else 2 if size < 10 else 1}f}"
