"""Ollama's own reading of a Modelfile, as published: a parser of the file, and Go's templates as far as they are used.

https://docs.ollama.com/modelfile: `INSTRUCTION arguments`, `#` begins a comment, a text of several lines is between
three quotation marks, FROM is required, the order does not matter. https://docs.ollama.com/template: `.Messages`, each
with `.Role` and `.Content`; SYSTEM is the system message of a conversation that has none.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

INSTRUCTIONS = ("FROM", "PARAMETER", "TEMPLATE", "SYSTEM", "ADAPTER", "LICENSE", "MESSAGE")
PARAMETERS = {"stop": str, "temperature": float, "top_p": float, "num_ctx": int}
_LINE = re.compile(r'(?s)[ \t]*([A-Za-z]+)[ \t]+(?:"""(.*?)"""|([^\n]*))[ \t]*(?:\n|$)|[ \t]*(?:#[^\n]*)?\n')


def parse(text: str) -> list[tuple[str, str]]:
    """(instruction, its arguments) of each. Raises ValueError for anything else."""
    found, place = [], 0
    while place < len(text):
        line = _LINE.match(text, place)
        if not line:
            raise ValueError(f"not a line of a Modelfile: {text[place : place + 60]!r}")
        place = line.end()
        if line[1]:
            if line[1].upper() not in INSTRUCTIONS:
                raise ValueError(f"not an instruction: {line[1]}")
            found.append((line[1].upper(), line[2] if line[2] is not None else line[3].strip()))
    if [name for name, _ in found].count("FROM") != 1:
        raise ValueError("FROM is required")
    return found


def read_parameters(found: Sequence[tuple[str, str]]) -> list[tuple[str, object]]:
    parameters = []
    for name, rest in found:
        if name == "PARAMETER":
            key, _, value = rest.partition(" ")
            kind = PARAMETERS[key]
            parameters.append((key, unquote(value) if kind is str else kind(value)))
    return parameters


def unquote(text: str) -> str:
    """A quoted text of Go."""
    if not (len(text) >= 2 and text[0] == text[-1] == '"'):
        raise ValueError(f"not quoted: {text}")
    return re.sub(r"\\(.)", r"\1", text[1:-1])


def render(found: Sequence[tuple[str, str]], messages: Sequence[Mapping[str, str]]) -> str:
    """What Ollama sends for a conversation."""
    given = dict(found)
    turns = list(messages)
    if "SYSTEM" in given and turns[0]["role"] != "system":
        turns = [{"role": "system", "content": given["SYSTEM"]}, *turns]
    pieces = re.split(r"(\{\{.*?\}\})", given["TEMPLATE"])
    start = pieces.index("{{ range .Messages }}")
    nested = 0
    for end in range(start, len(pieces)):
        nested += pieces[end].startswith(("{{ range", "{{ if")) - (pieces[end] == "{{ end }}")
        if not nested:
            break
    body = "".join(_run(pieces[start + 1 : end], turn) for turn in turns)
    return _run(pieces[:start], {}) + body + _run(pieces[end + 1 :], {})


def _run(pieces: Sequence[str], turn: Mapping[str, str]) -> str:
    """The texts of a chain of `if eq .Role`, and what is outside of it."""
    text, on, done = "", True, False
    for piece in pieces:
        if condition := re.fullmatch(r'\{\{ (?:else )?if eq \.Role "(\w+)" \}\}', piece):
            on = not done and turn["role"] == condition[1]
            done = done or on
        elif piece == "{{ end }}":
            on, done = True, False
        elif literal := re.fullmatch(r'\{\{ ("(?:[^"\\]|\\.)*") \}\}', piece):
            text += unquote(literal[1]) if on else ""
        elif piece.startswith("{{"):
            assert piece == "{{ .Content }}", piece
            text += turn["content"] if on else ""
        else:
            text += piece if on else ""
    return text
