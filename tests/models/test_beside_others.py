"""What goes on at the same time in one process changes no answer: a plan is made, another model is built."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import Any

import torch

from modelforge import Forge, base_model, loading
from modelforge.building import BUILDING
from modelforge.compute.tune import tune
from modelforge.models.sampling import Sampling
from modelforge.recipe import Recipe
from tests import tiny

SHORT = Sampling(max_new_tokens=24)


def test_answers_stay_the_same_while_plans_are_made(forge: Forge, record: Any, tiny_base: Path) -> None:
    from modelforge.planner.plan import plan

    model = forge.models[record.id]
    expected = model.chat("hi", sampling=SHORT)
    over = threading.Event()

    def plan_on() -> None:
        length = 16
        while not over.is_set():  # each is another one, so that none is remembered
            plan(tiny.recipe(tiny_base, "", max_length=length))
            length += 1

    planning = threading.Thread(target=plan_on)
    planning.start()
    try:
        told = {model.chat("hi", sampling=SHORT) for _ in range(8)}
    finally:
        over.set()
        planning.join(60)
    assert told == {expected}


def test_adapters_that_are_made_while_models_are_loaded_start_from_numbers(tiny_base: Path) -> None:
    over = threading.Event()

    def load() -> None:
        while not over.is_set():
            loading.load_model(base_model.resolve(str(tiny_base)), dtype="float32", device="cpu")

    other = threading.Thread(target=load)
    other.start()
    try:
        for _ in range(10):
            with BUILDING:
                tuned = tune(tiny.model(), Recipe())
            for name, part in tuned.named_parameters():
                if "lora_A" in name:
                    assert torch.isfinite(part).all() and 0.01 < part.std() < 1, name
    finally:
        over.set()
        other.join(60)
