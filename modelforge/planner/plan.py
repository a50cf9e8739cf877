"""The plan of a recipe: memory, disk, time, the verdict, and advice whose application has been reckoned to fit."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Literal

import psutil

from modelforge import hardware
from modelforge.errors import DiskFullError, MemoryFullError
from modelforge.hardware import Hardware, Probe, describe_bytes
from modelforge.planner import disk, duration, outcomes, sources
from modelforge.planner.limits import check_limits
from modelforge.planner.memory import RUNTIME_BYTES, Memory, estimate, length_of
from modelforge.recipe import Recipe

if TYPE_CHECKING:
    from modelforge.training.device import Compute

Verdict = Literal["fits", "tight", "won't fit", "unknown"]
TIGHT = 0.85  # share of the available memory above which a run is tight: predictions are within 15%


@dataclass(frozen=True)
class Advice:
    """Settings that make a recipe fit, reckoned to do so; what they cost in words; what they save of memory."""

    settings: Mapping[str, Any]
    sentence: str
    saves_bytes: int


@dataclass(frozen=True)
class Plan:
    """What a recipe needs here. memory: None where the base model is unknown. source: what the reckoning rests on.
    calibrated: micro-steps were taken on this machine. correction: by what earlier runs changed the prediction;
    memory.total has it already. seconds: 0 where nobody knows how many rows there are. kind: what outcomes are kept
    under."""

    recipe: Recipe
    compute: Compute | None
    memory: Memory | None
    disk: disk.Disk
    seconds: float
    verdict: Verdict
    advice: tuple[Advice, ...] = ()
    source: sources.Source = "config"
    calibrated: bool = False
    correction: float = 1.0
    kind: str = ""
    tokens_per_second: float = 0.0

    @property
    def fits(self) -> bool:
        return self.verdict != "won't fit" and self.disk.fits

    @property
    def sentence(self) -> str:
        """The verdict for people."""
        if self.memory is None:
            return "What this model needs is not known: it is not here and the Hub did not answer."
        needs = f"{describe_bytes(self.memory.total)} of {describe_bytes(self.memory.available)} memory"
        about = " (from the model's size alone)" if self.source == "catalogue" else ""
        words = {"fits": "Fits: about", "tight": "Tight: about", "won't fit": "Won't fit: it needs about"}
        short = "" if self.disk.fits else f" The disk is too full: {describe_bytes(self.disk.needed)} needed."
        return f"{words.get(self.verdict, '')} {needs}{about}.{short}"

    def as_json(self) -> dict[str, Any]:
        """The shape of `modelforge plan --json`."""
        parts = ("weights", "gradients", "optimizer", "activations", "runtime", "total", "available")
        return {
            "fits": self.fits,
            "verdict": self.verdict,
            "memory": {part: getattr(self.memory, part) if self.memory else None for part in parts},
            "disk": {"needed": self.disk.needed, "free": self.disk.free, "where": self.disk.where},
            "seconds": round(self.seconds, 1),
            "tokens_per_second": round(self.tokens_per_second, 1),
            "advice": [
                {"settings": dict(each.settings), "sentence": each.sentence, "saves_bytes": each.saves_bytes}
                for each in self.advice
            ],
            "source": self.source,
            "calibrated": self.calibrated,
            "correction": round(self.correction, 3),
            "decisions": list(self.compute.reasons) if self.compute else [],
            "sentence": self.sentence,
        }


@dataclass(frozen=True)
class Machine:
    """The machine that a plan is for, and what is known of the rows."""

    hardware: Hardware
    probe: Probe
    rows: int | None = None
    longest: int | None = None
    mean_tokens: float | None = None

    @property
    def available(self) -> int:
        """Bytes that a run may take: free now, and what this process holds, as its runtime is part of the total."""
        free = self.hardware.free_bytes(self.probe.kind)
        return free if self.probe.kind == "cuda" else free + _own_bytes()


def plan(
    recipe: Recipe,
    *,
    rows: int | None = None,
    longest: int | None = None,
    mean_tokens: float | None = None,
    calibrate: bool = False,
    machine: Hardware | None = None,
    probe: Probe | None = None,
    advise: bool = True,
) -> Plan:
    """What a recipe needs on this machine.

    rows, longest, mean_tokens: of the dataset, where they are known. calibrate: take micro-steps if none like these
    were taken before (seconds). machine, probe: another machine than this one. Raises RecipeError for what cannot be
    trained here at all.
    """
    here = Machine(machine or hardware.detect(), probe or hardware.probe(), rows, longest, mean_tokens)
    check_limits(recipe, here.hardware)
    made = reckon(recipe, here, calibrate=calibrate)
    if advise and made.verdict in ("tight", "won't fit"):
        from modelforge.planner.advice import advise as find_advice

        made = replace(made, advice=find_advice(made, here))
    return made


def check(recipe: Recipe, **known: Any) -> Plan:
    """The plan of a recipe that fits. known: as `plan` takes it. Raises RecipeError, MemoryFullError, DiskFullError;
    before anything is fetched."""
    made = plan(recipe, **known)
    if not made.disk.fits:
        raise DiskFullError(needed=made.disk.needed, free=made.disk.free, where=made.disk.where)
    if made.verdict == "won't fit" and made.memory:
        raise MemoryFullError(
            f"This run needs about {describe_bytes(made.memory.total)} of memory, and "
            f"{describe_bytes(made.memory.available)} are available.",
            where="recipe",
            fix=made.advice[0].sentence if made.advice else "Choose a smaller base model, or a larger machine.",
        )
    return made


def record_outcome(made: Plan, *, measured_bytes: int, tokens_per_second: float) -> float:
    """Keep what a run took at its peak and how fast it was, for the next prediction. Returns by how much the prediction
    was off: 0.1 when 10% too high."""
    if not made.memory or not made.compute or measured_bytes <= 0:
        return 0.0
    if made.compute.device != "cpu":
        measured_bytes += made.memory.runtime  # an accelerator's counter sees tensors alone
    predicted = round(made.memory.total / made.correction)
    outcome = outcomes.Outcome(predicted, measured_bytes, tokens_per_second, made.recipe.base_model)
    outcomes.add_outcome(made.kind, outcome)
    return made.memory.total / measured_bytes - 1


def reckon(recipe: Recipe, here: Machine, *, calibrate: bool = False) -> Plan:
    """A plan without advice."""
    from modelforge.training import device
    from modelforge.training.combinations import check_tuning

    probe = here.probe
    check_tuning(recipe.tuning.type, probe.kind)
    known = sources.look_up(recipe)
    available = here.available
    if known.config is None:
        drive = disk.reckon(download=known.download_bytes, to_hub_cache=known.to_hub_cache, trained=0)
        return Plan(recipe, None, None, drive, 0.0, "unknown", source="unknown")
    compute = device.decide(recipe, probe, known.config, here.hardware.free_bytes(probe.kind), longest=here.longest)
    need = estimate(recipe, compute, known.config, longest=here.longest)
    if need is None:
        need = _rough(recipe, compute, known.config)
    length = length_of(recipe, known.config, here.longest)
    measured = None
    if known.source == "config":
        from modelforge.planner.calibration import calibrated

        measured = calibrated(recipe, compute, known.config, length=length, take=calibrate)
    if measured:
        held = need.gradients + need.optimizer
        # Noise of a few layers grows with all layers; the counted figure has a usual allocator's. The mean is nearer.
        mean = (max(measured.growth_bytes - held, 0) + need.activations) // 2
        need = replace(need, activations=mean)
    if probe.kind != "cuda" and "torch" in sys.modules and here.hardware.free_memory_bytes:
        need = replace(need, runtime=max(RUNTIME_BYTES[probe.kind], min(_own_bytes(), 2 * RUNTIME_BYTES[probe.kind])))
    kind = f"{probe.kind} {probe.name} | {known.config.model_type} | {recipe.method} | {recipe.tuning.type}"
    kind += " | checkpointing" if compute.gradient_checkpointing else ""
    correction = outcomes.correction(kind, need.total)
    need = _corrected(need, correction, available)
    drive = disk.reckon(download=known.download_bytes, to_hub_cache=known.to_hub_cache, trained=need.trained)
    size = 4 if compute.weights == "float32" else 2
    speed = outcomes.measured_speed(kind, recipe.base_model) or (measured.tokens_per_second if measured else 0.0)
    speed = speed or duration.speed_by_work(recipe, compute, probe, need.weights // size)
    batches = duration.count_batches(recipe, here.rows)
    return Plan(
        recipe,
        compute,
        need,
        drive,
        batches * duration.tokens_per_batch(recipe, length, here.mean_tokens) / speed,
        "fits" if need.total <= TIGHT * available else "tight" if need.total <= available else "won't fit",
        source=known.source,
        calibrated=measured is not None,
        correction=correction,
        kind=kind,
        tokens_per_second=speed,
    )


def reckon_roughly(recipe: Recipe, config: Any, probe: Probe) -> Memory:
    """From the config's numbers alone, in no time; may be wrong by half, rather too high."""
    from modelforge.training.device import Compute

    return _rough(recipe, Compute(probe.kind, "float32", gradient_checkpointing=False, reasons=()), config)


def _corrected(need: Memory, correction: float, available: int) -> Memory:
    """With what earlier runs took: the difference goes where it comes from, to what a step holds."""
    activations = max(need.activations + round((correction - 1) * need.total), 0)
    return replace(need, activations=activations, available=available)


def _rough(recipe: Recipe, compute: Compute, config: Any) -> Memory:
    """For a model that cannot be built without its own code."""
    from modelforge.training import device

    text = config.get_text_config()
    weights = device.weight_bytes(text, dtype=compute.weights)
    rows, length = recipe.per_device_train_batch_size, length_of(recipe, config)
    kept = device.activation_bytes(text, rows=rows, length=length, dtype=compute.dtype)
    trained = weights // 100 if recipe.tuning.has_adapter else weights // 4
    return Memory(weights, 4 * trained, 8 * trained, kept, RUNTIME_BYTES[compute.device], trained=trained)


def _own_bytes() -> int:
    return int(psutil.Process(os.getpid()).memory_info().rss)
