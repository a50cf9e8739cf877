"""The figures of the last release as README.md shows them: written with results.json, and held to it by a test."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from tests.bench.table import number

FILE = Path(__file__).parents[2] / "README.md"
MARKED = re.compile(r"(<!-- figures -->\n).*?(<!-- end of figures -->)", re.DOTALL)


def draw(stored: Sequence[Mapping[str, Any]]) -> str:
    """The table in Markdown: a column for each kind of machine, the newest first, with what it is and the dates."""
    figures = [{each["key"]: each for each in release["figures"]} for release in stored]
    rows = {key: each for release in reversed(figures) for key, each in release.items()}
    lines = [
        "Measured by `make bench`. A figure without a unit is the ratio to the rival, measured in turn in the same "
        "run; medians, with the range.",
        "",
        *(_machine(release) for release in stored),
        "",
        f"| what | beside | {' | '.join(release['machine']['processor'] for release in stored)} | target |",
        f"|---|---|{'---|' * len(stored)}---|",
        *(_line(each, [release.get(key) for release in figures]) for key, each in rows.items()),
    ]
    return "\n".join(lines) + "\n"


def _machine(release: Mapping[str, Any]) -> str:
    machine = release["machine"]
    dates = sorted(each["date"] for each in release["figures"])
    measured = dates[0] if dates[0] == dates[-1] else f"{dates[0]} to {dates[-1]}"
    return (
        f"- {machine['processor']}: {machine['cores']} cores, {machine['memory_gb']} GB, "
        f"{'fast' if machine['fast_bfloat16'] else 'no fast'} bfloat16, {machine['system']}, "
        f"Python {machine['python']}, torch {machine['torch']}, data: {machine['data']}; {measured}"
    )


def _line(row: Mapping[str, Any], figures: Sequence[Mapping[str, Any] | None]) -> str:
    name, rival = row["key"].split(" | ")
    aim = f"{'≥' if row['better'] == 'higher' else '≤'} {row['target']:g}"
    return f"| {name} | {rival or '-'} | {' | '.join(map(_figure, figures))} | {aim} |"


def _figure(figure: Mapping[str, Any] | None) -> str:
    if figure is None:
        return "-"
    unit = f" {figure['unit']}" if figure["judged"] == "value" else ""
    spread = f" ({number(figure['low'])} to {number(figure['high'])})" if figure["pairs"] > 1 else ""
    missed = "" if figure["met"] else f", missed{': ' + figure['fault'] if figure['fault'] else ''}"
    return f"{number(figure['value'])}{unit}{spread}{missed}"


def put_in(page: str, stored: Sequence[Mapping[str, Any]]) -> str:
    """The page with these figures in their place, nothing where there are none."""
    drawn = draw(stored) if stored else ""
    return MARKED.sub(lambda found: f"{found[1]}{drawn}{found[2]}", page)


def write(stored: Sequence[Mapping[str, Any]]) -> None:
    FILE.write_text(put_in(FILE.read_text(encoding="utf-8"), stored), encoding="utf-8")
