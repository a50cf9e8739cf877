"""A file in, the same rows with answers out, whatever stops it in between."""

from __future__ import annotations

import csv
import json
import signal
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from modelforge.batch.answer import Progress, answer_file, describe_problem
from modelforge.batch.output import progress_of
from modelforge.errors import DatasetError
from modelforge.models.sampling import Sampling
from tests import tiny
from tests.programs import MODELFORGE, Programs

LONGEST = 8
ASKED = [f"{prompt} {'Say more. ' * (number % 3)}" for number, (prompt, _) in enumerate(tiny.PAIRS * 3)]


@pytest.fixture
def run(model: Any) -> Callable[..., Progress]:
    def answer(file: Path, out: Path, **more: Any) -> Progress:
        return answer_file(model.playground, model.record, file, out, max_new_tokens=LONGEST, **more)

    return answer


def write_prompts(folder: Path, count: int = 6) -> Path:
    rows = [{"id": number, "prompt": prompt, "answer": "?"} for number, prompt in enumerate(ASKED[:count])]
    return tiny.write_jsonl(folder / "prompts.jsonl", rows)


def read_lines(file: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in file.read_text(encoding="utf-8").splitlines()]


def test_each_row_gets_the_answer_of_a_chat_in_the_order_of_the_file(
    run: Callable[..., Progress], model: Any, tmp_path: Path
) -> None:
    out = tmp_path / "out.jsonl"
    found = run(write_prompts(tmp_path), out)
    assert (found.rows, found.done, found.broken) == (6, 6, 0)
    rows = read_lines(out)
    assert [row["id"] for row in rows] == list(range(6))
    assert rows[0]["answer"] == "?"  # the file's own column stays
    expected = [model.chat(row["prompt"], sampling=Sampling(max_new_tokens=LONGEST)) for row in rows[:2]]
    assert [row["model_answer"] for row in rows[:2]] == expected
    assert not progress_of(out).exists()


def test_base_model_answers_otherwise(run: Callable[..., Progress], tmp_path: Path) -> None:
    file = write_prompts(tmp_path, 2)
    run(file, tmp_path / "tuned.jsonl")
    run(file, tmp_path / "base.jsonl", base=True)
    assert read_lines(tmp_path / "tuned.jsonl") != read_lines(tmp_path / "base.jsonl")


@pytest.mark.parametrize("ending", ["jsonl", "csv"])
def test_what_was_stopped_is_continued_without_asking_anything_twice(
    run: Callable[..., Progress], tmp_path: Path, ending: str
) -> None:
    count = 80  # more than are answered at once
    file, whole, out = write_prompts(tmp_path, count), tmp_path / f"whole.{ending}", tmp_path / f"out.{ending}"
    run(file, whole)
    for stop_at in (20, 70):

        def stop(progress: Progress, stop_at: int = stop_at) -> None:
            if progress.done >= stop_at:
                raise KeyboardInterrupt

        with pytest.raises(KeyboardInterrupt):
            run(file, out, resume=stop_at > 20, watch=stop)
        known = [json.loads(line) for line in progress_of(out).read_text().splitlines()]
        assert len({line["row"] for line in known if "row" in line}) >= stop_at
        with out.open("ab") as torn:  # as a kill in the middle of a line
            torn.write(b'{"id": 9, "pro')
        with progress_of(out).open("ab") as torn:
            torn.write(b'{"row": 3')
    asked: list[int] = []
    found = run(file, out, resume=True, watch=lambda progress: asked.append(progress.done))
    assert min(asked) >= 64  # the first ones were known
    assert found.done == count
    assert out.read_bytes() == whole.read_bytes()
    assert run(file, out, resume=True).done == count  # nothing is left to do
    assert out.read_bytes() == whole.read_bytes()


def test_broken_rows_are_left_out_and_reported_with_row_and_line(run: Callable[..., Progress], tmp_path: Path) -> None:
    file = tmp_path / "prompts.jsonl"
    file.write_text('{"prompt": "One?"}\n\n{"prompt": \n{"prompt": null}\n{"prompt": 5}\n', encoding="utf-8")
    found = run(file, tmp_path / "out.jsonl")
    assert (found.rows, found.done, found.broken) == (4, 2, 2)
    told = [describe_problem("prompts.jsonl", each) for each in found.problems]
    assert told[0].startswith("prompts.jsonl, row 2, line 3: ")
    assert told[1].startswith("prompts.jsonl, row 3, line 4, column prompt: There is no value (null).")
    assert [row["prompt"] for row in read_lines(tmp_path / "out.jsonl")] == ["One?", 5]


def test_csv_keeps_its_columns_and_cells_of_several_lines(run: Callable[..., Progress], tmp_path: Path) -> None:
    file, out = tmp_path / "prompts.csv", tmp_path / "out.csv"
    file.write_text('id,Question,input\n1,"What, then?","two\nlines"\n2,Who?,\n', encoding="utf-8")
    assert run(file, out).done == 2
    with out.open(encoding="utf-8", newline="") as opened:
        rows = list(csv.DictReader(opened))
    assert list(rows[0]) == ["id", "Question", "input", "answer"]
    assert rows[0]["input"] == "two\nlines"


def test_chats_are_answered_at_their_end(run: Callable[..., Progress], model: Any, tmp_path: Path) -> None:
    chats = [tiny.messages("Who?", "Me.")[:1], tiny.messages("Who?", "Me.")]
    file = tiny.write_jsonl(tmp_path / "chats.jsonl", [{"messages": chat} for chat in chats])
    run(file, tmp_path / "out.jsonl")
    answers = [row["answer"] for row in read_lines(tmp_path / "out.jsonl")]
    assert answers == [model.chat("Who?", sampling=Sampling(max_new_tokens=LONGEST))] * 2


@pytest.mark.parametrize(
    ("prepare", "sentence"),
    [
        (lambda out: out.with_suffix(".xlsx"), "written as .jsonl or .csv"),
        (lambda out: [out.write_text(""), out][1], "exists already"),
        (lambda out: out.parent / "missing" / "out.jsonl", "cannot write|No such file"),
    ],
)
def test_output_that_cannot_be_written_is_a_sentence(
    run: Callable[..., Progress], tmp_path: Path, prepare: Callable[[Path], Path], sentence: str
) -> None:
    from modelforge.errors import ModelForgeError

    with pytest.raises(ModelForgeError, match=sentence) as caught:
        run(write_prompts(tmp_path), prepare(tmp_path / "out.jsonl"))
    assert caught.value.fix


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        ("", "empty"),
        ('{"colour": 5}\n', "No column holds the prompt; there are colour"),
        ('{"prompt": null}\n{"prompt": " "}\n', "No row of it can be answered. Row 1"),
    ],
)
def test_file_without_questions_is_refused(
    run: Callable[..., Progress], tmp_path: Path, content: str, sentence: str
) -> None:
    file = tmp_path / "prompts.jsonl"
    file.write_text(content)
    with pytest.raises(DatasetError, match=sentence):
        run(file, tmp_path / "out.jsonl")
    assert not (tmp_path / "out.jsonl").exists()


def test_another_job_is_not_continued(run: Callable[..., Progress], tmp_path: Path) -> None:
    def stop(_: Progress) -> None:
        raise KeyboardInterrupt

    file, out = write_prompts(tmp_path), tmp_path / "out.jsonl"
    with pytest.raises(KeyboardInterrupt):
        run(file, out, watch=stop)
    with pytest.raises(DatasetError, match="another base"):
        run(file, out, resume=True, base=True)
    file.write_text(file.read_text() + '{"prompt": "More?"}\n')
    with pytest.raises(DatasetError, match="another file"):
        run(file, out, resume=True)
    progress_of(out).write_text("[]\n")
    with pytest.raises(DatasetError, match="damaged"):
        run(file, out, resume=True)


def test_command_line_answers_a_file_and_reports_what_it_left_out(
    model: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    from modelforge.cli import main

    file, out = tmp_path / "prompts.csv", tmp_path / "out.csv"
    file.write_text("id,Frage\n1,Who?\n2,\n3,What?\n", encoding="utf-8")
    given = ["batch", "Colours", str(file), "--out", str(out), "--max-new-tokens", "3", "--json"]
    assert main(given) == 1
    assert "--map prompt=COLUMN" in capsys.readouterr().err
    assert main([*given, "--map", "prompt=Frage"]) == 0
    printed = capsys.readouterr()
    told = json.loads(printed.out)
    assert told.keys() == {"rows", "done", "skipped", "seconds"}
    assert (told["rows"], told["done"]) == (3, 2)
    assert "Left out: prompts.csv, row 2, line 3, column Frage" in printed.err
    assert main([*given, "--map", "prompt=Frage"]) == 1
    assert "--resume" in capsys.readouterr().err


@pytest.mark.slow
@pytest.mark.parametrize("how", [signal.SIGTERM, signal.SIGINT, signal.SIGKILL])
def test_command_line_that_is_killed_goes_on_where_it_was(
    programs: Programs, model: Any, tmp_path: Path, how: signal.Signals
) -> None:
    count = 600  # ten times as many as are answered at once
    rows = [{"prompt": f"{prompt} ({number})"} for number in range(count // len(ASKED) + 1) for prompt in ASKED][:count]
    file = tiny.write_jsonl(tmp_path / "prompts.jsonl", rows)
    out, whole = tmp_path / "out.jsonl", tmp_path / "whole.jsonl"
    given = ["batch", model.record.id, file, "--out", out, "--max-new-tokens", 8, "--json"]
    known = progress_of(out)
    with programs.start(MODELFORGE, *given) as process:
        while not known.exists() or known.read_text().count('"row"') < 20:
            assert process.poll() is None, process.read_stderr()
            time.sleep(0.01)
        process.send_signal(how)
        code, said = process.wait(60), process.read_stderr()
    assert code == (-how if how is signal.SIGKILL else 130) and "Traceback" not in said
    answered = len({line["row"] for line in map(json.loads, known.read_text().splitlines()[:-1]) if "row" in line})
    assert 19 <= answered < count, "it was too late to be killed"
    refused = programs.run(MODELFORGE, *given)
    assert refused.returncode == 1 and "--resume" in refused.stderr
    done = programs.run(MODELFORGE, *given, "--resume")
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["done"] == count and not known.exists()
    assert programs.run(MODELFORGE, *given[:3], "--out", whole, *given[5:]).returncode == 0
    assert out.read_bytes() == whole.read_bytes()
