"""What a task is: the roles that columns play, how a row is mapped, and which methods can train it.

It owns the shape of a task's declaration. It does not read files and does not know which tasks there are (`__init__`).
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from typing import Any, Literal

from modelforge.recipe import Task

Severity = Literal["error", "warning"]
Message = dict[str, str]
"""One turn of a chat: ``{"role": "system" | "user" | "assistant", "content": text}``."""
MappedRow = dict[str, Any]
"""``{"messages": [Message]}``, or ``{"context", "question", "answers": {"text": [text], "answer_start": [int]}}``."""


@dataclass(frozen=True)
class Role:
    """What one column means to a task.

    required: every row must have it. accepts: usual names of such columns, best guess first. holds: what a value is.
    replaces: roles that are not needed where this one is mapped (a whole chat stands for prompt and response).
    """

    name: str
    help: str
    accepts: tuple[str, ...]
    required: bool = True
    holds: Literal["text", "turns", "answers", "number"] = "text"
    replaces: tuple[str, ...] = ()


@dataclass(frozen=True)
class Fault:
    """One thing wrong with one row; `role` tells the column."""

    severity: Severity
    role: str
    problem: str
    fix: str


@dataclass(frozen=True)
class TaskSpec:
    """One task, declared. Menus, checks and documentation derive from it.

    map_row: role -> value of one row (each required role among them), gives the mapped row, None when it cannot be
    used, and the faults found.
    to_messages: role -> value, gives the chat that the model sees; without the answer's role, the chat that asks for
    it, which is what inference sends. None where the task is no chat.
    methods: training methods that can train it, the default first.
    """

    task: Task
    title: str
    sentence: str
    roles: tuple[Role, ...]
    methods: tuple[str, ...]
    map_row: Callable[[Mapping[str, Any]], tuple[MappedRow | None, list[Fault]]]
    to_messages: Callable[[Mapping[str, Any]], list[Message]] | None = None

    def missing_roles(self, mapped: Collection[str]) -> tuple[Role, ...]:
        """The required roles that have no column, given the names of those that have one."""
        covered = {name for role in self.roles if role.name in mapped for name in (role.name, *role.replaces)}
        return tuple(role for role in self.roles if role.required and not role.replaces and role.name not in covered)


def find_text_faults(roles: tuple[Role, ...], values: Mapping[str, Any]) -> list[Fault]:
    """What keeps the values of the text roles from being used: null, blank, of another type, broken."""
    faults = []
    for role in roles:
        if role.holds != "text" or role.name not in values or (not role.required and is_absent(values[role.name])):
            continue
        if described := describe_text_fault(values[role.name]):
            faults.append(Fault("error", role.name, *described))
    return faults


def is_absent(value: Any) -> bool:
    """Whether an optional value says nothing: null or blank."""
    return value is None or (isinstance(value, str) and not value.strip())


def describe_text_fault(value: Any) -> tuple[str, str] | None:
    """The problem and the fix of a value that should be text; None when it is good text."""
    if value is None:
        return "There is no value (null).", "Fill it in, or remove the row."
    if not isinstance(value, str):
        return f"This is {name_type(value)} where text belongs.", "Put it in quotes, or choose another column."
    if not value.strip():
        return "The text is blank.", "Fill it in, or remove the row."
    try:
        value.encode("utf-8")
    except UnicodeEncodeError as error:
        problem = f"Character {error.start + 1} is half a character (a lone surrogate)."
        return problem, "Write the character in full, or remove it."
    return None


def name_type(value: Any) -> str:
    """What JSON calls the type of a value, with its article."""
    if isinstance(value, bool):
        return "true or false"
    names = {str: "text", int: "a number", float: "a number", list: "a list", dict: "an object", type(None): "null"}
    return names.get(type(value), type(value).__name__)
