"""Whatever the command line is given, and wherever its output goes: a sentence and an exit code, never a traceback."""

from __future__ import annotations

import json
import os
import resource
import subprocess
import sys
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path

import pytest

from modelforge.cli import main
from modelforge.recipe import Recipe
from modelforge.recipe.yaml_text import LONGEST
from tests import tiny
from tests.machine import measured, probed

__all__ = ["measured", "probed"]

PROGRAM = [sys.executable, "-m", "modelforge.cli"]
LONG = "x" * 300
COMMANDS = [
    ["hardware"],
    ["starter"],
    ["data", "check", "{rows}"],
    ["plan", "{recipe}"],
    ["train", "{recipe}"],
    ["sweep", "{recipe}", "--over", "seed=1,2"],
    ["demo"],
    ["runs", "list"],
    ["runs", "show", "x"],
    ["runs", "resume", "x"],
    ["runs", "delete", "x"],
    ["models", "list"],
    ["models", "show", "x"],
    ["models", "delete", "x"],
    ["generate", "x", "--prompt", "hi"],
    ["evaluate", "x"],
    ["push", "x", "me/x"],
    ["import-legacy"],
    ["ui", "--no-browser"],
]
LONG_NAMES = [
    ["data", "check", LONG],
    ["data", "check", f"{LONG}/{LONG}"],
    ["data", "check", "{rows}", "--evaluation", LONG],
    ["data", "check", "{rows}", "--problems", LONG],
    ["data", "check", "{rows}", "--problems", "{rows}/below"],
    ["data", "check", "{rows}", "--map", LONG],
    ["data", "check", "{rows}", "--repair", LONG],
    ["plan", LONG],
    ["plan", "{recipe}", "--set", f"name={LONG}"],
    ["plan", "{recipe}", "--set", LONG],
    ["train", LONG],
    ["train", "{recipe}", "--set", f"name={LONG}"],
    ["train", "{recipe}", "--set", f"dataset={LONG}"],
    ["train", "{recipe}", "--set", f"base_model={LONG}"],
    ["train", "{recipe}", "--set", f"parent={LONG}"],
    ["sweep", "{recipe}", "--over", f"seed={LONG}"],
    ["sweep", LONG, "--over", "seed=1,2"],
    *(["runs", name, LONG] for name in ("show", "resume", "delete")),
    *(["models", name, LONG] for name in ("show", "delete")),
    ["generate", LONG, "--prompt", "hi"],
    ["evaluate", LONG],
    ["push", LONG, "me/x"],
    ["import-legacy", LONG],
    ["ui", "--no-browser", "--host", LONG],
    ["ui", "--no-browser", "--model", LONG],
    ["ui", "--no-browser", "--auth-file", LONG],
]


def shown(command: list[str]) -> str:
    return " ".join(command).replace(LONG, "LONG")


@pytest.fixture
def call(tmp_path: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Callable[..., str]:
    """call(command) -> the one line on stderr of a command that must exit with 1."""
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    rows = tiny.write_rows(tmp_path / "rows.jsonl")
    (tmp_path / "recipe.yaml").write_text(f"dataset: {rows}\nmax_steps: 1\n")

    def run(command: list[str]) -> str:
        assert main([part.format(rows=rows, recipe=tmp_path / "recipe.yaml") for part in command]) == 1
        printed = capfd.readouterr()
        assert printed.out == ""
        (line,) = printed.err.splitlines()
        return line

    return run


@pytest.mark.parametrize("command", LONG_NAMES, ids=shown)
def test_name_that_is_too_long_is_a_sentence(call: Callable[..., str], command: list[str]) -> None:
    assert "Errno" not in call(command)


@pytest.mark.parametrize("command", COMMANDS, ids=shown)
@pytest.mark.parametrize("how", ["file", "below a file", "too long"])
def test_home_that_cannot_be_is_a_sentence(
    call: Callable[..., str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, how: str, command: list[str]
) -> None:
    file = tmp_path / "file"
    file.write_text("x")
    home = {"file": file, "below a file": file / "home", "too long": tmp_path / LONG}[how]
    monkeypatch.setenv("MODELFORGE_HOME", str(home))
    if (how == "below a file" and command[0] in ("hardware", "starter", "plan")) or command[-1] in ("list", "x", "hi"):
        pytest.skip("needs nothing of the home")
    line = call(command)
    assert str(file) in line or LONG in line or command == ["import-legacy"]


def test_home_of_a_user_who_does_not_exist_is_a_sentence(
    call: Callable[..., str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MODELFORGE_HOME", "~nobody-of-that-name/x")
    assert call(["models", "list"]).startswith("MODELFORGE_HOME: The home folder in '~nobody-of-that-name/x'")


@pytest.mark.parametrize("port", ["99999", "65536", "0", "-1", "x", "²"])
def test_port_that_is_none_is_wrong_usage(capfd: pytest.CaptureFixture[str], port: str) -> None:
    with pytest.raises(SystemExit) as caught:
        main(["ui", "--no-browser", "--port", port])
    assert caught.value.code == 2
    assert "Use a number from 1 to 65535." in capfd.readouterr().err


# ---- recipes ---------------------------------------------------------------------------------------------------

_NAMES = "abcdefghi"
BOMBS = {
    "laughs": "a: &a [x,x,x,x,x,x,x,x,x,x]\n"
    + "".join(f"{n}: &{n} [{','.join([f'*{p}'] * 10)}]\n" for p, n in pairwise(_NAMES)),
    "text": f"a: &a {'x' * 100_000}\nname: [{','.join(['*a'] * 9)}]\n",
    "merged": "a: &a {x: 1}\n"
    + "".join(f"{n}: &{n} {{<<: [{','.join([f'*{p}'] * 10)}]}}\n" for p, n in pairwise(_NAMES)),
    "within itself": "a: &a [*a, *a]\n",
    "long": "# " + "x" * LONGEST,
}


@pytest.mark.parametrize("name", BOMBS)
@pytest.mark.parametrize("place", ["file", "--set"])
def test_recipe_that_would_fill_the_memory_is_a_sentence(
    call: Callable[..., str], tmp_path: Path, name: str, place: str
) -> None:
    (tmp_path / "bomb.yaml").write_text(BOMBS[name])
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    if place == "file":
        line = call(["plan", str(tmp_path / "bomb.yaml")])
    else:
        nested = BOMBS[name].replace("{", "{{").replace("}", "}}")
        line = call(["plan", "{recipe}", "--set", f"name={nested}"])
    assert f"{LONGEST:,} characters" in line
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 200_000  # KB


def test_recipe_without_an_end_is_a_sentence(call: Callable[..., str]) -> None:
    assert f"more than {LONGEST:,} characters" in call(["plan", "/dev/zero"])


def test_recipe_may_have_aliases() -> None:
    text = "tuning: &lora {type: lora, r: 4}\nname: &name Colours\ncolumns: {prompt: *name}\n"
    recipe = Recipe.from_yaml(text)
    assert recipe.columns == {"prompt": "Colours"} and recipe.tuning.r == 4


# ---- where the output goes -------------------------------------------------------------------------------------


def shell(redirected: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    command = f'exec "$@" {redirected}' if "|" not in redirected else f'"$@" {redirected}'
    return subprocess.run(
        ["bash", "-o", "pipefail", "-c", command, "bash", *PROGRAM, *arguments],
        capture_output=True,
        text=True,
        check=False,
        stdin=subprocess.DEVNULL,
    )


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="has no device that is always full")
@pytest.mark.parametrize("redirected", [">&-", ">/dev/full", "<&- >&-"])
@pytest.mark.parametrize("arguments", [["models", "list"], ["hardware", "--json"]], ids=" ".join)
def test_output_that_cannot_be_written_is_a_sentence(redirected: str, arguments: list[str]) -> None:
    done = shell(redirected, *arguments)
    assert done.returncode == 1
    assert done.stderr.startswith("The output cannot be written: ") and len(done.stderr.splitlines()) == 1


@pytest.mark.parametrize("arguments", [["--help"], ["runs", "list"], ["data", "check", "{rows}"]], ids=" ".join)
def test_reader_that_has_seen_enough_is_no_error(arguments: list[str], tmp_path: Path) -> None:
    rows = tiny.write_rows(tmp_path / "rows.jsonl")
    done = shell("| true", *(part.format(rows=rows) for part in arguments))
    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.parametrize("redirected", ["2>&-", "2>/dev/full"])
def test_nothing_of_stderr_gets_into_the_output(redirected: str) -> None:
    done = shell(redirected, "models", "show", "x", "--json")
    assert (done.returncode, done.stdout) == (1, "")


def test_files_never_get_the_numbers_of_closed_streams(home: Path) -> None:
    """What a library prints would be written into the registry's lock, or into a dataset."""
    code = (
        "import os; from modelforge.cli import terminal; terminal.open_streams()\n"
        "file = os.open(os.devnull, os.O_RDONLY); open(os.environ['SEEN'], 'w').write(str(file))"
    )
    seen = home.parent / "seen"
    command = ["bash", "-c", f'exec "{sys.executable}" -c "$1" <&- >&- 2>&-', "bash", code]
    subprocess.run(command, env={**os.environ, "SEEN": str(seen)}, check=True)
    assert int(seen.read_text()) > 2


@pytest.mark.slow
def test_training_goes_on_when_nobody_reads_its_events_any_more(tmp_path: Path, probed: Path) -> None:
    rows, base = tiny.write_rows(tmp_path / "rows.jsonl"), tiny.write_base(tmp_path / "base")
    recipe = tiny.recipe(base, rows, {"max_steps": 3})
    (tmp_path / "recipe.yaml").write_text(recipe.to_yaml())
    done = shell("| head -c 1 >/dev/null", "train", str(tmp_path / "recipe.yaml"), "--json")
    assert (done.returncode, done.stderr) == (0, "")
    listed = subprocess.run([*PROGRAM, "runs", "list", "--json"], capture_output=True, text=True, check=True)
    assert [run["state"] for run in json.loads(listed.stdout)] == ["finished"]
