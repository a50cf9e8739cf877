"""Base models worth starting from: what is listed, what fits, what somebody chose without us."""

from __future__ import annotations

import pytest

from modelforge import catalog, starter
from modelforge.hardware import GIB, Device, Hardware
from modelforge.recipe import STARTER, Task


def machine(gigabytes: int, kind: str = "cuda") -> Hardware:
    first = Device("cuda" if kind == "cuda" else "cpu", "x", gigabytes * GIB, gigabytes * GIB)
    return Hardware((first,), "Linux", 4, 16 * GIB, 8 * GIB, 100 * GIB, 50 * GIB)


def test_entries_are_whole_and_sorted_by_size() -> None:
    found = catalog.entries()
    assert [entry.parameters for entry in found] == sorted(entry.parameters for entry in found)
    assert len({entry.id for entry in found}) == len(found)
    for entry in found:
        assert entry.tasks and entry.licence and entry.sentence.endswith(".")


def test_every_starter_is_listed_and_works_offline() -> None:
    offline = {entry.id for entry in catalog.entries() if entry.offline}
    assert offline == starter.STARTERS.keys()


@pytest.mark.parametrize("task", list(Task))
@pytest.mark.parametrize("gigabytes", [1, 4, 8, 24, 80])
def test_recommended_models_fit_and_the_first_needs_no_hub(task: Task, gigabytes: int) -> None:
    here = machine(gigabytes)
    sizes = {entry.id: entry for entry in catalog.entries()}
    found = catalog.recommended(here, task)
    assert sizes[found[0]].offline
    assert all(sizes[each].parameters <= here.largest_parameters and task in sizes[each].tasks for each in found)
    rest = [sizes[each].parameters for each in found if not sizes[each].offline]
    assert rest == sorted(rest, reverse=True)


def test_larger_card_is_recommended_a_larger_model() -> None:
    best = [catalog.recommended(machine(gigabytes), Task.TEXT_GENERATION)[1] for gigabytes in (8, 24)]
    sizes = {entry.id: entry.parameters for entry in catalog.entries()}
    assert sizes[best[0]] < sizes[best[1]]


@pytest.mark.parametrize(
    ("name", "custom"), [(STARTER, False), ("Qwen/Qwen3-8B", False), ("/home/me/model", True), ("me/mine", True)]
)
def test_audit_21_base_model_is_custom_when_it_is_not_ours(name: str, custom: bool) -> None:
    assert catalog.is_custom(name) is custom
