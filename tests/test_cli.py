"""The command line: names, JSON and exit codes that other programs rely on.

Most tests call `main` in this process; a few start the real program.
"""

from __future__ import annotations

import io
import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import yaml

from modelforge import Forge, __version__
from modelforge.cli import main, runs
from modelforge.errors import RunStateError
from modelforge.models.sampling import Sampling
from modelforge.recipe import Task
from modelforge.store import RunState
from tests import tiny
from tests.machine import base, measured, probed
from tests.programs import WITHOUT_A_PLAN, Programs

__all__ = ["base", "measured", "probed"]

PROGRAM = Path(sys.executable).parent / "modelforge"
EVENTS = {
    *("started", "progress", "evaluated", "sampled", "checkpoint", "warning", "finished", "failed", "stopped"),
    *("measuring", "storing", "stored"),
}
PROGRESS = {"step", "total_steps", "loss", "learning_rate", "tokens", "tokens_per_second", "eta_seconds"}
RUN_KEYS = {"id", "state", "recipe", "step", "total_steps", "model_id", "created"}
MODEL_KEYS = {"id", "name", "base_model", "task", "method", "tuning", "created", "path", "metrics", "custom_base_model"}


@pytest.fixture
def write_recipe(base: Path, tmp_path: Path) -> Callable[..., Path]:
    """write_recipe(max_steps=2) -> a recipe file with its dataset beside it."""

    def write(**settings: Any) -> Path:
        tiny.write_rows(tmp_path / "rows.jsonl")
        text = yaml.safe_dump(tiny.recipe(base, "rows.jsonl", settings).model_dump(mode="json"))
        (tmp_path / "recipe.yaml").write_text(text)
        return tmp_path / "recipe.yaml"

    return write


@pytest.fixture
def call(capfd: pytest.CaptureFixture[str]) -> Callable[..., Any]:
    """call("runs", "list") -> the JSON that it prints; everything on stdout must be JSON, line by line or whole."""

    def run(*arguments: str, code: int = 0) -> Any:
        capfd.readouterr()
        assert main([*map(str, arguments), "--json"]) == code
        printed = capfd.readouterr().out
        if arguments[0] in ("train", "demo"):
            return [json.loads(line) for line in printed.splitlines()]
        return json.loads(printed) if printed else None

    return run


def program(*arguments: str | Path, **options: Any) -> subprocess.CompletedProcess[str]:
    command = [str(PROGRAM), *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, check=False, timeout=120, **options)


# ---- the real program ------------------------------------------------------------------------------------------


def test_help_loads_neither_torch_nor_gradio() -> None:
    code = (
        "import sys; from modelforge.cli import main\n"
        "try: main(['--help'])\n"
        "except SystemExit as end: print('exit', end.code)\n"
        "print(sorted({'torch', 'gradio', 'transformers', 'peft', 'trl', 'datasets'} & {*sys.modules}))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-2:] == ["exit 0", "[]"]
    for command in (
        "ui",
        "hardware",
        "starter",
        "data",
        "train",
        "runs",
        "models",
        "generate",
        "evaluate",
        "push",
        "demo",
    ):
        assert re.search(rf"^    {command} ", done.stdout, re.MULTILINE), command


def test_program_tells_its_version_and_refuses_wrong_usage() -> None:
    assert program("--version").stdout.strip() == __version__
    done = program("fly")
    assert (done.returncode, done.stdout) == (2, "") and "usage:" in done.stderr


@pytest.mark.parametrize(
    "wrong",
    [[], ["train"], ["runs"], ["generate", "x"], ["evaluate"], ["push", "x"], ["ui", "--port", "x"]],
    ids=" ".join,
)
def test_wrong_usage_exits_2(capfd: pytest.CaptureFixture[str], wrong: list[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        main(wrong)
    assert caught.value.code == 2
    printed = capfd.readouterr()
    assert printed.out == "" and "usage:" in printed.err


def test_problem_of_the_users_making_is_one_message_on_stderr_and_exit_1(tmp_path: Path) -> None:
    done = program("train", tmp_path / "no such.yaml", "--json")
    assert (done.returncode, done.stdout) == (1, "")
    assert "no such.yaml" in done.stderr and "Traceback" not in done.stderr
    assert len(done.stderr.strip().splitlines()) == 1


def test_reader_that_has_seen_enough_ends_the_program_quietly() -> None:
    command = f"{PROGRAM} data check {Path(__file__).parents[1]}/assets/datasets/customer_questions.csv | head -c 1"
    done = subprocess.run(["bash", "-o", "pipefail", "-c", command], capture_output=True, text=True, check=False)
    assert "Traceback" not in done.stderr and "BrokenPipe" not in done.stderr


@pytest.mark.slow
def test_terminal_without_the_characters_shows_what_it_can(tmp_path: Path) -> None:
    tiny.write_rows(tmp_path / "Größe ✓.jsonl")
    plain = {**os.environ, "PYTHONIOENCODING": "ascii", "PYTHONUTF8": "0"}
    for arguments in (["data", "check", str(tmp_path / "Größe ✓.jsonl")], ["models", "show", "Größe ✓"]):
        for extra in ([], ["--json"]):
            done = program(*arguments, *extra, env=plain)
            assert "Traceback" not in done.stderr
            if extra and done.stdout:
                assert json.loads(done.stdout)["file"].endswith("Größe ✓.jsonl")


def test_ctrl_c_saves_stops_and_exits_130(programs: Programs, probed: Path, write_recipe: Callable[..., Path]) -> None:
    recipe = write_recipe(max_steps=100_000, eval_split=0)
    events: list[dict[str, Any]] = []
    with programs.start(WITHOUT_A_PLAN, "train", recipe, "--json") as process:
        for line in process.stdout:  # JSON and nothing else
            events.append(json.loads(line))
            if events[-1]["type"] == "progress" and events[-1]["step"] == 3:
                elsewhere = Forge().runs
                record = elsewhere.get(events[-1]["run_id"])
                assert record.state is RunState.running and elsewhere.progress(record)[0] >= 3
                with pytest.raises(RunStateError, match="another process"):
                    elsewhere.stop(record.id)
                process.send_signal(signal.SIGINT)
        assert process.wait() == 130
        said = process.read_stderr()
    assert "Saving and stopping" in said and "Traceback" not in said
    last = events[-1]
    assert last["type"] == "stopped" and last["step"] >= 3
    steps = [event["step"] for event in events if event["type"] == "progress"]
    assert steps == list(range(1, last["step"] + 1))  # each event once, also after Ctrl-C
    forge = Forge()
    assert forge.runs.get(last["run_id"]).state is RunState.stopped
    assert isinstance(forge.models[last["model_id"]].chat("hi", sampling=Sampling(max_new_tokens=4)), str)


@pytest.mark.slow
def test_run_whose_process_is_stopped_for_a_while_is_not_taken_for_dead(
    probed: Path, write_recipe: Callable[..., Path]
) -> None:
    """As in a laptop that sleeps."""
    command = [str(PROGRAM), "train", str(write_recipe(max_steps=12, evaluations=1)), "--json"]
    events: list[dict[str, Any]] = []
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout
        for line in process.stdout:
            events.append(json.loads(line))
            if events[-1]["type"] == "progress" and events[-1]["step"] == 5:
                process.send_signal(signal.SIGSTOP)
                time.sleep(3)
                assert [row["state"] for row in json.loads(program("runs", "list", "--json").stdout)] == ["running"]
                process.send_signal(signal.SIGCONT)
        assert process.wait(60) == 0
    assert [event["step"] for event in events if event["type"] == "progress"] == list(range(1, 13))
    assert events[-1]["type"] == "finished" and not [event for event in events if event["type"] == "warning"]


@pytest.mark.slow
@pytest.mark.parametrize("how", [signal.SIGTERM, signal.SIGKILL])
def test_run_whose_process_is_told_to_end_or_killed_goes_on(
    probed: Path, write_recipe: Callable[..., Path], how: signal.Signals
) -> None:
    command = [str(PROGRAM), "train", str(write_recipe(max_steps=40, evaluations=1, save_steps=2)), "--json"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        assert process.stdout and process.stderr
        for line in process.stdout:
            event = json.loads(line)
            if event["type"] == "progress" and event["step"] == 5:
                process.send_signal(how)
        said, code = process.stderr.read(), process.wait(10)
    run_id = event["run_id"]
    assert "Traceback" not in said
    if how is signal.SIGTERM:
        assert code == 130 and event["type"] == "paused" and f"runs resume {run_id}" in said
    listed = json.loads(program("runs", "list", "--json").stdout)
    assert [row["state"] for row in listed] == ["paused" if how is signal.SIGTERM else "interrupted"]
    done = program("runs", "resume", run_id, "--json")
    assert done.returncode == 0, done.stderr
    events = [json.loads(line) for line in done.stdout.splitlines()]
    assert events[0]["type"] == "started" and events[0]["step"] >= 4
    steps = [each["step"] for each in events if each["type"] == "progress"]
    assert steps == list(range(events[0]["step"] + 1, 41))
    assert events[-1]["type"] == "finished"
    refused = program("runs", "resume", run_id)
    assert refused.returncode == 1 and "cannot be resumed; it is finished" in refused.stderr


def test_fault_05_sigterm_ends_a_sweep_and_not_only_its_first_run(
    programs: Programs, probed: Path, write_recipe: Callable[..., Path]
) -> None:
    recipe = write_recipe(max_steps=300, evaluations=1)
    events: list[dict[str, Any]] = []
    with programs.start(WITHOUT_A_PLAN, "sweep", recipe, "--over", "seed=1,2,3", "--json") as process:
        for line in process.stdout:
            events.append(json.loads(line))
            if events[-1]["type"] == "progress" and events[-1]["step"] == 2:
                process.send_signal(signal.SIGTERM)
        code, said = process.wait(), process.read_stderr()
    assert len({event["run_id"] for event in events if event["type"] == "progress"}) == 1
    assert code == 130 and "Traceback" not in said
    records = Forge().runs.all()
    assert [record.state for record in records] == [RunState.paused] * 3
    assert sorted(record.step > 0 for record in records) == [False, False, True]
    assert all(f"runs resume {record.id}" in said for record in records)


@pytest.mark.slow
def test_fault_14_train_whose_end_cannot_be_written_exits_1(
    programs: Programs, home: Path, probed: Path, write_recipe: Callable[..., Path]
) -> None:
    recipe = write_recipe(max_steps=60, evaluations=1)
    obstacle = home / "modelforge.json.tmp"  # where each new state of the registry is written first
    with programs.start(WITHOUT_A_PLAN, "train", recipe, "--json") as process:
        for line in process.stdout:
            if json.loads(line).get("step") == 2 and not obstacle.exists():
                obstacle.mkdir()
        code, said = process.wait(), process.read_stderr()
    assert json.loads(line)["type"] == "failed"
    assert code == 1 and "The registry cannot be written" in said
    obstacle.rmdir()
    assert [record.state for record in Forge().runs.all()] == [RunState.interrupted]


# ---- train -----------------------------------------------------------------------------------------------------


def test_train_prints_a_json_line_for_each_event(
    probed: Path, write_recipe: Callable[..., Path], call: Callable[..., Any]
) -> None:
    events = call("train", write_recipe(max_steps=2))
    for event in events:
        assert {"type", "time", "run_id"} <= event.keys()
        assert event["type"] in EVENTS
        assert datetime.fromisoformat(event["time"]).utcoffset() == timedelta(0)
    assert len({event["run_id"] for event in events}) == 1
    kinds = [event["type"] for event in events]
    assert kinds[0] == "started" and kinds[-1] == "finished"
    assert {"progress", "evaluated", "sampled"} <= set(kinds)
    for event in events:
        if event["type"] == "progress":
            assert event.keys() >= PROGRESS
    assert events[-1]["model_id"].startswith("model-")
    assert events[-1]["metrics"]["tuned"]["perplexity"] > 1


def test_train_takes_settings_and_tells_them_in_words(
    probed: Path, write_recipe: Callable[..., Path], capfd: pytest.CaptureFixture[str], call: Callable[..., Any]
) -> None:
    assert (
        main(["train", str(write_recipe()), "--set", "tuning.r=3", "--set", "max_steps=2", "--set", "name=Mine"]) == 0
    )
    out = capfd.readouterr().out
    assert "step 2/2" in out and "held out: loss" in out and "finished: model model-" in out
    (run,) = call("runs", "list")
    assert (run["recipe"]["tuning"]["r"], run["recipe"]["max_steps"], run["recipe"]["name"]) == (3, 2, "Mine")


def test_train_that_fails_says_why_once_and_exits_1(
    probed: Path, write_recipe: Callable[..., Path], capfd: pytest.CaptureFixture[str]
) -> None:
    recipe = write_recipe()
    for as_json in ([], ["--json"]):
        assert main(["train", str(recipe), "--set", "tuning.target_modules=nothing", *as_json]) == 1
        printed = capfd.readouterr()
        assert printed.err.count("does not match any layer of this model") == 1
        assert "Traceback" not in printed.err
        if as_json:
            last = json.loads(printed.out.splitlines()[-1])
            assert last["type"] == "failed" and last["where"] == "setting tuning.target_modules"
        else:
            assert "does not match any layer" not in printed.out


@pytest.mark.parametrize(
    ("change", "word"),
    [
        ("seed=-1", "at least 0"),
        ("tuning.lora_alpha=0", "more than 0"),
        ("learning_rat=1", "Did you mean learning_rate?"),
        ("task=chatting", "question-answering"),
        ("dataset=nowhere.csv", "nowhere.csv"),
        ("base_model='; touch x'", "neither a folder"),
        ("seed", "NAME=VALUE"),
    ],
)
def test_audit_12_wrong_settings_are_one_readable_line(
    write_recipe: Callable[..., Path], capfd: pytest.CaptureFixture[str], change: str, word: str
) -> None:
    assert main(["train", str(write_recipe()), "--set", change]) == 1
    printed = capfd.readouterr()
    assert printed.out == ""
    assert word in printed.err and len(printed.err.strip().splitlines()) == 1


def test_demo_trains_the_starter_on_the_bundled_sample(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[Any] = []
    monkeypatch.setattr("modelforge.runs.service.Runs.start", lambda self, recipe: seen.append(recipe))
    monkeypatch.setattr(runs, "follow", lambda started, *, as_json: 0)
    assert main(["demo"]) == 0
    assert seen[0].base_model.startswith("HuggingFaceTB/") and seen[0].dataset == "Customer questions"


# ---- runs, models, generate ------------------------------------------------------------------------------------


@pytest.fixture
def trained(probed: Path, write_recipe: Callable[..., Path], call: Callable[..., Any]) -> Iterator[dict[str, Any]]:
    """The last event of a run of two steps."""
    last: dict[str, Any] = call("train", write_recipe(max_steps=2, name="Colours"))[-1]
    yield last


def test_runs_are_listed_shown_and_deleted(trained: dict[str, Any], call: Callable[..., Any]) -> None:
    (row,) = call("runs", "list")
    assert row.keys() >= RUN_KEYS
    assert (row["id"], row["state"], row["step"], row["total_steps"]) == (trained["run_id"], "finished", 2, 2)
    assert row["model_id"] == trained["model_id"]
    assert call("runs", "show", row["id"][:12]) == row
    assert call("runs", "delete", row["id"]) == {"deleted": row["id"]}
    assert call("runs", "list") == []
    assert len(call("models", "list")) == 1


def test_models_are_listed_shown_and_deleted(trained: dict[str, Any], call: Callable[..., Any], base: Path) -> None:
    (row,) = call("models", "list")
    assert row.keys() >= MODEL_KEYS
    assert (row["id"], row["name"], row["base_model"]) == (trained["model_id"], "Colours", str(base))
    assert (row["task"], row["method"], row["tuning"]) == ("text-generation", "sft", "lora")
    assert row["custom_base_model"] is True
    assert Path(row["path"]).is_dir() and Path(row["path"]).is_absolute()
    assert row["metrics"] == trained["metrics"]
    assert call("models", "show", "Colours") == call("models", "show", row["id"][:13]) == row
    assert call("models", "delete", "Colours")["deleted"] == row["id"]
    assert not Path(row["path"]).exists()
    assert call("models", "list") == []


def test_generate_answers_with_text_tokens_and_seconds(trained: dict[str, Any], call: Callable[..., Any]) -> None:
    asked = ["generate", "Colours", "--prompt", "What colour?", "--max-new-tokens", "12"]
    told = call(*asked)
    assert told.keys() >= {"text", "tokens", "seconds"}
    assert told["tokens"] > 0 and told["seconds"] > 0
    assert call(*asked)["text"] == told["text"]
    assert isinstance(call(*asked, "--base")["text"], str)
    drawn = [*asked, "--temperature", "1.5", "--seed"]
    assert call(*drawn, "1")["text"] == call(*drawn, "1")["text"] != call(*drawn, "2")["text"]
    assert call(*drawn, "1", "--top-k", "1")["text"] == call(*drawn, "2", "--min-p", "1")["text"] == told["text"]
    assert call(*asked, "--repetition-penalty", "2")["text"] != told["text"]


@pytest.mark.parametrize(
    ("wrong", "word"),
    [
        (["--max-new-tokens", "0"], "max_new_tokens"),
        (["--temperature", "-1"], "temperature"),
        (["--temperature", "nan"], "temperature"),
        (["--seed", "-1"], "seed"),
        (["--top-p", "0"], "top_p"),
        (["--min-p", "2"], "min_p"),
        (["--top-k", "-1"], "top_k"),
        (["--repetition-penalty", "9"], "repetition_penalty"),
    ],
)
def test_generate_refuses_settings_out_of_bounds(
    forge_with_model: Any, capfd: pytest.CaptureFixture[str], wrong: list[str], word: str
) -> None:
    assert main(["generate", "Colours", "--prompt", "hi", *wrong]) == 1
    assert word in capfd.readouterr().err


@pytest.fixture
def reader(probed: Path, tmp_path: Path, call: Callable[..., Any]) -> Callable[[str, str], str]:
    """reader("encoder", "span") -> the id of a model of that architecture, trained for a step on rows of that shape."""
    tasks = {"span": "question-answering", "summary": "summarization"}

    def train(architecture: str, shape: str) -> str:
        base = tiny.WRITERS[architecture](tmp_path / architecture)
        rows = tiny.write_jsonl(tmp_path / f"{shape}.jsonl", tiny.user_rows(shape))
        text = yaml.safe_dump(tiny.recipe(base, rows, task=tasks[shape]).model_dump(mode="json"))
        (tmp_path / f"{shape}.yaml").write_text(text)
        return str(call("train", tmp_path / f"{shape}.yaml")[-1]["model_id"])

    return train


def test_generate_finds_an_answer_in_a_context_and_tells_where(
    reader: Callable[[str, str], str], call: Callable[..., Any], capfd: pytest.CaptureFixture[str]
) -> None:
    model, context = reader("encoder", "span"), 'The lamp is "red" {x}.\nThe boat is blue.'
    asked = ["generate", model, "--context", context, "--question", "What is red?"]
    told = call(*asked)
    assert told.keys() == {"text", "tokens", "seconds", "answer", "start", "end", "score"}
    assert told["answer"] == told["text"] == context[told["start"] : told["end"]]
    assert isinstance(told["start"], int) and isinstance(told["end"], int) and 0 <= told["score"] <= 1
    assert call(*asked, "--base").keys() == told.keys()
    assert main(asked) == 0
    assert capfd.readouterr().out.rstrip("\n") == told["text"].rstrip("\n")


def test_generate_summarises_a_document_also_from_stdin(
    reader: Callable[[str, str], str], call: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    model, document = reader("encoder-decoder", "summary"), 'The lamp is "red" {x}.\nThe boat is blue.'
    told = call("generate", model, "--document", document, "--max-new-tokens", "8")
    assert told.keys() == {"text", "tokens", "seconds"}
    monkeypatch.setattr(sys, "stdin", io.StringIO(document))
    assert call("generate", model, "--document", "-", "--max-new-tokens", "8")["text"] == told["text"]


def test_generate_summarises_with_a_decoder_too(forge_with_model: Any, call: Callable[..., Any]) -> None:
    told = call("generate", "Colours", "--document", "The lamp is red.", "--max-new-tokens", "8")
    assert told.keys() == {"text", "tokens", "seconds"}


@pytest.mark.parametrize(
    "wrong",
    [
        [],
        ["--context", "It is red."],
        ["--question", "What is it?"],
        ["--prompt", "hi", "--document", "It is red."],
        ["--document", "It is red.", "--question", "What is it?"],
        ["--prompt", "hi", "--context", "It is red.", "--question", "What is it?"],
    ],
    ids=lambda wrong: " ".join(wrong[::2]) or "nothing",
)
def test_generate_with_inputs_that_do_not_go_together_exits_2(
    capfd: pytest.CaptureFixture[str], wrong: list[str]
) -> None:
    with pytest.raises(SystemExit) as caught:
        main(["generate", "Colours", *wrong])
    assert caught.value.code == 2
    printed = capfd.readouterr()
    assert printed.out == "" and "--context and --question" in printed.err


@pytest.mark.parametrize(
    ("inputs", "word"),
    [(["--context", "Red.", "--question", "Which?"], "Give it a prompt"), (["--document", " "], "no document")],
)
def test_generate_of_what_the_model_does_not_do_is_one_line_that_says_what_it_does(
    forge_with_model: Any, capfd: pytest.CaptureFixture[str], inputs: list[str], word: str
) -> None:
    assert main(["generate", "Colours", *inputs]) == 1
    printed = capfd.readouterr()
    assert printed.out == "" and word in printed.err and len(printed.err.strip().splitlines()) == 1


def test_evaluate_tells_rows_and_the_metrics_of_both_sides(
    trained: dict[str, Any], call: Callable[..., Any], capfd: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    told = call("evaluate", trained["model_id"])
    shape = {"rows", "tuned", "base", "difference", "verdict", "regressions"}
    assert told.keys() == shape | {"compared_with", "metric", "why", "enough_rows", "notes", "forgetting"}
    assert told["rows"] == 4  # a quarter of 16: fewer than the 40 that are wanted
    names = {"loss", "perplexity", "rougeL", "chrf", "exact_match"}
    assert told["tuned"].keys() == told["base"].keys() == told["difference"].keys() == names
    for name, each in told["difference"].items():
        assert each["value"] == pytest.approx(told["tuned"][name] - told["base"][name])
        assert each["low"] <= each["value"] <= each["high"]
    assert (told["verdict"], told["metric"], told["compared_with"]) == ("no clear difference", "rougeL", "base")
    assert "With 4 held-out rows no difference can be distinguished from chance" in told["why"]
    assert told["enough_rows"] >= 20
    assert all(each.keys() == {"row", "base", "tuned", "expected"} for each in told["regressions"])
    assert told["tuned"]["perplexity"] == pytest.approx(trained["metrics"]["tuned"]["perplexity"], rel=1e-4)
    file = tiny.write_rows(tmp_path / "more.jsonl", tiny.PAIRS[16:24])
    assert call("evaluate", "Colours", "--data", file)["rows"] == 8
    assert main(["evaluate", "Colours", "--data", str(file), "--limit", "3"]) == 0
    printed = capfd.readouterr()
    first = [line.split()[0] for line in printed.out.splitlines()]
    assert first[:-1] == ["metric", "rougeL", "loss", "perplexity", "chrf", "exact_match", "3"]
    assert printed.out.splitlines()[-1].startswith("no clear difference: ROUGE-L ")
    assert printed.err == ""


def test_evaluate_of_a_broken_file_is_one_line_with_row_and_line(
    forge_with_model: Any, capfd: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    file = tiny.write_rows(tmp_path / "broken.jsonl")
    file.write_text(file.read_text() + '{"prompt": "Who?", "response": ""}\n')
    assert main(["evaluate", "Colours", "--data", str(file)]) == 1
    printed = capfd.readouterr()
    assert printed.out == "" and len(printed.err.strip().splitlines()) == 1
    assert "broken.jsonl, row 17 (line 17)" in printed.err


@pytest.fixture
def forge_with_model(probed: Path, base: Path) -> Any:
    return tiny.finish_model(Forge(), base)


@pytest.mark.parametrize("name", ["", "nobody", "; touch x", "../.."])
@pytest.mark.parametrize(
    "command",
    [
        ["generate", "{}", "--prompt", "hi"],
        ["evaluate", "{}"],
        ["models", "show", "{}"],
        ["models", "delete", "{}"],
        ["push", "{}", "a/b"],
    ],
    ids=" ".join,
)
def test_audit_13_unknown_model_is_one_clear_line(
    forge_with_model: Any, capfd: pytest.CaptureFixture[str], command: list[str], name: str
) -> None:
    assert main([part.format(name) for part in command]) == 1
    printed = capfd.readouterr()
    assert printed.out == "" and len(printed.err.strip().splitlines()) == 1
    assert len(Forge().models.all()) == 1


@pytest.mark.parametrize("command", ["show", "delete"])
def test_unknown_run_is_one_clear_line(capfd: pytest.CaptureFixture[str], command: str) -> None:
    assert main(["runs", command, "run-000000000000"]) == 1
    assert "There is no run" in capfd.readouterr().err


def test_text_for_people_is_a_table(forge_with_model: Any, capfd: pytest.CaptureFixture[str]) -> None:
    assert main(["models", "list"]) == 0
    header, row = capfd.readouterr().out.splitlines()
    assert header.split()[:3] == ["id", "name", "base_model"]
    assert row.split()[:2] == [forge_with_model.id, "Colours"]
    assert main(["runs", "list"]) == 0
    assert capfd.readouterr().out.split() == ["id", "state", "step", "total_steps", "model_id", "created"]


# ---- hardware, starter, data -----------------------------------------------------------------------------------


def test_hardware_has_the_documented_keys(call: Callable[..., Any]) -> None:
    shape = call("hardware")
    assert shape.keys() >= {"device", "devices", "memory_bytes", "tier", "recommended"}
    assert shape["tier"] in ("low", "mid", "high")
    assert shape["recommended"].keys() == {task.value for task in Task}
    assert all(isinstance(models, list) and models for models in shape["recommended"].values())
    assert shape["memory_bytes"] > 0 and shape["devices"]


def test_starter_tells_ids_paths_and_sources(call: Callable[..., Any]) -> None:
    from modelforge import starter

    for each in starter.STARTERS:
        folder = starter.folder(each)
        folder.mkdir(parents=True)
        (folder / starter.NOTE).write_text("{}")
    told = call("starter")["models"]
    assert [model["id"] for model in told] == list(starter.STARTERS)
    assert all(Path(model["path"]).is_dir() and model["source"] for model in told)


def test_data_check_has_the_documented_keys(tmp_path: Path, call: Callable[..., Any]) -> None:
    shape = call("data", "check", tiny.write_rows(tmp_path / "rows.jsonl"))
    keys = {"file", "format", "encoding", "rows", "columns", "mapping", "ok", "problems", "counts"}
    assert shape.keys() >= keys
    assert shape["counts"].keys() >= {"errors", "warnings", "duplicates"}
    assert (shape["ok"], shape["rows"], shape["format"]) == (True, 16, "jsonl")


def test_data_check_exits_1_when_the_file_is_not_ready(tmp_path: Path, call: Callable[..., Any]) -> None:
    (tmp_path / "rows.csv").write_text("prompt,response\nhi,there\n,nothing asked\n")
    shape = call("data", "check", tmp_path / "rows.csv", code=1)
    assert not shape["ok"]
    problem = next(problem for problem in shape["problems"] if problem["severity"] == "error")
    assert problem.keys() >= {"severity", "row", "line", "column", "problem", "fix"}
    assert (problem["row"], problem["line"], problem["column"]) == (2, 3, "prompt")


def test_data_check_takes_a_mapping_and_a_task(tmp_path: Path, call: Callable[..., Any]) -> None:
    (tmp_path / "rows.csv").write_text("frage,antwort\nWas?,Das.\nWer?,Der.\n")
    mapping = ["--map", "prompt=frage", "--map", "response=antwort", "--task", "text-generation"]
    assert call("data", "check", tmp_path / "rows.csv", *mapping)["mapping"] == {
        "prompt": "frage",
        "response": "antwort",
    }


@pytest.mark.parametrize("wrong", [["--map", "prompt"], ["--task", "chat"]])
def test_data_check_refuses_wrong_options(tmp_path: Path, capfd: pytest.CaptureFixture[str], wrong: list[str]) -> None:
    file = tiny.write_rows(tmp_path / "rows.jsonl")
    assert main(["data", "check", str(file), *wrong]) == 1
    assert capfd.readouterr().err


def test_data_check_mends_what_it_is_told_to_and_writes_all_problems(tmp_path: Path, call: Callable[..., Any]) -> None:
    (tmp_path / "rows.csv").write_text("prompt,response\nhi,there\n,nothing asked\nhi,there\nwho,me\n=1+1,\n")
    plain = call("data", "check", tmp_path / "rows.csv", code=1)
    assert plain["repairs"]["skip_bad_rows"] == {"possible": 2, "done": 0}
    options = ["--repair", "skip_bad_rows", "--repair", "drop_duplicates", "--problems", tmp_path / "problems.csv"]
    mended = call("data", "check", tmp_path / "rows.csv", *options)
    assert (mended["ok"], mended["rows"], mended["usable"]) == (True, 5, 2)
    assert mended["repairs"]["drop_duplicates"] == {"possible": 1, "done": 1}
    written = (tmp_path / "problems.csv").read_text(encoding="utf-8-sig").splitlines()
    assert written[0] == "severity,row,line,column,problem,fix"
    assert len(written) == 1 + mended["counts"]["warnings"]


def test_data_check_finds_rows_of_an_evaluation_file_that_training_has_seen(
    tmp_path: Path, call: Callable[..., Any]
) -> None:
    (tmp_path / "train.csv").write_text("prompt,response\nWhy?,\nWhere is the mill?,By the river.\nWho am I?,You.\n")
    (tmp_path / "test.csv").write_text("prompt,response\nWhat is new?,This.\nWHERE is  the mill?,By the river.\n")
    options = ["--evaluation", tmp_path / "test.csv", "--repair", "skip_bad_rows"]
    leaks = call("data", "check", tmp_path / "train.csv", *options)["leaks"]
    assert leaks == [{"evaluation_row": 2, "training_row": 2, "kind": "identical except for case and white space"}]


def test_data_check_of_a_hub_dataset_without_the_hub_is_one_sentence() -> None:
    done = program("data", "check", "nobody/nothing", env={**os.environ, "HF_HUB_OFFLINE": "1"})
    assert done.returncode == 1
    assert "nobody/nothing" in done.stderr and "Traceback" not in done.stderr


def test_push_without_a_token_asks_to_sign_in(
    forge_with_model: Any, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    from huggingface_hub import constants

    for name in ("HF_TOKEN", "HUGGING_FACE_HUB_TOKEN"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(constants, "HF_TOKEN_PATH", str(tmp_path / "none"))
    assert main(["push", "Colours", "me/colours"]) == 1
    assert "not signed in" in capfd.readouterr().err.lower()


@pytest.mark.parametrize("options", [["--share"], ["--host", "192.0.2.1"]])
def test_audit_11_app_is_not_opened_to_others_without_a_password(
    capfd: pytest.CaptureFixture[str], options: list[str]
) -> None:
    assert main(["ui", "--no-browser", *options]) == 1
    assert "--auth" in capfd.readouterr().err
