"""The verdict of a run or an evaluation as a card: the word, what it rests on, and its interval as a picture."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from modelforge.scores.metrics import LOWER_IS_BETTER
from modelforge.scores.titles import SHOWN, write_signed
from modelforge.ui.look import html

KINDS = {"better": "good", "worse": "bad", "no clear difference": "quiet", None: "quiet"}
WORDS = {"better": "Better", "worse": "Worse", "no clear difference": "No clear difference", None: "No verdict"}
_AGAINST = {"base": "the base model", "before": "the model it was trained from", "against": "the other model"}
_EMPTY_SHARE = 0.12  # of the picture, on both sides


def show_verdict(verdict: Mapping[str, Any]) -> str:
    """verdict: as a run's metrics have it (`training.verdict`), the fields of `scores.verdict.Verdict` and more."""
    word, name = verdict["word"], verdict["metric"]
    rests = f"Compared with {_AGAINST[verdict['against']]}. Rests on {SHOWN[name].title}." if name else ""
    difference = verdict["differences"].get(name)
    picture = draw_interval(name, difference) if difference and difference["low"] is not None else ""
    notes = "".join(html.aside(sentence) for sentence in verdict["notes"])
    notes += html.note(forgot, "warning") if (forgot := verdict.get("forgot")) else ""
    return (
        f'<div class="mf-verdict mf-{KINDS[word]}"><div class="mf-verdict-word">{WORDS[word]}</div>'
        f'<div class="mf-verdict-why">{html.text(verdict["why"])}</div>{picture}'
        f"{html.aside(rests) if rests else ''}{notes}</div>"
    )


def draw_interval(name: str, difference: Mapping[str, float]) -> str:
    """The interval of a difference as a band beside zero: worse on the left, better on the right."""
    sign = -1 if name in LOWER_IS_BETTER else 1
    low, high = sorted((sign * difference["low"], sign * difference["high"]))
    left, right = min(low, 0.0), max(high, 0.0)
    span = (right - left) or 1.0

    def place(value: float) -> str:
        return f"{100 * (_EMPTY_SHARE + (1 - 2 * _EMPTY_SHARE) * (value - left) / span):.1f}%"

    width = f"{100 * (1 - 2 * _EMPTY_SHARE) * (high - low) / span:.1f}%"
    write = SHOWN[name].write_change
    said = f"95% interval of the difference: {write_signed(name, difference['low'])} to "
    said += write_signed(name, difference["high"])
    return (
        f'<div class="mf-interval" role="img" aria-label="{html.text(said)}"><div class="mf-interval-track">'
        f'<i class="mf-interval-zero" style="left:{place(0)}"></i>'
        f'<i class="mf-interval-band" style="left:{place(low)};width:max({width},3px)"></i>'
        f'<i class="mf-interval-dot" style="left:{place(sign * difference["value"])}"></i></div>'
        f'<div class="mf-interval-ends"><span>← worse</span><span class="mf-interval-size">'
        f"{html.text(write(difference['value']))}</span><span>better →</span></div></div>"
    )
