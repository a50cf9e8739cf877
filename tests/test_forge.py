"""The object that holds it all together: one for a process, cheap to build, refusing early what cannot work."""

from __future__ import annotations

import subprocess
import sys
import threading
from pathlib import Path

import pytest

from modelforge import Forge, forge
from modelforge.errors import BaseModelError, DatasetError, ModelForgeError, RecipeError
from modelforge.recipe import Recipe
from tests import tiny


def test_audit_10_many_threads_get_one_forge_and_its_state_survives(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(forge, "_shared", None)
    found: list[Forge] = []
    gate = threading.Barrier(32)

    def ask() -> None:
        gate.wait()
        found.append(forge.shared_forge())

    threads = [threading.Thread(target=ask) for _ in range(32)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len({id(each) for each in found}) == 1
    first = found[0]
    record = first.datasets.resolve("Customer questions", Recipe())
    again = forge.shared_forge()
    assert again is first and again.runs is first.runs
    assert again.datasets.all() == [record]


def test_building_a_forge_loads_neither_torch_nor_gradio(home: Path) -> None:
    code = (
        "import sys; from modelforge import Forge; Forge(); print({'torch', 'gradio', 'transformers'} & {*sys.modules})"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny.write_base(tmp_path_factory.mktemp("models") / "tiny")


@pytest.mark.parametrize(
    ("settings", "error", "word"),
    [
        ({"dataset": ""}, RecipeError, "No dataset"),
        ({"dataset": "no-such-file.csv"}, DatasetError, "no file and no dataset"),
        ({"base_model": "../.."}, BaseModelError, "config.json"),
        ({"base_model": "no such; model"}, BaseModelError, "neither a folder"),
        ({"task": "question-answering"}, BaseModelError, "LlamaForCausalLM, which writes text from left to right"),
        ({"task": "summarization", "dataset": "Customer questions"}, ModelForgeError, ""),
        ({"dtype": "float16"}, RecipeError, "float16"),
        ({"columns": {"prompt": "no_such_column"}}, DatasetError, "no_such_column"),
    ],
    ids=lambda value: str(value) if isinstance(value, dict) else None,
)
def test_start_refuses_at_once_what_cannot_work(
    base: Path, tmp_path: Path, settings: dict[str, object], error: type[ModelForgeError], word: str
) -> None:
    held = Forge()
    file = tiny.write_rows(tmp_path / "rows.jsonl")
    with pytest.raises(error) as caught:
        held.runs.start(tiny.recipe(base, file).with_settings(settings))
    assert word in caught.value.what
    assert caught.value.fix
    assert held.runs.all() == []


@pytest.mark.parametrize("content", ["", "\x00\x01", "{}", "[]", "a,b\n1,2\n", "%PDF-1.7"], ids=range(6))
def test_start_refuses_a_file_that_holds_no_examples(base: Path, tmp_path: Path, content: str) -> None:
    file = tmp_path / "rows.jsonl"
    file.write_text(content)
    held = Forge()
    with pytest.raises(DatasetError):
        held.runs.start(tiny.recipe(base, file))
    assert held.runs.all() == [] and held.datasets.all() == []


def test_recipe_and_forge_come_from_the_package() -> None:
    import modelforge

    assert modelforge.Recipe is Recipe
    assert modelforge.Forge is Forge
    with pytest.raises(AttributeError, match="no attribute"):
        _ = modelforge.Smithy
