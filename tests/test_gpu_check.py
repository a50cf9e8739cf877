"""`make gpu-check` where there is no card, and that its ways of training are recipes that may start."""

from __future__ import annotations

import sys

import pytest
import torch

from modelforge.recipe import Recipe
from tests.bench import gpu


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a card")
def test_without_a_card_it_says_so_and_exits_0(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "argv", ["gpu"])
    assert gpu.main() == 0
    assert capsys.readouterr().out == f"{gpu.NO_CARD}\n"


@pytest.mark.parametrize("name", gpu.WAYS)
def test_what_is_trained_is_a_recipe(name: str) -> None:
    settings = gpu.WAYS[name][1]
    assert Recipe().with_settings({**gpu.SETTINGS, **settings}).max_steps == gpu.STEPS
