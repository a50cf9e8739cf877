"""Files of other versions: older ones are migrated after a copy, newer ones are read-only."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from tinydb import TinyDB

from modelforge.errors import DiskFullError, StoreError
from modelforge.store import ModelRecord, Store, durable, envelope, files, migrations

MakeModel = Callable[..., ModelRecord]
Beside = Callable[[str], list[Path]]


@pytest.fixture
def plain(path: Path, make_model: MakeModel) -> bytes:
    """A file as stock TinyDB writes it, with two models and more; returns its bytes."""
    path.parent.mkdir()
    custom = make_model(name="custom", description="Mine (Custom Model)", extra="kept").model_dump()
    listed = make_model(name="listed", description="A fine model").model_dump()
    flagged = make_model(name="flagged", is_custom_base_model=1).model_dump()
    for document in (custom, listed, flagged):
        del document["custom_base_model"]
    with TinyDB(path) as database:
        database.table("models").insert_multiple([custom, listed, flagged, {"name": "bare"}, listed])
        database.table("runs").insert({"recipe": {"seed": 1}})
        database.table("notes").insert({"text": "kept"})
    return path.read_bytes()


def test_audit_21_an_older_file_is_migrated_with_nothing_lost(path: Path, plain: bytes, beside: Beside) -> None:
    store = Store(path)
    (copy,) = beside("*.schema-0")
    assert copy.read_bytes() == plain
    assert f"upgraded from schema 0 to 1; the old file is kept as {copy}" in store.message
    for opened in (store, Store(path)):
        found = {model.name: model for model in opened.models.all()}
        told = {name: model.custom_base_model for name, model in found.items()}
        assert told == {"custom": True, "listed": False, "flagged": True, "bare": False}
        assert found["custom"].model_dump()["extra"] == "kept"
        assert opened.models.count() == 5, "the second of two with the same id has one of its own"
        assert opened.runs.all()[0].recipe == {"seed": 1}
        assert opened.runs.all()[0].state == "interrupted"
    assert json.loads(path.read_bytes())["tables"]["notes"] == {"1": {"text": "kept"}}
    assert Store(path).message == ""


def test_the_old_file_is_copied_before_anything_is_changed(path: Path, plain: bytes, beside: Beside) -> None:
    replace = files.replace_file

    def fail(source: Path, target: Path) -> None:
        if target == path:
            raise OSError(28, "No space left on device")
        replace(source, target)

    with pytest.MonkeyPatch.context() as patch, pytest.raises(DiskFullError):
        patch.setattr(files, "replace_file", fail)
        Store(path)
    assert path.read_bytes() == plain
    assert [copy.read_bytes() for copy in beside("*.schema-0")] == [plain]
    assert Store(path).models.count() == 5


def test_migrations_run_in_order_from_the_schema_of_the_file(
    path: Path, store: Store, make_model: MakeModel, monkeypatch: pytest.MonkeyPatch, beside: Beside
) -> None:
    store.models.add(make_model(name="a"))
    before = path.read_bytes()

    def add_mark(mark: str) -> Callable[[migrations.Tables], migrations.Tables]:
        def step(tables: migrations.Tables) -> migrations.Tables:
            models = {key: {**model, "name": model["name"] + mark} for key, model in tables["models"].items()}
            return {**tables, "models": models}

        return step

    monkeypatch.setattr(migrations, "MIGRATIONS", [*migrations.MIGRATIONS, add_mark("b"), add_mark("c")])
    monkeypatch.setattr(envelope, "SCHEMA", 3)
    monkeypatch.setattr(durable, "SCHEMA", 3)
    for opened in (Store(path), store, Store(path)):
        assert [model.name for model in opened.models.all()] == ["abc"]
    assert [copy.read_bytes() for copy in beside("*.schema-1")] == [before]
    assert b'"schema":3' in path.read_bytes()


def test_a_backup_of_an_older_schema_is_migrated_too(path: Path, plain: bytes) -> None:
    path.rename(path.with_name("modelforge.json.bak"))
    path.write_bytes(b"damaged")
    store = Store(path)
    assert store.models.count() == 5
    assert "Its backup was loaded" in store.message
    assert "upgraded from schema 0 to 1" in store.message


@pytest.mark.parametrize("pretty", [False, True])
def test_a_newer_file_is_shown_but_not_touched(
    path: Path, store: Store, make_model: MakeModel, beside: Beside, pretty: bool
) -> None:
    model = store.models.add(make_model())
    newer = path.read_bytes().replace(b'"schema":1', b'"schema":77')
    if pretty:
        content = json.loads(newer)
        content["modelforge"]["cipher"] = "none"
        newer = json.dumps(content, indent=2).encode()
    path.write_bytes(newer)
    for opened in (Store(path), store):
        assert opened.models.all() == [model]
        assert "newer ModelForge (schema 77, this one supports 1)" in opened.message
        assert "read-only" in opened.message
        for change in (
            lambda opened=opened: opened.models.add(make_model()),
            lambda opened=opened: opened.models.update(model.id, name="x"),
            lambda opened=opened: opened.models.delete(model.id),
        ):
            with pytest.raises(StoreError, match=r"newer ModelForge.*Update ModelForge"):
                change()
        assert opened.models.all() == [model]
    assert path.read_bytes() == newer
    assert [file.suffix for file in beside("*")] == [".json", ".lock", ".reserve"]


def test_a_newer_file_of_a_form_that_is_not_known_is_left_alone_too(path: Path) -> None:
    path.parent.mkdir()
    path.write_bytes(b'{"modelforge":{"schema":2},"rows":[1,2,3]}')
    store = Store(path)
    assert store.models.all() == []
    assert "read-only" in store.message
    assert path.read_bytes() == b'{"modelforge":{"schema":2},"rows":[1,2,3]}'


def test_the_file_is_one_json_document_with_a_schema_and_a_checksum(
    path: Path, store: Store, make_model: MakeModel
) -> None:
    model = store.models.add(make_model())
    content = json.loads(path.read_bytes())
    assert content["modelforge"]["schema"] == 1
    assert len(content["modelforge"]["sha256"]) == 64
    assert content["tables"]["models"] == {model.id: model.model_dump(mode="json")}
