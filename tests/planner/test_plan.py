"""Plans of a tiny model: what is counted, said, refused, advised, and learned from runs."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from modelforge import starter
from modelforge.cli import main
from modelforge.compute.compute import Compute
from modelforge.compute.memory import PeakMeter
from modelforge.errors import MemoryFullError, RecipeError
from modelforge.hardware import GIB, Device, Hardware, Probe
from modelforge.planner import outcomes
from modelforge.planner import plan as planner
from modelforge.planner.memory import count_memory
from modelforge.recipe import STARTER, Recipe
from tests import tiny
from tests.machine import base, measured, probed

__all__ = ["base", "measured", "probed"]

PLAIN = Compute("cpu", "float32", False, ())
PROBE = Probe("cuda", "RTX 4060", (8, 9), 8 * GIB, {"float32": 9e3, "bfloat16": 4e4, "float16": 4e4}, "2.13.0")


def card(free_bytes: int) -> Hardware:
    devices = (Device("cuda", "RTX 4060", 8 * GIB, free_bytes, (8, 9)), Device("cpu", "a processor", GIB, GIB))
    return Hardware(devices, "Linux", 8, 16 * GIB, 8 * GIB, 100 * GIB, 50 * GIB)


def plan_on_card(base: Path, free_bytes: int, **settings: Any) -> planner.Plan:
    recipe = Recipe().with_settings({"base_model": str(base), "max_steps": 3, **settings})
    return planner.plan(recipe, machine=card(free_bytes), probe=PROBE)


def test_saved_bytes_are_those_of_a_real_step() -> None:
    """Real tensors, counted the same way, hold nearly as much as the fake ones do, and no more."""
    from modelforge.architecture import DECODER
    from modelforge.compute.fused import fused_lora, fused_norms
    from modelforge.compute.tune import tune
    from modelforge.planner import skeleton, steps
    from modelforge.planner.simulation import LiveBytes, simulate

    recipe, config = Recipe(), tiny.config(num_hidden_layers=8)
    counted = simulate(config, DECODER, recipe, PLAIN, rows=2, length=64)
    assert skeleton.shorten(config, 2).num_hidden_layers == 2 and config.num_hidden_layers == 8
    model = tune(tiny.model(num_hidden_layers=8), recipe, DECODER).train()
    with fused_lora(model), fused_norms(model), LiveBytes({*model.parameters(), *model.buffers()}) as live:
        steps.prepare(model, DECODER, recipe, PLAIN)(2, 64).backward()
    assert live.peak <= counted.peak <= 1.06 * live.peak
    assert counted.weights == sum(part.nbytes for part in {*model.parameters(), *model.buffers()})
    assert counted.trained == sum(part.numel() for part in model.parameters() if part.requires_grad)


@pytest.mark.parametrize("settings", [{"per_device_train_batch_size": 8}, {"max_length": 512}, {"tuning.type": "full"}])
def test_more_work_needs_more_memory(settings: dict[str, Any]) -> None:
    recipe = Recipe().with_settings({"max_length": 128})
    less, more = (count_memory(each, PLAIN, tiny.config()) for each in (recipe, recipe.with_settings(settings)))
    assert less and more and more.total > less.total


def test_rows_that_are_shorter_than_max_length_need_less() -> None:
    whole, short = (count_memory(Recipe(), PLAIN, tiny.config(), longest=longest) for longest in (None, 64))
    assert whole and short and short.activations < whole.activations


def test_fault_15_bug_while_a_step_is_counted_surfaces(monkeypatch: pytest.MonkeyPatch) -> None:
    from modelforge.planner import simulation

    def fail(*_: Any, **__: Any) -> None:
        raise raised

    monkeypatch.setattr(simulation, "simulate", fail)
    config = tiny.config(hidden_size=48)
    raised: Exception = KeyError("a bug of ours")
    with pytest.raises(KeyError, match="a bug of ours"):
        count_memory(Recipe(), PLAIN, config)
    raised = torch._subclasses.fake_tensor.DataDependentOutputException(None)
    assert count_memory(Recipe(), PLAIN, config) is None  # a model that looks at its numbers: its size has to do


def test_a_small_run_fits_and_says_why(base: Path) -> None:
    found = plan_on_card(base, 7 * GIB)
    assert (found.verdict, found.fits, found.advice, found.source) == ("fits", True, (), "config")
    assert found.memory and found.seconds > 0
    parts = found.as_json()["memory"]
    names = ("weights", "gradients", "optimizer", "activations", "runtime")
    assert sum(parts[name] for name in names) == parts["total"]
    assert parts["available"] == 7 * GIB


@pytest.mark.slow
def test_advice_makes_it_fit_and_is_the_least_harmful_first(base: Path) -> None:
    much = {"per_device_train_batch_size": 64, "max_length": 512}
    wanted = plan_on_card(base, 7 * GIB, **much)
    assert wanted.memory
    short = plan_on_card(base, int(wanted.memory.total * 0.9), **much)
    assert short.verdict == "won't fit" and not short.fits and short.advice
    for each in short.advice:
        again = planner.plan(
            short.recipe.with_settings(each.settings), machine=card(int(wanted.memory.total * 0.9)), probe=PROBE
        )
        assert again.fits and again.memory and each.saves_bytes > 0
        assert wanted.memory.total - again.memory.total == each.saves_bytes
        batch, accumulated = again.recipe.per_device_train_batch_size, again.recipe.gradient_accumulation_steps
        assert batch * accumulated == 64  # the result stays


@pytest.mark.slow
def test_start_is_refused_before_any_download_when_it_cannot_fit(base: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(starter, "ensure", lambda _: pytest.fail("fetched"))
    recipe = Recipe().with_settings({"base_model": STARTER, "per_device_train_batch_size": 2, "max_length": 256})
    with pytest.raises(MemoryFullError) as caught:
        planner.refuse(planner.plan(recipe, machine=card(GIB // 2), probe=PROBE))
    assert "available" in caught.value.what and caught.value.fix
    assert planner.plan(Recipe(base_model=str(base)), machine=card(7 * GIB), probe=PROBE).fits


def test_model_that_is_not_here_is_estimated_from_the_catalogue() -> None:
    found = planner.plan(Recipe(max_steps=1), machine=card(7 * GIB), probe=PROBE)
    assert found.source == "catalogue" and found.memory
    assert found.memory.weights == pytest.approx(2 * 134_515_008, rel=0.25)
    assert found.disk.needed > starter.STARTERS[STARTER].disk_bytes
    assert "model's size alone" in found.sentence


def test_outcome_corrects_the_next_prediction_of_its_kind(base: Path) -> None:
    first = plan_on_card(base, 7 * GIB)
    assert first.memory and first.correction == 1
    counted = round(first.memory.total * 1.25) - first.memory.runtime  # by torch, which does not see its context
    off = planner.record_outcome(first, measured_bytes=counted, tokens_per_second=500.0)
    assert off == pytest.approx(-0.2)
    second = plan_on_card(base, 7 * GIB)
    assert second.memory and second.memory.total == pytest.approx(first.memory.total * 1.25, rel=0.01)
    assert second.tokens_per_second == 500
    other = plan_on_card(base, 7 * GIB, **{"tuning.type": "full"})
    assert other.correction == 1
    counted = second.memory.total - second.memory.runtime
    planner.record_outcome(second, measured_bytes=counted, tokens_per_second=500.0)
    assert plan_on_card(base, 7 * GIB).correction == pytest.approx(1.25, rel=0.01)  # not corrected twice


@pytest.mark.parametrize("damage", ["", "[]", '{"x": 1}', "{"])
def test_damaged_outcomes_correct_nothing(home: Path, damage: str) -> None:
    (home / "cache").mkdir(parents=True)
    (home / "cache" / "outcomes.json").write_text(damage)
    assert outcomes.correction("x", 100) == 1


def test_qlora_is_refused_where_the_device_cannot(base: Path) -> None:
    apple = replace(PROBE, kind="mps", name="Apple M2", capability=(0, 0))
    with pytest.raises(RecipeError, match="Use lora"):
        planner.plan(
            Recipe().with_settings({"base_model": str(base), "tuning.type": "qlora"}), machine=card(GIB), probe=apple
        )


def test_command_answers_in_the_agreed_shape(
    base: Path, probed: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "recipe.yaml"
    file.write_text(tiny.recipe(base, "").to_yaml())
    assert main(["plan", str(file), "--set", "tuning.r=8", "--json"]) == 0
    shape = json.loads(capsys.readouterr().out)
    assert {"fits", "memory", "disk", "seconds", "advice"} <= shape.keys()
    assert {"weights", "gradients", "optimizer", "activations", "total", "available"} <= shape["memory"].keys()
    assert {"needed", "free"} <= shape["disk"].keys()
    assert main(["plan", str(file)]) == 0
    assert "Fits" in capsys.readouterr().out
    assert main(["plan", str(file), "--set", "tuning.r=0"]) == 1


def test_peak_is_met_though_it_is_given_back() -> None:
    with PeakMeter("cpu") as before:
        pass
    with PeakMeter("cpu") as meter:
        held = torch.ones(50_000_000)
        assert held.sum() > 0
        del held
    assert meter.source in ("process", "sampled")
    if meter.source == "process":
        assert meter.peak_bytes - before.peak_bytes > 150_000_000
