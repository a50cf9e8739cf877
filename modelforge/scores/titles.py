"""The metrics for people: their names, how a value is written, and what they are in a few words."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True)
class Shown:
    """One metric. form: the format of its value. what: what it is, in a few words."""

    title: str
    form: str
    what: str

    def write(self, value: float) -> str:
        return self.form.format(value)

    def write_change(self, value: float) -> str:
        """A difference, without its sign; of shares in points: 12.0% of 100% are not "0.12 percent"."""
        return self.form.format(abs(value)).replace("%", " points")

    @property
    def in_sentence(self) -> str:
        """The title within a sentence: ROUGE-L, F1, held-out loss."""
        is_name = self.title[1:2].isupper() or self.title[1:2].isdigit() or self.title == "chrF"
        return self.title if is_name else self.title[0].lower() + self.title[1:]


SHOWN: dict[str, Shown] = {
    "mean_reward": Shown("Mean reward", "{:.3f}", "what answers earn on average"),
    "reward_margin": Shown("Reward margin", "{:.3f}", "how clearly the better answer is preferred"),
    "preference_accuracy": Shown("Better answer preferred", "{:.0%}", "share of pairs"),
    "f1": Shown("F1", "{:.1%}", "words in common with the expected answer"),
    "exact_match": Shown("Exact match", "{:.1%}", "answers that are exactly the expected text"),
    "rougeL": Shown("ROUGE-L", "{:.3f}", "longest run of words in common"),
    "rouge1": Shown("ROUGE-1", "{:.3f}", "words in common"),
    "rouge2": Shown("ROUGE-2", "{:.3f}", "pairs of words in common"),
    "chrf": Shown("chrF", "{:.1f}", "pieces of words in common"),
    "loss": Shown("Held-out loss", "{:.3f}", "how unexpected the right answers are"),
    "perplexity": Shown("Perplexity", "{:.1f}", "the loss as a number of choices"),
}
"""In the order in which they are shown."""


def write_value(name: str, value: float) -> str:
    return SHOWN[name].write(value) if name in SHOWN else f"{value:.3f}"


def write_signed(name: str, value: float) -> str:
    """ "+0.120", "-5.0 points"; "0.000" where nothing is left after rounding."""
    written = SHOWN[name].write_change(value) if name in SHOWN else f"{abs(value):.3f}"
    is_nothing = not any(digit in written for digit in "123456789")
    return written if is_nothing else f"{'+' if value > 0 else '-'}{written}"


def write_difference(name: str, difference: Mapping[str, float | None] | None) -> str:
    """A difference {value, low, high}, with its interval where there is one: "+0.120 (+0.050 to +0.180)"."""
    if not difference or (value := difference.get("value")) is None:
        return ""
    low, high = difference.get("low"), difference.get("high")
    interval = "" if low is None or high is None else f" ({write_signed(name, low)} to {write_signed(name, high)})"
    return f"{write_signed(name, value)}{interval}"


def write_measured(name: str, value: float, change: Mapping[str, float | None] | None) -> str:
    """A value and how it has changed: "0.867, +0.783 (+0.383 to +1.000)"."""
    return ", ".join(filter(None, [write_value(name, value), write_difference(name, change)]))
