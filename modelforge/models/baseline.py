"""Do you need to train? The base model on held-out rows, as it is and with examples in the prompt, and a
recommendation.

It owns what is measured; which rows, and what is loaded when, is up to `runs/baseline.py`, the recommendation to
`scores/need.py`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from modelforge.architecture import DECODER
from modelforge.data.encode import ChatEncoder
from modelforge.errors import DatasetError
from modelforge.loading import window_of
from modelforge.models.evaluate import measure, name_metrics
from modelforge.models.evidence import FEW, ZERO, collect, measure_fit, measure_prompts
from modelforge.models.few_shot import EXAMPLES, Example, add_examples, choose_examples
from modelforge.models.measures import (
    Numbered,
    Trial,
    find_room,
    make_trials,
    measure_trials,
)
from modelforge.models.outcomes import Measured
from modelforge.models.sides import Open, Sides
from modelforge.recipe import Recipe
from modelforge.scores.need import UNCLEAR, Advice, advise
from modelforge.tasks import read_exchange
from modelforge.tasks.base import MappedRow

_SHARES = {ZERO: (0.0, 0.4), FEW: (0.4, 0.95), "fit": (0.95, 0.98), "prompts": (0.98, 1.0)}  # of the time, about


@dataclass(frozen=True)
class Baseline:
    """measured: side `ZERO`, and `FEW` where examples were possible, of each row. examples: those in the prompt."""

    measured: Measured
    advice: Advice
    examples: Sequence[Example] = ()

    @property
    def rows(self) -> int:
        return len(self.measured.outcomes)

    @property
    def zero_shot(self) -> Mapping[str, float]:
        return self.measured.sides.get(ZERO, {})

    @property
    def few_shot(self) -> Mapping[str, float]:
        """Empty where there were no examples."""
        return self.measured.sides.get(FEW, {})

    def as_json(self) -> dict[str, Any]:
        return {
            "rows": self.rows,
            "zero_shot": dict(self.zero_shot),
            "few_shot": dict(self.few_shot),
            "advice": self.advice.word,
            "why": self.advice.why,
            "examples": [each.row for each in self.examples],
            "notes": list(self.measured.notes),
        }


@dataclass(frozen=True)
class Base:
    """What training would start from, loaded. open: gives it in eval mode."""

    tokenizer: Any
    config: Any
    architecture: str
    open: Open


def measure_baseline(
    base: Base,
    recipe: Recipe,
    rows: Sequence[MappedRow],
    training: Sequence[int],
    held_out: Sequence[Numbered],
    *,
    has_unanswerable: bool = False,
    watch: Callable[[float], None] | None = None,
) -> Baseline:
    """Measure held-out rows. rows: the dataset's; training: indices of those that are trained on.

    watch: called with the share of the work that is done, also for each token; what it raises cancels. Raises
    DatasetError where nothing can be measured.
    """
    notes: list[str] = []

    def make_sides(name: str) -> Sides:
        unanswerable = {"has_unanswerable": has_unanswerable}
        sides = Sides(base.tokenizer, recipe, base.config, {name: base.open}, watch=watch, **unanswerable)
        sides.notes, sides.span = notes, _SHARES[name]
        return sides

    zero = make_sides(ZERO)
    problem = find_problem(recipe, base.architecture, held_out)
    encoder = ChatEncoder(base.tokenizer, zero.longest) if not problem else None
    trials = make_trials(held_out, encoder, notes) if encoder else []
    if encoder:
        metrics = name_metrics(recipe, held_out)
        measure_trials(zero, trials, [*metrics, "loss"])  # which the recommendation needs, though it may not be shown
        measured = Measured([trial.outcome for trial in trials], ZERO, metrics, notes)
    else:
        notes.append(problem)
        measured = replace(measure(zero, base.architecture, held_out), against=ZERO)
    if not measured.outcomes:
        fix = "Raise max_length, or shorten the prompts."
        raise DatasetError(f"Nothing can be measured. {notes[0] if notes else ''}".strip(), fix=fix)
    examples: list[Example] = []
    fits: list[float] = []
    prompts: list[float] = []
    if encoder:
        asked = [trial for trial in trials if trial.prompt]
        examples = choose_examples(rows, training, [row for _, row in held_out], encoder, recipe.seed)
        few = make_sides(FEW)
        shown = show_examples(few, asked, dict(held_out), examples, encoder, notes)
        measure_trials(few, shown, [*measured.metrics, "loss"])
        fits = measure_fit(make_sides("fit"), asked, held_out)
        prompts = measure_prompts(make_sides("prompts"), asked)
    tried = replace(collect(measured.outcomes, held_out, recipe), examples=len(examples), fits=fits, prompts=prompts)
    advice = advise(tried) if tried.right else Advice(UNCLEAR, "There are no answers to compare with the rows.")
    return Baseline(replace(measured, notes=list(dict.fromkeys(notes))), advice, examples)


def find_problem(recipe: Recipe, architecture: str, rows: Sequence[Numbered]) -> str:
    """Why examples in a prompt are not possible; "" where they are."""
    if architecture != DECODER.name:
        return "Examples in the prompt are not possible: this base model does not chat. It was measured as it is."
    if recipe.method != "sft":
        return (
            f"Examples in the prompt were not tried: {recipe.method} has no answers to show. It was measured as it is."
        )
    if not any(read_exchange(row) for _, row in rows):
        return "Examples in the prompt are not possible: these rows have no prompt."
    return ""


def show_examples(  # noqa: PLR0917 - all of them different things
    sides: Sides,
    trials: Sequence[Trial],
    rows: Mapping[int, MappedRow],
    examples: Sequence[Example],
    encoder: ChatEncoder,
    notes: list[str],
) -> list[Trial]:
    """The trials with examples before their prompts, as far as these fit into the model's context."""
    if not examples:
        notes.append("No training row is short enough to be an example in the prompt, so none was tried.")
        return []
    if len(examples) < EXAMPLES:
        notes.append(f"Only {len(examples)} of the training rows can be an example in the prompt.")
    window = window_of(sides.config)
    room = find_room(sides, trials)
    shown, short = add_examples(trials, rows, examples, encoder, window - min(room, window // 2))
    none = len(trials) - len(shown)
    if short or none:
        what = f"of {len(trials)} rows {short} got fewer than {len(examples)} examples, {none} none"
        notes.append(f"The context of the base model is {window} tokens: {what}.")
    return shown
