"""What a recipe needs on a machine: the plan, and how it is computed. What is refused and advised is in `plan.py`."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from functools import partial
from typing import Any, Literal

from modelforge import hardware
from modelforge.choices.combinations import check_tuning
from modelforge.compute.compute import Compute
from modelforge.compute.decide import decide, draft
from modelforge.compute.memory import used_bytes
from modelforge.hardware import Hardware, Probe, describe_bytes
from modelforge.planner import disk, duration, outcomes, quick, sources
from modelforge.planner.calibration import is_cheap, measured_speed
from modelforge.planner.memory import RUNTIME_BYTES, Memory, count_memory, length_of, rough_memory
from modelforge.recipe import Recipe

Verdict = Literal["fits", "tight", "won't fit", "unknown"]
Calibrate = Literal["nothing", "cheap", "all"]
"""Whether the micro-steps that give the time are run, if they are not cached: no; if they are cheap; yes."""
TIGHT = 0.85  # share of the available memory above which a run is tight: predictions are within 15%


@dataclass(frozen=True)
class Advice:
    """Settings that make a recipe fit, computed to do so; what they cost in words; what they save of memory."""

    settings: Mapping[str, Any]
    sentence: str
    saves_bytes: int


@dataclass(frozen=True)
class Plan:
    """What a recipe needs here. memory: None where the base model is unknown. source: what the estimate rests on.
    calibrated: micro-steps were timed on this machine. correction: by what earlier runs changed the prediction;
    memory.total has it already. seconds: 0 where the number of rows is unknown; the run is likely to take between
    seconds_low and seconds_high. timing: what the speed rests on. mean_tokens: of a row, 0 where unknown. kind: the
    name that outcomes are recorded under. quicker: training fewer layers, where that pays."""

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
    seconds_low: float = 0.0
    seconds_high: float = 0.0
    timing: duration.Timing = "guess"
    mean_tokens: float = 0.0
    quicker: quick.Quicker | None = None

    @property
    def time(self) -> str:
        """How long it takes, for people; "" where that is not known."""
        return duration.describe_range(self.seconds_low, self.seconds_high)

    @property
    def fits(self) -> bool:
        return self.verdict != "won't fit" and self.disk.fits

    @property
    def sentence(self) -> str:
        """The verdict for people."""
        if self.memory is None:
            return "What this model needs is not known: it is not on this machine and the Hub did not answer."
        needs = f"{describe_bytes(self.memory.total)} of {describe_bytes(self.memory.available)} of memory"
        about = " (estimated from the model's size alone)" if self.source == "catalogue" else ""
        words = {"fits": "Fits: needs about", "tight": "Tight: needs about", "won't fit": "Won't fit: needs about"}
        short = "" if self.disk.fits else f" The disk is too full: {describe_bytes(self.disk.needed)} are needed."
        return f"{words.get(self.verdict, '')} {needs}{about}.{short}"

    def as_json(self) -> dict[str, Any]:
        """The shape of `modelforge plan --json`."""
        parts = ("weights", "gradients", "optimizer", "activations", "runtime", "total", "available")
        return {
            "fits": self.fits,
            "verdict": self.verdict,
            "memory": {part: getattr(self.memory, part) if self.memory else None for part in parts},
            "disk": asdict(self.disk),
            "seconds": round(self.seconds, 1),
            "seconds_low": round(self.seconds_low, 1),
            "seconds_high": round(self.seconds_high, 1),
            "tokens_per_second": round(self.tokens_per_second, 1),
            "advice": [asdict(each) for each in self.advice],
            "quicker": asdict(self.quicker) if self.quicker else None,
            "source": self.source,
            "calibrated": self.calibrated,
            "correction": round(self.correction, 3),
            "decisions": list(self.compute.reasons) if self.compute else [],
            "sentence": self.sentence,
        }


@dataclass(frozen=True)
class Rows:
    """What is known about the training rows: their number, tokens of the longest, mean tokens of a row."""

    rows: int | None = None
    longest: int | None = None
    mean_tokens: float | None = None


@dataclass(frozen=True)
class Machine:
    """The machine that a plan is for, and the process that trains. process_bytes: what that process already holds;
    has_torch: whether that includes the libraries."""

    hardware: Hardware
    probe: Probe
    process_bytes: int
    has_torch: bool

    @classmethod
    def here(cls, found: Hardware | None = None, probe: Probe | None = None) -> Machine:
        """This machine and this process."""
        held = used_bytes("cpu")
        return cls(found or hardware.detect(), probe or hardware.probe(), held, "torch" in sys.modules)

    @property
    def free_bytes(self) -> int:
        return self.hardware.free_bytes(self.probe.kind)

    @property
    def available(self) -> int:
        """Bytes that a run may take: free now, plus what its process holds, since the total includes its runtime."""
        return self.free_bytes if self.probe.kind == "cuda" else self.free_bytes + self.process_bytes

    @property
    def runtime_bytes(self) -> int:
        """What torch and its libraries take; measured where they are loaded."""
        usual = RUNTIME_BYTES[self.probe.kind]
        is_measured = self.has_torch and self.probe.kind != "cuda"
        return min(max(usual, self.process_bytes), 2 * usual) if is_measured else usual


def estimate(recipe: Recipe, machine: Machine, rows: Rows, *, calibrate: Calibrate = "nothing") -> Plan:
    """A plan without advice. calibrate: which micro-steps to take, for some seconds.

    Raises RecipeError for what cannot be trained on such a machine at all.
    """
    check_tuning(recipe.tuning.type, machine.probe.kind)
    known = sources.look_up(recipe)
    if known.config is None:
        drive = disk.measure_disk(download=known.download_bytes, to_hub_cache=known.to_hub_cache, trained=0)
        return Plan(recipe, None, None, drive, 0.0, "unknown", source="unknown")
    compute = choose_compute(recipe, machine.probe, known.config, machine.free_bytes, longest=rows.longest)
    need = count_memory(recipe, compute, known.config, longest=rows.longest) or rough_memory(
        recipe, compute, known.config
    )
    timed = None
    if known.source == "config":
        longest = length_of(recipe, known.config, rows.longest)
        usual = duration.usual_length(longest, rows.mean_tokens)
        take = calibrate == "all" or (
            calibrate == "cheap"
            and is_cheap(recipe, compute, known.config, usual, probe=machine.probe, free_bytes=machine.free_bytes)
        )
        full = quick.at_full_depth(recipe)
        timed = measured_speed(full, compute, known.config, usual, probe=machine.probe, take=take)
    if machine.hardware.free_memory_bytes:
        need = replace(need, runtime=machine.runtime_bytes)
    return _judge(recipe, machine, rows, known, compute, need, timed)


def estimate_roughly(recipe: Recipe, machine: Machine, rows: Rows, config: Any) -> Plan:
    """A plan from the config's numbers alone, at once: nothing is simulated. May be off by half."""
    need = rough_memory(recipe, draft(recipe, machine.probe), config)
    compute = _decide(recipe, machine.probe, need, machine.free_bytes)
    return _judge(recipe, machine, rows, sources.Known(config, "config"), compute, need, None)


def choose_compute(
    recipe: Recipe, probe: Probe, config: Any, free_bytes: int, *, longest: int | None = None
) -> Compute:
    """`compute.decide` with what a step needs: counted, or estimated from sizes where that is not possible."""
    drafted = draft(recipe, probe)
    need = count_memory(recipe, drafted, config, longest=longest) or rough_memory(recipe, drafted, config)
    return _decide(recipe, probe, need, free_bytes)


def _decide(recipe: Recipe, probe: Probe, need: Memory, free_bytes: int) -> Compute:
    return decide(
        recipe,
        probe,
        held_bytes=need.weights + need.optimizer,
        step_bytes=need.gradients + need.activations,
        free_bytes=free_bytes,
    )


def _judge(  # noqa: PLR0917 - all findings, in the order in which they were made
    recipe: Recipe,
    machine: Machine,
    rows: Rows,
    known: sources.Known,
    compute: Compute,
    need: Memory,
    timed: float | None,
) -> Plan:
    """The plan of what was counted: corrected by earlier runs, compared with what is available."""
    probe, available = machine.probe, machine.available
    kind = f"{probe.kind} {probe.name} | {known.config.model_type} | {recipe.method} | {recipe.tuning.type}"
    kind += " | checkpointing" if compute.gradient_checkpointing else ""
    kind += f" | top {recipe.tuning.top_layers} layers" if recipe.tuning.top_layers else ""
    correction = outcomes.correction(kind, need.total)
    # The difference is added to what a step holds, where it comes from.
    activations = max(need.activations + round((correction - 1) * need.total), 0)
    need = replace(need, activations=activations, available=available)
    timing: duration.Timing = "guess"
    speed = duration.speed_by_work(recipe, compute, probe, need.weights // (4 if compute.weights == "float32" else 2))
    if ran := outcomes.measured_speed(kind, recipe.base_model, rows.mean_tokens, recipe.per_device_train_batch_size):
        speed, timing = ran, "run"
    elif timed:
        speed, timing = timed, "step"
    longest = length_of(recipe, known.config, rows.longest)
    row_tokens = min(rows.mean_tokens or duration.SHARE_OF_LENGTH * longest, longest)
    work = quick.Work(compute, known.config, rows.rows, row_tokens, min(rows.longest or 0, longest))
    if timing == "run":  # which trained as many layers as this one will
        speed *= work.share_of_step(recipe)
    predict = partial(_predict_seconds, work=work, speed=speed, timing=timing, need=need)
    seconds, low, high = predict(recipe)
    changed = quick.propose_quick(recipe, work)
    quicker = quick.describe_quick(recipe, changed, work, seconds, predict(changed)[0]) if changed else None
    return Plan(
        recipe,
        compute,
        need,
        disk.measure_disk(download=known.download_bytes, to_hub_cache=known.to_hub_cache, trained=need.trained),
        seconds,
        "fits" if need.total <= TIGHT * available else "tight" if need.total <= available else "won't fit",
        source=known.source,
        calibrated=timed is not None,
        correction=correction,
        kind=kind,
        tokens_per_second=speed / work.share_of_step(recipe),
        seconds_low=low,
        seconds_high=high,
        timing=timing,
        mean_tokens=rows.mean_tokens or 0.0,
        quicker=quicker,
    )


def _predict_seconds(
    recipe: Recipe, *, work: quick.Work, speed: float, timing: duration.Timing, need: Memory
) -> tuple[float, float, float]:
    """As of `duration.predict_seconds`. speed: tokens a second with every layer trained."""
    return duration.predict_seconds(
        recipe,
        work.compute,
        rows=work.rows,
        row_tokens=work.row_tokens,
        longest=work.longest,
        speed=speed / work.share_of_step(recipe),
        timing=timing,
        weights=need.weights,
        trained=need.trained,
        storing=work.tokens * work.share_of_storing(recipe) / speed,
    )
