"""Every cell of task x method x tuning x architecture that a processor can do is trained for real, through a Forge.

The cells are found by walking what is declared, so a new task, method or tuning is in here without another line, and
one that is neither trained nor refused with a sentence fails. All cells (a few of each kind, but for `make test-slow`)
are trained once; their models are then loaded by one other process, which asks each what it was asked at the end of its
training.
"""

from __future__ import annotations

import itertools
import json
import math
import re
import shutil
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple, get_args

import pytest
import torch
from safetensors.torch import load_file, save_file

from modelforge import Forge, paths
from modelforge.architecture import ARCHITECTURES
from modelforge.choices.combinations import check_architecture, check_combination, check_method, check_tuning
from modelforge.choices.methods import METHODS
from modelforge.choices.tunings import TUNINGS
from modelforge.errors import NotFoundError, RecipeError
from modelforge.hardware import DeviceKind
from modelforge.models.folder import read_manifest
from modelforge.models.sampling import Sampling
from modelforge.recipe import Recipe, Task
from modelforge.store import RunState
from modelforge.tasks import SHAPES
from modelforge.tasks.summarization import read_pair
from modelforge.training import run as runs
from modelforge.training import samples
from tests import tiny
from tests.machine import live_in
from tests.programs import Programs


class Cell(NamedTuple):
    task: Task
    method: str
    architecture: str
    tuning: str

    @property
    def settings(self) -> dict[str, Any]:
        return {"task": self.task.value, "method": self.method, "tuning.type": self.tuning} | OF_METHOD[self.method]


# Answers of up to eight tokens are short of three words at the start: there is something to be learnt.
REWARDS = [{"type": "length", "least": 3, "most": 8}]
STEPS = 12
OF_METHOD: dict[str, dict[str, Any]] = {
    "sft": {},
    "dpo": {},
    "kto": {},
    "grpo": {
        "grpo.rewards": REWARDS,
        "grpo.max_completion_length": 8,
        "learning_rate": 3e-2,
        "per_device_train_batch_size": 8,
        "max_steps": 48,
    },
}
"""What a recipe needs besides, to learn something in a few steps."""

DEVICES = get_args(DeviceKind)
WALK = [(Cell(*names), device) for *names, device in itertools.product(Task, METHODS, ARCHITECTURES, TUNINGS, DEVICES)]


def allow(cell: Cell, device: DeviceKind) -> bool:
    try:
        recipe = Recipe().with_settings(cell.settings)
        check_combination(recipe, architecture=ARCHITECTURES[cell.architecture], device=device)
    except RecipeError:
        return False
    return True


CELLS = [cell for cell, device in WALK if device == "cpu" and allow(cell, device)]


def choose_few(cells: Sequence[Cell]) -> Iterator[Cell]:
    """One of each task, method and architecture; the tunings take turns."""
    groups = itertools.groupby(cells, lambda cell: cell[:3])
    for place, group in enumerate([*each] for _, each in groups):
        yield group[place % len(group)]


FEW = [*choose_few(CELLS)]
each_cell = pytest.mark.parametrize(
    "cell", [cell if cell in FEW else pytest.param(cell, marks=pytest.mark.slow) for cell in CELLS], ids="/".join
)


def shape_of(cell: Cell) -> str:
    """The form of rows that the method trains for the task."""
    return next(name for name, shape in SHAPES.items() if shape.task is cell.task and cell.method in shape.methods)


# ---- what is allowed, and what is said of the rest -------------------------------------------------------------


@pytest.mark.parametrize(("cell", "device"), WALK, ids=lambda part: "/".join(part) if isinstance(part, tuple) else part)
def test_audit_20_each_combination_is_trained_or_refused_with_what_works(cell: Cell, device: DeviceKind) -> None:
    recipe = Recipe().with_settings(cell.settings)
    try:
        check_combination(recipe, architecture=ARCHITECTURES[cell.architecture], device=device)
    except RecipeError as refusal:
        assert refusal.what.endswith(".") and refusal.fix.endswith(".")
        follow_advice(refusal, cell, device)
    else:
        assert cell in CELLS or device != "cpu"


def follow_advice(refusal: RecipeError, cell: Cell, device: DeviceKind) -> None:
    """Change the setting that a refusal names as it says, and that setting is refused no longer."""
    if refusal.where == "setting method":
        [other] = re.findall(r"^Use (\w+)\.", refusal.fix)
        assert cell.method in refusal.what and cell.task.value in refusal.what
        check_method(cell.task, other)
    elif refusal.where == "setting base_model":
        named = [each for each in ARCHITECTURES.values() if each.example in refusal.fix]
        assert named and cell.architecture in refusal.what and cell.method in refusal.what
        for each in named:
            check_architecture(cell.task, cell.method, each)
    else:
        assert refusal.where == "setting tuning.type"
        [other] = re.findall(r"^Use (\w+)\.", refusal.fix)
        check_tuning(other, device)


@pytest.mark.parametrize(("shape", "method"), itertools.product(SHAPES, METHODS))
def test_each_form_of_rows_is_trained_by_its_methods_and_refused_to_others(shape: str, method: str) -> None:
    task = SHAPES[shape].task
    if method in SHAPES[shape].methods:
        check_method(task, method, shape)
        return
    with pytest.raises(RecipeError) as caught:
        check_method(task, method, shape)
    assert caught.value.where == "setting method"
    assert SHAPES[shape].title.lower() in caught.value.what
    [other] = re.findall(r"^Use (\w+)\.", caught.value.fix)
    check_method(task, other, shape)


def test_every_task_method_tuning_and_architecture_is_in_some_cell() -> None:
    assert {cell.task for cell in CELLS} == {*Task}
    assert {cell.method for cell in CELLS} == {*METHODS}
    assert {cell.tuning for cell in CELLS} == {*TUNINGS}
    assert {cell.architecture for cell in CELLS} == {*ARCHITECTURES}


# ---- all cells, trained ----------------------------------------------------------------------------------------


@dataclass
class Trained:
    """A run of a cell, seen from outside. before, after: the state of the whole model around the training.
    trainable: names of the weights that were set to be trained."""

    run: Any
    model: Any = None
    before: dict[str, torch.Tensor] = field(default_factory=dict)
    after: dict[str, torch.Tensor] = field(default_factory=dict)
    trainable: set[str] = field(default_factory=set)
    events: list[dict[str, Any]] = field(default_factory=list)

    @property
    def manifest(self) -> dict[str, Any]:
        return read_manifest(self.run.model_id)

    @property
    def folder(self) -> Path:
        return paths.model_dir(self.run.model_id)

    def of(self, kind: str) -> list[dict[str, Any]]:
        return [event for event in self.events if event["type"] == kind]

    @property
    def losses(self) -> list[float]:
        return [event["loss"] for event in self.of("progress")]


def copy_state(model: Any) -> dict[str, torch.Tensor]:
    return {name: part.detach().clone() for name, part in model.state_dict().items() if torch.is_tensor(part)}


class Trainings:
    """Trains recipes of a cell through one Forge; a model is looked at as it goes into its trainer and as it left."""

    def __init__(self, folder: Path, patch: pytest.MonkeyPatch) -> None:
        self.home = paths.home()
        self.forge = Forge()
        self.bases = {name: write(folder / name) for name, write in tiny.WRITERS.items()}
        self.files = {shape: tiny.write_jsonl(folder / f"{shape}.jsonl", tiny.user_rows(shape)) for shape in SHAPES}
        self.seen = Trained(None)
        tune = runs.tune

        def watch(*given: Any, **more: Any) -> Any:
            model = tune(*given, **more)
            self.seen.model, self.seen.before = model, copy_state(model)
            self.seen.trainable = {name for name, part in model.named_parameters() if part.requires_grad}
            return model

        patch.setattr(runs, "tune", watch)

    def recipe(self, cell: Cell, /, **settings: Any) -> Recipe:
        quick = {
            "max_steps": STEPS,
            "max_target_length": 16,
            "learning_rate": 1e-2,
            "lr_scheduler_type": "constant",
            "per_device_train_batch_size": 4,
            "evaluations": 1,
            "eval_split": 0.25,
        }
        return tiny.recipe(
            self.bases[cell.architecture], self.files[shape_of(cell)], {**quick, **cell.settings, **settings}
        )

    def start(self, cell: Cell, /, **settings: Any) -> Any:
        recipe = self.recipe(cell, **settings)
        self.seen = Trained(None)
        self.seen.run = self.forge.runs.start(recipe)
        return self.seen.run

    def train(self, cell: Cell, /, **settings: Any) -> Trained:
        self.start(cell, **settings).wait(100)
        seen = self.seen
        seen.events = list(seen.run.events())
        if seen.model is not None:
            seen.after = copy_state(seen.model)
            seen.model = None
        return seen


@pytest.fixture(scope="module")
def trainings(tmp_path_factory: pytest.TempPathFactory, measured: Path) -> Iterator[Trainings]:
    with live_in(tmp_path_factory.mktemp("matrix") / "home", measured), pytest.MonkeyPatch.context() as patch:
        yield Trainings(tmp_path_factory.mktemp("files"), patch)


@pytest.fixture(autouse=True)
def home(trainings: Trainings) -> Path:
    """All tests here share the home of the trainings."""
    return trainings.home


@pytest.fixture(scope="module")
def trained(trainings: Trainings) -> Mapping[Cell, Trained]:
    """Cell -> its run, trained when it is first asked for; those that failed too."""

    class Runs(dict[Cell, Trained]):
        def __missing__(self, cell: Cell) -> Trained:
            return self.setdefault(cell, trainings.train(cell))

    return Runs()


@pytest.fixture
def one(trained: Mapping[Cell, Trained], cell: Cell) -> Trained:
    """The run of the test's cell, finished."""
    found = trained[cell]
    assert found.run.state is RunState.finished, found.run.record.error
    return found


@each_cell
def test_every_trained_weight_moves_and_no_frozen_one_does(one: Trained, cell: Cell) -> None:
    assert one.trainable
    assert one.before.keys() == one.after.keys()  # also: no copy of the adapter is left in the model
    moved = {name for name, part in one.before.items() if not torch.equal(part, one.after[name])}
    if cell.tuning == "full":
        assert {name for name in one.before if name not in one.trainable} <= SHARED | moved
        moved &= one.trainable
    assert moved == one.trainable


SHARED = {"lm_head.weight", "encoder.embed_tokens.weight", "decoder.embed_tokens.weight"}
"""Other names of one and the same matrix; `named_parameters` has it once."""


@each_cell
def test_adapter_has_a_place_in_every_layer_and_full_trains_all_there_is(one: Trained, cell: Cell) -> None:
    if cell.tuning == "full":
        assert one.trainable == {name for name in one.before if name not in SHARED}
        return
    layers = {name for name in one.trainable if "lora_" in name}
    heads = {name for name in one.trainable if ".modules_to_save.default." in name}
    in_a_layer = {"decoder": 7, "encoder-decoder": 6 + 10, "encoder": 6}[
        cell.architecture
    ]  # matrices of T5: both stacks
    assert len(layers) == 2 * 2 * in_a_layer
    assert len(heads) == (2 if cell.architecture == "encoder" else 0)
    assert one.trainable == layers | heads
    for name in heads:  # the base model's own copy of the head stays as it was
        own = name.replace("modules_to_save.default", "original_module")
        assert torch.equal(one.before[own], one.before[name]) and not torch.equal(one.after[own], one.after[name])


@each_cell
def test_weights_are_kept_in_the_format_of_the_tuning(one: Trained, cell: Cell) -> None:
    packed = {name for name, part in one.before.items() if part.dtype == torch.uint8 and name.endswith(".weight")}
    assert bool(packed) is (cell.tuning == "qlora")
    assert {one.after[name].dtype for name in one.trainable} == {torch.float32}


@each_cell
def test_run_learns_what_can_be_learnt(one: Trained, cell: Cell) -> None:
    measured = one.manifest["metrics"]
    if cell.method == "grpo":
        assert measured["verdict"]["metric"] == "mean_reward"  # of three rows, which say little about 4 bits
        rewards = [event["reward"] for event in one.of("progress")]
        assert sum(rewards[-8:]) > sum(rewards[:8])
        return
    assert len(one.losses) == STEPS and all(math.isfinite(loss) for loss in one.losses)
    assert sum(one.losses[-3:]) < 0.85 * sum(one.losses[:3])
    assert measured["tuned"]["loss"] < measured["base"]["loss"]


@each_cell
def test_saved_files_hold_what_was_trained(one: Trained, cell: Cell) -> None:
    if cell.tuning == "full":
        saved = load_file(one.folder / "model.safetensors")
        assert one.trainable <= saved.keys() | SHARED
        expected = {name: one.after[name] for name in saved}
    else:
        saved = load_file(one.folder / "adapter_model.safetensors")
        expected = {re.sub(r"\.(modules_to_save\.)?default\b", "", name): one.after[name] for name in one.trainable}
        assert saved.keys() == expected.keys()
    for name, part in saved.items():
        assert torch.equal(part, expected[name]), name
    assert (one.folder / "tokenizer.json").exists()


@each_cell
def test_manifest_says_what_was_trained(one: Trained, cell: Cell) -> None:
    manifest = one.manifest
    assert Cell(Task(manifest["task"]), manifest["method"], manifest["architecture"], manifest["tuning"]) == cell
    assert manifest["parent"] is None and manifest["steps"] == one.run.record.total_steps
    assert manifest["dataset"]["has_unanswerable"] is (cell.architecture == "encoder")
    assert manifest["metrics"]["base"].keys() == manifest["metrics"]["tuned"].keys() >= {"loss"}


# ---- in a new process ------------------------------------------------------------------------------------------

ELSEWHERE = """
import json, sys
from modelforge import Forge
from modelforge.models.evaluate import read_held_out
from modelforge.models.sampling import Sampling
from modelforge.recipe import Recipe
from modelforge.tasks.summarization import read_pair

forge, short, told = Forge(), Sampling(max_new_tokens=6), {}
for model_id in sys.argv[1:]:
    model = forge.models[model_id]
    manifest = forge.models.manifest(model.record)
    row = read_held_out(manifest, Recipe.build(manifest["recipe"]))[0][1]
    said = told[model_id] = {}
    for base in (False, True):
        if "context" in row:
            answer = model.find_answer(row["context"], row["question"], base=base).text
        elif manifest["task"] == "summarization":
            answer = model.summarise(read_pair(row)[0], base=base, sampling=short)
        else:
            answer = model.chat(row.get("prompt") or row["messages"][:1], base=base, sampling=short)
        said["base" if base else "tuned"] = answer
    found = model.evaluate()
    said["metrics"] = {"tuned": dict(found.tuned), "base": dict(found.base)}
json.dump(told, sys.stdout)
"""


@pytest.fixture(scope="module")
def elsewhere(
    request: pytest.FixtureRequest, programs: Programs, trained: Mapping[Cell, Trained], trainings: Trainings
) -> dict[str, Any]:
    """What another process hears from the model of each cell that is tested: its answers and its base's, and what both
    are measured with."""
    chosen = [
        item.callspec.params
        for item in request.session.items
        if item.path == request.path and "one" in item.fixturenames
    ]
    cells = dict.fromkeys(params["cell"] for params in chosen)
    models = [model_id for cell in cells if (model_id := trained[cell].run.model_id)]
    done = programs.run(ELSEWHERE, *models)
    assert done.returncode == 0, done.stderr[-3000:]
    told: dict[str, Any] = json.loads(done.stdout)
    return told


@pytest.mark.slow
@each_cell
def test_saved_model_answers_in_a_new_process_as_at_the_end_of_its_training(
    one: Trained, cell: Cell, elsewhere: dict[str, Any]
) -> None:
    told = elsewhere[one.run.model_id]
    for side, step in (("base", 0), ("tuned", one.run.record.step)):
        shown = next(event["answer"] for event in one.of("sampled") if event["step"] == step)
        # while training, an answer is looked for in any case; a finished model may say that there is none
        assert told[side] == shown or (cell.architecture == "encoder" and told[side] == "")
    if cell.method == "sft":
        for side, metrics in told["metrics"].items():
            for name in metrics.keys() & one.manifest["metrics"][side].keys():
                assert metrics[name] == pytest.approx(one.manifest["metrics"][side][name], rel=1e-3), (side, name)


@pytest.mark.slow
@each_cell
def test_model_is_measured_in_a_new_process_by_the_metrics_of_its_method(
    one: Trained, cell: Cell, elsewhere: dict[str, Any]
) -> None:
    metrics = elsewhere[one.run.model_id]["metrics"]
    expected = {
        "dpo": {"preference_accuracy", "reward_margin"},
        "kto": {"reward_margin"},
        "grpo": {"mean_reward"},
        "sft": {
            "decoder": {"loss", "perplexity", "rougeL", "chrf", "exact_match"},
            "encoder-decoder": {"rouge1", "rouge2", "rougeL"},
            "encoder": {"exact_match", "f1"},
        }[cell.architecture],
    }[cell.method]
    if cell.task is Task.SUMMARIZATION:
        expected = {"rouge1", "rouge2", "rougeL"}
    assert metrics["tuned"].keys() == metrics["base"].keys() == expected
    if cell.method in ("dpo", "kto"):
        assert metrics["base"]["reward_margin"] == 0 < metrics["tuned"]["reward_margin"]


# ---- runs that end otherwise -----------------------------------------------------------------------------------

OF_EACH_METHOD = {(cell.method, cell.architecture): cell for cell in CELLS if cell.tuning == "lora"}.values()
each_method = pytest.mark.parametrize("cell", OF_EACH_METHOD, ids="/".join)


@pytest.mark.slow
@each_method
def test_stop_amid_a_run_saves_what_was_learnt_so_far(trainings: Trainings, cell: Cell) -> None:
    run = trainings.start(cell, max_steps=100_000)
    next(event for event in run.events() if event["type"] == "progress" and event["step"] >= 2)
    run.stop()
    assert run.wait(60) is RunState.stopped
    last = list(run.events())[-1]
    assert last["type"] == "stopped" and 2 <= last["step"] < 100_000
    assert (run.record.step, run.model_id) == (last["step"], last["model_id"])
    saved = load_file(paths.model_dir(run.model_id) / "adapter_model.safetensors")
    assert all(part.abs().sum() > 0 for name, part in saved.items() if "lora_B" in name)  # zeros before training
    assert read_manifest(run.model_id)["steps"] == last["step"]


def break_base(cell: Cell, source: Path, target: Path) -> Path:
    """A base model like the other, but with an infinite weight in the norm of its last layer."""
    weights = load_file(source / "model.safetensors")
    norms = [name for name in weights if "norm" in name.lower() and name.endswith("weight")]
    weights[norms[-1]].fill_(math.inf)
    shutil.copytree(source, target)
    save_file(weights, target / "model.safetensors", {"format": "pt"})
    return target


@each_method
@pytest.mark.parametrize("eval_split", [0.0, 0.25])
def test_loss_that_is_no_number_ends_the_run_with_a_reason(
    trainings: Trainings, tmp_path: Path, cell: Cell, eval_split: float
) -> None:
    broken = break_base(cell, trainings.bases[cell.architecture], tmp_path / "broken")
    models = {path.name for path in (paths.home() / "models").glob("*")}
    seen = trainings.train(cell, base_model=str(broken), eval_split=eval_split)
    assert seen.run.state is RunState.failed
    assert "Training diverged" in seen.run.record.error["what"], seen.run.record.error
    assert "learning_rate" in seen.run.record.error["where"] + seen.run.record.error["fix"]
    assert seen.run.model_id is None and {path.name for path in (paths.home() / "models").glob("*")} == models


# ---- trained further -------------------------------------------------------------------------------------------


def tree(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@each_cell
def test_finished_model_is_trained_further_from_where_it_was(
    trained: Mapping[Cell, Trained], trainings: Trainings, cell: Cell
) -> None:
    parent = trained[cell]
    before = tree(parent.folder)
    child = trainings.train(cell, parent=parent.run.model_id, max_steps=3)
    assert child.run.state is RunState.finished, child.run.record.error
    assert tree(parent.folder) == before
    assert child.manifest["parent"] == trainings.forge.models[child.run.model_id].record.parent == parent.run.model_id
    if cell.method == "dpo":  # what it is compared with is the parent
        assert child.manifest["metrics"]["before"]["loss"] == pytest.approx(math.log(2), abs=1e-5)
    elif cell.method == "kto":
        assert child.manifest["metrics"]["before"]["reward_margin"] == pytest.approx(0, abs=1e-5)
    elif cell.method == "sft":
        assert child.manifest["metrics"]["before"]["loss"] == pytest.approx(
            parent.manifest["metrics"]["tuned"]["loss"], rel=1e-4
        )
    assert child.trainable == parent.trainable
    for name in parent.trainable:
        assert torch.equal(child.before[name], parent.after[name]), name
        # a model that answers alike whatever it is asked earns the same each time, and learns nothing from it
        assert cell.method == "grpo" or not torch.equal(child.before[name], child.after[name]), name
    frozen = child.before.keys() - child.trainable - SHARED
    assert all(torch.equal(child.before[name], child.after[name]) for name in frozen)
    file = "model.safetensors" if cell.tuning == "full" else "adapter_model.safetensors"
    assert load_file(child.folder / file).keys() == load_file(parent.folder / file).keys()
    assert {path.name for path in child.folder.iterdir()} == {path.name for path in parent.folder.iterdir()}
    if cell.tuning != "full":
        settings = [json.loads((each.folder / "adapter_config.json").read_text()) for each in (parent, child)]
        assert settings[0]["base_model_name_or_path"] == settings[1]["base_model_name_or_path"]
    row = trainings.forge.datasets.rows(child.run.record.dataset_id)[0]
    assert isinstance(ask(trainings.forge.models[child.run.model_id], row), str)


def ask(model: Any, row: Mapping[str, Any]) -> str:
    short = Sampling(max_new_tokens=samples.ANSWER_TOKENS)
    if "context" in row:
        return str(model.find_answer(row["context"], row["question"]).text)
    if model.record.task == Task.SUMMARIZATION:
        return str(model.summarise(read_pair(dict(row))[0], sampling=short))
    return str(model.chat(row.get("prompt") or row["messages"][:1], sampling=short))


CHAT = {cell.tuning: cell for cell in CELLS if (cell.task, cell.method) == (Task.TEXT_GENERATION, "sft")}


@pytest.mark.parametrize(
    ("parent", "settings", "said"),
    [
        (CHAT["lora"], {"task": "summarization"}, "was trained for text-generation, not for summarization"),
        (CHAT["lora"], {"tuning.type": "full"}, "is an adapter"),
        (CHAT["full"], {"tuning.type": "lora"}, "does not have an adapter"),
    ],
    ids=["task", "adapter-full", "full-adapter"],
)
def test_parent_that_cannot_be_gone_on_with_is_refused_with_what_can(
    trained: Mapping[Cell, Trained], trainings: Trainings, parent: Cell, settings: dict[str, Any], said: str
) -> None:
    model_id = trained[parent].run.model_id
    runs_before = len(trainings.forge.runs.all())
    with pytest.raises(RecipeError, match=said) as caught:
        trainings.start(parent, **{**settings, "parent": model_id})
    assert caught.value.where == "setting parent"
    [[name, value]] = re.findall(r"^Set ([\w.]+) to ([\w-]+), or start from a base model\.$", caught.value.fix)
    assert len(trainings.forge.runs.all()) == runs_before
    run = trainings.start(parent, **settings | {name: value}, parent=model_id, max_steps=1)
    assert run.wait(60) is RunState.finished


def test_parent_that_is_not_there_is_refused_at_once(trainings: Trainings) -> None:
    for name in ("no such model", "../..", "; touch x"):
        with pytest.raises(NotFoundError):
            trainings.start(CHAT["lora"], parent=name)


def test_parent_may_be_named_and_settles_base_model_and_adapter(
    trained: Mapping[Cell, Trained], trainings: Trainings
) -> None:
    forge, parent = trainings.forge, trained[CHAT["lora"]]
    name = forge.models.rename(parent.run.model_id, "My colours").name
    seen = trainings.train(
        CHAT["lora"], parent=name, base_model="no/such-model", max_steps=1, **{"tuning.r": 3, "tuning.lora_alpha": 1}
    )
    assert seen.run.state is RunState.finished, seen.run.record.error
    recipe, theirs = Recipe.build(seen.manifest["recipe"]), Recipe.build(parent.manifest["recipe"])
    assert recipe.parent == parent.run.model_id
    assert (recipe.base_model, recipe.tuning) == (theirs.base_model, theirs.tuning)


@pytest.mark.slow
def test_other_method_goes_on_with_the_same_adapter(trained: Mapping[Cell, Trained], trainings: Trainings) -> None:
    parent = trained[CHAT["lora"]]
    [dpo] = [cell for cell in OF_EACH_METHOD if cell.method == "dpo"]
    seen = trainings.train(dpo, parent=parent.run.model_id, max_steps=2)
    assert seen.run.state is RunState.finished, seen.run.record.error
    assert all(torch.equal(seen.before[name], parent.after[name]) for name in parent.trainable)
    assert seen.manifest["metrics"]["before"]["reward_margin"] == pytest.approx(0, abs=1e-5)


@pytest.mark.parametrize("tuning", ["lora", "full"])
def test_parent_that_is_gone_when_its_turn_comes_is_said_to_be(
    trainings: Trainings, tuning: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    cell = CHAT[tuning]
    doomed = trainings.train(cell, max_steps=1).run.model_id
    recipe = trainings.recipe(cell, parent=doomed, max_steps=1)
    before_run = trainings.forge.runs._worker._before_run
    monkeypatch.setattr(
        trainings.forge.runs._worker, "_before_run", lambda: (before_run(), shutil.rmtree(paths.model_dir(doomed)))
    )
    run = trainings.forge.runs.start(recipe)
    assert run.wait(60) is RunState.failed
    error = run.record.error
    assert error["kind"] == "not found" and "parent" in error["where"] and error["fix"], error
