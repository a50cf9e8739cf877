"""What refuses a start: in one order, the same for every way to start, and with nothing simulated in this process."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from modelforge import Forge, hardware
from modelforge.errors import ModelForgeError, RecipeError
from modelforge.planner.plan import LIMITS
from modelforge.recipe import Recipe
from modelforge.runs import admission
from modelforge.runs.admission import Admission
from modelforge.store import RunRecord, RunState, utc_now
from tests import tiny
from tests.programs import Programs

WAYS = {
    "start": lambda forge, recipe: forge.runs.start(recipe),
    "sweep": lambda forge, recipe: forge.runs.start_sweep(recipe, {"seed": [1]}),
    "resume": lambda forge, recipe: forge.runs.resume(interrupted(forge, recipe)),
}
"""Ways to start a run. The app, the command line and Python call these."""


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tiny.write_rows(tmp_path / "colours.jsonl")


def interrupted(forge: Forge, recipe: Recipe) -> str:
    """The id of a run that a process before this one has left."""
    known = {"state": RunState.interrupted, "recipe": recipe.model_dump(mode="json"), "created": utc_now()}
    record = RunRecord(id="run-0123456789ab", dataset_id="dataset-0123456789ab", dataset_name="x", **known)
    forge.store.runs.add(record)
    return record.id


def refusal(forge: Forge, recipe: Recipe, start: Callable[[Forge, Recipe], Any]) -> ModelForgeError:
    with pytest.raises(ModelForgeError) as caught:
        start(forge, recipe)
    forge.store.runs.delete("run-0123456789ab") if start is WAYS["resume"] else None
    assert forge.runs.all() == []  # nothing was queued
    return caught.value


@pytest.mark.parametrize("way", WAYS)
def test_start_is_refused_for_the_first_of_what_is_wrong(
    probed: Path, base: Path, file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, *, way: str
) -> None:
    """Combination, limits, disk, dataset, memory: what is wrong is fixed one by one."""
    forge = Forge()
    encoder = tiny.write_encoder(tmp_path / "encoder")
    limit = LIMITS[hardware.detect().tier]["tuning.r"]
    with monkeypatch.context() as patch:
        patch.setattr(shutil, "disk_usage", lambda _: SimpleNamespace(total=9, used=8, free=1))
        recipe = tiny.recipe(encoder, tmp_path / "gone.csv", {"tuning.r": limit + 1})
        assert refusal(forge, recipe, WAYS[way]).where == "setting base_model"
        recipe = recipe.with_settings({"base_model": str(base)})
        assert refusal(forge, recipe, WAYS[way]).where == "setting tuning.r"
        recipe = recipe.with_settings({"tuning.r": 8})
        assert refusal(forge, recipe, WAYS[way]).kind == "disk"
    assert "gone.csv" in str(refusal(forge, recipe, WAYS[way]))
    recipe = recipe.with_settings({"dataset": str(file)})

    def refuse(_: Any, recipe: Recipe, dataset: Any) -> None:
        raise RecipeError(f"too large for {dataset.rows} rows")

    monkeypatch.setattr(Admission, "_check_memory", refuse)
    assert "too large for 16 rows" in refusal(forge, recipe, WAYS[way]).what


def test_sweep_is_judged_run_by_run_and_queues_nothing_unless_all_pass(
    probed: Path, base: Path, file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    forge, judged, admit = Forge(), [], Admission.admit
    too_long = LIMITS[hardware.detect().tier]["max_length"] + 1

    def note(self: Admission, recipe: Recipe) -> Any:
        judged.append(recipe.max_length)
        return admit(self, recipe)

    monkeypatch.setattr(Admission, "admit", note)
    with pytest.raises(RecipeError, match="setting max_length"):
        forge.runs.start_sweep(tiny.recipe(base, file), {"max_length": [64, 128, too_long]})
    assert judged == [64, 128, too_long]
    assert forge.runs.all() == []


def test_memory_is_not_planned_where_it_plainly_fits(
    probed: Path, base: Path, file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(admission.SERVICE, "ask", lambda *_, **__: pytest.fail("planned"))
    monkeypatch.setattr(hardware.Hardware, "free_bytes", lambda *_: 64 * hardware.GIB)
    forge = Forge()
    admitted = Admission(forge.datasets, forge.models).admit(tiny.recipe(base, file))
    assert (admitted.dataset.rows, admitted.evaluation) == (16, None)


START_ON_A_SMALL_MACHINE = """
import json, os, sys
from dataclasses import replace
from modelforge import Forge, hardware
from modelforge.errors import MemoryFullError
from modelforge.planner.service import SERVICE
from tests import tiny
from tests.programs import Programs

here = hardware.detect()
def shrink(free):
    device = replace(here.devices[-1], free_bytes=free)
    hardware.detect = lambda: replace(here, devices=(device,), free_memory_bytes=free)

forge, told = Forge(), {}
shrink(1)
try:
    forge.runs.start(tiny.recipe(*sys.argv[1:3]))
except MemoryFullError as error:
    told["refused"] = str(error)
shrink(1_200_000_000)
told["state"] = forge.runs.start(tiny.recipe(*sys.argv[1:3], {"max_length": 64})).state.value
told["planned"] = len(SERVICE._answers)
told["simulated"] = "modelforge.planner.simulation" in sys.modules
print(json.dumps(told), flush=True)
os._exit(0)
"""


@pytest.mark.slow
def test_memory_is_planned_in_another_process(programs: Programs, probed: Path, base: Path, file: Path) -> None:
    done = programs.run(START_ON_A_SMALL_MACHINE, base, file)
    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout.splitlines()[-1])
    assert "of memory, but only" in told["refused"]
    assert told["state"] in ("queued", "preparing")
    assert told["planned"] == 3  # what is refused, what would make it fit, and the one that starts
    assert told["simulated"] is False
