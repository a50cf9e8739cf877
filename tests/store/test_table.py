"""Adding, finding, changing and deleting records."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from modelforge.errors import NotFoundError, StoreError
from modelforge.store import DatasetRecord, ModelRecord, RunRecord, RunState, Store

MakeModel = Callable[..., ModelRecord]


def test_what_is_added_comes_back_the_same_at_once_and_after_reopening(
    path: Path,
    make_model: MakeModel,
    make_run: Callable[..., RunRecord],
    make_dataset: Callable[..., DatasetRecord],
) -> None:
    model = make_model(
        name='Ünïcode "quotes" {braces}\n新しい 🎉', metrics={"perplexity": 9.5, "deep": {"list": [1, None]}}
    )
    run = make_run(state=RunState.failed, error={"kind": "data", "what": "w", "where": "row 3", "fix": "f"}, pid=7)
    dataset = make_dataset(problems={"errors": 0, "duplicates": 2})
    store = Store(path)
    for table, record in ((store.models, model), (store.runs, run), (store.datasets, dataset)):
        assert table.add(record) == record  # type: ignore[attr-defined]
    for opened in (store, Store(path)):
        assert opened.models.get(model.id) == model
        assert opened.runs.all() == [run]
        assert opened.datasets.find(dataset.id) == dataset
        assert opened.message == ""


@pytest.mark.parametrize("custom", [True, False])
def test_audit_21_custom_base_model_survives_save_change_and_reopen(
    path: Path, make_model: MakeModel, custom: bool
) -> None:
    store = Store(path)
    model = store.models.add(make_model(custom_base_model=custom))
    store.models.update(model.id, name="renamed")
    store.close()
    for opened in (store, Store(path)):
        assert opened.models.get(model.id).custom_base_model is custom
        assert opened.models.all()[0].custom_base_model is custom


def test_fields_of_a_newer_minor_version_are_kept_when_a_record_is_changed(
    path: Path, store: Store, make_model: MakeModel
) -> None:
    model = store.models.add(make_model(license="apache-2.0", scores={"a": [1, 2]}))
    store.models.update(model.id, name="other")
    kept = Store(path).models.get(model.id).model_dump()
    assert (kept["license"], kept["scores"], kept["name"]) == ("apache-2.0", {"a": [1, 2]}, "other")


def test_audit_14_nothing_stored_depends_on_the_current_directory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, make_model: MakeModel
) -> None:
    (tmp_path / "a").mkdir()
    (tmp_path / "b").mkdir()
    monkeypatch.chdir(tmp_path / "a")
    store = Store(Path("modelforge.json"))
    model = store.models.add(make_model())
    monkeypatch.chdir(tmp_path / "b")
    store.models.update(model.id, name="from elsewhere")
    assert [file.name for file in (tmp_path / "b").iterdir()] == []
    assert Store(tmp_path / "a" / "modelforge.json").models.get(model.id).name == "from elsewhere"
    assert str(tmp_path) not in (tmp_path / "a" / "modelforge.json").read_text()


def test_a_list_is_the_newest_first_and_the_later_added_first_where_times_are_equal(
    store: Store, make_model: MakeModel
) -> None:
    times = ["2026-01-02T00:00:00.000+00:00", "2026-01-03T00:00:00.000+00:00", "2026-01-02T00:00:00.000+00:00"]
    for name, time in zip("abc", times, strict=True):
        store.models.add(make_model(name=name, created=time))
    assert [model.name for model in store.models.all()] == ["b", "c", "a"]


def test_a_list_shows_each_change_at_once_within_and_without_a_transaction(store: Store, make_model: MakeModel) -> None:
    def names() -> list[str]:
        return [model.name for model in store.models.all()]

    first = store.models.add(make_model(name="a"))
    assert names() == ["a"]
    with store.transaction():
        store.models.update(first.id, name="b")
        assert names() == ["b"]
        second = store.models.add(make_model(name="c"))
        assert names() == ["c", "b"]
        store.models.delete(second.id)
        assert names() == ["b"]
        store.models.update(first.id, name="d")
    assert names() == ["d"]
    store.models.delete(first.id)
    assert names() == []
    assert store.models.count() == 0


def test_what_a_caller_does_to_a_record_does_not_reach_the_store(
    path: Path, make_run: Callable[..., RunRecord]
) -> None:
    store = Store(path)
    added = store.runs.add(make_run(metrics={"loss": {"last": 1}}))
    for record in (added, store.runs.get(added.id), store.runs.all()[0], store.runs.update(added.id, step=1)):
        record.metrics["loss"]["last"] = 666
        record.recipe["tuning"]["r"] = 666
    store.runs.update(added.id, step=2)
    for opened in (store, Store(path)):
        assert opened.runs.get(added.id).metrics == {"loss": {"last": 1}}
        assert opened.runs.get(added.id).recipe["tuning"]["r"] == 16


def test_what_a_caller_does_to_flat_or_unknown_fields_does_not_reach_the_store_either(
    path: Path, make_model: MakeModel
) -> None:
    store = Store(path)
    added = store.models.add(make_model(metrics={"f1": 0.5}, scores={"a": [1]}))
    for opened in (store, Store(path)):
        for record in (opened.models.get(added.id), opened.models.all()[0]):
            record.metrics["f1"] = 666
            assert record.model_extra is not None
            record.model_extra["scores"]["a"].append(666)
    store.models.update(added.id, name="other")
    kept = Store(path).models.get(added.id)
    assert (kept.metrics, kept.model_extra) == ({"f1": 0.5}, {"scores": {"a": [1]}})


def test_an_id_is_added_once_only(store: Store, make_model: MakeModel) -> None:
    model = store.models.add(make_model())
    with pytest.raises(StoreError, match=f"with the id {model.id} already exists"):
        store.models.add(make_model(id=model.id))
    assert store.models.all() == [model]


def test_update_changes_what_it_is_told_and_nothing_else(store: Store, make_run: Callable[..., RunRecord]) -> None:
    run = store.runs.add(make_run())
    changed = store.runs.update(run.id, state="running", step=0, started="2026-11-02T10:00:00.000+00:00")
    assert changed.state is RunState.running
    assert changed == run.model_copy(update={"state": RunState.running, "started": "2026-11-02T10:00:00.000+00:00"})
    assert store.runs.get(run.id) == changed


def test_update_refuses_values_that_do_not_fit_and_names_the_field(store: Store, make_run: Callable[..., Any]) -> None:
    run = store.runs.add(make_run())
    with pytest.raises(StoreError, match=rf"run {run.id}: 'asleep' cannot be stored as state of a run"):
        store.runs.update(run.id, step=3, state="asleep")
    with pytest.raises(TypeError, match="no field 'stepp'"):
        store.runs.update(run.id, stepp=3)
    assert store.runs.get(run.id) == run


def test_values_that_json_does_not_know_are_refused_before_the_file_is_touched(
    path: Path, store: Store, make_model: MakeModel
) -> None:
    model = store.models.add(make_model())
    before = path.read_bytes()
    for value in (object(), 2**70, "\ud800"):
        with pytest.raises(StoreError):
            store.models.update(model.id, metrics={"x": value})
        assert store.models.get(model.id) == model
    assert path.read_bytes() == before


def test_numbers_that_are_none_become_null_and_paths_become_text(
    path: Path, store: Store, make_model: MakeModel
) -> None:
    model = store.models.add(make_model(metrics={"perplexity": math.nan, "file": Path("a/b")}))
    assert model.metrics == {"perplexity": None, "file": str(Path("a/b"))}
    assert Store(path).models.get(model.id) == model


def test_missing_records_are_told_with_what_is_near(store: Store, make_model: MakeModel) -> None:
    with pytest.raises(NotFoundError, match=r"There is no model 'x'. There are no models yet."):
        store.models.get("x")
    model = store.models.add(make_model(name="Support bot"))
    with pytest.raises(NotFoundError, match=f"Did you mean Support bot \\({model.id}\\)\\?"):
        store.models.find("suport bot")
    for act in (store.models.get, store.models.find, store.models.delete, store.models.update):
        with pytest.raises(NotFoundError, match=r"There is no model 'zzz'. None of the 1 models has this id or name."):
            act("zzz")


def test_find_goes_by_id_then_by_the_beginning_of_an_id_then_by_name(store: Store, make_model: MakeModel) -> None:
    one = store.models.add(make_model(id="model-aa0000000000", name="first"))
    two = store.models.add(make_model(id="model-ab0000000000", name="second"))
    assert store.models.find(one.id) == one
    assert store.models.find("model-ab") == two
    assert store.models.find("first") == one
    for text in ("model-a", "model-"):
        with pytest.raises(NotFoundError, match=f"matches 2 models. Use more of the id: {two.id}, {one.id}"):
            store.models.find(text)
    with pytest.raises(NotFoundError):
        store.models.find("")
    store.models.add(make_model(name="first"))
    with pytest.raises(NotFoundError, match="'first' matches 2 models"):
        store.models.find("first")


def test_find_does_not_guess_between_a_name_and_the_beginning_of_another_id(
    store: Store, make_model: MakeModel
) -> None:
    store.models.add(make_model(id="model-aa0000000000", name="model-b"))
    store.models.add(make_model(id="model-bb0000000000", name="b"))
    with pytest.raises(NotFoundError, match="matches 2 models"):
        store.models.find("model-b")
    assert store.models.find("model-bb").name == "b"


def test_a_run_is_found_by_the_name_in_its_recipe(store: Store, make_run: Callable[..., RunRecord]) -> None:
    run = store.runs.add(make_run(recipe={"name": "nightly"}))
    store.runs.add(make_run())
    assert store.runs.find("nightly") == run


@pytest.mark.parametrize(
    ("state", "active"), [(state, state in ("queued", "preparing", "running", "stopping")) for state in RunState]
)
def test_a_state_tells_whether_somebody_has_the_run_in_hand(state: RunState, active: bool) -> None:
    assert state.active is active
