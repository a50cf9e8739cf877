"""The import of an older ModelForge's models: nothing of theirs is lost, changed or trusted."""

from __future__ import annotations

import contextlib
import errno
import json
import os
import random
import shutil
import sqlite3
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from filelock import FileLock

from modelforge import Forge, paths
from modelforge.cli import main
from modelforge.errors import ModelForgeError, NotFoundError, StoreError
from modelforge.legacy import Imported, Legacy, adapter
from modelforge.models import folder
from modelforge.store import ModelRecord, Store
from modelforge.store.durable import DurableFile
from tests import tiny
from tests.old_modelforge import FIRST, LOOSE, SECOND, THIRD, contents, insert_row, write_adapter, write_database


@pytest.fixture
def old(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where the database of an older ModelForge would be found by itself."""
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "data"))
    monkeypatch.setattr("platformdirs.user_data_dir", lambda name: str(tmp_path / "data" / name))
    return tmp_path / "data" / "ModelForge" / "database" / "modelforge.sqlite"


@pytest.fixture
def zone(monkeypatch: pytest.MonkeyPatch) -> None:
    """A machine in Berlin: UTC+2 in summer, UTC+1 in winter."""
    monkeypatch.setenv("TZ", "Europe/Berlin")
    time.tzset()
    yield
    monkeypatch.undo()
    time.tzset()


def import_from(database: Path) -> tuple[Imported, dict[str, ModelRecord]]:
    """What was done, and all models by name."""
    forge = Forge()
    done = forge.legacy.import_models(database)
    return done, {model.name: model for model in Forge().models.all()}


def said(done: Imported) -> str:
    return "\n".join(f"{each.row} {each.name}: {each.problem} {each.fix}" for each in done.problems)


# ---- the three shapes ------------------------------------------------------------------------------------------


def test_audit_21_without_the_column_the_description_tells_a_custom_base_model(old: Path) -> None:
    rows = [
        {"model_name": "custom", "description": "Mine (Custom Model)"},
        {"model_name": "listed", "description": "(Custom Model) is what it is not"},
        {"model_name": "silent", "description": None},
    ]
    done, models = import_from(write_database(old, FIRST, older=rows))
    assert (done.imported, done.skipped) == (3, 0)
    assert {name: model.custom_base_model for name, model in models.items()} == {
        "custom": True,
        "listed": False,
        "silent": False,
    }
    assert models["custom"].description == "Mine (Custom Model)"


def test_audit_21_the_column_tells_a_custom_base_model_and_survives_import_and_reopening(old: Path) -> None:
    rows = [
        {"model_name": "custom", "is_custom_base_model": 1},
        {"model_name": "listed", "is_custom_base_model": 0, "description": "though it says (Custom Model)"},
        {"model_name": "unset", "is_custom_base_model": None, "description": "x (Custom Model)"},
        {"model_name": "word", "is_custom_base_model": "true"},
    ]
    expected = {"custom": True, "listed": False, "unset": True, "word": True}
    _, models = import_from(write_database(old, SECOND, older=rows))
    assert {name: model.custom_base_model for name, model in models.items()} == expected
    for model in models.values():
        Forge().store.models.update(model.id, description="changed")
    assert {model.name: model.custom_base_model for model in Forge().models.all()} == expected


def test_audit_21_rows_of_all_shapes_in_one_file_are_imported_once_and_deleted_ones_skipped(old: Path) -> None:
    older = [{"model_name": f"older {number}"} for number in range(3)]
    later = [{"id": f"uuid-{number}", "name": f"later {number}", "is_active": number % 2} for number in range(5)]
    write_database(old, SECOND, THIRD, older=older, later=later)
    done, models = import_from(old)
    assert (done.imported, done.skipped) == (5, 3)
    assert set(models) == {"older 0", "older 1", "older 2", "later 1", "later 3"}
    again, models_again = import_from(old)
    assert (again.imported, again.skipped) == (0, 8)
    assert models_again == models


def test_a_later_row_keeps_what_it_was_trained_with(old: Path) -> None:
    strategies = {
        "sft": ("sft", "lora"),
        "qlora": ("sft", "qlora"),
        "DPO": ("dpo", "lora"),
        "rlhf": ("dpo", "lora"),
        "magic": ("sft", "lora"),
        None: ("sft", "lora"),
    }
    rows = [{"id": f"u{number}", "name": str(one), "strategy": one} for number, one in enumerate(strategies)]
    done, models = import_from(write_database(old, THIRD, later=rows))
    assert {name: (model.method, model.tuning) for name, model in models.items()} == {
        str(name): axes for name, axes in strategies.items()
    }
    assert "'magic' is not known" in said(done)
    assert all(model.metrics == {} and model.base_model.startswith("HuggingFaceTB/") for model in models.values())


def test_a_method_that_its_task_does_not_know_becomes_supervised_training(old: Path) -> None:
    row = {"task": "question-answering", "strategy": "rlhf"}
    _, models = import_from(write_database(old, THIRD, later=[row]))
    assert (models["Support"].method, models["Support"].architecture) == ("sft", "encoder")


@pytest.mark.parametrize(
    ("written", "task"),
    [
        ("text-generation", "text-generation"),
        ("Summarization", "summarization"),
        ("extractive-question-answering", "extractive-question-answering"),
        ("question-answering", "extractive-question-answering"),
        ("question_answering", "extractive-question-answering"),
    ],
)
def test_audit_02_old_names_of_tasks_become_ours(old: Path, written: str, task: str) -> None:
    _, models = import_from(write_database(old, FIRST, older=[{"task": written}]))
    assert models["Support"].task == task


def test_audit_02_an_unknown_task_is_told_with_its_row_and_the_accepted_names(old: Path) -> None:
    done, models = import_from(write_database(old, FIRST, older=[{}, {"task": "translation", "model_name": "T"}]))
    assert (done.imported, done.skipped) == (1, 1)
    assert set(models) == {"Support"}
    assert "fine_tuned_models, row 2 T: 'translation' is not a task" in said(done)
    assert "text-generation, summarization, extractive-question-answering, question-answering" in said(done)


def test_an_unknown_task_is_taken_from_the_files(old: Path, tmp_path: Path) -> None:
    place = write_adapter(tmp_path / "support")
    done, models = import_from(write_database(old, FIRST, older=[{"task": "??", "model_path": str(place)}]))
    assert (done.imported, models["Support"].task) == (1, "text-generation")
    assert "Its files say text-generation" in said(done)


@pytest.mark.skipif(not hasattr(time, "tzset"), reason="the zone of a process cannot be set")
@pytest.mark.usefixtures("zone")
def test_local_times_become_utc_by_the_rules_of_their_day(old: Path) -> None:
    older = [
        {"model_name": "summer", "creation_date": "2024-07-01T12:00:00.123456"},
        {"model_name": "winter", "creation_date": "2024-01-01 00:30:00"},
        {"model_name": "zoned", "creation_date": "2024-07-01T12:00:00+05:00"},
    ]
    later = [
        {"id": "1", "name": "utc", "created_at": "2024-07-01T12:00:00"},
        {"id": "2", "name": "z", "created_at": "2024-07-01 12:00:00Z"},
    ]
    _, models = import_from(write_database(old, SECOND, THIRD, older=older, later=later))
    assert {name: model.created for name, model in models.items()} == {
        "summer": "2024-07-01T10:00:00.123+00:00",
        "winter": "2023-12-31T23:30:00.000+00:00",
        "zoned": "2024-07-01T07:00:00.000+00:00",
        "utc": "2024-07-01T12:00:00.000+00:00",
        "z": "2024-07-01T12:00:00.000+00:00",
    }


# ---- the source is only read -----------------------------------------------------------------------------------


@pytest.mark.parametrize("mode", ["delete", "wal"])
def test_the_source_stays_byte_for_byte_with_its_log_and_rows_in_the_log_count(
    old: Path, tmp_path: Path, mode: str
) -> None:
    place = write_adapter(tmp_path / "elsewhere" / "support")
    write_database(old, SECOND)
    with contextlib.closing(sqlite3.connect(old)) as connection:  # the old app is still open
        connection.execute(f"PRAGMA journal_mode = {mode}")
        row = {"model_name": "Support", "base_model": "x/y", "task": "text-generation", "creation_date": "2024-01-01"}
        with connection:
            insert_row(connection, "fine_tuned_models", {**row, "model_path": str(place)})
        before = contents(old.parent, place)
        assert (old.with_name("modelforge.sqlite-wal") in before) == (mode == "wal")
        done, models = import_from(old)
        assert done.imported == 1 and set(models) == {"Support"}
        assert contents(old.parent, place) == before
    assert [file.name for file in old.parent.iterdir()] == ["modelforge.sqlite"]


@pytest.mark.parametrize("lock", ["BEGIN EXCLUSIVE", "BEGIN IMMEDIATE"])
def test_a_locked_database_is_read_as_it_was_before(old: Path, lock: str) -> None:
    write_database(old, FIRST, older=[{}])
    with contextlib.closing(sqlite3.connect(old, isolation_level=None)) as connection:
        connection.execute(lock)
        connection.execute("UPDATE fine_tuned_models SET model_name = 'never committed'")
        before = contents(old.parent)
        _, models = import_from(old)
        assert set(models) == {"Support"}
        assert contents(old.parent) == before
        connection.execute("ROLLBACK")


def test_a_database_that_nobody_may_write_is_read(old: Path) -> None:
    write_database(old, FIRST, older=[{}])
    old.chmod(0o400)
    old.parent.chmod(0o500)
    try:
        assert import_from(old)[0].imported == 1
    finally:
        old.parent.chmod(0o700)


# ---- files -----------------------------------------------------------------------------------------------------


def test_a_folder_with_an_adapter_is_copied_with_a_manifest_that_the_registry_can_be_rebuilt_from(
    old: Path, tmp_path: Path, home: Path
) -> None:
    place = write_adapter(tmp_path / "support", target_modules=["v_proj", "q_proj"])
    for name in ("training_args.bin", "optimizer.pt", "notes.txt"):
        (place / name).write_bytes(b"not ours")
    row = {"model_path": str(place), "is_custom_base_model": 1}
    done, models = import_from(write_database(old, SECOND, older=[row]))
    assert done.problems == ()
    model = models["Support"]
    mine = paths.model_dir(model.id)
    assert {file.name for file in mine.iterdir()} == {
        "adapter_config.json",
        "adapter_model.safetensors",
        "tokenizer.json",
        "tokenizer_config.json",
        "modelforge.json",
    }
    assert (mine / "adapter_model.safetensors").read_bytes() == (place / "adapter_model.safetensors").read_bytes()
    manifest = folder.read_manifest(model.id)
    assert manifest["recipe"]["tuning"]["r"] == 8
    assert manifest["recipe"]["tuning"]["target_modules"] == "v_proj,q_proj"
    assert manifest["imported"]["row"] == "fine_tuned_models, row 1"
    for lost in home.glob("modelforge.json*"):
        lost.unlink()
    assert Forge().models.all() == [model]
    assert model.files_missing_from == ""


def test_an_imported_model_answers_like_the_one_it_was(old: Path, tmp_path: Path) -> None:
    """A real adapter, as PEFT saves it, on a base model in a folder."""
    import torch
    from peft import LoraConfig, get_peft_model

    base = tiny.write_base(tmp_path / "base")
    torch.manual_seed(0)
    tuned = get_peft_model(tiny.model(), LoraConfig(r=4, target_modules="all-linear", task_type="CAUSAL_LM"))
    place = tmp_path / "adapters" / "support"
    tuned.save_pretrained(place)  # without a tokenizer: that of the base is taken
    row = {"base_model": str(base), "model_path": str(place)}
    done, _ = import_from(write_database(old, FIRST, older=[row]))
    assert done.problems == ()
    forge = Forge()
    assert isinstance(forge.models["Support"].chat("hi"), str)
    with pytest.raises(ModelForgeError, match="was deleted"):
        forge.models["Support"].evaluate()
    assert "Support" in forge.models.card("Support")


def test_a_missing_folder_is_imported_marked_and_told_and_its_files_taken_when_they_are_back(
    old: Path, tmp_path: Path
) -> None:
    place = tmp_path / "drive" / "support"
    write_database(old, FIRST, older=[{"model_path": str(place)}])
    done, models = import_from(old)
    assert done.imported == 1
    assert f"fine_tuned_models, row 1 Support: Its folder {place} does not exist." in said(done)
    assert models["Support"].files_missing_from == str(place)
    with pytest.raises(NotFoundError, match="missing"):
        Forge().models["Support"].chat("hi")
    again, _ = import_from(old)
    assert (again.imported, again.skipped) == (0, 1)
    Forge().store.models.update(models["Support"].id, name="Renamed meanwhile")
    write_adapter(place)
    done, models = import_from(old)
    assert (done.imported, done.problems) == (1, ())
    assert models["Renamed meanwhile"].files_missing_from == ""
    assert len(models) == 1
    assert folder.read_manifest(models["Renamed meanwhile"].id)["task"] == "text-generation"
    Forge().models.delete("Renamed meanwhile")
    assert place.exists(), "only our copy is deleted"


def spoil_weights(place: Path) -> None:
    (place / "adapter_model.safetensors").write_bytes(b"\xff" * 100)


def keep_pickle_only(place: Path) -> None:
    (place / "adapter_model.safetensors").rename(place / "adapter_model.bin")


def link_weights(place: Path) -> None:
    secret = place.parent / "secret"
    (place / "adapter_model.safetensors").rename(secret)
    (place / "adapter_model.safetensors").symlink_to(secret)


@pytest.mark.parametrize(
    ("spoil", "words"),
    [
        (spoil_weights, "adapter_model.safetensors is damaged"),
        (keep_pickle_only, "adapter_model.bin, which can run code"),
        (link_weights, "has no adapter_model.safetensors"),
        (lambda place: (place / "adapter_config.json").unlink(), "has no adapter_config.json"),
        (lambda place: (place / "adapter_config.json").write_text("[" * 100_000), "adapter_config.json is damaged"),
        (lambda place: (place / "adapter_config.json").write_text("[]"), "adapter_config.json is damaged"),
        (lambda place: (place / "adapter_config.json").write_bytes(b"\xff"), "adapter_config.json is damaged"),
        (lambda place: (place / "adapter_model.safetensors").write_bytes(b""), "is damaged"),
    ],
    ids=range(8),
)
def test_files_that_are_not_safe_or_whole_are_left_and_told(
    old: Path, tmp_path: Path, home: Path, spoil: Callable[[Path], Any], words: str
) -> None:
    place = write_adapter(tmp_path / "support")
    spoil(place)
    before = contents(place)
    done, models = import_from(write_database(old, FIRST, older=[{"model_path": str(place)}]))
    assert done.imported == 1 and words in said(done)
    assert models["Support"].files_missing_from == str(place)
    assert not (home / "models").exists() or not any((home / "models").iterdir())
    assert contents(place) == before


def test_damaged_facts_beside_an_adapter_do_not_matter(old: Path, tmp_path: Path) -> None:
    place = write_adapter(tmp_path / "support", r="many", lora_alpha=-1, target_modules=7, task_type=None)
    (place / "modelforge_config.json").write_text("no json")
    done, models = import_from(write_database(old, FIRST, older=[{"model_path": str(place)}]))
    assert done.imported == 1 and models["Support"].architecture == "decoder"
    assert folder.read_manifest(models["Support"].id)["recipe"]["base_model"].startswith("HuggingFaceTB/")


def test_a_folder_that_is_a_link_or_relative_is_read_and_never_becomes_ours(old: Path, tmp_path: Path) -> None:
    write_database(
        old,
        FIRST,
        older=[
            {"model_name": "linked", "model_path": str(tmp_path / "link")},
            {"model_name": "relative", "model_path": "models/one"},
        ],
    )
    write_adapter(old.parent.parent / "models" / "one")
    (tmp_path / "link").symlink_to(write_adapter(tmp_path / "target"), target_is_directory=True)
    done, models = import_from(old)
    assert done.problems == ()
    for model in models.values():
        assert paths.model_dir(model.id).is_dir() and not paths.model_dir(model.id).is_symlink()


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EIO])
def test_a_copy_that_fails_leaves_nothing_and_works_the_next_time(
    old: Path, tmp_path: Path, home: Path, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    rows = [{"model_name": f"model {one}", "model_path": str(write_adapter(tmp_path / str(one)))} for one in range(3)]
    write_database(old, FIRST, older=rows)
    copy = shutil.copyfile

    def fail_at_second(source: Any, target: Any) -> Any:
        if Path(source) == tmp_path / "1" / "adapter_model.safetensors":
            raise OSError(number, os.strerror(number))
        return copy(source, target)

    with monkeypatch.context() as patch:
        patch.setattr(adapter.shutil, "copyfile", fail_at_second)
        done, models = import_from(old)
    assert (done.imported, done.skipped, set(models)) == (2, 1, {"model 0", "model 2"})
    assert "model 1: It was not imported because its files could not be copied" in said(done)
    assert {file.name for file in (home / "models").iterdir()} == {model.id for model in models.values()}
    assert Forge().legacy.find() == old
    assert import_from(old)[0].imported == 1
    assert Forge().legacy.find() is None


def test_too_little_space_is_told_before_anything_is_copied(
    old: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_database(old, FIRST, older=[{"model_path": str(write_adapter(tmp_path / "one"))}])
    monkeypatch.setattr(adapter.shutil, "disk_usage", lambda _: shutil._ntuple_diskusage(10, 10, 0))
    done, models = import_from(old)
    assert (done.imported, models) == (0, {})
    assert "Not enough disk space" in said(done) and "MODELFORGE_HOME" in said(done)


def test_an_import_that_is_stopped_leaves_no_files_and_starts_anew(
    old: Path, tmp_path: Path, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rows = [{"model_name": f"model {one}", "model_path": str(write_adapter(tmp_path / str(one)))} for one in range(3)]
    write_database(old, FIRST, older=rows)

    def stop(share: float) -> None:
        if share > 0.5:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        Forge().legacy.import_models(old, watch=stop)
    assert Forge().models.all() == [] and list((home / "models").iterdir()) == []
    with monkeypatch.context() as patch:  # killed when the folders have their names and the records are not written
        patch.setattr(Store, "transaction", lambda self: contextlib.ExitStack())
        patch.setattr("modelforge.store.table.Table.add", stop_at_once)
        with pytest.raises(KeyboardInterrupt):
            Forge().legacy.import_models(old)
    (paths.model_dir(Forge().models.all()[0].id) / "rest").touch()  # found by its folder
    _, models = import_from(old)
    assert len(models) == 3 and {file.name for file in (home / "models").iterdir()} == {
        model.id for model in models.values()
    }


def stop_at_once(*_: Any) -> None:
    raise KeyboardInterrupt


# ---- what is no database ---------------------------------------------------------------------------------------


def write_truncated(path: Path) -> None:
    write_database(path, FIRST, older=[{}])
    path.write_bytes(path.read_bytes()[:100])


def write_foreign(path: Path) -> None:
    write_database(path, "CREATE TABLE models (id, title)", "CREATE VIEW fine_tuned_models AS SELECT 1 AS id")


@pytest.mark.parametrize(
    ("write", "words"),
    [
        (lambda _: None, "There is no database"),
        (lambda path: path.write_bytes(b""), "it is not an SQLite file"),
        (lambda path: path.write_bytes(b"SQLite format 3\0" + b"\xff" * 5000), "it is damaged"),
        (lambda path: path.write_text('{"not": "sqlite"}'), "it is not an SQLite file"),
        (lambda path: path.mkdir(), "it is not a file"),
        (os.mkfifo, "it is not a file"),
        (write_truncated, "it is damaged"),
        (write_foreign, "with the columns of a model"),
    ],
    ids=["none", "empty", "spoiled", "text", "folder", "pipe", "truncated", "foreign"],
)
def test_what_is_no_database_of_ours_is_an_error_that_says_so(
    old: Path, capsys: pytest.CaptureFixture[str], write: Any, words: str
) -> None:
    old.parent.mkdir(parents=True)
    write(old)
    before = contents(old.parent) if not old.is_fifo() else {}
    with pytest.raises(StoreError, match=words) as caught:
        Forge().legacy.import_models(old)
    assert caught.value.where == str(old) and caught.value.fix
    assert Forge().legacy.find() is None
    for arguments in (["import-legacy"], ["import-legacy", str(old), "--json"]):
        assert main(arguments) == 1
        printed = capsys.readouterr()
        assert printed.out == "" and words in printed.err and "Traceback" not in printed.err
    assert not old.is_file() or contents(old.parent) == before


@pytest.mark.parametrize("name", ["", "\0", "x" * 5000, "; touch x", "~nobody/x", "file:x?mode=rwc", "\udcff"])
def test_audit_08_hostile_paths_of_a_database_are_an_error_and_no_more(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(StoreError):
        Forge().legacy.import_models(name)
    assert [file.name for file in tmp_path.iterdir()] in ([], ["home"])


def test_a_database_cut_off_anywhere_never_raises_anything_but_our_error(old: Path) -> None:
    write_database(old, SECOND, THIRD, older=[{"model_name": f"m{one}"} for one in range(200)], later=[{}])
    whole = old.read_bytes()
    legacy, chance = Legacy(Store(paths.database())), random.Random(0)
    outcomes = set()
    for _ in range(60):
        old.write_bytes(whole[: chance.randrange(len(whole))])
        try:
            outcomes.add(bool(legacy.import_models(old).imported))
        except StoreError:
            outcomes.add(None)
        legacy.find()
    old.write_bytes(whole)
    legacy.import_models(old)
    assert len({model.name for model in Store(paths.database()).models.all()}) == 201


def test_flipped_bits_never_raise_anything_but_our_error(old: Path) -> None:
    write_database(old, SECOND, THIRD, older=[{"model_name": f"m{one}"} for one in range(100)], later=[{}])
    whole = old.read_bytes()
    legacy, chance = Legacy(Store(paths.database())), random.Random(0)
    for _ in range(100):
        flipped = bytearray(whole)
        for _ in range(5):
            flipped[chance.randrange(len(whole))] ^= 1 << chance.randrange(8)
        old.write_bytes(flipped)
        with contextlib.suppress(StoreError):
            legacy.import_models(old)
        legacy.find()


# ---- hostile values --------------------------------------------------------------------------------------------

HOSTILE: list[Any] = [
    None,
    "",
    " ",
    0,
    -1,
    2**62,
    1e300,
    float("inf"),
    b"",
    b"\x00\xff\xfe",
    "x" * 2_000_000,
    "; touch x",
    "$(touch x)",
    "../..",
    "/",
    "~",
    "~nobody",
    "'); DROP TABLE models; --",
    '"quoted" {braces}\n\tlines',
    "\x1b[31mred\x07\x00",
    "\u202eright to left",
    "新しい 🎉",
    "0001-01-01",
    "9999-12-31T23:59:59.999999",
    "2024-02-30",
    "NaN",
]


@pytest.mark.parametrize("column", ["id", "name", "base_model", "task", "strategy", "path", "created_at", "is_active"])
def test_audit_08_hostile_values_in_any_column_become_sound_records_or_problems(
    old: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], column: str
) -> None:
    monkeypatch.chdir(tmp_path)
    rows = [{"id": f"row {number}", column: value} for number, value in enumerate(HOSTILE)]
    write_database(old, LOOSE, later=rows)
    with contextlib.closing(sqlite3.connect(old)) as connection, connection:  # text that is no text
        connection.execute("UPDATE models SET name = CAST(x'eda080ff' AS TEXT) WHERE id = 'row 3'")
    before = contents(old.parent)
    assert main(["import-legacy", "--json"]) == 0
    printed = capsys.readouterr()
    done = json.loads(printed.out)
    assert done["imported"] + done["skipped"] == len(HOSTILE)
    assert done["skipped"] == {"task": len(HOSTILE), "is_active": 1}.get(column, done["skipped"])
    if column not in ("task", "is_active"):
        assert done["imported"] == len(HOSTILE)
    assert "\x1b" not in printed.out + printed.err and "\\u001b" not in printed.out
    models = Forge().models.all()
    assert len(models) == done["imported"] == len({model.id for model in models})
    for model in models:
        assert 0 < len(model.name) <= 120 and model.base_model
        assert len(model.created) == len("2024-07-01T12:00:00.000+00:00")
        json.dumps(model.model_dump(), ensure_ascii=False).encode()
        with pytest.raises(ModelForgeError):
            Forge().models[model.id].chat("hi")
    assert main(["import-legacy", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["imported"] == 0
    assert not (tmp_path / "x").exists()
    assert contents(old.parent) == before


# ---- the banner, and at once -----------------------------------------------------------------------------------


def test_the_banner_is_shown_until_the_rows_were_seen_and_not_again_for_what_was_deleted(old: Path) -> None:
    legacy = Forge().legacy
    assert legacy.find() is None
    write_database(old, SECOND, THIRD, older=[{}, {"task": "unknown"}], later=[{"is_active": 0}])
    assert legacy.find() == old
    assert legacy.import_models().imported == 1
    assert legacy.find() is None
    Forge().models.delete("Support")
    assert Forge().legacy.find() is None
    with contextlib.closing(sqlite3.connect(old)) as connection, connection:
        connection.execute("UPDATE models SET is_active = 1")
    assert Forge().legacy.find() == old


def test_a_database_with_deleted_rows_only_shows_no_banner(old: Path) -> None:
    write_database(old, THIRD, later=[{"is_active": 0}])
    assert Forge().legacy.find() is None
    assert import_from(old)[0] == Imported(0, 1, ())


def test_a_copy_of_the_database_elsewhere_adds_nothing(old: Path, tmp_path: Path) -> None:
    import_from(write_database(old, SECOND, THIRD, older=[{}, {}], later=[{}]))
    copy = shutil.copy(old, tmp_path / "backup.sqlite")
    done, _ = import_from(Path(copy))
    assert (done.imported, done.skipped) == (0, 3)


def test_two_imports_at_once_add_each_row_once(old: Path, tmp_path: Path) -> None:
    write_database(old, FIRST, older=[{"model_path": str(write_adapter(tmp_path / "one"))} for _ in range(20)])
    outcomes: list[Any] = []
    forge = Forge()

    def run() -> None:
        try:
            outcomes.append(forge.legacy.import_models(old).imported)
        except StoreError as error:
            outcomes.append(error.what)

    threads = [threading.Thread(target=run) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sum(one for one in outcomes if isinstance(one, int)) == 20
    assert {one for one in outcomes if isinstance(one, str)} <= {"Another import is running."}
    assert Forge().store.models.count() == 20


def test_an_import_of_another_process_is_told(old: Path, home: Path) -> None:
    write_database(old, FIRST, older=[{}])
    home.mkdir()
    with FileLock(home / "imported.json.lock"), pytest.raises(StoreError, match="Another import is running"):
        Forge().legacy.import_models(old)


def test_many_rows_are_written_at_once(old: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_database(old, THIRD, later=[{"id": str(number)} for number in range(1000)])
    writes = []
    write = DurableFile.write
    monkeypatch.setattr(DurableFile, "write", lambda self, tables: (writes.append(1), write(self, tables)))
    assert import_from(old)[0].imported == 1000
    assert len(writes) == 1


def test_the_command_says_in_words_what_it_did(old: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_database(old, FIRST, older=[{}])
    assert main(["import-legacy", str(old)]) == 0
    assert capsys.readouterr().out.splitlines() == [
        "Imported 1, skipped 0.",
        "fine_tuned_models, row 1, Support: Its folder /nowhere/support does not exist. "
        "Restore the folder and import again, or delete the model from the list.",
    ]
