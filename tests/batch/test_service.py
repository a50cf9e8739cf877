"""Files answered in the background: followed, cancelled, resumed after a kill, and seen by their own person alone."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from modelforge import Forge
from modelforge.batch.service import CANCELLED, DONE, INTERRUPTED, RECORD, Batch
from modelforge.caller import Caller, acting_as
from modelforge.errors import AccessError, DatasetError, NotFoundError, RunStateError
from tests import tiny
from tests.batch.test_answer import read_lines, write_prompts

BERT = Caller("bert", "bert", is_owner=False, is_local=False)
GUEST = Caller("guest", "guest", is_owner=False, is_local=False, may_train=False)


@pytest.fixture(scope="module")
def forge(model: Any) -> Iterator[Forge]:
    yield Forge()


def test_file_is_answered_in_the_background(forge: Forge, model: Any, tmp_path: Path) -> None:
    file = write_prompts(tmp_path, 4)
    file.write_text(file.read_text() + '{"prompt": null}\n')
    made = forge.batches.start(model.record.id, file, max_new_tokens=4)
    file.unlink()  # a copy is kept
    ended = forge.batches.wait(made.id, 100)
    assert (ended.state, ended.rows, ended.done, ended.skipped) == (DONE, 5, 4, 1)
    assert ended.problems[0].startswith("prompts.jsonl, row 5, line 5, column prompt")
    assert len(read_lines(ended.answers)) == 4
    assert forge.batches.all()[0].id == made.id
    forge.batches.delete(made.id)
    assert not ended.folder.exists()
    with pytest.raises(NotFoundError):
        forge.batches.get(made.id)


def test_one_that_is_cancelled_or_killed_is_resumed(forge: Forge, model: Any, tmp_path: Path) -> None:
    file = write_prompts(tmp_path, 90)
    made = forge.batches.start(model.record.id, file, max_new_tokens=40, ending=".csv")
    forge.batches.cancel(made.id)
    assert forge.batches.wait(made.id, 100).state == CANCELLED
    with pytest.raises(RunStateError, match="it is cancelled"):
        forge.batches.cancel(made.id)
    record = made.folder / RECORD
    record.write_text(
        json.dumps(json.loads(record.read_text()) | {"state": "running", "pid": 2**22, "process_started": 1.0})
    )
    assert forge.batches.get(made.id).state == INTERRUPTED
    forge.batches.resume(made.id)
    ended = forge.batches.wait(made.id, 200)
    assert (ended.state, ended.done) == (DONE, 90)
    with pytest.raises(RunStateError, match="cannot be resumed; it is done"):
        forge.batches.resume(made.id)


def test_what_cannot_be_answered_is_said_at_once(forge: Forge, model: Any, tmp_path: Path) -> None:
    file = tiny.write_jsonl(tmp_path / "rows.jsonl", [{"colour": 5}])
    with pytest.raises(DatasetError, match="No column holds the prompt"):
        forge.batches.start(model.record.id, file)
    assert all(each.file != "rows.jsonl" for each in forge.batches.all())


def test_each_person_has_their_own(forge: Forge, model: Any) -> None:
    made = Batch(
        id="batch-0123456789ab", owner="anna", created="2026", model=model.record.id, model_name="m", base=False,
        file="a.csv", given="given.csv", ending=".csv", max_new_tokens=1, state=DONE,
    )  # fmt: skip
    made.folder.mkdir(parents=True)
    (made.folder / RECORD).write_text(made.model_dump_json())
    assert forge.batches.get(made.id) == made  # the owner sees all
    with acting_as(BERT):
        assert forge.batches.all() == []
        with pytest.raises(NotFoundError):
            forge.batches.delete(made.id)
    with acting_as(GUEST), pytest.raises(AccessError, match="for chatting"):
        forge.batches.start(model.record.id, made.answers)
