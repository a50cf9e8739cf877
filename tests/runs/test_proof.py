"""A finished run as a recipe with a proof; the recipe trained again, and what is found when anything differs."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from modelforge import Forge
from modelforge.base_model import revision
from modelforge.cli import main
from modelforge.errors import RecipeError, RunStateError
from modelforge.recipe import Recipe, read_proof
from modelforge.runs.proof import TOLERANCE
from modelforge.store import RunState
from tests import tiny
from tests.machine import live_in

SETTINGS = {"max_steps": 4, "evaluations": 2, "eval_split": 0.25, "learning_rate": 1e-2, "seed": 3, "name": "Colours"}


@pytest.fixture(scope="module")
def proven(measured: Path, base: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, str, Path]]:
    """(id of a finished run, its recipe with the proof, the file that it was trained on); the home is that of the run
    for as long as the tests here last."""
    folder = tmp_path_factory.mktemp("proven")
    with live_in(folder / "home", measured):
        file = tiny.write_rows(folder / "colours.jsonl")
        run = Forge().runs.start(tiny.recipe(base, file, SETTINGS))
        assert run.wait(120) is RunState.finished
        yield run.id, Forge().runs.write_proof(run.id), file


@pytest.fixture(autouse=True)
def in_its_home(proven: Any, home: Path, monkeypatch: pytest.MonkeyPatch, tmp_path_factory: Any) -> None:
    """Each test in the home of the run."""
    monkeypatch.setenv("MODELFORGE_HOME", str(proven[2].parent / "home"))


@pytest.fixture
def train(
    proven: tuple[str, str, Path], tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> Callable[..., tuple[int, Any, str]]:
    """train("--verify", text=YAML) -> (exit code, last line of JSON on stdout or None, stderr)."""

    def run(*options: str, text: str = proven[1]) -> tuple[int, Any, str]:
        (tmp_path / "that.yaml").write_text(text, encoding="utf-8")
        capfd.readouterr()
        code = main(["train", str(tmp_path / "that.yaml"), "--json", *options])
        printed = capfd.readouterr()
        lines = printed.out.splitlines()
        return code, json.loads(lines[-1]) if lines else None, printed.err

    return run


def edit(text: str, change: Callable[[dict[str, Any]], Any]) -> str:
    loaded = yaml.safe_load(text)
    change(loaded["proof"])
    return yaml.safe_dump(loaded, sort_keys=False)


def count_runs() -> int:
    return len(Forge().runs.all())


def test_proof_says_what_was_trained_on_what_with_and_what_came_of_it(proven: tuple[str, str, Path]) -> None:
    run_id, text, _ = proven
    record = Forge().runs.get(run_id)
    proof = read_proof(text, where="that.yaml")
    columns = Forge().store.datasets.get(record.dataset_id).columns
    assert Recipe.from_yaml(text) == Recipe.build({**record.recipe, "columns": columns})
    assert proof.data.sha256 == Forge().store.datasets.get(record.dataset_id).sha256
    assert proof.base_model.startswith("sha256:") and proof.parent == ""
    assert {"python", "modelforge", "torch", "transformers", "trl", "peft"} <= proof.versions.keys()
    assert {"device", "dtype", "threads"} <= proof.machine.keys() and proof.machine["dtype"] == "float32"
    events, _ = Forge().runs.feed(run_id).since(0)
    losses = {event["step"]: event["loss"] for event in events if event["type"] == "progress"}
    assert dict(zip(proof.curve["loss"].steps, proof.curve["loss"].values, strict=True)) == pytest.approx(
        losses, rel=1e-5
    )
    assert proof.curve["eval_loss"].steps == [0, 2, 4]
    assert proof.metrics["loss"] == pytest.approx(record.metrics["tuned"]["loss"], rel=1e-5)


def test_same_recipe_gives_the_same_curve(train: Callable[..., Any]) -> None:
    code, verified, _ = train("--verify")
    assert code == 0
    assert verified["type"] == "verified" and verified["matches"] and verified["difference"] is None
    assert verified["tolerance"] == TOLERANCE and verified["changes"] == []


def test_other_curve_is_found_with_its_first_difference_and_possible_reasons(
    proven: tuple[str, str, Path], train: Callable[..., Any]
) -> None:
    def change(proof: dict[str, Any]) -> None:
        proof["curve"]["loss"]["values"][2] += 1.0
        proof["versions"]["torch"] = "1.0"
        proof["machine"]["dtype"] = "bfloat16"

    code, verified, _ = train("--verify", text=edit(proven[1], change))
    assert code == 1 and not verified["matches"]
    assert (verified["difference"]["curve"], verified["difference"]["step"]) == ("loss", 3)
    assert verified["difference"]["expected"] == pytest.approx(verified["difference"]["found"] + 1.0, abs=0.01)
    assert [change.partition(":")[0] for change in verified["changes"]] == ["torch", "dtype"]


def test_other_data_are_refused_before_training(
    proven: tuple[str, str, Path], train: Callable[..., Any], tmp_path: Path
) -> None:
    before = count_runs()
    other = tiny.write_rows(tmp_path / "colours.jsonl", tiny.PAIRS[4:20])
    code, printed, error = train("--verify", "--set", f"dataset={other}")
    assert (code, printed) == (1, None) and "not the examples that were trained on" in error
    assert count_runs() == before
    code, verified, _ = train("--verify", "--set", f"dataset={proven[2]}")  # the same file by its name
    assert code == 0 and verified["matches"]


def test_other_base_model_is_refused_before_training(train: Callable[..., Any], tmp_path: Path) -> None:
    before = count_runs()
    other = tiny.write_base(tmp_path / "other", initializer_range=0.1)
    code, printed, error = train("--verify", "--set", f"base_model={other}")
    assert (code, printed) == (1, None) and "another revision of the model" in error
    assert count_runs() == before


@pytest.mark.parametrize(
    ("options", "change", "said"),
    [
        (["--set", "seed=4"], lambda text: text, "seed cannot be set"),
        ([], lambda text: text.partition("proof:")[0], "no proof"),
        ([], lambda text: edit(text, lambda proof: proof["curve"]["loss"]["steps"].pop()), "proof is damaged"),
        ([], lambda text: edit(text, lambda proof: proof.pop("data")), "proof.data"),
        ([], lambda text: "proof: [1", "not valid YAML"),
    ],
    ids=["setting", "none", "lengths", "no hash", "not YAML"],
)
def test_what_cannot_be_verified_is_refused_with_a_sentence(
    proven: tuple[str, str, Path], train: Callable[..., Any], options: list[str], change: Any, said: str
) -> None:
    code, printed, error = train("--verify", *options, text=change(proven[1]))
    assert (code, printed) == (1, None) and said in error and "Traceback" not in error


def test_recipe_with_a_proof_trains_like_any_other(train: Callable[..., Any]) -> None:
    code, last, _ = train("--set", "max_steps=1")
    assert code == 0 and last["type"] == "finished"


def test_command_prints_the_recipe(proven: tuple[str, str, Path], capfd: pytest.CaptureFixture[str]) -> None:
    assert main(["runs", "show", proven[0], "--recipe"]) == 0
    assert capfd.readouterr().out.strip() == proven[1].strip()


def test_only_a_finished_run_with_its_events_gives_a_proof(proven: tuple[str, str, Path]) -> None:
    forge = Forge()
    record = forge.runs.get(proven[0]).model_copy(update={"id": "run-0123456789ab", "state": RunState.stopped})
    forge.store.runs.add(record)
    with pytest.raises(RunStateError, match="Only a finished run"):
        forge.runs.write_proof(record.id)
    forge.store.runs.update(record.id, state=RunState.finished)
    with pytest.raises(RunStateError, match="not recorded"):
        forge.runs.write_proof(record.id)
    forge.runs.delete(record.id)


def test_block_is_a_setting_nowhere_else() -> None:
    with pytest.raises(RecipeError, match="no setting 'proof'"):
        Recipe.build({"proof": {}})


# ---- revisions -------------------------------------------------------------------------------------------------


def test_revision_of_a_snapshot_is_its_commit(tmp_path: Path) -> None:
    folder = tmp_path / "snapshots" / ("a1" * 20)
    folder.mkdir(parents=True)
    assert revision.find_revision(folder) == f"commit:{'a1' * 20}"


@pytest.mark.parametrize("largest", [revision.LARGE_BYTES, 1000], ids=["sha256", "blocks"])
def test_revision_of_a_folder_changes_with_its_weights_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, largest: int
) -> None:
    monkeypatch.setattr(revision, "LARGE_BYTES", largest)
    folder = tmp_path / "model"
    folder.mkdir()
    weights = folder / "model.safetensors"
    weights.write_bytes(b"a" * 100_000 + b"b")
    first = revision.find_revision(folder)
    assert first.startswith("sha256:" if largest > 1000 else "blocks:")
    (folder / "modelforge.json").write_text("{}")
    (folder / "README.md").write_text("words")
    assert revision.find_revision(folder) == first
    weights.write_bytes(b"a" * 100_000 + b"c")
    assert revision.find_revision(folder) != first
