"""Private names of libraries are used in modelforge/compat alone."""

from __future__ import annotations

import ast
import importlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

PACKAGE = Path(__file__).parent.parent.parent / "modelforge"
FILES = [path for path in sorted(PACKAGE.rglob("*.py")) if "compat" not in path.relative_to(PACKAGE).parts]
ALLOWED = {"os._exit"}  # documented


def is_private(name: str) -> bool:
    return name.startswith("_") and not name.startswith("__")


def is_type_only(node: ast.AST) -> bool:
    return isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING"


def nodes(node: ast.AST) -> Iterator[ast.AST]:
    """All that runs: without imports for type hints, which reach into nothing."""
    yield node
    for child in ast.iter_child_nodes(node):
        if not is_type_only(child):
            yield from nodes(child)


def own_names(tree: ast.Module) -> set[str]:
    """Private attributes that the file's own classes have: methods, annotated fields, and what is assigned to self."""
    found: set[str] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            found.add(node.name)
        elif isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name):
            found.add(node.target.id)
        elif isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Store) and is_own(node.value):
            found.add(node.attr)
    return found


def is_own(node: ast.expr) -> bool:
    return isinstance(node, ast.Name) and node.id in ("self", "cls")


def find_private(source: str) -> list[str]:
    tree = ast.parse(source)
    own, found = own_names(tree), []
    for node in nodes(tree):
        if isinstance(node, ast.Import):
            found += [each.name for each in node.names if any(map(is_private, each.name.split(".")))]
        elif isinstance(node, ast.ImportFrom) and node.module and not node.module.startswith("modelforge"):
            parts = [*node.module.split("."), *(each.name for each in node.names)]
            found += [f"from {node.module}"] if any(map(is_private, parts)) else []
        elif isinstance(node, ast.Attribute) and is_private(node.attr):
            text = ast.unparse(node)
            if not is_own(node.value) and node.attr not in own and text not in ALLOWED:
                found.append(text)
        elif isinstance(node, ast.Call) and ast.unparse(node.func) in ("getattr", "setattr", "hasattr", "delattr"):
            name = node.args[1]
            if isinstance(name, ast.Constant) and is_private(str(name.value)):
                found.append(ast.unparse(node))
    return found


def test_no_private_name_of_a_library_outside_of_compat() -> None:
    assert FILES
    for file in FILES:
        assert find_private(file.read_text(encoding="utf-8")) == [], file


@pytest.mark.parametrize(
    "source",
    [
        "import torch._subclasses",
        "from torch.utils._pytree import tree_leaves",
        "from torch import _C",
        "trainer._save_checkpoint(1)",
        "def f():\n    super()._save()",
        "getattr(x, '_name')",
    ],
)
def test_private_names_are_found(source: str) -> None:
    assert find_private(source)


# Classes of ours outside of compat that derive from a library's.
DERIVED = [
    ("modelforge.training.methods.sft_decoder", "AnswerTrainer"),
    ("modelforge.training.methods.sft_encoder", "SpanTrainer"),
    ("modelforge.training.methods.sft_encoder_decoder", "SummaryTrainer"),
    ("modelforge.training.methods.dpo", "PreferenceTrainer"),
    ("modelforge.training.methods.kto", "LabelTrainer"),
    ("modelforge.training.methods.grpo", "RewardTrainer"),
    ("modelforge.training.batching", "LengthGroupedSampler"),
    ("modelforge.planner.simulation", "LiveBytes"),
    ("modelforge.store.storage", "Database"),
    ("modelforge.store.storage", "RecordTable"),
    ("modelforge.store.storage", "DurableStorage"),
]


@pytest.mark.parametrize(("module", "name"), DERIVED, ids=lambda value: value)
def test_no_private_method_of_a_library_is_replaced_outside_of_compat(module: str, name: str) -> None:
    """Nor does a name of ours, public or private, replace one that the library has come to use."""
    derived: Any = getattr(importlib.import_module(module), name)
    foreign = {
        attribute
        for each in derived.__mro__
        if not each.__module__.startswith("modelforge.") and each is not object
        for attribute in vars(each)
    }
    for each in derived.__mro__:
        if each.__module__.startswith("modelforge.") and not each.__module__.startswith("modelforge.compat."):
            replaced = {attribute for attribute in vars(each) if is_private(attribute)} & foreign
            assert replaced - {"_abc_impl"} == set(), each
