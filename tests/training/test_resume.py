"""Runs that are paused, interrupted or out of disk, and resumed; what is kept of runs that diverged; the queue."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from modelforge import Forge, paths
from modelforge.errors import RunStateError
from modelforge.models.folder import read_manifest
from modelforge.recipe import Recipe
from modelforge.store import RunState, utc_now
from modelforge.training import checkpoints
from tests import tiny

STEADY = {"max_steps": 12, "tuning.lora_dropout": 0.1, "evaluations": 2, "learning_rate": 1e-2, "eval_split": 0.25}


@pytest.fixture
def forge(probed: Path) -> Forge:
    return Forge()


@pytest.fixture
def quick(base: Path, tmp_path: Path) -> Callable[..., Recipe]:
    file = tiny.write_rows(tmp_path / "colours.jsonl", tiny.PAIRS[:24])
    return lambda **settings: tiny.recipe(base, file, {**STEADY, **settings})


def leave_after(run: Any, step: int, leave: Callable[[], None]) -> None:
    """Call `leave` when that step is done, and wait for the end."""
    for event in run.events():
        if event["type"] == "progress" and event["step"] == step:
            leave()
    run.wait(60)


def losses(run: Any) -> dict[int, float]:
    return {event["step"]: event["loss"] for event in run.events() if event["type"] == "progress"}


def test_paused_run_resumes_to_the_same_end(forge: Forge, quick: Callable[..., Recipe]) -> None:
    whole = forge.runs.start(quick())
    whole.wait()
    run = forge.runs.start(quick(max_steps=12))
    leave_after(run, 5, run.pause)
    record = run.record
    assert record.state is RunState.paused and 5 <= record.step <= 7 and record.model_id is None
    assert checkpoints.find_last(paths.run_dir(run.id) / "checkpoints")
    assert forge.models.all() and len(forge.models.all()) == 1

    later = Forge()  # as after a restart
    assert [waiting.id for waiting in later.runs.resumable()] == [run.id]
    again = later.runs.resume(run.id)
    assert again.wait(60) is RunState.finished
    assert losses(again) == pytest.approx(losses(whole), abs=1e-6)
    assert again.record.metrics == whole.record.metrics
    assert not (paths.run_dir(run.id) / "checkpoints").exists()
    weights = [
        (paths.model_dir(each.model_id) / "adapter_model.safetensors").read_bytes()  # type: ignore[arg-type]
        for each in (whole, again)
    ]
    assert weights[0] == weights[1]


def machines(run: Any) -> list[str]:
    """What each start of a run computed with, element by element."""
    return [event["machine"]["kernels"] for event in run.events() if event["type"] == "started"]


def warnings(run: Any) -> list[str]:
    return [event["message"] for event in run.events() if event["type"] == "warning"]


@pytest.mark.skipif(not shutil.which("g++"), reason="no g++")
@pytest.mark.parametrize("change", ["a compiler comes", "the kernels go"])
def test_resumed_run_computes_with_what_it_began_with_or_says_so(
    change: str, forge: Forge, quick: Callable[..., Recipe], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    kernels, elsewhere = sorted(paths.cache_dir().glob("kernels-*.so")), paths.make_folder(tmp_path / "elsewhere")

    def have(is_there: bool) -> None:
        for library in kernels:
            source, target = (elsewhere, library.parent) if is_there else (library.parent, elsewhere)
            if (source / library.name).exists():
                shutil.move(source / library.name, target / library.name)

    comes = change == "a compiler comes"
    monkeypatch.setattr(shutil, "which", lambda name: None)
    have(not comes)
    run = forge.runs.start(quick())
    leave_after(run, 5, run.pause)
    have(comes)
    again = forge.runs.resume(run.id)
    assert again.wait(60) is RunState.finished
    began, went_on = machines(again)
    assert (began == "torch") is comes and went_on == "torch"
    assert any("kernels that this run began with are gone" in each for each in warnings(again)) is not comes
    if comes:
        whole = forge.runs.start(quick())
        whole.wait(60)
        assert machines(whole) != ["torch"]
        have(False)
        plain = forge.runs.start(quick())
        plain.wait(60)
        assert losses(again) == losses(plain)


@pytest.mark.slow
def test_checkpoint_holds_what_was_measured_and_not_every_step(forge: Forge, quick: Callable[..., Recipe]) -> None:
    run = forge.runs.start(quick())
    leave_after(run, 9, run.pause)
    folder = checkpoints.find_last(paths.run_dir(run.id) / "checkpoints")
    assert folder
    history = json.loads((folder / "trainer_state.json").read_text())["log_history"]
    assert [entry["step"] for entry in history if "eval_loss" in entry] == [0, 6]
    assert len(history) <= 3
    forge.runs.resume(run.id).wait(60)


def test_run_paused_before_its_first_step_starts_over(forge: Forge, quick: Callable[..., Recipe]) -> None:
    run = forge.runs.start(quick())
    run.pause()
    assert run.wait(60) is RunState.paused
    assert run.record.step == 0
    assert forge.runs.resume(run.id).wait(60) is RunState.finished
    assert sorted(losses(run)) == list(range(1, 13))


@pytest.mark.parametrize("state", [RunState.finished, RunState.stopped, RunState.running, RunState.queued])
def test_only_unfinished_runs_can_be_resumed(forge: Forge, quick: Callable[..., Recipe], state: RunState) -> None:
    run = forge.runs.start(quick(max_steps=1))
    run.wait()
    forge.store.runs.update(run.id, state=state)
    with pytest.raises(RunStateError) as caught:
        forge.runs.resume(run.id)
    assert state.value in caught.value.what and caught.value.fix


def test_interrupted_run_is_found_and_resumed(forge: Forge, quick: Callable[..., Recipe]) -> None:
    run = forge.runs.start(quick(save_steps=2))
    leave_after(run, 6, run.pause)
    forge.store.runs.update(run.id, state=RunState.running, pid=2**22 + 1)  # its process is gone
    later = Forge()
    assert later.runs.get(run.id).state is RunState.interrupted
    assert later.runs.resume(run.id).wait(60) is RunState.finished


def test_damaged_checkpoint_is_passed_over_for_the_one_before(tmp_path: Path) -> None:
    for step in (2, 4, 10):
        partial = tmp_path / ".partial"
        partial.mkdir()
        (partial / "weights.bin").write_bytes(os.urandom(100))
        checkpoints.seal(partial, checkpoints.folder_of(tmp_path, step), {"step": step})
    (tmp_path / "checkpoint-12").mkdir()  # no manifest
    found = checkpoints.find_last(tmp_path)
    assert found and checkpoints.step_of(found) == 10
    (found / "weights.bin").write_bytes(b"x")
    found = checkpoints.find_last(tmp_path)
    assert found and checkpoints.step_of(found) == 4
    (found / checkpoints.MANIFEST).write_text('{"files": {}}')
    found = checkpoints.find_last(tmp_path)
    assert found and checkpoints.step_of(found) == 2


def test_best_weights_are_kept_and_training_stops_when_nothing_gets_better(
    forge: Forge, quick: Callable[..., Recipe]
) -> None:
    wild = {"learning_rate": 0.3, "tuning.lora_dropout": 0.0, "max_steps": 60, "evaluations": 20}
    wild |= {"early_stopping_patience": 3}
    run = forge.runs.start(quick(**wild))
    assert run.wait(120) is RunState.finished
    measured = {event["step"]: event["loss"] for event in run.events() if event["type"] == "evaluated"}
    best = min((step for step in measured if step), key=lambda step: (measured[step], step))
    assert run.record.step < 60
    manifest = read_manifest(run.model_id or "")
    assert manifest["steps"] == best
    assert manifest["metrics"]["tuned"]["loss"] == pytest.approx(measured[best], rel=1e-4)
    evaluated = forge.models[run.model_id].evaluate()
    assert evaluated.tuned["perplexity"] == pytest.approx(manifest["metrics"]["tuned"]["perplexity"], rel=1e-3)


def test_run_that_ran_away_leaves_its_last_good_weights(
    forge: Forge, quick: Callable[..., Recipe], monkeypatch: pytest.MonkeyPatch
) -> None:
    from modelforge.training.methods import sft_decoder

    compute_loss = sft_decoder.AnswerTrainer.compute_loss

    def run_away(trainer: Any, *given: Any, **more: Any) -> Any:
        loss = compute_loss(trainer, *given, **more)
        return loss * float("nan") if trainer.state.global_step >= 7 and trainer.model.training else loss

    monkeypatch.setattr(sft_decoder.AnswerTrainer, "compute_loss", run_away)
    run = forge.runs.start(quick(save_steps=2))
    assert run.wait(60) is RunState.failed
    error = run.record.error
    assert error and error["kind"] == "nan"
    assert all(cause in error["fix"] for cause in ("learning_rate", "dtype", "example"))
    assert read_manifest(run.model_id or "")["steps"] == 6
    assert isinstance(forge.models[run.model_id].chat("hi"), str)


# ---- the queue -------------------------------------------------------------------------------------------------


def test_queued_runs_can_change_places_and_one_that_fails_does_not_stop_the_others(
    forge: Forge, quick: Callable[..., Recipe]
) -> None:
    first = forge.runs.start(quick(max_steps=100_000, evaluations=1))
    broken = forge.runs.start(quick(max_length=8))
    second, third = forge.runs.start(quick(max_steps=1)), forge.runs.start(quick(max_steps=1))
    assert [record.id for record in forge.runs.waiting()] == [broken.id, second.id, third.id]
    forge.runs.move(third.id, 0)
    assert [record.id for record in forge.runs.waiting()] == [third.id, broken.id, second.id]
    first.stop()
    assert broken.wait(60) is RunState.failed
    assert second.wait(60) is third.wait(60) is RunState.finished
    assert third.record.started and second.record.started and third.record.started < second.record.started
    with pytest.raises(RunStateError, match="not waiting"):
        forge.runs.move(second.id, 0)


def test_all_runs_save_themselves_when_the_process_is_asked_to_end(forge: Forge, quick: Callable[..., Recipe]) -> None:
    first = forge.runs.start(quick(max_steps=100_000, evaluations=1))
    second = forge.runs.start(quick(max_steps=1))
    for event in first.events():
        if event["type"] == "progress" and event["step"] == 3:
            break
    forge.runs.save_all(10)
    assert (first.state, second.state) == (RunState.interrupted, RunState.interrupted)
    assert first.record.step >= 3 and second.record.step == 0


@pytest.mark.slow
def test_of_32_that_press_start_at_the_same_moment_one_runs_and_the_rest_wait(
    forge: Forge, quick: Callable[..., Recipe]
) -> None:
    recipe, gate = quick(max_steps=100_000, evaluations=1), threading.Barrier(32)
    started: list[str] = []

    def press() -> None:
        gate.wait()
        started.append(forge.runs.start(recipe).id)

    people = [threading.Thread(target=press) for _ in range(32)]
    for person in people:
        person.start()
    for person in people:
        person.join(60)
    first = next(run_id for run_id in started if run_id not in {record.id for record in forge.runs.waiting()})
    for event in forge.runs.handle(first).events():
        if event["type"] == "progress" and event["step"] == 3:
            break
    waiting = [record.id for record in forge.runs.waiting()]
    assert len(set(started)) == 32 and sorted([first, *waiting]) == sorted(started)
    assert [record.state for record in forge.runs.all()].count(RunState.queued) == 31
    forge.runs.save_all(20)
    began = [run_id for run_id in started if (paths.run_dir(run_id) / "log.txt").exists()]
    assert began == [first] and {record.state for record in forge.runs.all()} == {RunState.interrupted}


@pytest.mark.slow
def test_order_of_the_queue_outlives_the_process(forge: Forge, quick: Callable[..., Recipe]) -> None:
    first = forge.runs.start(quick(max_steps=100_000, evaluations=1))
    second, third = forge.runs.start(quick(max_steps=1)), forge.runs.start(quick(max_steps=1))
    forge.runs.move(third.id, 0)
    for event in first.events():
        if event["type"] == "progress":
            break
    forge.runs.save_all(10)
    later = Forge()
    assert [record.id for record in later.runs.resumable()] == [first.id, third.id, second.id]
    again = later.runs.resume_all()
    assert [run.id for run in again] == [first.id, third.id, second.id]
    again[0].stop()
    assert [run.wait(60) for run in again] == [RunState.stopped, RunState.finished, RunState.finished]


@pytest.mark.slow
def test_interrupted_run_is_resumed_automatically_if_its_recipe_says(
    forge: Forge, quick: Callable[..., Recipe]
) -> None:
    stays = forge.runs.start(quick())
    leave_after(stays, 3, lambda: forge.runs.save_all(10))
    goes = forge.runs.start(quick(auto_resume=True))
    leave_after(goes, 3, lambda: forge.runs.save_all(10))
    paused = forge.runs.start(quick(auto_resume=True))
    leave_after(paused, 3, paused.pause)
    later = Forge()
    assert [run.id for run in later.runs.auto_resume()] == [goes.id]
    assert later.runs.handle(goes.id).wait(60) is RunState.finished
    assert (stays.state, paused.state) == (RunState.interrupted, RunState.paused)


@pytest.mark.slow
def test_run_that_is_cut_off_without_a_step_is_not_taken_up_for_ever(
    forge: Forge, quick: Callable[..., Recipe]
) -> None:
    run = forge.runs.start(quick(auto_resume=True))
    leave_after(run, 3, lambda: forge.runs.save_all(10))
    # It was begun again, and its process died while it got ready.
    forge.store.runs.update(run.id, queued=utc_now())
    forge.store.runs.update(run.id, started=utc_now())
    assert Forge().runs.auto_resume() == []
    forge.store.runs.update(run.id, queued=utc_now())  # it waited only
    assert [each.id for each in forge.runs.auto_resume()] == [run.id]
    run.wait(60)


# ---- a full disk -----------------------------------------------------------------------------------------------


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A disk of 3 MB; skipped where none can be mounted."""
    place = tmp_path / "disk"
    place.mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=3m", "tmpfs", str(place)], check=False)
    if mounted.returncode:
        pytest.skip("mounting needs more rights")
    yield place
    subprocess.run(["umount", "-l", str(place)], check=True)


def test_disk_full_while_a_checkpoint_is_written_keeps_the_one_before(
    probed: Path, base: Path, small_disk: Path
) -> None:
    from modelforge.errors import DiskFullError
    from modelforge.training.run import Job, train

    recipe = tiny.recipe(base, "", {**STEADY, "save_steps": 2, "evaluations": 1})
    filler, place = small_disk / "filler", small_disk / "run"
    place.mkdir()

    def fill(type: str, **event: Any) -> None:
        if type == "progress" and event["step"] == 5 and not filler.exists():
            free = os.statvfs(small_disk)
            filler.write_bytes(b"x" * (free.f_bavail * free.f_frsize - 20_000))

    def start() -> Any:
        return train(Job("run-0", recipe, tiny.rows(24), {"id": "dataset-0"}, place, fill, lambda: False))

    with pytest.raises(DiskFullError) as caught:
        start()
    assert caught.value.needed > caught.value.free
    kept = checkpoints.find_last(place / "checkpoints")
    assert kept and checkpoints.step_of(kept) == 4
    assert not list((place / "checkpoints").glob(".*"))
    filler.unlink()
    filler.mkdir()  # nothing fills the disk again
    result = start()
    assert result.state is RunState.finished and result.step == 12


@pytest.mark.slow
def test_run_of_before_texts_were_divided_resumes_with_the_rows_that_it_had(
    forge: Forge, base: Path, tmp_path: Path
) -> None:
    file = tiny.write_jsonl(
        tmp_path / "texts.jsonl", [{"text": " ".join(pair) + f" {pair[1]}" * 9} for pair in tiny.PAIRS]
    )
    recipe = tiny.recipe(base, file, STEADY | {"max_length": 24, "long_texts": "cut"})
    whole, run = forge.runs.start(recipe), forge.runs.start(recipe)
    whole.wait(60)
    leave_after(run, 5, run.pause)
    stored = {name: value for name, value in run.record.recipe.items() if name != "long_texts"}
    forge.store.runs.update(run.id, recipe=stored, recipe_version=1)
    again = Forge().runs.resume(run.id)
    assert again.wait(60) is RunState.finished
    assert losses(again) == pytest.approx(losses(whole), abs=1e-6)
    assert again.record.metrics == whole.record.metrics
