"""Measuring a model and its base: which rows, what numbers, and what is said where nothing can be measured."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
import torch

from modelforge import Forge, paths
from modelforge.data.encode import ChatEncoder
from modelforge.data.split import split
from modelforge.errors import DatasetError, RecipeError
from modelforge.models.evaluate import choose_evenly, read_held_out
from modelforge.models.folder import read_manifest
from modelforge.models.measures import make_trials
from modelforge.models.sampling import Sampling
from modelforge.models.sides import Side
from modelforge.recipe import Recipe
from modelforge.scores.metrics import METRICS
from modelforge.store import RunState
from tests import tiny

SIDES = {"loss", "perplexity", "rougeL", "chrf", "exact_match"}
LEARN = {"max_steps": 150, "learning_rate": 2e-2, "per_device_train_batch_size": 8, "evaluations": 1}
FEW = {"max_steps": 3, "learning_rate": 1e-2, "eval_split": 0.25}


@pytest.fixture(autouse=True)
def home(shared_forge: Forge) -> Path:
    return paths.home()


@pytest.fixture
def forge(shared_forge: Forge) -> Forge:
    return shared_forge


@pytest.fixture(scope="module")
def train(
    shared_forge: Forge, tiny_base: Path, tmp_path_factory: pytest.TempPathFactory
) -> Callable[[dict[str, Any], Path], Any]:
    """train(settings, file) -> a model trained by a real run; once for each content of the file, 16 rows by default."""
    usual, trained = tiny.write_rows(tmp_path_factory.mktemp("files") / "colours.jsonl"), dict[str, Any]()

    def make(settings: dict[str, Any], file: Path = usual) -> Any:
        key = f"{settings} {file.read_text()}"
        if key not in trained:
            run = shared_forge.runs.start(tiny.recipe(tiny_base, file, settings))
            assert run.wait(200) is RunState.finished
            trained[key] = shared_forge.models[run.model_id]
        return trained[key]

    return make


def held_out(model: Any) -> list[dict[str, Any]]:
    manifest = read_manifest(model.record.id)
    return [row for _, row in read_held_out(manifest, Recipe.build(manifest["recipe"]))]


# ---- what is measured ------------------------------------------------------------------------------------------


def test_model_that_learnt_the_rows_beats_its_base_on_them(train: Callable[..., Any], tmp_path: Path) -> None:
    same = tiny.write_rows(tmp_path / "same.jsonl")
    model = train({**LEARN, "eval_dataset": str(same)})
    found = model.evaluate()
    assert found.rows == 16
    assert found.tuned.keys() == found.base.keys() == SIDES
    assert found.tuned["perplexity"] < 0.2 * found.base["perplexity"]
    assert found.tuned["rougeL"] > found.base["rougeL"]
    assert found.tuned["exact_match"] > 0.5 > found.base["exact_match"]
    assert model.evaluate(data=same) == found  # the same rows, from the file


def test_held_out_rows_and_their_perplexity_are_those_of_training(train: Callable[..., Any], forge: Forge) -> None:
    model = train({**FEW, "seed": 3})
    manifest = read_manifest(model.record.id)
    rows = forge.datasets.rows(manifest["dataset"]["id"])
    _, indices = split(rows, 0.25, 3)
    assert held_out(model) == [rows[index] for index in indices]
    found = model.evaluate()
    assert found.rows == manifest["dataset"]["eval_rows"] == len(indices) > 1
    for side in ("tuned", "base"):
        assert getattr(found, side)["perplexity"] == pytest.approx(manifest["metrics"][side]["perplexity"], rel=1e-4)


def test_fault_10_model_trained_further_is_compared_with_what_it_started_from_and_with_the_base(
    train: Callable[..., Any], forge: Forge
) -> None:
    first = train(FEW)
    second = train({**FEW, "parent": first.record.id})
    found = second.evaluate()
    assert found.sides == {"tuned": found.tuned, "base": found.base, "before": found.before}
    alone = first.evaluate()
    assert found.before == pytest.approx(alone.tuned) and found.base == pytest.approx(alone.base)
    assert not alone.before and alone.sides.keys() == {"tuned", "base"}
    assert second.record.metrics.get("base", found.base)["perplexity"] == pytest.approx(
        found.base["perplexity"], rel=1e-4
    )
    forge.models.delete(first.record.id)
    assert not forge.models[second.record.id].evaluate().before


def test_rows_of_an_eval_dataset_are_the_held_out_ones(train: Callable[..., Any], tmp_path: Path) -> None:
    other = tiny.write_rows(tmp_path / "other.jsonl", tiny.PAIRS[20:25])
    model = train({"eval_dataset": str(other)})
    assert held_out(model) == [{"messages": tiny.messages(*pair)} for pair in tiny.PAIRS[20:25]]
    assert model.evaluate().rows == 5


def test_answers_that_are_compared_are_those_of_the_chat(forge: Forge, record: Any, tmp_path: Path) -> None:
    pairs = tiny.PAIRS[:6]
    model = forge.models[record.id]
    references = [answer for _, answer in pairs]
    longest = max(len(tiny.tokenizer()(text)["input_ids"]) for text in references)
    sampling = Sampling(max_new_tokens=longest + 16)
    found = model.evaluate(data=tiny.write_rows(tmp_path / "rows.jsonl", pairs))
    for base, side in ((False, found.tuned), (True, found.base)):
        answers = [model.chat(prompt, base=base, sampling=sampling) for prompt, _ in pairs]
        assert side["rougeL"] == pytest.approx(METRICS["rougeL"](answers, references))


def test_summaries_are_measured_by_rouge(train: Callable[..., Any], tmp_path: Path) -> None:
    file = tmp_path / "summaries.jsonl"
    lines = (json.dumps({"document": f"{prompt} {answer}", "summary": answer}) for prompt, answer in tiny.PAIRS[:16])
    file.write_text("\n".join(lines))
    found = train({"task": "summarization"}, file).evaluate()
    assert found.tuned.keys() == found.base.keys() == {"rouge1", "rouge2", "rougeL"}
    assert all(0 <= value <= 1 for value in (*found.tuned.values(), *found.base.values()))


def test_plain_text_asks_nothing_and_has_perplexity_alone(forge: Forge, record: Any, tmp_path: Path) -> None:
    (tmp_path / "text.jsonl").write_text("\n".join(json.dumps({"text": answer}) for _, answer in tiny.PAIRS[:4]))
    found = forge.models[record.id].evaluate(data=tmp_path / "text.jsonl")
    assert found.rows == 4
    assert found.tuned.keys() == found.base.keys() == {"loss", "perplexity"}
    assert found.verdict.metric == "loss"
    assert not any("prompt" in note for note in found.measured.notes)


def test_rows_whose_answer_lies_beyond_max_length_are_left_out_as_in_training() -> None:
    short, long = {"messages": tiny.messages("Who?", "Me.")}, {"messages": tiny.messages("Who? " * 100, "Me.")}
    trials = make_trials([(1, short), (2, long)], ChatEncoder(tiny.tokenizer(), 64), [])
    assert [(trial.outcome.row, trial.outcome.expected) for trial in trials] == [(1, "Me.")]
    later = {"messages": [*short["messages"], *long["messages"]]}
    (trial,) = make_trials([(1, later)], ChatEncoder(tiny.tokenizer(), 64), [])  # its first answer can be measured
    assert len(trial.pieces[0].input_ids) == 64 < len(trial.prompt)


def test_measuring_leaves_the_model_as_it_was(forge: Forge, record: Any, tmp_path: Path) -> None:
    model, short = forge.models[record.id], Sampling(max_new_tokens=12)
    before = model.chat("hi", sampling=short)
    file = tiny.write_rows(tmp_path / "rows.jsonl", tiny.PAIRS[:3])
    assert model.evaluate(data=file) == model.evaluate(data=file)
    assert model.chat("hi", sampling=short) == before != model.chat("hi", base=True, sampling=short)


# ---- limit and progress ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("count", "limit", "chosen"),
    [(10, 3, [0, 3, 6]), (10, 1, [0]), (4, None, [0, 1, 2, 3]), (3, 9, [0, 1, 2]), (0, 5, [])],
)
def test_limit_chooses_rows_evenly_spaced(count: int, limit: int | None, chosen: Sequence[int]) -> None:
    rows = [{"text": str(index)} for index in range(count)]
    assert choose_evenly(rows, limit) == [rows[index] for index in chosen]


def test_limit_and_progress(forge: Forge, record: Any, tmp_path: Path) -> None:
    told: list[float] = []
    file = tiny.write_rows(tmp_path / "rows.jsonl")
    found = forge.models[record.id].evaluate(data=file, limit=10, watch=told.append)
    assert found.rows == 10
    assert told == sorted(told) and told[-1] == 1 and len(told) > 20  # for each token, so that it can be cancelled
    with pytest.raises(RecipeError, match="0 rows"):
        forge.models[record.id].evaluate(data=file, limit=0)


# ---- where nothing can be measured -----------------------------------------------------------------------------


def test_model_whose_dataset_was_deleted_says_so_and_takes_a_file(
    train: Callable[..., Any], forge: Forge, tmp_path: Path
) -> None:
    file = tiny.write_rows(tmp_path / "boats.jsonl", tiny.PAIRS[16:])
    model = train({}, file)
    forge.datasets.delete(model.record.dataset_id)
    with pytest.raises(DatasetError, match="was deleted") as caught:
        model.evaluate()
    assert caught.value.where == "boats" and "--data" in caught.value.fix
    assert model.evaluate(data=file).rows == 16


def test_model_trained_without_held_out_rows_says_so(train: Callable[..., Any]) -> None:
    with pytest.raises(DatasetError, match="No examples were held out"):
        train({"eval_split": 0}).evaluate()


def test_error_in_the_file_names_row_and_line(forge: Forge, record: Any, tmp_path: Path) -> None:
    file = tmp_path / "broken.csv"
    file.write_text('prompt,response\n"Where\nis it?",Here.\nWho?,\nWhat?,This.\n')
    with pytest.raises(DatasetError, match="blank") as caught:
        forge.models[record.id].evaluate(data=file)
    assert caught.value.where == "broken.csv, row 2 (line 4)"
    with pytest.raises(DatasetError, match="does not exist"):
        forge.models[record.id].evaluate(data=tmp_path / "nowhere.csv")


def test_file_that_is_not_for_the_task_of_the_model_is_refused(forge: Forge, record: Any, tmp_path: Path) -> None:
    file = tmp_path / "other.csv"
    file.write_text("number,size\n1,2\n3,4\n")
    with pytest.raises(DatasetError, match="No column was found"):
        forge.models[record.id].evaluate(data=file)


@pytest.mark.slow
def test_columns_of_the_recipe_are_used_where_the_file_has_them(train: Callable[..., Any], tmp_path: Path) -> None:
    file, usual = tmp_path / "odd.jsonl", tiny.write_rows(tmp_path / "usual.jsonl")
    file.write_text("\n".join(json.dumps({"said": prompt, "told": answer}) for prompt, answer in tiny.PAIRS[:16]))
    model = train({"columns": {"prompt": "said", "response": "told"}}, file)
    assert model.evaluate(data=file) == model.evaluate(data=usual)


def test_file_in_which_nothing_can_be_measured_says_so(forge: Forge, record: Any, tmp_path: Path) -> None:
    file = tiny.write_rows(tmp_path / "long.jsonl", [(f"{number} " * 600, "So.") for number in range(2)])
    with pytest.raises(DatasetError, match="beyond 512 tokens"):
        forge.models[record.id].evaluate(data=file)


# ---- the verdict -----------------------------------------------------------------------------------------------


def test_one_row_is_measured_and_says_that_it_shows_nothing(forge: Forge, record: Any, tmp_path: Path) -> None:
    found = forge.models[record.id].evaluate(data=tiny.write_rows(tmp_path / "one.jsonl", tiny.PAIRS[20:21]))
    assert found.rows == 1 and found.tuned.keys() >= {"loss", "rougeL"}
    assert found.verdict.word == "no clear difference" and "With 1 held-out row " in found.verdict.why
    assert found.differences["rougeL"].as_json()["low"] is None


@pytest.mark.parametrize("content", ["", "\n\n", '{"prompt": "Who?", "response": ""}\n'])
def test_file_without_a_usable_row_is_refused_in_a_sentence(
    forge: Forge, record: Any, tmp_path: Path, content: str
) -> None:
    (tmp_path / "empty.jsonl").write_text(content)
    with pytest.raises(DatasetError) as caught:
        forge.models[record.id].evaluate(data=tmp_path / "empty.jsonl")
    assert caught.value.where.startswith("empty.jsonl") and caught.value.fix


@pytest.mark.slow
def test_rows_that_were_trained_on_show_what_was_memorised(train: Callable[..., Any], tmp_path: Path) -> None:
    model = train({**LEARN, "eval_split": 0})
    same = tiny.write_rows(tmp_path / "same.jsonl")
    found = model.evaluate(data=same)
    assert found.tuned["exact_match"] > 0.5 > found.base["exact_match"]
    assert found.verdict.word == "no clear difference"
    assert "All of these rows were trained on" in found.verdict.why
    some = tiny.write_rows(tmp_path / "some.jsonl", tiny.PAIRS[12:28])
    found = model.evaluate(data=some)
    assert found.rows == 16 and found.verdict.rows == 12
    assert any("4 of 16 rows were also trained on" in note for note in found.measured.notes)


def test_row_that_the_chat_template_refuses_is_left_out_by_number(
    train: Callable[..., Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rows = [{"messages": tiny.messages(*pair)} for pair in tiny.PAIRS[:3]]
    rows[1]["messages"] = [{"role": "assistant", "content": "First."}, *rows[1]["messages"]]
    tokenizer = tiny.tokenizer()
    tokenizer.chat_template = (
        "{% if messages[0]['role'] != 'user' %}{{ raise_exception('roles must alternate') }}{% endif %}" + tiny.TEMPLATE
    )
    notes: list[str] = []
    trials = make_trials(list(enumerate(rows, start=1)), ChatEncoder(tokenizer, 64), notes)
    assert [trial.outcome.row for trial in trials] == [1, 3]
    (note,) = notes
    assert note.startswith("Row 2 was left out:") and "roles must alternate" in note


@pytest.mark.slow
def test_base_that_is_gone_leaves_the_tuned_model_measured(
    train: Callable[..., Any], forge: Forge, tmp_path: Path
) -> None:
    import shutil

    base = tmp_path / "base"
    tiny.write_base(base)
    run = forge.runs.start(tiny.recipe(base, tiny.write_rows(tmp_path / "rows.jsonl"), {**FEW, "tuning.type": "full"}))
    assert run.wait(100) is RunState.finished
    shutil.rmtree(base)
    forge.playground.unload()
    found = forge.models[run.model_id].evaluate()
    assert found.tuned.keys() == SIDES and not found.base and not found.differences
    assert found.verdict.word is None and "nothing to compare" in found.verdict.why
    assert any(note.startswith("The base model could not be measured.") for note in found.measured.notes)


def test_metric_that_cannot_be_computed_is_said_and_is_not_0(forge: Forge, record: Any, tmp_path: Path) -> None:
    signs = tiny.write_rows(tmp_path / "signs.jsonl", [(f"Sign {number}?", "🏮" * number) for number in range(1, 5)])
    found = forge.models[record.id].evaluate(data=signs)
    assert "rougeL" not in found.tuned and found.verdict.metric == "loss"
    notes = " ".join(found.measured.notes)
    assert "ROUGE-L cannot be computed for every row: the expected answer has no words." in notes
    assert "The verdict was to rest on ROUGE-L, which could not be measured; it rests on held-out loss." in notes
    long = [(f"Tell {number}", " ".join(f"word{number}" for _ in range(20))) for number in range(4)]
    found = forge.models[record.id].evaluate(data=tiny.write_rows(tmp_path / "long.jsonl", long))
    assert "exact_match" not in found.tuned
    assert any("half of the expected answers have more than 10 words" in note for note in found.measured.notes)


def test_two_models_are_compared_on_the_same_rows(train: Callable[..., Any], forge: Forge, tmp_path: Path) -> None:
    few, learnt = train({**FEW, "seed": 9}), train({**LEARN, "eval_split": 0.25, "seed": 9})
    found = learnt.evaluate(against=few.record)
    assert found.measured.against == "against" and found.rows == 4
    assert found.sides["against"] == pytest.approx(few.evaluate().tuned)
    assert found.differences["loss"].value == pytest.approx(found.tuned["loss"] - found.sides["against"]["loss"])
    same = few.evaluate(against=few.record)
    assert all(each.value == 0 for each in same.differences.values()) and same.verdict.word == "no clear difference"


def test_measurement_can_be_cancelled_within_a_batch(forge: Forge, record: Any, tmp_path: Path) -> None:
    told: list[float] = []

    def watch(share: float) -> None:
        told.append(share)
        if len(told) == 6:
            raise InterruptedError

    with pytest.raises(InterruptedError):
        forge.models[record.id].evaluate(data=tiny.write_rows(tmp_path / "rows.jsonl"), watch=watch)
    assert told[-1] < 1
    assert forge.models[record.id].chat("hi", sampling=Sampling(max_new_tokens=4)) is not None  # nothing stays locked


def test_share_of_a_measurement_grows_with_each_token(forge: Forge, record: Any, tmp_path: Path) -> None:
    told: list[float] = []
    forge.models[record.id].evaluate(data=tiny.write_rows(tmp_path / "rows.jsonl"), watch=told.append)
    assert told == sorted(told) and told[-1] == 1
    assert len({*told}) > 2 * 16  # answers of both sides have at least as many tokens


def test_losses_of_rows_side_by_side_are_those_of_each_alone(forge: Forge, record: Any) -> None:
    loaded, model = forge.playground.load(record)
    encoder = ChatEncoder(loaded.tokenizer, 128)
    rows = [encoder.encode_row(row) for row in tiny.rows(5)]
    rows.append(encoder.encode_row({"messages": tiny.messages("Why? " * 20, "So. " * 9)}))
    side = Side("tuned", model, lambda: forge.playground.turn(model, base=False))
    together = side.sum_losses(rows, 0)
    assert together == pytest.approx([side.sum_losses([row], 0)[0] for row in rows], rel=1e-4)
    with torch.inference_mode():
        for row, loss in zip(rows, together, strict=True):
            labels = torch.tensor([row.labels])
            whole = model(input_ids=torch.tensor([row.input_ids]), labels=labels).loss * (labels[:, 1:] != -100).sum()
            assert loss == pytest.approx(float(whole), rel=1e-4)
