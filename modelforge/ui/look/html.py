"""Small pieces of HTML. Every text that comes from outside goes through `text`."""

from __future__ import annotations

import html
from collections.abc import Iterable, Mapping

NOTHING = "-"
"""The content of an empty cell."""


class Markup(str):
    """HTML that is ready to be shown."""


def text(value: object) -> str:
    """Escaped, so that nothing in a dataset or a name becomes markup."""
    return html.escape(str(value), quote=True)


def tiles(pairs: Iterable[tuple[str, object]]) -> str:
    """Numbers side by side: (name, value)."""
    inner = "".join(
        f'<div class="mf-tile"><span>{text(name)}</span><b>{text(value)}</b></div>' for name, value in pairs
    )
    return f'<div class="mf-tiles">{inner}</div>'


def table(rows: Iterable[Mapping[str, object]], *, empty: str = "", numbers: bool = False) -> str:
    """A table of texts, with a column for each key of the rows; `empty` is shown when there are no rows.

    Each cell has its column's name: a narrow window shows it beside the value, instead of the head, and hides empty
    cells. numbers: the columns are so narrow that a narrow window shows them as they are, but for the last, which
    explains.
    """
    listed = list(rows)
    if not listed:
        return note(empty)
    head = "".join(f"<th>{text(name)}</th>" for name in listed[0])
    body = "".join(f"<tr>{''.join(_cell(name, value) for name, value in row.items())}</tr>" for row in listed)
    whole = f"<thead><tr>{head}</tr></thead><tbody>{body}</tbody>"
    return f'<div class="mf-scroll"><table class="mf-table{" mf-numbers" * numbers}">{whole}</table></div>'


def _cell(name: str, value: object) -> str:
    inner = value if isinstance(value, Markup) else text(value)
    return f'<td data-head="{text(name)}"{" data-nothing" if value == NOTHING else ""}>{inner}</td>'


def details(summary: str, lines: Iterable[str]) -> str:
    """Lines that a press opens."""
    items = "".join(f"<li>{text(line)}</li>" for line in lines)
    return f'<details class="mf-details"><summary>{text(summary)}</summary><ul>{items}</ul></details>'


def pairs(rows: Iterable[tuple[str, object]]) -> str:
    """A table of (name, value), one below the other."""
    body = "".join(f"<tr><th>{text(name)}</th><td>{text(value)}</td></tr>" for name, value in rows)
    return f'<div class="mf-scroll"><table class="mf-table mf-pairs"><tbody>{body}</tbody></table></div>'


def note(sentence: str, kind: str = "quiet") -> str:
    """A sentence in a box. kind: quiet, good, warning or bad."""
    return f'<div class="mf-note mf-{kind}">{text(sentence)}</div>'


def aside(sentence: str) -> str:
    """A sentence in small print, below what it describes."""
    return f'<div class="mf-aside">{text(sentence)}</div>'


def title(heading: str, sentence: str = "") -> str:
    below = f"<p>{text(sentence)}</p>" if sentence else ""
    return f'<div class="mf-title"><h2>{text(heading)}</h2>{below}</div>'


def bar(share: float, label: str) -> str:
    """A progress bar; share from 0 to 1."""
    percent = max(0.0, min(share, 1.0)) * 100
    return (
        f'<div class="mf-bar" role="progressbar" aria-valuenow="{percent:.0f}" aria-valuemin="0" aria-valuemax="100">'
        f'<div style="width:{percent:.1f}%"></div></div><div class="mf-bar-label">{text(label)}</div>'
    )


def seconds(count: float) -> str:
    """75 -> "1 min 15 s"."""
    whole = round(count)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60} s"
    return f"{whole // 3600} h {whole % 3600 // 60} min"


def date(created: str) -> str:
    """An ISO time for people: "2026-11-02 10:00"."""
    return created[:16].replace("T", " ")
