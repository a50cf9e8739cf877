"""Which module of the command line is loaded when, and that what is listed without loading is what the modules say."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

from modelforge.cli import build_parser
from modelforge.cli.commands import HELP, MODULES

LARGE = {"torch", "gradio", "transformers", "numpy", "pyarrow", "pydantic", "asyncio"}


def loaded_by(*arguments: str, of: set[str]) -> set[str]:
    """Which of these modules a command loads, in a process of its own."""
    code = (
        "import json, sys; from modelforge.cli import main\n"
        f"try: main({[*arguments]})\n"
        "except SystemExit as end: pass\n"
        f"print(json.dumps(sorted({of} & {{*sys.modules}})))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return set(json.loads(done.stdout.splitlines()[-1]))


@pytest.mark.parametrize("arguments", [("--help",), ("--version",), ("unknown",), ()])
def test_the_list_of_commands_loads_no_command(arguments: tuple[str, ...]) -> None:
    modules = {f"modelforge.cli.{name}" for name in MODULES}
    assert loaded_by(*arguments, of=LARGE | modules | {"modelforge.recipe", "modelforge.store"}) == set()


def test_a_command_loads_its_own_module_alone() -> None:
    modules = {f"modelforge.cli.{name}" for name in MODULES}
    assert loaded_by("hardware", "--help", of=modules) == {"modelforge.cli.machine"}


@pytest.mark.parametrize("arguments", [("runs", "list"), ("runs", "show", "run-000000000000")])
def test_showing_runs_loads_nothing_that_trains_or_plans(arguments: tuple[str, ...]) -> None:
    services = {f"modelforge.{name}" for name in ("forge", "runs.service", "planner", "data", "models", "recipe")}
    assert loaded_by(*arguments, of=(LARGE | services) - {"pydantic"}) == set()


@pytest.mark.parametrize("name", HELP)
def test_whichever_command_is_named_the_list_of_commands_is_the_same(name: str) -> None:
    whole = build_parser()
    assert build_parser([name]).format_help() == whole.format_help() == build_parser(["--help"]).format_help()


@pytest.mark.parametrize("name", HELP)
def test_the_command_that_is_named_has_all_its_arguments(name: str) -> None:
    named, whole = (
        {**parser._subparsers._group_actions[0].choices} for parser in (build_parser([name]), build_parser())
    )  # type: ignore[union-attr, dict-item]
    assert named[name].format_help() == whole[name].format_help()
    assert [*named] == [*whole] == [*HELP]
