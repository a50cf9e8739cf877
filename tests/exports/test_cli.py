"""`modelforge export`: its JSON, its exit codes, and what it refuses."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from modelforge import Forge
from modelforge import forge as forges
from modelforge.cli import main
from tests import tiny

PARITY = {"prompts", "same_template", "first_token_agreement", "token_agreement", "same_text", "ok"}


@pytest.fixture
def model(forge: Forge, tiny_base: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.setattr(forges, "_shared", forge)
    return tiny.finish_model(forge, tiny_base)


def test_export_prints_files_and_parity(model: Any, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "new" / "out"
    assert main(["export", "Colours", "--format", "merged", "--out", str(out), "--json"]) == 0
    made = json.loads(capfd.readouterr().out)
    assert {Path(each) for each in made["files"]} == set(out.iterdir())
    assert made["parity"].keys() >= PARITY and made["parity"]["ok"] is True
    assert main(["export", "Colours", "--format", "merged", "--out", str(out)]) == 1  # it is there now
    assert "There is something there already. Choose a new folder." in capfd.readouterr().err


@pytest.mark.parametrize(
    ("wrong", "code", "said"),
    [
        (["Colours", "--format", "gguf", "--quantization", "q9"], 1, "no quantization 'q9'"),
        (["Colours", "--format", "merged", "--quantization", "q8_0"], 1, "has no quantization"),
        (["Nothing", "--format", "merged"], 1, "no model 'Nothing'"),
    ],
)
@pytest.mark.usefixtures("model")
def test_wrong_usage_is_a_sentence(
    tmp_path: Path, capfd: pytest.CaptureFixture[str], wrong: list[str], code: int, said: str
) -> None:
    assert main(["export", *wrong, "--out", str(tmp_path / "out")]) == code
    captured = capfd.readouterr()
    assert said in captured.err and "Traceback" not in captured.err
    assert not (tmp_path / "out").exists()


@pytest.mark.usefixtures("model")
def test_form_that_there_is_not_is_wrong_usage(capfd: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["export", "Colours", "--format", "onnx"])
    assert ended.value.code == 2
    assert "gguf" in capfd.readouterr().err
