"""The one definition of every setting: bounds, messages, files."""

from __future__ import annotations

from pathlib import Path
from typing import Any, get_args

import pytest
from pydantic import ValidationError

from modelforge import recipe as recipes
from modelforge.errors import RecipeError
from modelforge.hardware import GIB, Device, Hardware
from modelforge.recipe import (
    TASK_ALIASES,
    Recipe,
    Task,
    bounds,
    describe_bounds,
    fields,
    parse_assignments,
    parse_task,
)

NUMERIC = {name: info for name, info in fields().items() if bounds(info)}
LIMITS = [(name, kind) for name, info in NUMERIC.items() for kind in bounds(info)]


def refused(settings: dict[str, Any]) -> RecipeError:
    with pytest.raises(RecipeError) as caught:
        Recipe().with_settings(settings)
    assert caught.value.fix
    return caught.value


def step_of(name: str, limit: float) -> float:
    """The smallest difference that matters for a setting."""
    return 1 if NUMERIC[name].annotation is int else max(abs(limit) * 1e-6, 1e-9)


# ---- audit rows ------------------------------------------------------------------------------------------------


def test_audit_02_one_task_enum_and_its_alias() -> None:
    assert {task.value for task in Task} == {"text-generation", "summarization", "extractive-question-answering"}
    assert parse_task("question-answering") is Task.EXTRACTIVE_QUESTION_ANSWERING
    assert parse_task(" Text-Generation ") is Task.TEXT_GENERATION
    assert Recipe.build({"task": "question-answering"}).task is Task.EXTRACTIVE_QUESTION_ANSWERING
    assert "question-answering" not in Recipe.build({"task": "question-answering"}).to_yaml().split()


@pytest.mark.parametrize("name", ["", "qa", "chat", "text_generation", "; touch x"])
def test_audit_02_unknown_task_is_told_exactly_the_accepted_names(name: str) -> None:
    with pytest.raises(RecipeError) as caught:
        parse_task(name)
    for error in (caught.value, refused({"task": name})):
        listed = error.fix.removeprefix("Accepted are: ").removesuffix(".").split(", ")
        assert listed == [*(task.value for task in Task), *TASK_ALIASES]


@pytest.mark.parametrize(("name", "kind"), LIMITS, ids=["-".join(pair) for pair in LIMITS])
def test_audit_03_04_bound_in_the_message_is_the_bound_enforced(name: str, kind: str) -> None:
    info = NUMERIC[name]
    limit = bounds(info)[kind]
    outward = 1 if kind in ("le", "lt") else -1
    inclusive = kind in ("ge", "le")
    step = step_of(name, limit)
    allowed, beyond = (limit, limit + outward * step) if inclusive else (limit - outward * step, limit)
    if name == "max_steps" and beyond == -1:
        beyond = -2  # -1 is how transformers says "go by epochs"
    assert Recipe().with_settings({name: allowed})
    error = refused({name: beyond})
    words = {"ge": "at least", "gt": "more than", "le": "at most", "lt": "less than"}[kind]
    shown = f"{limit:g}" if abs(limit) < 1e6 else f"{limit:.0f}"
    assert f"{words} {shown}" in error.fix
    assert error.fix == f"It must be {describe_bounds(info)}."
    assert error.where == f"setting {name}"
    assert repr(beyond) in error.what or repr(float(beyond)) in error.what


def test_audit_04_every_number_has_both_bounds() -> None:
    numeric = [name for name, info in fields().items() if info.annotation in (int, float)]
    assert set(numeric) == set(NUMERIC)
    for name in numeric:
        assert len(bounds(NUMERIC[name])) == 2, name


@pytest.mark.parametrize("gigabytes", [0, 4, 12, 80])
@pytest.mark.parametrize("task", list(Task))
def test_audit_03_every_default_and_every_goal_passes_its_own_validation_on_every_tier(
    gigabytes: int, task: Task
) -> None:
    from modelforge import catalog
    from modelforge.goals import goals

    card = (Device("cuda", "a card", gigabytes * GIB, gigabytes * GIB),) if gigabytes else ()
    processor = Device("cpu", "a processor", 8 * GIB, 4 * GIB)
    machine = Hardware((*card, processor), "Linux", 4, 8 * GIB, 4 * GIB, 100 * GIB, 50 * GIB)
    assert catalog.recommended(machine, task)
    for base in catalog.recommended(machine, task):
        plain = Recipe(base_model=base, task=task)
        assert Recipe.build(plain.model_dump(mode="json")) == plain
        for goal in goals().values():
            for rows in (0, 1, 60, 100_000):
                assert plain.with_settings(goal.propose(rows)).num_train_epochs >= 1


@pytest.mark.parametrize("alpha", [8, 16, 32, 64, 128])
def test_audit_06_usual_lora_alphas_are_accepted(alpha: int) -> None:
    assert Recipe().with_settings({"tuning.lora_alpha": alpha}).tuning.lora_alpha == alpha


@pytest.mark.parametrize("alpha", [0, -1, -32])
def test_audit_06_lora_alpha_of_zero_or_less_is_refused(alpha: int) -> None:
    assert "more than 0" in refused({"tuning.lora_alpha": alpha}).fix


def test_audit_06_dropout_is_accepted_below_one_and_can_be_zero() -> None:
    assert Recipe().with_settings({"tuning.lora_dropout": 0.1}).tuning.lora_dropout == 0.1
    assert Recipe().with_settings({"tuning.lora_dropout": 0}).tuning.lora_dropout == 0


# ---- values ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "zero", ["eval_split", "seed", "max_steps", "warmup_steps", "weight_decay", "tuning.lora_dropout"]
)
def test_zero_can_be_set(zero: str) -> None:
    top, _, inner = zero.partition(".")
    changed = Recipe().with_settings({zero: 0})
    assert (getattr(changed.tuning, inner) if inner else getattr(changed, top)) == 0
    assert Recipe.from_yaml(changed.to_yaml()) == changed


@pytest.mark.parametrize("value", [float("nan"), float("inf"), "nan", "inf", "-inf", "1e999", None, "fast", [], {}])
def test_numbers_that_are_none_are_refused(value: Any) -> None:
    assert refused({"learning_rate": value}).where == "setting learning_rate"


def test_numbers_as_yaml_reads_them_are_accepted() -> None:
    read = Recipe.from_yaml("learning_rate: 2e-4\nmax_steps: '20'\nnum_train_epochs: 3\n")
    assert (read.learning_rate, read.max_steps, read.num_train_epochs) == (2e-4, 20, 3.0)


@pytest.mark.parametrize(("written", "meant"), [("on", "on"), ("off", "off"), ("'on'", "on"), ("auto", "auto")])
def test_switch_written_as_yaml_has_it_is_understood(written: str, meant: str) -> None:
    assert Recipe.from_yaml(f"gradient_checkpointing: {written}").gradient_checkpointing == meant
    assignment = parse_assignments([f"gradient_checkpointing={written}"])
    assert Recipe().with_settings(assignment).gradient_checkpointing == meant


def test_minus_one_steps_means_going_by_epochs() -> None:
    assert Recipe.build({"max_steps": -1}).max_steps == 0


@pytest.mark.parametrize(
    ("settings", "near"),
    [
        ({"learning_rat": 1}, "learning_rate"),
        ({"tuning.lora_alhpa": 1}, "tuning.lora_alpha"),
        ({"xyzzy": 8}, "Settings are"),
        ({"tuning.r.x": 8}, "tuning.r"),
    ],
)
def test_unknown_setting_is_refused_with_the_nearest(settings: dict[str, Any], near: str) -> None:
    error = refused(settings)
    assert next(iter(settings)) in error.what
    assert near in error.fix


def test_choice_that_is_none_lists_the_choices() -> None:
    error = refused({"lr_scheduler_type": "quick"})
    for choice in ("linear", "cosine", "constant"):
        assert choice in error.fix


def test_other_wrong_settings_are_counted() -> None:
    assert "(1 more settings are wrong.)" in refused({"seed": -1, "max_length": 1}).what


def test_recipe_does_not_change() -> None:
    recipe = Recipe()
    with pytest.raises(ValidationError):
        recipe.seed = 1  # type: ignore[misc]
    assert recipe.with_settings({"seed": 1}).seed == 1
    assert recipe.seed == 0


def test_target_modules_may_be_a_list() -> None:
    assert Recipe.build({"tuning": {"target_modules": ["q_proj", "v_proj"]}}).tuning.target_modules == "q_proj,v_proj"


@pytest.mark.parametrize(
    ("written", "meant"),
    [
        (["strip", "drop_duplicates"], ("strip", "drop_duplicates")),
        ("strip, drop_duplicates,", ("strip", "drop_duplicates")),
        ("strip", ("strip",)),
        (["strip", "strip"], ("strip",)),
        ("", ()),
        ([], ()),
    ],
)
def test_repairs_are_a_list_or_names_separated_by_commas(written: Any, meant: tuple[str, ...]) -> None:
    recipe = Recipe().with_settings({"repairs": written})
    assert recipe.repairs == meant
    assert Recipe.from_yaml(recipe.to_yaml()) == recipe
    assert Recipe.build(recipe.model_dump(mode="json")) == recipe
    assert recipe.with_settings({"seed": 1}).repairs == meant


def test_repairs_are_set_on_the_command_line() -> None:
    for pair in ("repairs=[strip, drop_duplicates]", "repairs=strip,drop_duplicates"):
        assert Recipe().with_settings(parse_assignments([pair])).repairs == ("strip", "drop_duplicates")
    assert Recipe(repairs=("strip",)).with_settings(parse_assignments(["repairs="])).repairs == ()


@pytest.mark.parametrize("wrong", ["mend", ["strip", "mend"], 3, [3], {"strip": True}, None])
def test_repair_that_is_none_is_refused(wrong: Any) -> None:
    error = refused({"repairs": wrong})
    assert error.where == "setting repairs"
    if "mend" in str(wrong):
        assert "drop_near_duplicates" in error.fix


def test_every_repair_can_be_set() -> None:
    from modelforge.data.repairs import REPAIRS
    from modelforge.recipe.recipe import Repair

    assert Recipe(repairs=tuple(REPAIRS)).repairs == tuple(REPAIRS)
    assert set(get_args(Repair)) == set(REPAIRS)


def test_every_setting_has_a_sentence_and_a_group() -> None:
    for name, info in fields().items():
        assert info.description and info.description.endswith("."), name
        assert isinstance(info.json_schema_extra, dict) and info.json_schema_extra["group"], name
    assert "tuning" not in fields()


# ---- files -----------------------------------------------------------------------------------------------------


def test_recipe_goes_through_yaml_unchanged() -> None:
    recipe = Recipe().with_settings({"name": "Größe: #1", "columns": {"prompt": "Frage?"}, "tuning.r": 3, "seed": 9})
    assert Recipe.from_yaml(recipe.to_yaml()) == recipe


@pytest.mark.parametrize(
    "text",
    [
        "a: [",
        "- 1\n- 2",
        "",
        "just text",
        "name: 2026-13-45",
        f"seed: {'9' * 5000}",
        "\x00",
        "name: !!python/object/apply:os.system ['touch x']",
        "[" * 5000,
    ],
    ids=range(9),
)
def test_text_that_is_no_recipe_is_refused(text: str) -> None:
    with pytest.raises(RecipeError) as caught:
        Recipe.from_yaml(text)
    assert caught.value.fix


def test_yaml_error_tells_the_line() -> None:
    with pytest.raises(RecipeError) as caught:
        Recipe.from_yaml("seed: 1\nname: [\n", where="x.yaml")
    assert caught.value.where.startswith("x.yaml, line ")


def test_paths_in_a_file_are_taken_from_its_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "sub").mkdir()
    (tmp_path / "sub" / "rows.csv").write_text("a,b\n")
    (tmp_path / "sub" / "base").mkdir()
    (tmp_path / "sub" / "recipe.yaml").write_text("dataset: rows.csv\nbase_model: base\neval_dataset: rows.csv\n")
    monkeypatch.chdir(tmp_path)
    read = Recipe.from_file(Path("sub/recipe.yaml"))
    assert read.dataset == read.eval_dataset == str(tmp_path / "sub" / "rows.csv")
    assert read.base_model == str(tmp_path / "sub" / "base")


@pytest.mark.parametrize("value", ["HuggingFaceTB/SmolLM2-135M-Instruct", "x" * 5000, "~nobody-of-that-name/x", "; rm"])
def test_text_in_a_file_that_names_nothing_stays_as_it_is(tmp_path: Path, value: str) -> None:
    (tmp_path / "recipe.yaml").write_text(f"dataset: {value!r}\nbase_model: {value!r}\n")
    read = Recipe.from_file(tmp_path / "recipe.yaml")
    assert read.dataset == read.base_model == value


@pytest.mark.parametrize("make", [lambda path: None, lambda path: path.mkdir(), lambda path: path.write_bytes(b"\xff")])
def test_file_that_cannot_be_read_is_refused(tmp_path: Path, make: Any) -> None:
    make(tmp_path / "recipe.yaml")
    with pytest.raises(RecipeError, match=r"recipe\.yaml"):
        Recipe.from_file(tmp_path / "recipe.yaml")


def test_assignments_are_read_as_yaml() -> None:
    pairs = ["tuning.r=8", "name=a b", "eval_split=0", "columns={prompt: q}", "dataset=", " seed =3", "name=x=y"]
    assert parse_assignments(pairs) == {
        "tuning.r": 8,
        "name": "x=y",
        "eval_split": 0,
        "columns": {"prompt": "q"},
        "dataset": "",
        "seed": 3,
    }


@pytest.mark.parametrize("pair", ["seed", "", "seed=[", "name=2026-13-45"])
def test_assignment_that_is_none_is_refused(pair: str) -> None:
    with pytest.raises(RecipeError):
        parse_assignments([pair])


def test_module_has_no_other_settings_than_those_it_lists() -> None:
    listed = {name.partition(".")[0] for name in recipes.fields()}
    assert listed == set(Recipe.model_fields)
