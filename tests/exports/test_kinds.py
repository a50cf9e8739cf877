"""Every architecture and tuning is exported in each form that it has, and answers the same there."""

from __future__ import annotations

from pathlib import Path

import pytest

from modelforge import Forge
from modelforge.errors import ExportError
from modelforge.exports.formats import FORMATS, has_format
from modelforge.store import RunState
from tests import tiny

pytestmark = pytest.mark.slow

KINDS = {
    "decoder": ("text-generation", "chat"),
    "encoder-decoder": ("summarization", "summary"),
    "encoder": ("extractive-question-answering", "span"),
}


@pytest.mark.parametrize("tuning", ["lora", "qlora", "full"])
@pytest.mark.parametrize("architecture", KINDS)
def test_each_kind_is_exported_in_each_form_that_it_has(
    forge: Forge, tmp_path: Path, architecture: str, tuning: str
) -> None:
    task, shape = KINDS[architecture]
    base = tiny.WRITERS[architecture](tmp_path / "base")
    file = tiny.write_jsonl(tmp_path / "rows.jsonl", tiny.user_rows(shape, 32))
    settings = {"task": task, "tuning.type": tuning, "max_steps": 6, "learning_rate": 1e-2, "min_eval_rows": 6}
    run = forge.runs.start(tiny.recipe(base, file, settings))
    assert run.wait(300) is RunState.finished, run.record.error
    record = forge.models.find(run.model_id or "")
    formats = [name for name, each in FORMATS.items() if has_format(record, each) and name != "gguf"]
    assert formats == (["merged"] if tuning == "full" else ["adapter", "merged"])
    for name in formats:
        parity = forge.exports.write(record.id, name, "", tmp_path / name).parity
        assert parity["ok"] and parity["tokens"] >= 6 and parity["notes"] == []
    if architecture != "decoder":
        with pytest.raises(ExportError, match="models that chat"):
            forge.exports.write(record.id, "gguf", "", tmp_path / "gguf")
