"""What users read is in plain words: none of those that CONTRIBUTING.md lists as left behind.

Looked through: string literals of the code that are not docstrings, the pages and tables in assets, the README, and the
help of the command line and of every setting.
"""

from __future__ import annotations

import argparse
import ast
import re
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from modelforge.cli import build_parser
from modelforge.recipe import fields

ROOT = Path(__file__).parents[1]
LEFT_BEHIND = (
    r"reckon\w*",
    r"foret[eo]l\w*",
    r"shall",
    r"mend(s|ed|ing)?",
    r"(go|goes|gone|going|went) on",
    r"t(ake|akes|aken|aking|ook) up",
    r"had from",
    r"knows? not",
    r"(is|are) none of",
    r"put right",
    r"(put|puts|take|takes) (in|out)",
    r"(is|are|was|were|be) (told|said)",
    r"sound (result|choice|baseline|one|for)",
    r"finer hand",
    r"(quite|nearly) the same",
    r"who(so)?ever",
    r"who asks",
    r"of (its|their) own",
    r"anew",
    r"void",
    r"(give|gives|given|gave) back",
    r"in hand",
    r"keeps? the books",
    r"beneath",
    r"there(of|in|upon)",
    r"(?<!there )(is|are|was) no (text|number|object|table|list|file|folder|model|dataset|id|recipe|adapter|image)",
    r"(have|has|had) none",
    r"stands? (in|at|there|twice)",
    r"lest",
    r"as yet",
    r"amid",
)
PATTERN = re.compile(rf"\b(?:{'|'.join(LEFT_BEHIND)})\b", re.IGNORECASE)
NAME = re.compile(r"[a-z0-9_.:/-]*")  # a key, an id, a path: not read as a sentence


def find_words(text: str) -> str:
    found = PATTERN.search(text)
    return found.group() if found and not NAME.fullmatch(text) else ""


def read_literals(source: str) -> Iterator[tuple[int, str]]:
    """The line and the text of each string that is not a docstring; "…" for the values in an f-string."""
    tree = ast.parse(source)
    left_out: set[ast.AST] = {node.value for node in ast.walk(tree) if isinstance(node, ast.Expr)}
    for node in ast.walk(tree):
        if node in left_out:
            continue
        if isinstance(node, ast.JoinedStr):
            left_out.update(node.values)
            parts = [part.value if isinstance(part, ast.Constant) else "…" for part in node.values]
            yield node.lineno, "".join(map(str, parts))
        elif isinstance(node, ast.Constant) and isinstance(node.value, str):
            yield node.lineno, node.value


def read_helps(parser: argparse.ArgumentParser) -> Iterator[tuple[str, str]]:
    yield parser.prog, parser.format_help()
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            for inner in action.choices.values():
                yield from read_helps(inner)


def list_code() -> list[str]:
    found = []
    for path in sorted((ROOT / "modelforge").rglob("*.py")):
        for line, text in read_literals(path.read_text(encoding="utf-8")):
            if word := find_words(text):
                found.append(f"{path.relative_to(ROOT)}:{line}: {word}: {text.strip()}")
    return found


def list_pages() -> list[str]:
    pages = [ROOT / "README.md", *(ROOT / "assets").rglob("*.yaml"), *(ROOT / "assets").rglob("*.md")]
    return [
        f"{path.relative_to(ROOT)}:{number}: {word}: {line.strip()}"
        for path in pages
        for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), start=1)
        if (word := find_words(line))
    ]


def list_help() -> list[str]:
    settings = ((f"setting {name}", field.description or "") for name, field in fields().items())
    texts = [*read_helps(build_parser()), *settings]
    lines = ((where, line) for where, text in texts for line in text.splitlines())
    return [f"{where}: {word}: {line.strip()}" for where, line in lines if (word := find_words(line))]


@pytest.mark.parametrize("read", [list_code, list_pages, list_help], ids=["code", "pages", "help"])
def test_users_read_plain_words(read: Callable[[], list[str]]) -> None:
    found = read()
    assert not found, f"{len(found)} sentences have words that CONTRIBUTING.md replaces:\n" + "\n".join(found)
