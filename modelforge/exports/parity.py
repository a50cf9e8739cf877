"""Whether exported files answer as the model does: the same prompts, and every token of the same answers.

The exported files read each answer with its tokens forced on them (teacher forcing), so that one other choice does not
change all that follows. Two tokens that the model finds equally likely, up to a small difference that the rounding of a
format makes, count as the same choice.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from modelforge.exports.probes import Probe
    from modelforge.exports.readers import Reading


@dataclass(frozen=True)
class Bound:
    """tokens: the smallest share of tokens that must be the same. tie: nats by which two tokens may differ in the model
    and still count as equally likely."""

    tokens: float
    tie: float


BOUNDS = {
    "adapter": Bound(0.99, 0.02),
    "merged": Bound(0.99, 0.02),
    "f16": Bound(0.99, 0.02),
    "bf16": Bound(0.97, 0.05),
    "q8_0": Bound(0.97, 0.05),
    "q6_k": Bound(0.95, 0.05),
    "q5_1": Bound(0.90, 0.1),
    "q5_0": Bound(0.90, 0.1),
    "q5_k_m": Bound(0.90, 0.1),
    "q4_k_m": Bound(0.85, 0.1),
    "q4_1": Bound(0.80, 0.1),
    "q4_0": Bound(0.80, 0.1),
}
"""By quantization, or by format. Of a model that is stored in 16 bits itself, merged has the bound of bf16."""


@dataclass(frozen=True)
class Parity:
    """Shares are from 0 to 1, losses in nats a token. divergence: prompt, place (from 1), wanted and found: the first
    token that differs. engine: who loaded the files. problems: why it is not ok, in sentences."""

    prompts: int
    tokens: int
    same_template: bool
    first_token_agreement: float
    token_agreement: float
    same_text: float
    largest_loss_change: float
    loss_before: float
    loss_after: float
    engine: str
    bound: float
    divergence: dict[str, Any] | None = None
    problems: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    @property
    def ok(self) -> bool:
        return not self.problems

    def as_json(self) -> dict[str, Any]:
        return {**asdict(self), "ok": self.ok}


def compare(
    probes: Sequence[Probe],
    wanted: Sequence[Reading],
    found: Sequence[Reading],
    bound: Bound,
    *,
    engine: str,
    decode: Any,
    notes: Sequence[str] = (),
) -> Parity:
    """wanted: by the model; found: by the exported files, of the same forced tokens. decode: token ids -> text."""
    same = [_compare_tokens(*pair, bound.tie) for pair in zip(wanted, found, strict=True)]
    flat = [each for row in same for each in row]
    before = [loss for each in wanted for loss in each.losses]
    after = [loss for each in found for loss in each.losses]
    templates = [each.rendered == other.rendered for each, other in zip(wanted, found, strict=True)]
    parity = Parity(
        prompts=len(probes),
        tokens=len(flat),
        same_template=all(templates),
        first_token_agreement=_share([row[0] for row in same]),
        token_agreement=_share(flat),
        same_text=_share([each.text == other.text for each, other in zip(wanted, found, strict=True)]),
        largest_loss_change=max((abs(b - a) for b, a in zip(before, after, strict=True)), default=0.0),
        loss_before=sum(before) / max(len(before), 1),
        loss_after=sum(after) / max(len(after), 1),
        engine=engine,
        bound=bound.tokens,
        divergence=_find_divergence(probes, wanted, found, same, decode),
        notes=list(notes),
    )
    if not parity.same_template:
        place = templates.index(False)
        shown = (_quote(decode(each[place].rendered)) for each in (wanted, found))
        parity.problems.append("The chat template gives other text: {} became {}.".format(*shown))
    if parity.token_agreement < bound.tokens:
        parity.problems.append(
            f"{parity.token_agreement:.1%} of {parity.tokens} tokens are the same; at least {bound.tokens:.0%} must be."
            f"{_describe(parity.divergence)}"
        )
    return parity


def _compare_tokens(wanted: Reading, found: Reading, tie: float) -> list[bool]:
    same = []
    for likely, other in zip(wanted.likely, found.likely, strict=True):
        best, chosen = next(iter(likely)), next(iter(other))
        same.append(best == chosen or likely[best] - likely.get(chosen, float("-inf")) <= tie)
    return same


def _find_divergence(
    probes: Sequence[Probe],
    wanted: Sequence[Reading],
    found: Sequence[Reading],
    same: Sequence[Sequence[bool]],
    decode: Any,
) -> dict[str, Any] | None:
    for probe, reading, other, row in zip(probes, wanted, found, same, strict=True):
        if not all(row):
            place = row.index(False)
            words = {
                name: decode([next(iter(each.likely[place]))]) for name, each in (("wanted", reading), ("found", other))
            }
            return {"prompt": probe.text[:200], "place": place + 1, "before": decode(reading.forced[:place]), **words}
    return None


def _describe(divergence: dict[str, Any] | None) -> str:
    if divergence is None:
        return ""
    after = f" after {_quote(divergence['before'], end=True)}" if divergence["before"] else ""
    return (
        f" The first other one is in the answer to {_quote(divergence['prompt'])}:{after} comes "
        f"{_quote(divergence['found'])} instead of {_quote(divergence['wanted'])}."
    )


def _quote(text: str, *, end: bool = False) -> str:
    return repr(text if len(text) <= 80 else f"… {text[-78:]}" if end else f"{text[:78]} …")


def _share(found: Sequence[bool]) -> float:
    return sum(found) / len(found) if found else 1.0
