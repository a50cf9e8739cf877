"""Base models worth starting from: what is listed, what fits, what somebody chose without us."""

from __future__ import annotations

import pytest
from huggingface_hub.utils import validate_repo_id

from modelforge import catalog, starter
from modelforge.architecture import ARCHITECTURES
from modelforge.hardware import GIB, Device, Hardware
from modelforge.recipe import STARTER, STARTERS_BY_TASK, Task
from modelforge.tasks import TASKS


def machine(gigabytes: int, kind: str = "cuda") -> Hardware:
    first = Device("cuda" if kind == "cuda" else "cpu", "x", gigabytes * GIB, gigabytes * GIB)
    return Hardware((first,), "Linux", 4, 16 * GIB, 8 * GIB, 100 * GIB, 50 * GIB)


def best_of(here: Hardware, task: Task = Task.TEXT_GENERATION, **how: str) -> catalog.Entry:
    """What is recommended first of those that do not work offline."""
    found = catalog.find(next(name for name in catalog.recommended(here, task, **how) if name not in starter.STARTERS))
    assert found
    return found


def test_entries_are_whole() -> None:
    found = catalog.entries()
    assert len({entry.id for entry in found}) == len(found)
    for entry in found:
        validate_repo_id(entry.id)
        assert entry.parameters > 10**7 and entry.context >= 512
        assert 2018 <= entry.released <= 2026
        assert entry.licence and entry.languages and entry.sentence.endswith(".")
        assert isinstance(entry.gated, bool)


def test_audit_20_every_entry_is_of_an_architecture_that_can_do_all_its_tasks() -> None:
    for entry in catalog.entries():
        assert entry.architecture in ARCHITECTURES and entry.tasks
        for task in Task:
            assert (task in entry.tasks) == (entry.architecture in TASKS[task].architectures), entry.id


def test_each_kind_of_model_can_be_had_open_in_several_sizes_and_languages() -> None:
    for name in ARCHITECTURES:
        listed = [entry for entry in catalog.entries() if entry.architecture == name and not entry.gated]
        assert len(listed) >= 5
        assert max(entry.parameters for entry in listed) > 10 * min(entry.parameters for entry in listed)
        assert any(entry.languages != "English" for entry in listed)
    assert {entry.released for entry in catalog.entries()} >= {2024, 2025, 2026}


def test_every_starter_is_listed_and_works_offline() -> None:
    offline = {entry.id for entry in catalog.entries() if entry.offline}
    assert offline == starter.STARTERS.keys()
    for task, name in STARTERS_BY_TASK.items():
        assert task in catalog.find(name).tasks


@pytest.mark.parametrize("task", list(Task))
@pytest.mark.parametrize("kind", ["cuda", "cpu"])
@pytest.mark.parametrize("gigabytes", [1, 4, 8, 24, 80])
def test_recommended_models_fit_offline_first_then_open_then_gated(task: Task, gigabytes: int, kind: str) -> None:
    here = machine(gigabytes, kind)
    found = [catalog.find(name) for name in catalog.recommended(here, task)]
    assert found[0].offline
    assert all(each.parameters <= here.largest_parameters and task in each.tasks for each in found)
    order = [(not each.offline, each.gated) for each in found]
    assert order == sorted(order)


def test_larger_card_is_recommended_a_larger_model() -> None:
    best = [best_of(machine(gigabytes)).parameters for gigabytes in (4, 8, 16, 24, 80)]
    assert best == sorted(best) and best[0] < best[1] < best[3] < best[4]


def test_tuning_decides_what_fits() -> None:
    here = machine(24)
    sizes = {tuning: best_of(here, tuning=tuning).parameters for tuning in ("lora", "qlora", "full")}
    assert sizes["full"] < sizes["lora"] < sizes["qlora"]
    assert catalog.recommended(here, Task.TEXT_GENERATION) == catalog.recommended(
        here, Task.TEXT_GENERATION, "sft", "lora"
    )


def test_lora_fits_as_the_hardware_says() -> None:
    for here in (machine(8), machine(24), machine(8, "cpu"), machine(64, "cpu")):
        assert catalog.largest_parameters(here, "lora") == here.largest_parameters


@pytest.mark.parametrize("tuning", ["lora", "qlora", "full"])
def test_processor_is_recommended_nothing_that_takes_days(tuning: str) -> None:
    assert best_of(machine(256, "cpu"), tuning=tuning).parameters <= 10**9


@pytest.mark.parametrize(
    ("task", "method", "able"),
    [
        (Task.TEXT_GENERATION, "dpo", True),
        (Task.TEXT_GENERATION, "grpo", True),
        (Task.SUMMARIZATION, "dpo", False),
        (Task.EXTRACTIVE_QUESTION_ANSWERING, "grpo", False),
    ],
)
def test_nothing_is_recommended_for_a_method_that_cannot_train_the_task(task: Task, method: str, able: bool) -> None:
    assert bool(catalog.recommended(machine(24), task, method)) is able


def test_facts_tell_all_that_a_choice_depends_on() -> None:
    assert catalog.find(STARTER).facts == (
        "135M · decoder · 8,192 tokens · English · Apache-2.0 · 2024 · works offline"
    )
    gated = catalog.find("meta-llama/Llama-3.2-1B-Instruct")
    assert gated.facts.endswith("Llama 3.2 · 2024 · gated: request access first")


@pytest.mark.parametrize(
    ("name", "custom"), [(STARTER, False), ("Qwen/Qwen3-8B", False), ("/home/me/model", True), ("me/mine", True)]
)
def test_audit_21_base_model_is_custom_when_it_is_not_ours(name: str, custom: bool) -> None:
    assert (catalog.find(name) is None) is custom
