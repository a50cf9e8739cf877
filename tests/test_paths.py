"""Where things live: home moves with the environment, and no typed text becomes a path."""

from __future__ import annotations

from pathlib import Path

import pytest

from modelforge import paths
from modelforge.errors import NotFoundError

HOSTILE = [
    "",
    "..",
    "../..",
    "/etc",
    "; touch x",
    "model-1",
    "model-0123456789ab/..",
    "model-0123456789AB",
    "a\0b",
    "~",
]


def test_home_follows_the_environment_at_every_call(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("one", "two"):
        monkeypatch.setenv("MODELFORGE_HOME", str(tmp_path / name))
        assert paths.home() == tmp_path / name
        assert paths.database() == tmp_path / name / "modelforge.json"
        assert paths.model_dir("model-0123456789ab") == tmp_path / name / "models" / "model-0123456789ab"


def test_audit_14_home_is_absolute(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for given, expected in (("rel", tmp_path / "rel"), ("~/x", Path("~/x").expanduser())):
        monkeypatch.setenv("MODELFORGE_HOME", given)
        assert paths.home() == expected


@pytest.mark.parametrize("unset", [True, False])
def test_home_without_a_choice_is_the_platforms_user_data(monkeypatch: pytest.MonkeyPatch, unset: bool) -> None:
    monkeypatch.delenv("MODELFORGE_HOME") if unset else monkeypatch.setenv("MODELFORGE_HOME", "")
    assert paths.home().is_absolute()
    assert paths.home().name == "ModelForge"


@pytest.mark.parametrize("make", [paths.dataset_dir, paths.run_dir, paths.model_dir])
@pytest.mark.parametrize("text", HOSTILE)
def test_audit_08_typed_text_never_becomes_a_path(make: object, text: str) -> None:
    with pytest.raises(NotFoundError) as caught:
        make(text)  # type: ignore[operator]
    assert caught.value.fix


def test_new_ids_are_accepted_and_differ() -> None:
    ids = {paths.new_id("run") for _ in range(1000)}
    assert len(ids) == 1000
    assert all(paths.run_dir(each).name == each for each in ids)


def test_typed_path_is_found_wherever_it_is_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path))
    (tmp_path / "a file.csv").touch()
    for text in ("a file.csv", "./a file.csv", "~/a file.csv", str(tmp_path / "a file.csv")):
        found = paths.existing(text)
        assert found is not None and found.is_absolute() and found.samefile(tmp_path / "a file.csv")


@pytest.mark.parametrize("text", ["nothing here", "x" * 5000, "~nobody-of-that-name/x", "a\0b", "; touch x"])
def test_text_that_is_no_path_is_none(text: str) -> None:
    assert paths.existing(text) is None


def test_assets_are_there() -> None:
    for name in ("models.yaml", "starters.yaml", "presets.yaml", "foreign_names.yaml", "datasets/index.yaml"):
        assert paths.asset(name).is_file()
