"""Every regular expression of the package takes linear time, whatever the text: `re` may need quadratic time or years,
and nothing else of the app runs meanwhile."""

from __future__ import annotations

import ast
import importlib
import re
import time
from collections.abc import Callable, Iterator
from itertools import product
from pathlib import Path
from typing import Any

import pytest
import regex

PACKAGE = Path(__file__).parent.parent / "modelforge"
OF_USERS = {"recipe/user_patterns.py", "scores/user_patterns.py"}  # see tests/scores/test_user_patterns.py
METHODS = {"search", "match", "fullmatch", "findall", "finditer", "sub", "split"}
UNITS = ("a", "B", "0", " ", "\n", "é", "\u0301", "中")
LENGTH = 1000  # characters of the shortest text
FAST_SECONDS = 0.001  # a quadratic search of twice as many takes longer


def list_files() -> Iterator[tuple[str, list[ast.AST]]]:
    """(name, all nodes) of each file that has patterns of ours."""
    for file in sorted(PACKAGE.rglob("*.py")):
        name = file.relative_to(PACKAGE).as_posix()
        text = file.read_text(encoding="utf-8")
        if name not in OF_USERS and re.search(r"^\s*import (re|regex)\b", text, re.MULTILINE):
            yield name, list(ast.walk(ast.parse(text)))


def find_patterns() -> Iterator[tuple[str, Any, str]]:
    """(place, compiled pattern, method) of each use of a pattern in the package."""
    for name, nodes in list_files():
        module = importlib.import_module(f"modelforge.{name.removesuffix('.py').replace('/', '.')}")
        used = [node for node in nodes if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name)]
        for label, pattern in list_values(vars(module)):
            methods = {node.attr for node in used if node.value.id == label.partition("[")[0]} & METHODS
            yield from ((f"{name} {label}", pattern, method) for method in sorted(methods or {"findall"}))
        for call in nodes:
            if isinstance(call, ast.Call) and call.func in used and call.func.attr in METHODS:
                engine = call.func.value.id
                if is_engine(engine):
                    pattern = importlib.import_module(engine).compile(ast.literal_eval(call.args[0]))
                    yield f"{name} line {call.lineno}", pattern, call.func.attr


def is_engine(name: str) -> bool:
    return name in ("re", "regex")


def list_values(named: dict[str, Any]) -> Iterator[tuple[str, Any]]:
    for name, value in named.items():
        if isinstance(value, dict):
            yield from ((f"{name}[{key!r}]", each) for key, each in value.items() if is_pattern(each))
        elif is_pattern(value):
            yield name, value


def is_pattern(value: Any) -> bool:
    return isinstance(value, re.Pattern | regex.Pattern)


def make_texts(source: str | bytes) -> Iterator[Callable[[int], Any]]:
    """Texts of any length which nearly match: what the pattern is written with, again and again, and a wrong end."""
    written = source if isinstance(source, str) else source.decode("latin-1")
    signs = {sign for sign in written if not sign.isalnum()}
    words = {word for word in re.findall(r"[^\\()\[\]{}*+?|.^$]+", written) if 1 < len(word) < 12}
    units = sorted({*UNITS, *signs, *words})
    for one, other in product(units, ["", *units]):
        for head, unit in (("", one + other), (one, other))[: 2 if other else 1]:

            def make(length: int, head: str = head, unit: str = unit) -> Any:
                text = f"{head}{unit * (length // len(unit))}\0"
                return text if isinstance(source, str) else text.encode()

            yield make


def measure(search: Callable[[Any], Any], text: Any, times: int = 1) -> float:
    """Processor seconds, the best of some."""
    best = float("inf")
    for _ in range(times):
        start = time.thread_time()
        found = search(text)
        if not isinstance(found, list | re.Match | regex.Match | type(None)):
            list(found)
        best = min(best, time.thread_time() - start)
    return best


def find_slow_text(pattern: Any, method: str) -> str | None:
    """A text that takes more than three times as long when it is twice as long."""
    search = getattr(pattern, "findall" if method in ("sub", "split") else method)
    for make in make_texts(pattern.pattern):
        if measure(search, make(2 * LENGTH)) > FAST_SECONDS:
            seconds = [measure(search, make(factor * LENGTH), 5) for factor in (1, 2, 4)]
            if seconds[1] > 3 * seconds[0] and seconds[2] > 3 * seconds[1]:
                return str(make(40))
    return None


@pytest.mark.timeout(300)  # where a pattern takes exponential time
def test_every_pattern_takes_linear_time() -> None:
    found = list(find_patterns())
    assert len(found) > 30  # they are found at all
    slow = {place: (pattern.pattern, find_slow_text(pattern, method)) for place, pattern, method in found}
    assert {place: why for place, why in slow.items() if why[1] is not None} == {}


@pytest.mark.parametrize("pattern", [r"[\w.+-]+@(?:[\w-]+\.)+[A-Za-z]{2,}", r"\s+$", r"<!--.*?-->"])
def test_quadratic_pattern_is_found(pattern: str) -> None:
    assert find_slow_text(re.compile(pattern), "search") is not None


def test_every_pattern_is_written_where_it_can_be_checked() -> None:
    """A text that is known before the program runs, as an argument or in a value of a module."""
    for name, nodes in list_files():
        in_functions = {id(node) for each in nodes if isinstance(each, ast.FunctionDef) for node in ast.walk(each)}
        for call in (node for node in nodes if isinstance(node, ast.Call) and id(node) in in_functions):
            owner = call.func.value if isinstance(call.func, ast.Attribute) else None
            if isinstance(owner, ast.Name) and is_engine(owner.id):
                is_known = isinstance(call.args[0], ast.Constant) and call.func.attr in METHODS
                assert is_known, f"{name}, line {call.lineno}"
