"""Which column has which role: guessed from names and values, or chosen by the user. It does not check rows."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from modelforge.data.rows import CleanTexts
from modelforge.errors import DatasetError
from modelforge.recipe import Task, parse_task
from modelforge.tasks import SHAPES
from modelforge.tasks.base import MappedRow, Role, Shape
from modelforge.tasks.faults import KEEP_GOOD, STRIP, Faults, Repairs, find_padded, is_absent
from modelforge.tasks.labels import are_labels, describe_scale, find_scale, rate
from modelforge.tasks.shapes import labelled


@dataclass(frozen=True)
class ColumnMapping:
    """columns: role -> column. reasons: role -> one sentence why,
    without the column's name: a field's help would take it for Markdown. missing: required roles without a column.
    scale: (lowest, highest) of the ratings where a label is one."""

    shape: Shape
    columns: Mapping[str, str]
    reasons: Mapping[str, str]
    scale: tuple[float, float] | None = None

    @property
    def task(self) -> Task:
        return self.shape.task

    @property
    def missing(self) -> tuple[Role, ...]:
        return self.shape.missing_roles(self.columns)


def guess(  # noqa: PLR0917
    source_columns: Sequence[str],
    sample_rows: Iterable[Mapping[str, Any]],
    task: Task | str | None = None,
    columns: Mapping[str, str] | None = None,
    shape: str | None = None,
    repairs: Repairs = frozenset(),
) -> ColumnMapping:
    """The best mapping for the given shape or task, or for the shape that fits best.

    columns: chosen by the user, role -> column ("" for none); only the other roles are guessed. A role without a clear
    match has no column: see `ColumnMapping.missing`. repairs: to keep the good answers makes them examples. Raises
    DatasetError for a role or a column that does not exist."""
    chosen = dict(columns or {})
    if KEEP_GOOD in repairs and shape == labelled.SHAPE.name:
        shape = labelled.GOOD.name
    shapes = choose_shapes(task, shape)
    _check_chosen(chosen, source_columns, shapes)
    shapes = [each for each in shapes if chosen.keys() <= {role.name for role in each.roles}]
    sample = list(sample_rows)
    if KEEP_GOOD in repairs and shape is None:
        shapes = [each for each in shapes if each is not labelled.SHAPE] or shapes
    guesses = [_guess_for(each, source_columns, sample, chosen) for each in shapes]
    if shape is None and len(guesses) > 1:
        guesses = [each for each in guesses if not each.shape.alone or not _has_more_text(each, source_columns, sample)]
    return max(guesses, key=_rate)  # the first of equals: the order of TASKS decides


def apply(
    mapping: ColumnMapping, values: Mapping[str, Any], repairs: Repairs = frozenset()
) -> tuple[MappedRow | None, Faults]:
    """The mapped row (None if it cannot be used), and its faults."""
    found = {role: values[column] for role, column in mapping.columns.items() if column in values}
    lacking = mapping.columns.keys() - found.keys()
    if mapping.scale and "label" in found:
        found["label"] = rate(found["label"], mapping.scale)
    if not any(role.required and role.name in lacking for role in mapping.shape.roles):
        return mapping.shape.map_row(found, repairs)
    faults = Faults(repairs)
    for role in mapping.shape.roles:
        if role.required and role.name in lacking:
            faults.note("error", role.name, "This column is missing.", "Add it to this row, or remove the row.")
    for role in mapping.shape.roles:  # report what else is wrong with the row at once
        if role.holds == "text" and role.name in found and (role.required or not is_absent(found[role.name])):
            faults.read_text(role.name, found[role.name])
    return None, faults


def has_text_only(mapping: ColumnMapping) -> bool:
    """Whether all columns hold text, so that many rows can be read at once (`read_clean_texts`)."""
    holds = {role.name: role.holds for role in mapping.shape.roles}
    return mapping.shape.fill is not None and all(holds[role] == "text" for role in mapping.columns)


def read_clean_arrays(
    mapping: ColumnMapping, columns: Mapping[str, Any], repairs: Repairs = frozenset()
) -> CleanTexts | None:
    """The texts of rows, given column -> array of strings, if `apply` would find no fault in any row but white space
    around texts; else None."""
    roles = {role.name: role for role in mapping.shape.roles}
    found, padded = {}, 0
    for name, column in mapping.columns.items():
        texts = columns[column] if roles[name].required else columns[column].fill_null("")
        places = find_padded(texts, may_be_blank=not roles[name].required)
        if places is None:
            return None
        padded += len(places)
        found[name] = _strip_texts(texts, places) if places and STRIP in repairs else texts
    return CleanTexts(found, padded)


def _strip_texts(texts: Any, places: Sequence[int]) -> Any:
    import pyarrow as pa
    import pyarrow.compute as pc

    mask = np.zeros(len(texts), np.bool_)
    mask[places] = True
    stripped = [text.strip() for text in texts.take(pa.array(places, pa.int64())).to_pylist()]
    return pc.replace_with_mask(texts, mask, pa.array(stripped, pa.string()))


def read_clean_texts(
    mapping: ColumnMapping, rows: Sequence[Mapping[str, Any]], repairs: Repairs = frozenset()
) -> CleanTexts | None:
    """Like `read_clean_arrays`, for rows."""
    import pyarrow as pa

    columns = {}
    for column in mapping.columns.values():
        texts = [row.get(column) for row in rows]
        if not set(map(type, texts)) <= {str, type(None)}:
            return None
        try:
            columns[column] = pa.array(texts, pa.string())
        except UnicodeEncodeError:  # half a character
            return None
    return read_clean_arrays(mapping, columns, repairs)


def choose_shapes(task: Task | str | None, shape: str | None) -> list[Shape]:
    """The shapes of a task, or the one of that name, as far as they are given. Raises DatasetError if there is none."""
    wanted = parse_task(task) if task else None
    shapes = [each for each in SHAPES.values() if wanted in (None, each.task) and shape in (None, each.name)]
    if not shapes:
        known = ", ".join(each.name for each in SHAPES.values() if wanted in (None, each.task))
        raise DatasetError(f"There is no shape {shape!r}.", where="mapping", fix=f"The shapes are: {known}.")
    return shapes


def _check_chosen(chosen: Mapping[str, str], source_columns: Sequence[str], shapes: Sequence[Shape]) -> None:
    known = [role.name for shape in shapes for role in shape.roles]
    what = fix = ""
    for role, column in chosen.items():
        if role not in known:
            what, fix = f"There is no role {role!r}.", f"The roles are: {', '.join(dict.fromkeys(known))}."
        elif column and column not in source_columns:
            what, fix = f"There is no column {column!r}.", f"The columns are: {', '.join(source_columns)}."
        if what:
            raise DatasetError(what, where="mapping", fix=fix)
    if not any(chosen.keys() <= {role.name for role in shape.roles} for shape in shapes):
        what = f"No task has all the roles {', '.join(chosen)}."
        raise DatasetError(what, where="mapping", fix="Choose a task, and use only its roles.")


def _guess_for(
    shape: Shape, source_columns: Sequence[str], sample: Sequence[Mapping[str, Any]], chosen: Mapping[str, str]
) -> ColumnMapping:
    columns = {role: column for role, column in chosen.items() if column}
    reasons = {}
    # In a shape, roles that replace others come first, and required roles come before optional ones.
    for role in shape.roles:
        taken = [column for other, column in columns.items() if other != role.name]
        free = [column for column in source_columns if column not in taken and _fits(role, column, sample)]
        found = _find_by_name(role, free)
        if role.name in columns:  # the chosen column may also be the guessed one
            reasons[role.name] = found[1] if found and found[0] == columns[role.name] else "Chosen by you."
            continue
        replaced = {name for other in shape.roles if other.name in columns for name in other.replaces}
        if found and not (
            role.name in chosen or role.name in replaced or any(chosen.get(name) for name in role.replaces)
        ):
            columns[role.name], reasons[role.name] = found
    labels = [row.get(columns["label"]) for row in sample] if "label" in columns else []
    scale = find_scale(labels)
    if scale:
        reasons["label"] += f" {describe_scale(scale)}"
    return ColumnMapping(shape, columns, reasons, scale)


def _find_by_name(role: Role, free: Sequence[str]) -> tuple[str, str] | None:
    """The free column whose name is common for the role, or ends in such a name; and the reason."""
    words = {column: _split_words(column) for column in free}
    for accepted in role.accepts:
        for column in free:
            if words[column] == accepted.split("_"):
                return column, f"Its name is common for the {role.name}."
    for accepted in role.accepts:
        for column in free:
            # only the last word: "customer question" is a question, "prompt id" is not a prompt
            if words[column][-1:] == [accepted]:
                return column, f"Its name ends in {accepted!r}, a common name for the {role.name}."
    return None


def _split_words(column: str) -> list[str]:
    """``"expectedOutput"``, ``"Expected output"`` and ``"expected_output"`` -> ``["expected", "output"]``."""
    spaced = re.sub(r"([a-z0-9])([A-Z])", r"\1 \2", column)
    return re.findall(r"[^\W_]+", spaced.lower())


def _fits(role: Role, column: str, sample: Sequence[Mapping[str, Any]]) -> bool:
    """Whether the first value that is not null can be what the role holds; of labels, each value."""
    if role.holds == "label":
        return are_labels((row.get(column) for row in sample), (_split_words(column) or [""])[-1])
    value = next((row[column] for row in sample if row.get(column) is not None), None)
    if role.holds in ("turns", "tools"):
        return isinstance(value, list) or (role.holds == "tools" and isinstance(value, str))
    if role.holds == "text":
        return not isinstance(value, list | dict)
    return True


def _has_more_text(mapping: ColumnMapping, source_columns: Sequence[str], sample: Sequence[Mapping[str, Any]]) -> bool:
    """Whether an unused column holds sentences (an id or a category has no spaces)."""
    left = [column for column in source_columns if column not in mapping.columns.values()]
    values = (row.get(column) for row in sample for column in left)
    return any(isinstance(value, str) and len(value.split()) > 2 for value in values)


def _rate(mapping: ColumnMapping) -> tuple[bool, int, int]:
    """Complete mappings first, then by the number of mapped required roles and of mapped columns."""
    required = sum(role.required and role.name in mapping.columns for role in mapping.shape.roles)
    return not mapping.missing, required, len(mapping.columns)
