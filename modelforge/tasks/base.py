"""What a task is: the shapes of its rows, and for each shape the roles of columns and how a row is mapped.

It defines the form of these declarations. It does not read files; the tasks are listed in `__init__`.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, NamedTuple

from modelforge.recipe import Task
from modelforge.tasks.faults import Faults, Repairs

Message = dict[str, Any]
"""One turn of a chat, as OpenAI writes it: ``{"role": "system" | "user" | "assistant" | "tool", "content": text}``; a
turn of the assistant can have ``tool_calls`` and ``reasoning_content``, one of a tool ``name`` and ``tool_call_id``."""
MappedRow = dict[str, Any]
"""A row as trainers take it, in TRL's own forms: ``{"messages": [Message]}`` (with ``tools`` where there are any),
``{"text": text}``, ``{"prompt": [Message], "chosen": [Message], "rejected": [Message]}``, ``{"prompt": [Message],
"completion": [Message], "label": bool}``, ``{"prompt": [Message]}`` (with a ``reference``), or SQuAD's ``{"context",
"question", "answers": {"text": [text], "answer_start": [int]}}``."""


@dataclass(frozen=True)
class Role:
    """What one column means to a shape.

    required: every row must have it. accepts: usual names of such columns, the best first. holds: what a value is;
    "chat" is text or turns. replaces: roles that are not needed where this one is mapped (a whole chat stands for
    prompt and response).
    """

    name: str
    help: str
    accepts: tuple[str, ...]
    required: bool = True
    holds: Literal["text", "turns", "chat", "answers", "number", "tools", "label"] = "text"
    replaces: tuple[str, ...] = ()


class Texts(NamedTuple):
    """The texts of a row, for comparing it with others.

    setting: what must be equal for two questions to be identical (a system prompt, a context). asked and answered: the
    question and all that follows it. together: rows that share it are never held out from each other; "" for none.
    """

    setting: str
    asked: str
    answered: str
    together: str = ""


class Exchange(NamedTuple):
    """A prompt and the expected answer, the last one of the row. tools: those that the model can call."""

    asked: Sequence[Message]
    answer: str
    tools: Sequence[Any] = ()


@dataclass(frozen=True)
class Shape:
    """One form that examples come in. Mapping, checks and menus derive from it.

    read_row: role -> value of one row (each required role among them), gives the mapped row; what is wrong with it is
    noted in the faults. methods: those that can train it, the default first. form: how rows are kept where all mapped
    roles hold text (a key of `data.forms.FORMS`), and fill: role -> good texts of many rows ("" for one that is not
    there), gives the columns of that form. one_answer: whether two answers to one question contradict each other.
    alone: guessed only where no other column holds text. metrics: what is measured on such rows instead of the task's
    metrics. instead: method -> a sentence on how such rows are trained with it all the same.
    """

    name: str
    title: str
    sentence: str
    task: Task
    roles: tuple[Role, ...]
    methods: tuple[str, ...]
    read_row: Callable[[Mapping[str, Any], Faults], MappedRow]
    fill: Callable[[Mapping[str, Any]], Sequence[Any]] | None = None
    form: str = "row"
    one_answer: bool = True
    alone: bool = False
    metrics: tuple[str, ...] = ()
    instead: Mapping[str, str] = field(default_factory=dict)

    def map_row(self, values: Mapping[str, Any], repairs: Repairs = frozenset()) -> tuple[MappedRow | None, Faults]:
        """The mapped row, None when it cannot be used or a repair leaves it out, and its faults."""
        faults = Faults(repairs)
        row = self.read_row(values, faults)
        return (None if faults.are_fatal or faults.leave_out else row), faults

    def missing_roles(self, mapped: Collection[str]) -> tuple[Role, ...]:
        """The required roles that have no column, given the names of those that have one."""
        covered = {name for role in self.roles if role.name in mapped for name in (role.name, *role.replaces)}
        return tuple(role for role in self.roles if role.required and not role.replaces and role.name not in covered)


@dataclass(frozen=True)
class TaskSpec:
    """One task, declared. Menus, checks and documentation derive from it.

    shapes: the forms that its examples come in, the usual one first. to_messages: role -> value, gives the chat that
    the model sees; without the answer's role, the chat that asks for it, which is what inference sends. None where the
    task is not a chat. metrics: names of what a model is measured with (`scores.metrics`); a
    verdict rests on the first one that can be measured.
    architectures: names of those that can do it (`modelforge.architecture`), the usual one first.
    """

    task: Task
    title: str
    sentence: str
    shapes: tuple[Shape, ...]
    metrics: tuple[str, ...]
    architectures: tuple[str, ...]
    to_messages: Callable[[Mapping[str, Any]], list[Message]] | None = None

    @property
    def methods(self) -> tuple[str, ...]:
        """The training methods that can train it, the default first."""
        return tuple(dict.fromkeys(method for shape in self.shapes for method in shape.methods))
