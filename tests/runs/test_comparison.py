"""Two to eight runs side by side: curves, the settings that differ, metrics, and what cannot be compared."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from modelforge import Forge, paths
from modelforge.caller import Caller, acting_as
from modelforge.cli import main
from modelforge.cli.runs import describe_comparison
from modelforge.errors import NotFoundError, RunStateError
from modelforge.models.outcomes import Measured, Outcome
from modelforge.recipe import Recipe
from modelforge.runs.comparison import AXES, MOST, MOST_POINTS, Entry, Point, compare, read_curves
from modelforge.store import RunRecord, RunState, utc_now
from modelforge.ui.train.comparison import show_comparison

INTERVAL = {"value": -0.5, "low": -0.7, "high": -0.25}


def progress(step: int, loss: float | None, seconds: float | None = None) -> dict[str, Any]:
    seconds = 60.0 * step if seconds is None else seconds
    return {"type": "progress", "step": step, "loss": loss, "tokens": 100 * step, "seconds": seconds}


def evaluated(step: int, loss: float) -> dict[str, Any]:
    return {"type": "evaluated", "step": step, "loss": loss, "eval_loss": loss, "perplexity": 2.0}


EVENTS = [{"type": "started", "step": 0}, evaluated(0, 3.0), progress(1, 2.5), progress(2, 2.0), evaluated(2, 1.5)]


def entry(number: int, rows: str = "same", events: Any = EVENTS, **settings: Any) -> Entry:
    recipe = Recipe().with_settings({"name": f"Run {number}", **settings})
    measured = {"tuned": {"loss": 1.5 - number / 10, "perplexity": 4.0}, "difference": {"loss": INTERVAL}}
    record = RunRecord(
        id=f"run-{number:012x}", created=utc_now(), state=RunState.finished, recipe=recipe.model_dump(mode="json"),
        dataset_id="dataset-1", dataset_name="towns", metrics=measured,
    )  # fmt: skip
    return Entry(record, recipe, (rows,), events)


def test_only_the_settings_that_differ_are_listed() -> None:
    found = compare([entry(1, learning_rate=1e-4), entry(2, learning_rate=2e-4), entry(3, **{"tuning.r": 8})])
    assert found.settings == {
        "name": ["Run 1", "Run 2", "Run 3"],
        "tuning.r": [16, 16, 8],
        "learning_rate": [1e-4, 2e-4, 2e-4],
    }
    assert found.metrics == {"loss": [1.4, 1.3, 1.2], "perplexity": [4.0] * 3}
    assert found.differences == {"loss": [INTERVAL] * 3}
    assert found.notes == []


def test_json_has_the_agreed_shape_and_curves_over_steps_tokens_and_minutes() -> None:
    shape = json.loads(json.dumps(compare([entry(1), entry(2, events=[])]).as_json()))
    assert shape.keys() == {"settings", "metrics", "from_first", "curves"}
    loss = {"steps": [1, 2], "tokens": [100, 200], "minutes": [1.0, 2.0], "values": [2.5, 2.0]}
    assert shape["curves"]["loss"] == [loss, None]
    held_out = {"steps": [0, 2], "tokens": [0, 200], "minutes": [0.0, 2.0], "values": [3.0, 1.5]}
    assert shape["curves"]["eval_loss"] == [held_out, None]


def measured(rights: str, *, tokens: int = 4) -> Measured:
    """A row for each sign: "+" answered right, "-" wrong."""
    rows = [
        Outcome(
            f"row {place}", place + 1, "", "", scores={"tuned": {"exact_match": sign == "+", "loss": 1 - place / 100}}
        )
        for place, sign in enumerate(rights)
    ]
    return Measured([replace(row, tokens=tokens) for row in rows], "base", ["exact_match", "loss"])


def test_runs_are_compared_with_the_first_row_by_row_on_the_rows_that_both_measured() -> None:
    first, worse, shorter, other_tokens = (
        replace(entry(number), measured=found)
        for number, found in enumerate(
            [measured("+" * 20), measured("+" * 10 + "-" * 10), measured("+" * 12), measured("+" * 20, tokens=5)]
        )
    )
    found = compare([first, worse, shorter, other_tokens, entry(5)])
    nothing, lower, same, of_others, unknown = found.from_first["exact_match"]
    assert nothing is None and unknown is None
    assert (lower["value"], lower["rows"]) == (-0.5, 20) and lower["low"] < -0.5 < lower["high"] < 0
    assert (same["value"], same["rows"]) == (0.0, 12) and of_others["value"] == 0
    assert found.from_first["loss"][3] is None  # a mean over other tokens
    page = show_comparison(found, "steps")
    assert "Difference from 1 Run 0" in page and "-0.500 (-0" in page
    assert "exact_match from first low" in found.as_csv() and "exact_match, from the first run" in describe_comparison(
        found
    )


def test_curve_of_a_resumed_run_has_each_step_once_and_its_minutes_go_up() -> None:
    again = [{"type": "started", "step": 1}, progress(2, 9.0, 60.0), progress(3, None), progress(4, 8.0, 120.0)]
    assert read_curves([*EVENTS, *again]) == {
        "loss": [Point(1, 100, 1.0, 2.5), Point(2, 200, 2.0, 9.0), Point(4, 400, 3.0, 8.0)],
        "eval_loss": [Point(0, 0, 0.0, 3.0)],
        "eval_perplexity": [Point(0, 0, 0.0, 2.0)],
    }


def test_long_curve_keeps_its_ends_and_a_bounded_number_of_points() -> None:
    points = read_curves(progress(step, 1.0) for step in range(1, 5 * MOST_POINTS))["loss"]
    assert MOST_POINTS / 2 <= len(points) <= MOST_POINTS
    assert (points[0].steps, points[-1].steps) == (1, 5 * MOST_POINTS - 1)


@pytest.mark.parametrize(
    ("entries", "said"),
    [
        ([entry(1), entry(2, rows="other")], "measured on different rows"),
        ([entry(1), entry(2, base_model="anna/other")], "cannot be compared between different base models"),
        ([entry(1), entry(2, events=[])], "Run 2 has no curve"),
    ],
    ids=["rows", "base model", "no events"],
)
def test_what_cannot_be_compared_is_said(entries: list[Entry], said: str) -> None:
    (note,) = compare(entries).notes
    assert said in note


@pytest.mark.parametrize(
    ("numbers", "said"),
    [([1], "1 run cannot be compared"), ([], "0 runs"), (range(9), "limit is 8"), ([1, 2, 1], "given twice")],
)
def test_number_of_runs_is_bounded(numbers: Any, said: str) -> None:
    with pytest.raises(RunStateError, match=said) as caught:
        compare([entry(number) for number in numbers])
    assert caught.value.fix


def test_csv_has_a_row_for_each_run_and_nothing_that_a_spreadsheet_computes() -> None:
    found = compare([entry(1, name="=cmd()"), entry(2, learning_rate=1e-3)])
    first, second = csv.DictReader(io.StringIO(found.as_csv()))
    assert first["name"] == "'=cmd()" and second["learning_rate"] == "0.001"
    assert (first["loss"], first["loss difference low"]) == ("1.4", "-0.7")
    rows = list(csv.DictReader(io.StringIO(found.curves_as_csv())))
    assert len(rows) == 2 * 6 and rows[0]["run"] == first["run"]


@pytest.mark.parametrize("axis", AXES)
def test_page_draws_each_run_with_its_number(axis: Any) -> None:
    shown = show_comparison(compare([entry(1, name="<b>"), entry(2, events=[]), entry(3)]), axis)
    assert "1 &lt;b&gt;" in shown and "<b>" not in shown and f"over {axis}" in shown
    assert 'class="mf-run-line mf-run-3"' in shown and 'class="mf-run-line mf-run-2"' not in shown
    assert "1.400, -0.500 (-0.700 to -0.250)" in shown and "Run 2 has no curve" in shown


# ---- runs of a home --------------------------------------------------------------------------------------------


@pytest.fixture
def add_run(home: Path) -> Callable[..., str]:
    """add_run(number, owner="anna") -> the id of a finished run with events; events=() for none."""

    def add(number: int, *, owner: str = "", events: Any = EVENTS) -> str:
        record = entry(number).record.model_copy(update={"owner": owner})
        Forge().store.runs.add(record)
        paths.run_dir(record.id).mkdir(parents=True)
        lines = "".join(json.dumps({"time": utc_now(), "run_id": record.id, **event}) + "\n" for event in events)
        if lines:
            (paths.run_dir(record.id) / "events.jsonl").write_text(lines, encoding="utf-8")
        return record.id

    return add


def test_command_prints_the_agreed_json_and_says_the_rest_on_stderr(
    add_run: Callable[..., str], capfd: pytest.CaptureFixture[str]
) -> None:
    ids = [add_run(1), add_run(2, events=())]
    assert main(["compare", *ids, "--json"]) == 0
    printed = capfd.readouterr()
    assert json.loads(printed.out).keys() == {"settings", "metrics", "from_first", "curves"}
    assert "Run 2 has no curve" in printed.err
    assert main(["compare", *ids]) == 0
    printed = capfd.readouterr()
    assert "1.400, -0.500 (-0.700 to -0.250)" in printed.out and ids[0] in printed.out


def test_command_refuses_with_a_sentence(add_run: Callable[..., str], capfd: pytest.CaptureFixture[str]) -> None:
    ids = [add_run(number) for number in range(1, MOST + 2)]
    deleted = Forge().runs.delete(ids[0])
    for given, said in (([ids[1]], "1 run cannot"), (ids[1:] + ids[1:2], "limit is 8"), ([deleted, ids[1]], deleted)):
        assert main(["compare", *given]) == 1
        error = capfd.readouterr().err
        assert said in error and "Traceback" not in error
    assert main(["compare", *ids[1:]]) == 0


def test_run_of_somebody_else_does_not_exist_for_others(add_run: Callable[..., str]) -> None:
    ids = [add_run(1, owner="anna"), add_run(2, owner="bert")]
    assert len(Forge().runs.compare(ids).runs) == 2  # the owner sees all
    with acting_as(Caller("bert", "bert", is_owner=False)), pytest.raises(NotFoundError, match="There is no run"):
        Forge().runs.compare(ids)
