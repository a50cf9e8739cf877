"""What a model forgot, on general text and questions."""

from __future__ import annotations

import math
from pathlib import Path

import pytest
import torch

from modelforge import Forge, Recipe
from modelforge.data.samples import samples
from modelforge.models.forgetting import describe_forgetting, keep_likeliest, sum_divergence


def known(perplexity: float, answered: float) -> dict[str, float]:
    return {"perplexity": perplexity, "answered": answered, "kl": 0.0}


@pytest.mark.parametrize(
    ("tuned", "warns"),
    [
        (known(20.0, 0.9), False),
        (known(24.0, 0.75), False),
        (known(26.0, 0.9), True),
        (known(20.0, 0.65), True),
        (known(math.inf, 0.9), True),
    ],
)
def test_only_much_that_was_forgotten_is_said_with_what_helps(tuned: dict[str, float], warns: bool) -> None:
    said = describe_forgetting({"base": known(20.0, 0.9), "tuned": tuned})
    assert bool(said) == warns
    assert not warns or "learning_rate" in said


def test_divergence_is_that_of_all_tokens_where_the_likeliest_are_nearly_all() -> None:
    torch.manual_seed(0)
    one, other = (torch.randn(5, 1000).mul(3).log_softmax(-1) for _ in range(2))
    exact = float((one.exp() * (one - other)).sum())
    assert sum_divergence(*keep_likeliest(one), other) == pytest.approx(exact, rel=0.15)
    assert sum_divergence(*keep_likeliest(one), other) <= exact
    assert sum_divergence(*keep_likeliest(one), one) == pytest.approx(0, abs=1e-5)


@pytest.mark.slow
@pytest.mark.parametrize(("rate", "warns"), [(2e-4, False), (1e-2, True)])
def test_a_run_at_a_high_rate_is_warned_of_and_the_default_is_not(
    home_with_starter: Path, rate: float, warns: bool
) -> None:
    forge = Forge()
    run = forge.runs.start(Recipe(dataset=str(samples()[0].path), learning_rate=rate))
    run.wait()
    verdict = forge.runs.get(run.id).metrics["verdict"]
    print(rate, verdict["forgetting"], verdict["word"], verdict["why"])
    assert bool(verdict["forgot"]) == warns
    assert verdict["forgetting"]["tuned"]["kl"] > 0
