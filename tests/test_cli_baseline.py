"""`modelforge baseline` and `modelforge runs more-data`: their JSON, their text, and their errors."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from modelforge.cli import main
from modelforge.scores.need import DATA, PROMPT, TRAIN, UNCLEAR
from tests import tiny
from tests.machine import base, measured, probed

__all__ = ["base", "measured", "probed"]
METRICS = {"rougeL", "loss", "perplexity", "chrf", "exact_match"}


pytestmark = pytest.mark.usefixtures("probed")


@pytest.fixture
def write_recipe(base: Path, tmp_path: Path) -> Callable[..., Path]:
    def write(**settings: Any) -> Path:
        tiny.write_rows(tmp_path / "rows.jsonl", tiny.PAIRS)
        text = yaml.safe_dump(tiny.recipe(base, "rows.jsonl", {"eval_split": 0.25, **settings}).model_dump(mode="json"))
        (tmp_path / "recipe.yaml").write_text(text)
        return tmp_path / "recipe.yaml"

    return write


def call(capfd: pytest.CaptureFixture[str], *arguments: object, code: int = 0) -> tuple[str, str]:
    capfd.readouterr()
    assert main([str(each) for each in arguments]) == code
    printed = capfd.readouterr()
    return printed.out, printed.err


def test_baseline_prints_both_ways_and_the_advice(
    write_recipe: Callable[..., Path], capfd: pytest.CaptureFixture[str]
) -> None:
    out, err = call(capfd, "baseline", write_recipe(), "--json")
    found = json.loads(out)
    assert [*found][:4] == ["rows", "zero_shot", "few_shot", "advice"]
    assert found["rows"] == 8 and found["zero_shot"].keys() == found["few_shot"].keys() == METRICS
    assert found["advice"] in (PROMPT, TRAIN, DATA, UNCLEAR) and found["why"]
    assert len(found["examples"]) == 3
    assert "This takes about " in err  # said beforehand, by the planner
    out, _ = call(capfd, "baseline", write_recipe(), "--set", "seed=1", "--limit", "4")
    assert (
        "with 3 examples" in out and "4 held-out rows" in out and "cannot tell: 4 held-out rows say too little" in out
    )


@pytest.mark.parametrize(
    ("settings", "options", "what"),
    [
        ({"eval_split": 0}, [], "No examples are held out"),
        ({}, ["--limit", "0"], "0 rows are too few"),
        ({"base_model": "/nowhere/at/all"}, [], "/nowhere/at/all"),
        ({}, ["--set", "method=dpo"], "dpo cannot train"),
    ],
)
def test_baseline_refuses_what_a_start_refuses_with_a_sentence(
    write_recipe: Callable[..., Path], capfd: pytest.CaptureFixture[str], settings: Any, options: Any, what: str
) -> None:
    out, err = call(capfd, "baseline", write_recipe(**settings), *options, "--json", code=1)
    assert what in err and "Traceback" not in err and not out


def test_more_data_says_why_a_run_cannot_be_asked_about(
    write_recipe: Callable[..., Path], capfd: pytest.CaptureFixture[str]
) -> None:
    out, _ = call(capfd, "train", write_recipe(), "--json")
    run_id = json.loads(out.splitlines()[-1])["run_id"]
    _, err = call(capfd, "runs", "more-data", run_id, "--json", code=1)
    assert "24 training rows are too few" in err and "At least 40" in err
    call(capfd, "runs", "more-data", "run-000000000000", code=1)
