"""The types of the package: every function says what it takes and gives, and the checker finds that to be so."""

from __future__ import annotations

import ast
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
FILES = sorted((ROOT / "modelforge").rglob("*.py"))


def find_untyped(tree: ast.AST) -> list[str]:
    """Functions that do not say what they give, or what one of their parameters is."""
    found = []
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            given = [*node.args.posonlyargs, *node.args.args, *node.args.kwonlyargs]
            given += [each for each in (node.args.vararg, node.args.kwarg) if each]
            untyped = [each.arg for each in given if each.annotation is None and each.arg not in ("self", "cls")]
            if node.returns is None or untyped:
                found.append(f"{node.name}, line {node.lineno}")
    return found


def test_audit_07_every_function_says_what_it_takes_and_gives() -> None:
    assert FILES
    for file in FILES:
        assert find_untyped(ast.parse(file.read_text(encoding="utf-8"))) == [], file


def test_audit_07_checker_is_strict_and_looks_at_the_whole_package() -> None:
    settings = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["tool"]["mypy"]
    assert settings["packages"] == ["modelforge"] and settings["strict"] is True
    for override in settings["overrides"]:
        assert not any(name.startswith("modelforge") for name in override["module"])


@pytest.mark.slow
def test_audit_07_type_checker_passes() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "mypy", "--no-error-summary"], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
