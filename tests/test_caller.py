"""What each person may name, use and start, and that it holds for every way to start."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from modelforge import Forge, caller, paths, quotas
from modelforge.caller import OWNER, Caller, acting_as
from modelforge.errors import AccessError, ModelForgeError, NotFoundError
from modelforge.recipe import Recipe
from modelforge.store import RunRecord, RunState, utc_now
from tests import tiny
from tests.browser.drive import environment_of
from tests.hub_server import HubServer
from tests.machine import base as tiny_base
from tests.machine import measured, probed

__all__ = ["measured", "probed", "tiny_base"]

ANNA = Caller("anna", "anna", is_owner=False, is_local=False)
BERT = Caller("bert", "bert", is_owner=False, is_local=False)
AFAR = Caller("", "omar", is_owner=True, is_local=False)


@pytest.fixture
def forge(probed: Path) -> Iterator[Forge]:
    yield Forge()


@pytest.mark.parametrize("person", [ANNA, AFAR], ids=["member", "owner from afar"])
@pytest.mark.parametrize("setting", ["dataset", "eval_dataset", "base_model"])
def test_from_afar_nobody_names_a_file_or_folder_however_a_run_is_started(
    forge: Forge, tmp_path: Path, tiny_base: Path, person: Caller, setting: str
) -> None:
    secret = tiny.write_jsonl(tmp_path / "secret.jsonl", tiny.user_rows("chat"))
    sample = "Customer questions"
    recipe = Recipe().with_settings({"dataset": sample, "max_steps": 1})
    named = str(tiny_base if setting == "base_model" else secret)
    changed = recipe.with_settings({setting: named})
    with acting_as(person):
        for start in (lambda: forge.runs.start(changed), lambda: forge.runs.start_sweep(recipe, {setting: [named]})):
            with pytest.raises(ModelForgeError) as refused:
                start()
            assert setting in str(refused.value) or "no dataset" in str(refused.value)
        assert not forge.datasets.all() or all(each.name == sample for each in forge.datasets.all())
    assert not forge.runs.all()


def test_same_file_of_two_people_is_two_datasets_and_each_deletes_only_their_own(forge: Forge, tmp_path: Path) -> None:
    file = tiny.write_jsonl(tmp_path / "same.jsonl", tiny.user_rows("chat"))
    made = {}
    for person in ("anna", "bert"):
        with acting_as(Caller(person, person, is_owner=False)):
            made[person] = forge.datasets.resolve(str(file), Recipe()).id
            assert [each.id for each in forge.datasets.all()] == [made[person]]
    assert made["anna"] != made["bert"]
    with acting_as(BERT):
        with pytest.raises(NotFoundError):
            forge.datasets.delete(made["anna"])
        forge.datasets.delete(made["bert"])
    assert [each.id for each in forge.datasets.all()] == [made["anna"]]
    assert len(forge.datasets.rows(made["anna"])) == 16


def test_a_run_trains_for_its_person_and_the_model_is_theirs(forge: Forge, tmp_path: Path, tiny_base: Path) -> None:
    anna = Caller("anna", "anna", is_owner=False)
    file = tiny.write_jsonl(tmp_path / "rows.jsonl", tiny.user_rows("chat"))
    with acting_as(anna):
        run = forge.runs.start(tiny.recipe(tiny_base, file))
        assert run.wait(120) is RunState.finished
        assert run.record.owner == forge.models.find(run.model_id or "").owner == "anna"
        assert forge.models.manifest(forge.models.find(run.model_id or ""))["owner"] == "anna"
    with acting_as(BERT):
        assert not forge.runs.all() and not forge.models.all()
        for ask in (forge.runs.get, forge.runs.feed, forge.runs.stop, forge.runs.delete, forge.models.find):
            with pytest.raises(NotFoundError):
                ask(run.model_id if ask == forge.models.find else run.id)  # type: ignore[operator]
    assert [each.id for each in forge.models.all()] == [run.model_id]


def test_what_says_for_nobody_whom_it_runs_may_do_nothing_in_a_shared_app(
    forge: Forge, monkeypatch: pytest.MonkeyPatch
) -> None:
    with acting_as(ANNA):
        dataset = forge.datasets.resolve("Customer questions", Recipe())
    monkeypatch.setattr(caller, "_otherwise", caller.STRANGER)
    assert not forge.datasets.all()
    with pytest.raises(AccessError):
        forge.store.datasets.update(dataset.id, name="x")
    with pytest.raises(AccessError):
        forge.runs.start(Recipe(dataset="Customer questions"))


def test_queue_takes_turns_between_people_and_keeps_each_ones_order(forge: Forge) -> None:
    from modelforge.runs.feed import Feeds
    from modelforge.runs.worker import Submission, Worker

    worker = Worker(forge.store, lambda: None, Feeds())
    order = ("a1", "a2", "a3", "b1", "c1", "b2")
    people = {"a": ANNA, "b": BERT, "c": OWNER}
    worker._waiting = [Submission(name, people[name[0]]) for name in order]
    assert worker.waiting() == ("a1", "b1", "c1", "a2", "b2", "a3")
    worker._running = Submission("a0", ANNA)
    assert worker.waiting() == ("b1", "c1", "a1", "b2", "a2", "a3")
    worker._submissions = {each.run_id: each for each in worker._waiting}
    worker.move("a3", 0)
    assert worker.waiting() == ("b1", "c1", "a3", "b2", "a1", "a2")


def test_quotas_say_their_number_and_hold_for_everybody_but_the_owner(
    forge: Forge, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(quotas, "_limits", quotas.read("rows=10 runs=1"))
    file = tiny.write_jsonl(tmp_path / "rows.jsonl", tiny.user_rows("chat"))
    with acting_as(Caller("anna", "anna", is_owner=False)):
        with pytest.raises(AccessError, match="may have 10 rows here; this one has 16"):
            forge.datasets.resolve(str(file), Recipe())
        monkeypatch.setattr(quotas, "_limits", quotas.read("runs=1"))
        dataset = forge.datasets.resolve(str(file), Recipe())
        waits = RunRecord(
            id="run-0123456789ab", owner="anna", state=RunState.queued, recipe={}, dataset_id=dataset.id,
            dataset_name="x", created=utc_now(),
        )  # fmt: skip
        forge.store.runs.add(waits)
        with pytest.raises(AccessError, match="1 runs in the queue"):
            quotas.check_runs(forge.store, 1)
        monkeypatch.setattr(quotas, "_limits", quotas.read("disk_gb=0"))
        with pytest.raises(AccessError, match="may use 0 GB"):
            forge.datasets.resolve("Customer questions", Recipe())
        answered = paths.batch_dir("batch-0123456789ab")
        answered.mkdir(parents=True)
        before = quotas.used_bytes(forge.store)
        for owner, more in (("bert", 0), ("anna", 1000)):
            (answered / "batch.json").write_text(json.dumps({"owner": owner}).ljust(1000), encoding="utf-8")
            assert quotas.used_bytes(forge.store) == before + more
    forge.datasets.resolve(str(file), Recipe())
    with pytest.raises(AccessError, match="is not a quota"):
        quotas.read("rows=many")


def test_a_run_of_somebody_with_a_limit_ends_in_time_and_keeps_its_model(
    forge: Forge, tmp_path: Path, tiny_base: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(quotas, "_limits", quotas.read(f"run_hours={8 / 3600}"))
    file = tiny.write_jsonl(tmp_path / "rows.jsonl", tiny.user_rows("chat"))
    with acting_as(Caller("anna", "anna", is_owner=False)):
        run = forge.runs.start(tiny.recipe(tiny_base, file, max_steps=100_000))
        assert run.wait(120) is RunState.stopped
        assert run.model_id
        assert any("the limit for each person's runs" in event.get("message", "") for event in run.events())


ASK_FOR_A_PRIVATE_MODEL = """
import sys
from modelforge import base_model, hardware
from modelforge.caller import OWNER, Caller, acting_as
from modelforge.recipe import Task
people = {"owner": OWNER, "member": Caller("anna", "anna", is_owner=False, is_local=False),
          "visitor": Caller("hf:1", "bert", is_owner=False, is_local=False, token="hf_bert")}
with acting_as(people[sys.argv[1]]):
    found = base_model.look("omar/private", Task.TEXT_GENERATION)
print(found.verdict, found.sentence)
"""


@pytest.mark.parametrize(("person", "sees"), [("owner", True), ("member", False), ("visitor", False)])
def test_private_models_of_the_owner_are_found_by_nobody_else(
    home: Path, tmp_path: Path, tiny_base: Path, person: str, sees: bool
) -> None:
    files = {name: (tiny_base / name).read_bytes() for name in ("config.json", "tokenizer_config.json")}
    with HubServer(tokens={"hf_omar": "omar", "hf_bert": "bert"}) as hub:
        files["model.safetensors"] = (tiny_base / "model.safetensors").read_bytes()
        hub.repos["omar/private"] = {"private": True, "files": files, "commits": []}
        settings = {"HF_ENDPOINT": hub.url, "HF_TOKEN": "hf_omar", "HF_HUB_OFFLINE": "0", "HF_HOME": str(tmp_path)}
        command = [sys.executable, "-c", ASK_FOR_A_PRIVATE_MODEL, person]
        done = subprocess.run(
            command, env=environment_of(home, **settings), capture_output=True, text=True, check=True, timeout=120
        )
    assert ("or it is private" in done.stdout) is not sees, done.stdout
