"""Which column plays which role: guessed from names and values, or as the user says. It does not judge the rows."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from modelforge.errors import DatasetError
from modelforge.recipe import Task, parse_task
from modelforge.tasks import TASKS
from modelforge.tasks.base import Fault, MappedRow, Role, TaskSpec, find_text_faults


@dataclass(frozen=True)
class ColumnMapping:
    """task, role -> column, and role -> one sentence that says why. `missing` are the roles still without a column."""

    task: Task
    columns: Mapping[str, str]
    reasons: Mapping[str, str]

    @property
    def missing(self) -> tuple[Role, ...]:
        return TASKS[self.task].missing_roles(self.columns)


def guess(
    source_columns: Sequence[str],
    sample_rows: Iterable[Mapping[str, Any]],
    task: Task | str | None = None,
    columns: Mapping[str, str] | None = None,
) -> ColumnMapping:
    """The mapping that fits best, for the given task or else for the task that fits best.

    columns is what the user said, role -> column; it stands, and only the other roles are guessed. A guess that is not
    sure is not made: see `ColumnMapping.missing`. Raises DatasetError for a role or a column that does not exist.
    """
    said = dict(columns or {})
    specs = list(TASKS.values()) if task is None else [TASKS[parse_task(task)]]
    _check_said(said, source_columns, specs)
    specs = [spec for spec in specs if said.keys() <= {role.name for role in spec.roles}]
    sample = list(sample_rows)
    guesses = [_guess_for(spec, source_columns, sample, said) for spec in specs]
    return max(guesses, key=_rate)  # the first of equals, so the order of TASKS decides


def apply(mapping: ColumnMapping, values: Mapping[str, Any]) -> tuple[MappedRow | None, list[Fault]]:
    """The mapped row of one row's values (None when it cannot be used), and its faults."""
    spec = TASKS[mapping.task]
    found = {role: values[column] for role, column in mapping.columns.items() if column in values}
    missing = [
        Fault("error", role.name, "This column is missing.", "Add it to this row, or remove the row.")
        for role in spec.roles
        if role.required and role.name in mapping.columns and role.name not in found
    ]
    if missing:
        return None, missing + find_text_faults(spec.roles, found)
    return spec.map_row(found)


def _check_said(said: Mapping[str, str], source_columns: Sequence[str], specs: Sequence[TaskSpec]) -> None:
    known = [role.name for spec in specs for role in spec.roles]
    for role, column in said.items():
        if role not in known:
            raise DatasetError(
                f"There is no role {role!r}.", where="mapping", fix=f"Roles are: {', '.join(dict.fromkeys(known))}."
            )
        if column not in source_columns:
            raise DatasetError(
                f"There is no column {column!r}.", where="mapping", fix=f"Columns are: {', '.join(source_columns)}."
            )
    if not any(said.keys() <= {role.name for role in spec.roles} for spec in specs):
        raise DatasetError(
            f"No task has all of the roles {', '.join(said)}.",
            where="mapping",
            fix="Name the task, and its roles only.",
        )


def _guess_for(
    spec: TaskSpec, source_columns: Sequence[str], sample: Sequence[Mapping[str, Any]], said: Mapping[str, str]
) -> ColumnMapping:
    columns = dict(said)
    reasons = {role: "Chosen by you." for role in said}
    # Roles that replace others come first in a spec, and required ones before optional ones.
    for role in spec.roles:
        replaced = {name for other in spec.roles if other.name in columns for name in other.replaces}
        if role.name in columns or role.name in replaced or any(name in said for name in role.replaces):
            continue
        free = [column for column in source_columns if column not in columns.values() and _fits(role, column, sample)]
        found = _find_by_name(role, free)
        if found:
            columns[role.name], reasons[role.name] = found
    return ColumnMapping(spec.task, columns, reasons)


def _find_by_name(role: Role, free: Sequence[str]) -> tuple[str, str] | None:
    """The free column whose name is usual for the role, or ends in such a name; with the reason."""
    words = {column: _split_words(column) for column in free}
    for accepted in role.accepts:
        for column in free:
            if words[column] == accepted.split("_"):
                return column, f"{column!r} is a usual name for the {role.name}."
    for accepted in role.accepts:
        for column in free:
            # only the last word: "customer question" is a question, "prompt id" is no prompt
            if words[column][-1:] == [accepted]:
                return column, f"The name {column!r} ends in {accepted!r}, a usual name for the {role.name}."
    return None


def _split_words(column: str) -> list[str]:
    """``"expectedOutput"``, ``"Expected output"`` and ``"expected_output"`` -> ``["expected", "output"]``."""
    spaced = re.sub(r"([a-z0-9])([A-Z])", r"\1 \2", column)
    return re.findall(r"[^\W_]+", spaced.lower())


def _fits(role: Role, column: str, sample: Sequence[Mapping[str, Any]]) -> bool:
    """Whether the first value that is there could be what the role holds."""
    value = next((row[column] for row in sample if row.get(column) is not None), None)
    if role.holds == "turns":
        return isinstance(value, list)
    if role.holds == "text":
        return not isinstance(value, list | dict)
    return True


def _rate(mapping: ColumnMapping) -> tuple[bool, int]:
    """A complete mapping before an incomplete one, then the one with more required roles filled."""
    return not mapping.missing, _count_filled(TASKS[mapping.task].roles, mapping.columns)


def _count_filled(roles: Iterable[Role], filled: Collection[str]) -> int:
    return sum(1 + len(role.replaces) for role in roles if role.required and role.name in filled)
