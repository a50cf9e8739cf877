"""The layout is the architecture: who may import whom, what loads heavy libraries, and what must not occur at all."""

from __future__ import annotations

import ast
import json
import re
import subprocess
import sys
from functools import cache
from pathlib import Path

import pytest

from tests.machine import measured, probed

__all__ = ["measured", "probed"]

PACKAGE = Path(__file__).parent.parent / "modelforge"
APP = PACKAGE.parent / "app.py"
FILES = sorted([*PACKAGE.rglob("*.py"), APP])

# Arrows point one way: each part may import itself and those above it in this list, and none below.
ORDER = (
    *("errors", "caller", "paths", "architecture", "building", "processes", "threads", "text", "warmup", "compat"),
    *("recipe", "store", "hardware", "quotas", "tasks", "choices", "scores", "data"),
    *("starter", "catalog", "base_model", "loading", "goals"),
    *("compute", "models", "planner", "training", "runs", "legacy", "forge", "ui", "cli"),
)
ONLY_IN = {"gradio": "ui", "gradio_client": "ui", "tinydb": "store"}


def part_of(file: Path) -> str:
    return file.relative_to(PACKAGE).parts[0].removesuffix(".py")


def module_of(file: Path) -> str:
    """modelforge/data/__init__.py -> modelforge.data."""
    return ".".join(file.relative_to(PACKAGE.parent).with_suffix("").parts).removesuffix(".__init__")


@cache
def tree(file: Path) -> ast.Module:
    return ast.parse(file.read_text(encoding="utf-8"), str(file))


@cache
def imports(file: Path) -> frozenset[str]:
    """Full names of all that a file imports, inside functions too: `from a import b` gives a and a.b."""
    found: set[str] = set()
    for node in ast.walk(tree(file)):
        if isinstance(node, ast.Import):
            found |= {name.name for name in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{file}: imports here are absolute"
            assert node.module
            found |= {node.module, *(f"{node.module}.{name.name}" for name in node.names)}
    return frozenset(found)


def imported_modules(file: Path) -> set[str]:
    """Full names of the files of ours that a file imports: of `from a import b`, a.b where that is one, else a."""
    found = imports(file)
    return {name for name in found if not any(other.startswith(f"{name}.") and is_module(other) for other in found)}


def is_module(name: str) -> bool:
    place = PACKAGE.parent.joinpath(*name.split("."))
    return place.is_dir() or place.with_suffix(".py").is_file()


def own_parts(file: Path) -> set[str]:
    named = {name.split(".")[1] for name in imports(file) if name.startswith("modelforge.")}
    return {name for name in named if (PACKAGE / name).is_dir() or (PACKAGE / f"{name}.py").is_file()}


def shown(file: Path) -> str:
    return str(file.relative_to(PACKAGE.parent))


def test_arrows_point_one_way() -> None:
    assert own_parts(PACKAGE / "__init__.py") <= {"forge", "recipe"}  # the two names that the package offers
    parts = {file: part_of(file) for file in FILES if file not in (APP, PACKAGE / "__init__.py")}
    parts = {file: part for file, part in parts.items() if part != "__main__"}
    assert {*parts.values()} <= {*ORDER}, "say in ORDER where it belongs"
    wrong = {
        shown(file): other
        for file, part in parts.items()
        for other in own_parts(file)
        if ORDER.index(other) > ORDER.index(part)
    }
    assert wrong == {}, "these must not be imported there"


def test_no_two_files_import_each_other_not_even_by_a_way_round() -> None:
    modules = {module_of(file): file for file in FILES if file != APP}
    uses = {name: modules.keys() & imported_modules(file) for name, file in modules.items()}
    seen: dict[str, bool] = {}  # whether a module is still being walked

    def walk(name: str, way: tuple[str, ...]) -> None:
        assert not seen.get(name), f"a circle: {' -> '.join((*way[way.index(name) :], name))}"
        if name not in seen:
            seen[name] = True
            for other in sorted(uses[name]):
                walk(other, (*way, name))
            seen[name] = False

    for name in modules:
        walk(name, ())


def test_nothing_but_the_command_line_and_app_py_imports_the_ui() -> None:
    for file in FILES:
        if any(name.startswith("modelforge.ui") for name in imports(file)):
            assert file == APP or part_of(file) in ("ui", "cli"), file


@pytest.mark.parametrize("library", ONLY_IN)
def test_only_one_part_imports_it(library: str) -> None:
    users = {file for file in FILES if any(name.split(".")[0] == library for name in imports(file))}
    inside = {part_of(file) for file in users if file != APP}
    assert inside <= {ONLY_IN[library], "compat"}
    if library != "gradio_client":
        assert inside, "this test looks for the wrong name"


@pytest.mark.parametrize(
    "statement",
    [
        "import modelforge",
        "from modelforge import Forge, Recipe",
        "from modelforge.cli import build_parser; build_parser().format_help()",
        "import modelforge.runs.service, modelforge.models.library, modelforge.data.library, modelforge.goals",
    ],
)
def test_heavy_libraries_are_loaded_only_when_needed(statement: str) -> None:
    heavy = {"torch", "gradio", "transformers", "trl", "peft"}
    code = f"{statement}\nimport sys\nprint(sorted({heavy} & {{*sys.modules}}))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


@pytest.mark.usefixtures("probed")
def test_first_page_loads_no_heavy_library() -> None:
    """Neither when the app is opened nor by what the page does once it is loaded."""
    heavy = ["torch", "transformers", "trl", "peft", "datasets"]
    command = [sys.executable, "-m", "tests.ui.first_page", *heavy]
    done = subprocess.run(command, capture_output=True, text=True, cwd=PACKAGE.parent, check=False)
    assert done.returncode == 0, done.stderr
    seen = json.loads(done.stdout.splitlines()[-1])
    assert seen["called"] > 10  # the handlers of load, and those that they call in turn
    assert seen["loaded"] == []


def test_every_module_says_what_it_is() -> None:
    assert [shown(file) for file in FILES if len(ast.get_docstring(tree(file)) or "") <= 20] == []


def test_audit_08_nothing_runs_a_shell_or_foreign_code() -> None:
    """No shell, no os.system, no eval, no pickle, no code that comes with a model."""
    for file in FILES:
        check_calls(file)


def check_calls(file: Path) -> None:
    for node in ast.walk(tree(file)):
        if isinstance(node, ast.Call):
            called = ast.unparse(node.func)
            given = {keyword.arg: ast.unparse(keyword.value) for keyword in node.keywords}
            place = f"{file}:{node.lineno}"
            assert called not in ("os.system", "os.popen", "eval", "exec", "subprocess.getoutput"), place
            assert not called.startswith(("os.exec", "os.spawn", "pty.")), place
            assert given.get("shell", "False") == "False", place
            assert given.get("trust_remote_code", "False") == "False", place
            assert given.get("allow_pickle", "False") == "False", place
            assert called not in ("torch.load", "joblib.load", "yaml.load", "yaml.unsafe_load"), place
    unsafe = {"pickle", "dill", "cloudpickle", "joblib", "shelve"}
    assert not {name.split(".")[0] for name in imports(file)} & unsafe, file


def test_task_names_are_compared_only_in_tasks() -> None:
    """What differs between tasks is declared in tasks/, not asked for elsewhere."""
    names = r"(Task\.[A-Z_]+|['\"](text-generation|summarization|(extractive-)?question-answering)['\"])"
    compared = re.compile(rf"\b(if|elif|while|case|match)\b.*(\btask\b.*(==|!=|\bis\b( not)?|\bin\b)\s*)[^#]*{names}")
    for file in FILES:
        if file == APP or part_of(file) == "tasks":
            continue
        for number, line in enumerate(file.read_text(encoding="utf-8").splitlines(), start=1):
            allowed = line.strip().startswith("sample = next(")  # goals.py: the demo's own sample
            assert allowed or not compared.search(line), f"{shown(file)}:{number}: {line.strip()}"


def test_files_stay_small_enough_for_the_head() -> None:
    long = {shown(file): count for file in FILES if (count := len(file.read_text("utf-8").splitlines())) > 450}
    assert not long
