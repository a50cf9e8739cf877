"""A kill, a full disk or a broken one at every single call that the store makes to the system; see `faults.py`."""

from __future__ import annotations

import errno
import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from modelforge.errors import DiskFullError, StoreError
from modelforge.store import ModelRecord, Store
from tests.store.faults import FAULTS, killed_at

MakeModel = Callable[..., ModelRecord]
State = list[str]

# ---- what is done while it strikes -----------------------------------------------------------------------------


def names(path: Path) -> State:
    return sorted(model.name for model in Store(path).models.all())


def prepare(path: Path, make_model: MakeModel) -> None:
    """A registry with the models a and b, which has been written twice so that a backup is there."""
    store = Store(path)
    for name in ("a", "b"):
        store.models.add(make_model(id=f"model-{name * 12}", name=name))


def prepare_old(path: Path, make_model: MakeModel) -> None:
    """The same as a file of stock TinyDB."""
    path.parent.mkdir(parents=True)
    rows = [make_model(id=f"model-{name * 12}", name=name).model_dump() for name in ("a", "b")]
    path.write_text(json.dumps({"models": {str(number): row for number, row in enumerate(rows, start=1)}}))


def prepare_damaged(path: Path, make_model: MakeModel) -> None:
    """A registry of a and b in the backup, and in the folder of b; the file itself is damaged."""
    prepare(path, make_model)
    prepare_lost(path, make_model)
    path.write_bytes(path.read_bytes()[:-9])


def prepare_lost(path: Path, make_model: MakeModel) -> None:
    """A home where only the folders of a and b are left."""
    for name in ("a", "b"):
        model = make_model(id=f"model-{name * 12}", name=name)
        folder = path.parent / "models" / model.id
        folder.mkdir(parents=True, exist_ok=True)
        manifest = {**model.model_dump(), "dataset": {"id": "", "name": "faq.csv"}}
        (folder / "modelforge.json").write_text(json.dumps(manifest))


def add(store: Store, make_model: MakeModel) -> None:
    store.models.add(make_model(id="model-cccccccccccc", name="c"))


def update(store: Store, _: MakeModel) -> None:
    store.models.update("model-aaaaaaaaaaaa", name="changed")


def delete(store: Store, _: MakeModel) -> None:
    store.models.delete("model-aaaaaaaaaaaa")


def several(store: Store, make_model: MakeModel) -> None:
    with store.transaction():
        add(store, make_model)
        update(store, make_model)
        store.models.delete("model-bbbbbbbbbbbb")


def look(store: Store, _: MakeModel) -> None:
    store.models.all()


CASES: dict[str, tuple[Callable[..., None], Callable[..., None], State]] = {
    "add": (prepare, add, ["a", "b", "c"]),
    "update": (prepare, update, ["b", "changed"]),
    "delete": (prepare, delete, ["b"]),
    "several": (prepare, several, ["c", "changed"]),
    "migrate": (prepare_old, look, ["a", "b"]),
    "repair": (prepare_damaged, look, ["a", "b"]),
    "rebuild": (prepare_lost, look, ["a", "b"]),
}
"""Name -> (what is there before, what is done, the names afterwards)."""

_KEPT = {"models", "modelforge.json", *(f"modelforge.json.{part}" for part in ("bak", "lock", "reserve", "schema-0"))}


def assert_no_orphans(path: Path) -> None:
    left = {file.name for file in path.parent.iterdir()}
    damaged = {name for name in left if ".damaged-" in name}
    assert left - damaged <= _KEPT
    assert len(damaged) <= 1


FEW = ("update", "rebuild")  # the others in `make test-slow`: hundreds of stores are killed or fail


@pytest.fixture(params=[name if name in FEW else pytest.param(name, marks=pytest.mark.slow) for name in CASES], ids=str)
def case(request: pytest.FixtureRequest) -> tuple[Callable[..., None], Callable[..., None], State]:
    return CASES[request.param]


@pytest.mark.skipif(not hasattr(os, "fork"), reason="kills forked writers")
def test_a_kill_at_every_call_leaves_the_old_state_or_the_new_and_no_orphans(
    tmp_path: Path, make_model: MakeModel, case: tuple[Any, Any, State]
) -> None:
    prepare_case, act, after = case
    for step in range(1, 200):
        path = tmp_path / str(step) / "modelforge.json"
        prepare_case(path, make_model)
        done = killed_at(step, path.parent, lambda path=path: act(Store(path), make_model))
        found = names(path)
        assert found in ([after] if done else [["a", "b"], after]), step
        assert_no_orphans(path)
        Store(path).models.add(make_model(name="z"))
        assert names(path) == [*found, "z"]
        assert_no_orphans(path)
        if done:
            assert step > 5, "the calls are no longer seen"
            return
    pytest.fail("it never ended")


@pytest.mark.parametrize("lasting", [False, True], ids=["once", "lasting"])
@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EIO], ids=["ENOSPC", "EIO"])
def test_an_error_at_every_call_is_visible_or_harmless_and_old_data_stays_readable(
    tmp_path: Path, make_model: MakeModel, case: tuple[Any, Any, State], number: int, lasting: bool
) -> None:
    prepare_case, act, after = case

    def fail() -> None:
        raise OSError(number, os.strerror(number))

    for step in range(1, 200):
        path = tmp_path / str(step) / "modelforge.json"
        prepare_case(path, make_model)
        error = None
        with FAULTS.armed(path.parent, step, fail, lasting=lasting):
            try:
                act(Store(path), make_model)
            except StoreError as caught:
                error = caught
            except DiskFullError as caught:
                assert number == errno.ENOSPC
                error = caught
            struck = FAULTS.count >= step
        assert error is None or (error.fix and error.where)
        found = names(path)
        assert found in ([after] if error is None else [["a", "b"], after]), step
        assert_no_orphans(path)
        Store(path).models.add(make_model(name="z"))
        assert names(path) == [*found, "z"]
        if not struck:
            assert step > 5, "the calls are no longer seen"
            return
    pytest.fail("it never ended")
