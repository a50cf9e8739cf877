"""What README.md says of the code is true: the file tree, and the steps from Start to the registry."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text(encoding="utf-8")
STEPS = re.findall(r"^\d+\. .*?`(\w[\w/]*\.py)`, `([\w.]+)`", README, flags=re.MULTILINE)


def listed() -> set[str]:
    """What the tree in README.md lists of modelforge/, one level deep: {"recipe/", "hardware.py", ...}."""
    block = README[README.index("\nmodelforge/\n") : README.index("\ntests/  ")]
    rows = re.findall(r"^ {2}(\S.*?) {2,}\S", block, flags=re.MULTILINE)
    return {name for row in rows for name in row.split()}


def test_tree_in_the_readme_is_the_tree_on_disk() -> None:
    package = ROOT / "modelforge"
    there = {f"{path.name}/" for path in package.iterdir() if (path / "__init__.py").is_file()}
    there |= {path.name for path in package.glob("*.py") if path.name != "__init__.py"}
    assert listed() == there


def test_a_run_is_told_in_at_most_twelve_steps() -> None:
    assert 8 <= len(STEPS) <= 12


@pytest.mark.parametrize(("file", "name"), STEPS)
def test_each_step_is_a_function_that_is_there(file: str, name: str) -> None:
    tree = ast.parse((ROOT / "modelforge" / file).read_text(encoding="utf-8"))
    scope: list[ast.stmt] = tree.body
    for part in name.split("."):
        found = [node for node in scope if isinstance(node, ast.FunctionDef | ast.ClassDef) and node.name == part]
        assert found, f"{file} has no {name}"
        scope = found[0].body
