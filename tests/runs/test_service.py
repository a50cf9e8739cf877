"""Runs from the queue to their end, through a Forge, with real training on a tiny model."""

from __future__ import annotations

import contextlib
import itertools
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psutil
import pytest

from modelforge import Forge, paths
from modelforge.errors import BaseModelError, NotFoundError, RunStateError, StoreError
from modelforge.models.folder import read_manifest
from modelforge.processes import find_start_time
from modelforge.recipe import Recipe
from modelforge.runs.admission import Admission
from modelforge.runs.feed import Feed, read_events
from modelforge.runs.service import Runs
from modelforge.store import RunRecord, RunState, utc_now
from modelforge.training.methods import sft_decoder
from modelforge.training.run import Job, train
from modelforge.ui import header
from modelforge.ui.train.monitor import Views, show_run
from tests import tiny

LONG_RUN = {"max_steps": 100_000, "evaluations": 1}
QUESTION = tiny.PAIRS[0][0]
RANKS = {"queued": 0, "preparing": 1, "running": 2, "stopping": 3, "finished": 4, "stopped": 4, "failed": 4}


@pytest.fixture
def forge(probed: Path) -> Forge:
    return Forge()


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tiny.write_rows(tmp_path / "colours.jsonl")


@pytest.fixture
def quick(base: Path, file: Path) -> Callable[..., Recipe]:
    return lambda **settings: tiny.recipe(base, file, settings)


def wait_for_step(run: Any, step: int = 1) -> None:
    for event in run.events():
        if event["type"] == "progress" and event["step"] >= step:
            return
    raise AssertionError(f"no step {step}: {run.record}")


def tree(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


# ---- the way it should go --------------------------------------------------------------------------------------


def answer_with_peft_alone(base: Path, folder: Path, question: str) -> str:
    """As other programs load a model: without any part of this one."""
    import torch
    from peft import PeftModel
    from transformers import AutoModelForCausalLM, AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(folder)
    weights = AutoModelForCausalLM.from_pretrained(base, dtype=torch.float32)
    model = PeftModel.from_pretrained(weights, folder).eval()
    prompt = tokenizer.apply_chat_template(
        [{"role": "user", "content": question}], add_generation_prompt=True, return_tensors="pt", return_dict=True
    )
    with torch.inference_mode():
        ids = model.generate(**prompt, max_new_tokens=30, do_sample=False)[0, prompt["input_ids"].shape[1] :]
    return str(tokenizer.decode(ids, skip_special_tokens=True))


def test_finished_run_leaves_a_model_that_peft_alone_loads_and_that_answers(
    forge: Forge, quick: Callable[..., Recipe], base: Path
) -> None:
    learning = {"max_steps": 40, "learning_rate": 3e-2, "per_device_train_batch_size": 8, "tuning.r": 32}
    run = forge.runs.start(quick(**learning, name="Colours"))
    assert run.wait() is RunState.finished
    record = run.record
    assert (record.step, record.total_steps) == (40, 40)
    assert record.started and record.finished and record.created <= record.started <= record.finished
    assert record.metrics["tuned"]["loss"] < record.metrics["base"]["loss"]
    model = forge.models[run.model_id]
    assert model.record.name == "Colours"
    assert model.record.run_id == run.id
    assert forge.models.manifest(model.record)["metrics"] == record.metrics
    assert not (paths.run_dir(run.id) / "checkpoints").exists()

    told = model.chat(QUESTION)
    assert told != model.chat(QUESTION, base=True)
    assert answer_with_peft_alone(base, forge.models.path(model.record), QUESTION) == told
    assert told in {answer for _, answer in tiny.PAIRS}


def test_events_tell_the_whole_story_to_whoever_comes_late(forge: Forge, quick: Callable[..., Recipe]) -> None:
    run = forge.runs.start(quick(max_steps=2))
    live = list(run.events())
    types = [event["type"] for event in live]
    assert types[0] == "started" and types[-1] == "finished"
    assert types.count("progress") == 2 and types.count("evaluated") == 3
    assert types.count("sampled") == 9  # before, after an evaluation between, and at the end
    assert all(event["run_id"] == run.id for event in live)
    assert [event["time"] for event in live] == sorted(event["time"] for event in live)
    assert live[-1]["model_id"] == run.model_id
    again = json.loads(json.dumps(live))
    assert list(read_events(paths.run_dir(run.id) / "events.jsonl")) == again
    assert list(Forge().runs.handle(run.id).events()) == again  # as after a restart of the app


def test_viewer_that_stops_looking_does_not_hold_up_the_run(forge: Forge, quick: Callable[..., Recipe]) -> None:
    run = forge.runs.start(quick())
    viewer = run.events()
    next(viewer)
    assert run.wait(60) is RunState.finished
    assert [event["type"] for event in viewer][-1] == "finished"


def test_starting_a_run_frees_the_playground(forge: Forge, quick: Callable[..., Recipe]) -> None:
    run = forge.runs.start(quick())
    run.wait()
    forge.models[run.model_id].chat("hi")
    assert forge.playground.count_tokens("hi") > 0
    forge.runs.start(quick()).wait()
    assert forge.playground.count_tokens("hi") == 0


def test_recipe_of_a_run_is_kept_as_a_file_that_trains_again(forge: Forge, quick: Callable[..., Recipe]) -> None:
    run = forge.runs.start(quick(seed=4))
    run.wait()
    kept = Recipe.from_file(paths.run_dir(run.id) / "recipe.yaml")
    assert kept == Recipe.build(run.record.recipe)
    again = forge.runs.start(kept)
    again.wait()
    assert again.record.metrics == run.record.metrics


@pytest.mark.slow
def test_audit_14_nothing_kept_depends_on_the_current_directory(
    forge: Forge, base: Path, file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(base.parent)
    run = forge.runs.start(tiny.recipe("tiny", os.path.relpath(file)))
    monkeypatch.chdir("/")
    assert run.wait() is RunState.finished
    assert run.record.recipe["base_model"] == str(base)
    model = forge.models[run.model_id]
    assert model.record.base_model == str(base)
    kept = json.loads((forge.models.path(model.record) / "adapter_config.json").read_text())
    assert kept["base_model_name_or_path"] == str(base)
    assert isinstance(model.chat("hi"), str)


def test_audit_21_custom_base_model_survives_reopening(forge: Forge, quick: Callable[..., Recipe]) -> None:
    run = forge.runs.start(quick())
    run.wait()
    assert read_manifest(run.model_id or "")["custom_base_model"] is True
    assert Forge().models.find(run.model_id or "").custom_base_model is True


# ---- stopping --------------------------------------------------------------------------------------------------


def test_stop_saves_a_model(forge: Forge, quick: Callable[..., Recipe]) -> None:
    run = forge.runs.start(quick(**LONG_RUN))
    wait_for_step(run, 2)
    run.stop()
    assert run.record.state in (RunState.stopping, RunState.stopped)
    assert run.wait(60) is RunState.stopped
    assert 2 <= run.record.step < 100_000
    assert isinstance(forge.models[run.model_id].chat("hi", sampling=None), str)
    assert list(run.events())[-1]["type"] == "stopped"


@pytest.mark.parametrize("asked_at", [1, 3])
def test_stop_ends_within_one_step(probed: Path, base: Path, tmp_path: Path, asked_at: int) -> None:
    taken: list[int] = []

    def emit(type: str, **fields: Any) -> None:
        if type == "progress":
            taken.append(fields["step"])

    wanted = tiny.recipe(base, "", LONG_RUN)
    result = train(Job("run-0", wanted, tiny.rows(), {}, tmp_path, emit, lambda: len(taken) >= asked_at))
    assert result.stopped
    assert result.step <= asked_at + 1
    assert result.model_id is not None and read_manifest(result.model_id)["steps"] == result.step
    assert "tuned" not in result.metrics  # what was not measured is not told


def test_stop_during_the_first_measurement_leaves_no_model(probed: Path, base: Path, tmp_path: Path) -> None:
    job = Job("run-0", tiny.recipe(base, "", LONG_RUN), tiny.rows(), {}, tmp_path, lambda *_, **__: None, lambda: True)
    result = train(job)
    assert result.stopped and result.model_id is None and result.step == 0
    assert not list((paths.home() / "models").glob("*"))


def test_stop_in_the_last_step_is_a_finished_run(probed: Path, base: Path, tmp_path: Path) -> None:
    taken: list[str] = []
    wanted = tiny.recipe(base, "", max_steps=2, eval_split=0)
    emit = lambda type, **_: taken.append(type)  # noqa: E731
    result = train(Job("run-0", wanted, tiny.rows(), {}, tmp_path, emit, lambda: taken.count("progress") >= 2))
    assert not result.stopped and result.model_id


def test_stop_while_queued_trains_nothing(forge: Forge, quick: Callable[..., Recipe]) -> None:
    first, second = forge.runs.start(quick(**LONG_RUN)), forge.runs.start(quick())
    second.stop()
    wait_for_step(first)
    assert second.state is RunState.stopped  # although its turn has not come
    first.stop()
    assert second.wait(60) is RunState.stopped
    assert second.model_id is None
    assert [event["type"] for event in second.events()] == ["stopped"]


def test_run_that_is_over_cannot_be_stopped(forge: Forge, quick: Callable[..., Recipe]) -> None:
    run = forge.runs.start(quick())
    run.wait()
    with pytest.raises(RunStateError, match="not in progress"):
        run.stop()


# ---- several at once -------------------------------------------------------------------------------------------


def test_second_start_waits_for_the_first(forge: Forge, quick: Callable[..., Recipe]) -> None:
    first = forge.runs.start(quick(**LONG_RUN))
    wait_for_step(first)
    second = forge.runs.start(quick())
    time.sleep(0.2)
    assert (first.state, second.state) == (RunState.running, RunState.queued)
    assert forge.runs.current() == first.record
    first.stop()
    assert second.wait(60) is RunState.finished
    assert (first.record.finished or "") <= (second.record.started or "")
    assert forge.runs.current() is None


@pytest.mark.slow
def test_audit_19_many_starts_at_once_run_one_at_a_time_and_never_backwards(
    forge: Forge, quick: Callable[..., Recipe]
) -> None:
    recipe, count = quick(eval_split=0), 8
    handles: list[Any] = []
    states: dict[str, list[str]] = {}
    done = threading.Event()

    def watch() -> None:
        while not done.is_set():
            records = forge.runs.all()
            for record in records:
                states.setdefault(record.id, []).append(record.state.value)
            busy = [record for record in records if record.state.active and record.state is not RunState.queued]
            assert len(busy) <= 1
            time.sleep(0.005)

    watcher = threading.Thread(target=watch)
    watcher.start()
    starters = [threading.Thread(target=lambda: handles.append(forge.runs.start(recipe))) for _ in range(count)]
    for thread in starters:
        thread.start()
    for thread in starters:
        thread.join()
    assert len({handle.id for handle in handles}) == count
    assert all(handle.wait(120) is RunState.finished for handle in handles)
    done.set()
    watcher.join()

    records = sorted(forge.runs.all(), key=lambda record: record.started or "")
    assert len(records) == count
    for earlier, later in itertools.pairwise(records):
        assert (earlier.finished or "") <= (later.started or "")
    for seen in states.values():
        ranks = [RANKS[state] for state in seen]
        assert ranks == sorted(ranks)
    assert len(forge.models.all()) == count
    assert len(forge.datasets.all()) == 1


# ---- failing ---------------------------------------------------------------------------------------------------


def lose_weights(runs: Runs, base: Path) -> None:
    next(base.glob("*.safetensors")).unlink()


def damage_weights(runs: Runs, base: Path) -> None:
    file = next(base.glob("*.safetensors"))
    file.write_bytes(file.read_bytes()[:1000])


def damage_tokenizer(runs: Runs, base: Path) -> None:
    (base / "tokenizer.json").write_text("{}")


def lose_dataset(runs: Runs, base: Path) -> None:
    shutil.rmtree(paths.dataset_dir(runs.all()[0].dataset_id))


def change_dataset(runs: Runs, base: Path) -> None:
    rows = paths.dataset_dir(runs.all()[0].dataset_id) / "rows.arrow"
    rows.write_bytes(rows.read_bytes().replace(b"red", b"rad"))


STAGES = [
    (lose_weights, {}, "base model", "safetensors"),
    (damage_weights, {}, "base model", "weights"),
    (damage_tokenizer, {}, "base model", "tokenizer"),
    (lose_dataset, {}, "not found", "dataset"),
    (change_dataset, {}, "data", "changed"),
    (lambda *_: None, {"tuning.target_modules": "no_such_proj"}, "recipe", "no_such_proj"),
    (lambda *_: None, {"max_length": 8}, "training", "Nothing is left"),
]


@pytest.mark.parametrize(
    ("sabotage", "settings", "kind", "word"), STAGES, ids=["-".join(map(str, stage[2:])) for stage in STAGES]
)
def test_audit_18_failure_at_any_stage_leaves_its_log_and_no_model(
    forge: Forge, file: Path, tmp_path: Path, *, sabotage: Any, settings: dict[str, Any], kind: str, word: str
) -> None:
    base = tiny.write_base(tmp_path / "base")
    runs = Runs(forge.store, Admission(forge.datasets, forge.models), before_run=lambda: sabotage(runs, base))
    run = runs.start(tiny.recipe(base, file, settings))
    assert run.wait(60) is RunState.failed
    error = run.record.error
    assert error is not None
    assert error["kind"] == kind, error
    assert word in error["what"]
    assert error["fix"]
    last = list(run.events())[-1]
    assert last["type"] == "failed"
    assert {name: last[name] for name in error} == error
    assert sorted(tree(paths.run_dir(run.id))) == ["events.jsonl", "log.txt", "recipe.yaml"]
    assert error["what"] in (paths.run_dir(run.id) / "log.txt").read_text()
    assert run.record.model_id is None and run.record.finished
    assert not list((paths.home() / "models").glob("*")) and forge.models.all() == []


@pytest.mark.parametrize(
    ("raised", "kind", "word"),
    [
        (MemoryError(), "out of memory", "per_device_train_batch_size"),
        (RuntimeError("DefaultCPUAllocator: can't allocate memory"), "out of memory", "gradient_checkpointing"),
        (OSError(28, "No space left on device", "/some/file"), "disk", "Free some space"),
        (ZeroDivisionError("oh no"), "bug", "log"),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, Exception) else None,
)
def test_audit_18_whatever_is_raised_ends_the_run_with_a_way_out(
    forge: Forge,
    quick: Callable[..., Recipe],
    monkeypatch: pytest.MonkeyPatch,
    *,
    raised: Exception,
    kind: str,
    word: str,
) -> None:
    def fail(*_: Any, **__: Any) -> Any:
        raise raised

    monkeypatch.setattr(sft_decoder, "build_trainer", fail)
    run = forge.runs.start(quick())
    assert run.wait(60) is RunState.failed
    assert run.record.error is not None
    assert run.record.error["kind"] == kind
    assert word in run.record.error["fix"]
    assert "Traceback" in (paths.run_dir(run.id) / "log.txt").read_text()


def test_audit_18_full_disk_while_saving_spares_other_runs_and_the_next_one_works(
    forge: Forge, quick: Callable[..., Recipe], monkeypatch: pytest.MonkeyPatch
) -> None:
    earlier = forge.runs.start(quick())
    earlier.wait()
    before = tree(paths.run_dir(earlier.id)), tree(paths.home() / "models")
    really = shutil.disk_usage

    def usage(path: Any) -> Any:
        found = really(path)
        return found._replace(free=1_000_000) if Path(path).name == "models" else found

    with monkeypatch.context() as patch:
        patch.setattr(shutil, "disk_usage", usage)
        failed = forge.runs.start(quick())
        assert failed.wait(60) is RunState.failed
    assert failed.record.error is not None
    assert failed.record.error["kind"] == "disk"
    assert "0.00 GB free" in failed.record.error["what"]
    assert (tree(paths.run_dir(earlier.id)), tree(paths.home() / "models")) == before
    assert [path.name for path in (paths.home() / "models").iterdir()] == [earlier.model_id]
    assert forge.runs.start(quick()).wait(60) is RunState.finished
    assert len(forge.models.all()) == 2


def test_start_is_refused_without_a_trace_where_the_base_model_cannot_work(forge: Forge, file: Path) -> None:
    with pytest.raises(BaseModelError):
        forge.runs.start(tiny.recipe("; touch x", file))
    assert forge.runs.all() == [] and not list((paths.home() / "runs").glob("*"))


def test_dataset_in_use_is_not_deleted(forge: Forge, quick: Callable[..., Recipe]) -> None:
    run = forge.runs.start(quick(**LONG_RUN))
    with pytest.raises(RunStateError, match="in use"):
        forge.datasets.delete(run.record.dataset_id)
    run.stop()
    run.wait(60)
    forge.datasets.delete(run.record.dataset_id)


# ---- processes that are gone -----------------------------------------------------------------------------------

START_AND_WAIT = """
import sys, time
from modelforge import Forge
from tests import tiny
print(Forge().runs.start(tiny.recipe(sys.argv[1], sys.argv[2])).id, flush=True)
time.sleep(600)
"""


def test_run_of_a_killed_process_is_found_interrupted(probed: Path, base: Path, file: Path) -> None:
    command = [sys.executable, "-c", START_AND_WAIT, str(base), str(file)]
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])}
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment) as process:
        assert process.stdout is not None
        run_id = process.stdout.readline().strip()
        runs = Forge().runs
        assert runs.get(run_id).state.active  # another process's, and it lives
        process.send_signal(signal.SIGKILL)
        while psutil.Process(process.pid).status() != psutil.STATUS_ZOMBIE:
            time.sleep(0.01)
        Feed(paths.run_dir(run_id) / "events.jsonl").append([{"type": "progress", "step": 7, "total_steps": 9}])
        record = runs.get(run_id)  # dead, though nobody has asked after it yet
        assert record.state is RunState.interrupted
    assert (record.step, record.total_steps) == (7, 9) and record.finished
    assert runs.progress(record) == (7, 9)
    assert Forge().models.all() == []
    runs.delete(run_id)
    assert runs.all() == []


def a_record(**changes: Any) -> RunRecord:
    fields = {"id": paths.new_id("run"), "created": utc_now(), "state": RunState.running, "recipe": {}}
    return RunRecord(**{**fields, "dataset_id": "dataset-000000000000", "dataset_name": "x", **changes})


@pytest.mark.parametrize("pid", [None, 2**22 + 1, os.getpid()], ids=["none", "gone", "reused"])
def test_run_is_interrupted_when_its_pid_is_gone_or_somebody_elses(forge: Forge, pid: int | None) -> None:
    record = forge.store.runs.add(a_record(pid=pid, process_started=1.0))
    assert forge.runs.get(record.id).state is RunState.interrupted


def test_run_of_a_living_process_is_left_alone(forge: Forge) -> None:
    parent = psutil.Process(os.getppid())
    record = forge.store.runs.add(a_record(pid=parent.pid, process_started=find_start_time(parent)))
    assert forge.runs.get(record.id).state is RunState.running


@pytest.mark.skipif(not psutil.LINUX, reason="elsewhere a process keeps the time of its start")
def test_clock_that_is_put_right_after_a_sleep_kills_no_run(forge: Forge, monkeypatch: pytest.MonkeyPatch) -> None:
    parent = psutil.Process(os.getppid())
    record = forge.store.runs.add(a_record(pid=parent.pid, process_started=find_start_time(parent)))
    later = psutil.boot_time() + 3600
    monkeypatch.setattr(psutil._psplatform, "boot_time", lambda: later)
    assert psutil.Process(parent.pid).create_time() > parent.create_time() + 3000
    assert forge.runs.get(record.id).state is RunState.running


def test_events_of_another_process_are_followed(forge: Forge) -> None:
    parent = psutil.Process(os.getppid())
    record = forge.store.runs.add(a_record(pid=parent.pid, process_started=find_start_time(parent)))
    paths.run_dir(record.id).mkdir(parents=True)
    theirs = Feed(paths.run_dir(record.id) / "events.jsonl")
    ours = forge.runs.handle(record.id)
    assert ours.feed.since(0) == ([], 0)
    for step in (1, 2):
        theirs.append([{"type": "progress", "step": step, "total_steps": 2}])
        events, cursor = ours.feed.since(step - 1)
        assert ([event["step"] for event in events], cursor) == ([step], step)
    assert ours.feed is ours.feed  # read again only when it has changed


@pytest.mark.slow
def test_fault_04_view_of_a_run_of_another_process_follows_it_after_it_is_resumed_here(
    forge: Forge, quick: Callable[..., Recipe]
) -> None:
    theirs, views = Forge().runs.start(quick(max_steps=40)), Views(forge)
    for step in (1, 2):
        wait_for_step(theirs, step)
        view = views.refreshed(theirs.id)
        assert view.latest["progress"]["step"] >= step
    assert re.fullmatch(r"Training \d+%", header.show(forge)[1].value)  # type: ignore[attr-defined]
    theirs.pause()
    assert theirs.wait(60) is RunState.paused
    ours = forge.runs.resume(theirs.id)
    assert ours.wait(60) is RunState.finished
    view = views.refreshed(theirs.id)
    assert view.latest["finished"]["model_id"] == ours.model_id
    assert [step for step, _ in view.curves["loss"]] == list(range(1, 41))
    assert forge.runs.feed(ours.id) is ours.feed
    forge.runs.delete(ours.id)
    assert forge.runs.feed(ours.id).since(0) == ([], 0)


# ---- the end of a run ------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_fault_11_run_resumed_before_its_worker_has_left_it_is_not_over(
    forge: Forge, quick: Callable[..., Recipe], monkeypatch: pytest.MonkeyPatch
) -> None:
    run = forge.runs.start(quick(max_steps=40))
    wait_for_step(run, 2)
    update, resumed = forge.store.runs.update, threading.Event()

    def resume_at_once(run_id: str, **changes: Any) -> RunRecord:
        """As somebody who presses Resume the moment that the run is shown as paused."""
        record = update(run_id, **changes)
        if changes.get("state") is RunState.paused:
            run.resume()
            resumed.set()
        return record

    monkeypatch.setattr(forge.store.runs, "update", resume_at_once)
    run.pause()
    assert resumed.wait(60)
    assert run.wait(60) is RunState.finished
    assert run.record.step == 40


@pytest.mark.parametrize(("failures", "state"), [(1, RunState.finished), (99, RunState.failed)])
def test_fault_14_run_whose_end_cannot_be_written_does_not_stay_running(
    forge: Forge, quick: Callable[..., Recipe], monkeypatch: pytest.MonkeyPatch, failures: int, state: RunState
) -> None:
    update, left = forge.store.runs.update, [OSError(28, "No space left on device")] * failures

    def fail(run_id: str, **changes: Any) -> RunRecord:
        if changes.get("state") is RunState.finished and left:
            raise left.pop()
        return update(run_id, **changes)

    monkeypatch.setattr(forge.store.runs, "update", fail)
    run = forge.runs.start(quick())
    assert run.wait(60) is state
    record, last = run.record, list(run.events())[-1]
    assert (last["type"], last["model_id"]) == (state.value, record.model_id)
    assert record.finished and record.step == 1 and forge.models.find(record.model_id or "")
    assert record.error is None if state is RunState.finished else record.error and record.error["kind"] == "disk"
    assert forge.runs.start(quick()).wait(60) is state  # the worker lives


def test_fault_14_end_that_the_registry_refuses_is_written_as_soon_as_it_can_be(
    forge: Forge, quick: Callable[..., Recipe]
) -> None:
    run = forge.runs.start(quick(**LONG_RUN))
    wait_for_step(run, 2)
    obstacle = Path(f"{paths.database()}.tmp")
    obstacle.mkdir()  # where each new state of the registry is written first
    with contextlib.suppress(StoreError):
        run.stop()
    assert run.wait(60).active
    assert run.feed.latest["failed"]["kind"] == "store"
    obstacle.rmdir()
    assert run.state is RunState.failed
    assert run.record.finished and run.record.error == {
        name: run.feed.latest["failed"][name] for name in ("kind", "what", "where", "fix")
    }


def test_template_of_a_base_model_cannot_harm_the_queue(
    forge: Forge, quick: Callable[..., Recipe], base: Path, tmp_path: Path
) -> None:
    hostile = Path(shutil.copytree(base, tmp_path / "hostile"))
    (hostile / "chat_template.jinja").write_text("{{ 'a' * 10**10 }}")
    run = forge.runs.start(quick(base_model=str(hostile)))
    assert run.wait(60) is RunState.failed
    assert run.record.error and "chat template of this base model was stopped" in run.record.error["what"]
    assert forge.runs.start(quick()).wait(60) is RunState.finished


def test_fault_14_run_that_cannot_even_begin_ends_as_failed(forge: Forge, quick: Callable[..., Recipe]) -> None:
    first = forge.runs.start(quick(**LONG_RUN))
    wait_for_step(first)
    second = forge.runs.start(quick())
    (paths.run_dir(second.id) / "log.txt").mkdir()  # its log cannot be opened
    first.stop()
    assert second.wait(60) is RunState.failed
    assert second.record.error and second.record.error["fix"]


def test_fault_16_only_a_run_behind_another_is_said_to_wait_for_one(forge: Forge, quick: Callable[..., Recipe]) -> None:
    gate = threading.Event()
    runs = Runs(forge.store, Admission(forge.datasets, forge.models), before_run=lambda: gate.wait(60) and None)
    forge.runs = runs
    words = "Another run is in progress".lower()
    first = runs.start(quick())
    as_queued = first.record.model_copy(update={"state": RunState.queued})  # as it is until the worker takes it
    views = Views(forge)
    assert words not in show_run(as_queued, views.refreshed(first.id))[0].lower()
    second = runs.start(quick())
    assert words in show_run(second.record, views.refreshed(second.id))[0].lower()
    assert (runs.is_waiting(first.id), runs.is_waiting(second.id)) == (False, True)
    gate.set()
    assert second.wait(60) is RunState.finished and not runs.is_waiting(second.id)


# ---- deleting --------------------------------------------------------------------------------------------------


def test_delete_removes_log_and_events_and_leaves_the_model(forge: Forge, quick: Callable[..., Recipe]) -> None:
    run = forge.runs.start(quick(**LONG_RUN))
    wait_for_step(run)
    with pytest.raises(RunStateError, match="Stop it first"):
        forge.runs.delete(run.id)
    run.stop()
    run.wait(60)
    model_id = run.model_id
    assert forge.runs.delete(run.id[:8]) == run.id
    assert not paths.run_dir(run.id).exists()
    assert [record.id for record in forge.models.all()] == [model_id]
    with pytest.raises(NotFoundError):
        forge.runs.get(run.id)
