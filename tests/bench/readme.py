"""The figures of the last release as README.md shows them: written with results.json, and held to it by a test."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tests.bench.table import number

FILE = Path(__file__).parents[2] / "README.md"
MARKED = re.compile(r"(<!-- figures -->\n).*?(<!-- end of figures -->)", re.DOTALL)


def draw(stored: Mapping[str, Any]) -> str:
    """The table in Markdown, with machine and date."""
    machine = stored["machine"]
    lines = [
        f"Measured on {stored['date']} by `make bench`: {machine['processor']}, {machine['cores']} cores, "
        f"{machine['memory_gb']} GB, {'fast' if machine['fast_bfloat16'] else 'no fast'} bfloat16, "
        f"{machine['system']}, Python {machine['python']}, torch {machine['torch']}, data: {machine['data']}. "
        "A figure without a unit is the ratio to the rival, measured in turn in the same run; medians, with the range.",
        "",
        "| what | beside | figure | range | target |",
        "|---|---|---|---|---|",
        *(_line(each) for each in stored["figures"]),
    ]
    return "\n".join(lines) + "\n"


def _line(figure: Mapping[str, Any]) -> str:
    name, rival = figure["key"].split(" | ")
    unit = f" {figure['unit']}" if figure["judged"] == "value" else ""
    spread = f"{number(figure['low'])} to {number(figure['high'])}" if figure["pairs"] > 1 else "-"
    aim = f"{'≥' if figure['better'] == 'higher' else '≤'} {figure['target']:g}"
    missed = "" if figure["met"] else f", missed{': ' + figure['fault'] if figure['fault'] else ''}"
    return f"| {name} | {rival or '-'} | {number(figure['value'])}{unit} | {spread} | {aim}{missed} |"


def put_in(page: str, stored: Mapping[str, Any]) -> str:
    """The page with these figures in their place, nothing where there are none."""
    drawn = draw(stored) if stored else ""
    return MARKED.sub(lambda found: f"{found[1]}{drawn}{found[2]}", page)


def write(stored: Mapping[str, Any]) -> None:
    FILE.write_text(put_in(FILE.read_text(encoding="utf-8"), stored), encoding="utf-8")
