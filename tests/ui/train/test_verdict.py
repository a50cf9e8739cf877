"""The planner's verdict in the words and numbers of the page."""

from __future__ import annotations

from dataclasses import replace

import pytest

from modelforge.planner.disk import Disk
from modelforge.planner.estimate import Advice, Plan
from modelforge.planner.memory import Memory
from modelforge.planner.quick import Quicker
from modelforge.recipe import Recipe
from modelforge.ui.train.verdict import _describe, _offer, _translate

MEMORY = Memory(weights=10**9, gradients=0, optimizer=0, activations=10**9, runtime=0, available=8 * 10**9)
PLAN = Plan(Recipe(), None, MEMORY, Disk(10**9, 10**10, "/"), 100.0, "fits", seconds_low=82.0, seconds_high=131.0)
SMALLER = Advice({"base_model": "anna/small"}, "Start from a smaller model.", 1)
SHORTER = Advice({"max_length": 128}, "Cut examples.", 1)


def test_numbers_are_memory_disk_and_a_range_of_time() -> None:
    found = _translate(Recipe(), PLAN)
    assert found.verdict == "fits"
    assert dict(found.numbers) == {"Memory": "2 GB of 8 GB", "Disk": "1 GB of 10 GB free", "Time": "about 82 to 130 s"}
    assert "about 82 to 130 s" in _describe(found)


@pytest.mark.parametrize(("timing", "is_guess"), [("guess", True), ("step", False), ("run", False)])
def test_fault_17_time_that_was_not_measured_is_a_guess(timing: str, is_guess: bool) -> None:
    assert _translate(Recipe(), replace(PLAN, timing=timing)).is_guess is is_guess
    assert not _translate(Recipe(), replace(PLAN, timing=timing, seconds_high=0.0)).is_guess  # there is no time at all


def test_full_disk_and_unknown_model_show_what_is_known() -> None:
    full = _translate(Recipe(), replace(PLAN, disk=Disk(10**10, 10**9, "/")))
    assert full.verdict == "won't fit" and "too full" in full.sentence
    unknown = _translate(Recipe(), replace(PLAN, memory=None, verdict="unknown", seconds_high=0.0))
    assert [name for name, _ in unknown.numbers] == ["Disk"]


def test_model_that_is_trained_further_keeps_its_base_model() -> None:
    made = replace(PLAN, verdict="tight", advice=(SMALLER, SHORTER))
    assert [title for _, title in _translate(Recipe(), made).advice] == [SMALLER.sentence, SHORTER.sentence]
    assert _translate(Recipe(parent="model-0123456789ab"), made).advice == (({"max_length": 128}, "Cut examples."),)


def test_what_saves_time_is_offered_with_what_it_trades() -> None:
    quicker = Quicker({"tuning.top_layers": 10}, "Quick: train only the top 10 of 30 layers.", 60.0)
    assert _translate(Recipe(), replace(PLAN, quicker=quicker)).quicker == ((dict(quicker.settings), quicker.sentence),)
    assert _translate(Recipe(), PLAN).quicker == ()
    assert _translate(Recipe(), replace(PLAN, quicker=quicker, disk=Disk(10**10, 10**9, "/"))).quicker == ()


def test_buttons_show_what_is_offered_and_hide_the_rest() -> None:
    _, settings, *buttons = _offer("What fits:", [({"max_length": 128}, "Cut examples.")])
    assert settings == [{"max_length": 128}]
    assert [button.value for button in buttons if button.visible] == ["Cut examples."]
