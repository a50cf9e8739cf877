"""The base model before a first run: which rows and examples, what is measured, and what is said where it cannot be."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import CancelledError
from pathlib import Path
from typing import Any

import pytest

from modelforge import Forge, paths
from modelforge.caller import STRANGER, Caller, acting_as
from modelforge.data.encode import ChatEncoder
from modelforge.data.split import divide
from modelforge.errors import AccessError, DatasetError, ModelForgeError, RecipeError, RunStateError
from modelforge.models.baseline import Baseline
from modelforge.models.evidence import ZERO
from modelforge.models.few_shot import EXAMPLES, MOST_TOKENS, add_examples, choose_examples
from modelforge.models.measures import UNCUT, make_trials
from modelforge.scores.need import DATA, PROMPT, UNCLEAR
from modelforge.store import RunState
from tests import tiny

Try = Callable[..., Baseline]


@pytest.fixture(autouse=True)
def home(shared_forge: Forge) -> Path:
    return paths.home()


@pytest.fixture(scope="module")
def try_base(shared_forge: Forge, tmp_path_factory: pytest.TempPathFactory) -> Try:
    """try_base(settings, shape, architecture) -> the base model on 8 held-out ones of 32 rows; once for each."""
    folder, done = tmp_path_factory.mktemp("files"), dict[str, Any]()
    bases = {name: write(folder / name) for name, write in tiny.WRITERS.items()}

    def make(settings: dict[str, Any] | None = None, shape: str = "chat", architecture: str = "decoder") -> Baseline:
        key = f"{settings} {shape} {architecture}"
        if key not in done:
            file = tiny.write_jsonl(folder / f"{shape}.jsonl", tiny.user_rows(shape, 32))
            recipe = tiny.recipe(bases[architecture], file, {"eval_split": 0.25, **(settings or {})})
            done[key] = shared_forge.runs.try_base(recipe)
        return done[key]

    return make


# ---- which rows, which examples ----------------------------------------------------------------------------------


@pytest.mark.slow
def test_rows_are_those_that_the_run_holds_out_and_its_verdict_begins_with_the_same_numbers(
    shared_forge: Forge, tiny_base: Path, tmp_path: Path
) -> None:
    recipe = tiny.recipe(tiny_base, tiny.write_rows(tmp_path / "rows.jsonl", tiny.PAIRS), {"eval_split": 0.25})
    found = shared_forge.runs.try_base(recipe)
    run = shared_forge.runs.start(recipe)
    assert run.wait(100) is RunState.finished
    rows = shared_forge.datasets.rows(run.record.dataset_id)
    assert [each.row for each in found.measured.outcomes] == [index + 1 for index in divide(rows, recipe)[1]]
    for name, value in run.record.metrics["verdict"]["differences"].items():
        assert value["value"] is not None
        assert found.zero_shot[name] == pytest.approx(run.record.metrics["before"][name], rel=1e-3)


def test_examples_are_training_rows_with_different_answers_the_same_for_each_seed(tiny_base: Path) -> None:
    rows = tiny.rows(32)
    recipe = tiny.recipe(tiny_base, "rows", {"eval_split": 0.25})
    training, held_out = divide(rows, recipe)
    encoder = ChatEncoder(tiny.tokenizer(), UNCUT)

    def choose(seed: int) -> list[int]:
        found = choose_examples(rows, training, [rows[index] for index in held_out], encoder, seed)
        assert len({each.answer for each in found}) == EXAMPLES
        return [each.row for each in found]

    assert choose(0) == choose(0) != choose(1)
    assert not {*choose(0), *choose(1)} & {index + 1 for index in held_out}


def test_long_rows_and_questions_that_are_held_out_are_no_examples() -> None:
    long = {"messages": tiny.messages("What is it?", "It is red. " * MOST_TOKENS)}
    rows = [long, *tiny.rows(3)]
    encoder = ChatEncoder(tiny.tokenizer(), UNCUT)
    found = choose_examples(rows, range(4), [rows[1]], encoder, 0)
    assert sorted(each.row for each in found) == [3, 4]
    assert choose_examples([long], [0], [], encoder, 0) == []


def test_examples_stand_before_the_prompt_and_the_same_tokens_are_measured() -> None:
    system = {"role": "system", "content": "Say it briefly."}
    chat = [system, *tiny.messages("One?", "First."), *tiny.messages("Two?", "Second.")]
    rows = {1: {"messages": chat}, 2: tiny.rows(1)[0]}
    encoder = ChatEncoder(tiny.tokenizer(), UNCUT)
    trials = make_trials([*rows.items()], encoder, [])
    examples = choose_examples(tiny.rows(8)[1:], range(7), [], encoder, 0)
    found, short = add_examples(trials, rows, examples, encoder, 10_000)
    assert short == 0
    for before, after in zip(trials, found, strict=True):
        assert [label for label in after.pieces[0].labels if label >= 0] == [
            label for label in before.pieces[0].labels if label >= 0
        ]
        assert after.outcome is before.outcome
    text = encoder.tokenizer.decode(found[0].prompt)
    assert text.index("Say it briefly.") < text.index(examples[0].answer) < text.index("First.") < text.index("Two?")
    assert text.count("system") == 1


def test_prompt_longer_than_the_context_gets_fewer_examples_and_that_is_said(
    shared_forge: Forge, tmp_path: Path
) -> None:
    base = tiny.write_base(tmp_path / "base", max_position_embeddings=150)
    recipe = tiny.recipe(base, tiny.write_rows(tmp_path / "rows.jsonl", tiny.PAIRS), {"eval_split": 0.25})
    found = shared_forge.runs.try_base(recipe)
    assert found.few_shot
    assert any(
        "context of the base model is 150 tokens" in note and "fewer than 3" in note for note in found.measured.notes
    )


# ---- what is measured --------------------------------------------------------------------------------------------


def test_base_that_reads_no_text_at_all_says_nothing_against_the_data(try_base: Try) -> None:
    assert try_base().advice.word != DATA  # random weights: to them all text is random
    assert try_base({"task": "summarization"}, "summary").advice.word != DATA


def test_both_ways_are_measured_with_the_metrics_of_a_verdict(try_base: Try) -> None:
    found = try_base()
    assert found.rows == 8 and len(found.examples) == 3
    assert found.zero_shot.keys() == found.few_shot.keys() == {"rougeL", "loss", "perplexity", "chrf", "exact_match"}
    assert found.zero_shot != found.few_shot
    shape = found.as_json()
    assert [*shape][:4] == ["rows", "zero_shot", "few_shot", "advice"]
    assert shape["advice"] == found.advice.word and all(ZERO in each.answers for each in found.measured.outcomes)


OF_EACH: dict[str, tuple[dict[str, Any], str, str]] = {
    "rougeL": ({"task": "summarization", "max_target_length": 12}, "summary", "encoder-decoder"),
    "f1": ({"task": "question-answering"}, "span", "encoder"),
    "loss": ({}, "text", "decoder"),
    "preference_accuracy": ({"method": "dpo"}, "preference", "decoder"),
    "mean_reward": ({"method": "grpo", "grpo.rewards": [{"type": "length", "least": 0, "most": 500}],
        "grpo.max_completion_length": 8, "per_device_train_batch_size": 4}, "prompts", "decoder"),
}  # fmt: skip


@pytest.mark.parametrize("metric", OF_EACH)
def test_what_takes_no_examples_is_measured_as_it_is_and_says_why(try_base: Try, metric: str) -> None:
    found = try_base(*OF_EACH[metric])
    assert metric in found.zero_shot and not found.few_shot and not found.examples
    assert any("xamples in the prompt" in note for note in found.measured.notes)
    if metric == "loss":
        assert found.advice.word == UNCLEAR and "no answers" in found.advice.why
    if metric == "mean_reward":
        assert found.advice.word in (PROMPT, UNCLEAR) and found.zero_shot["mean_reward"] == 1.0


def test_summaries_by_a_decoder_get_examples(try_base: Try) -> None:
    found = try_base({"task": "summarization"}, "summary")
    assert {"rouge1", "rouge2", "rougeL"} <= found.few_shot.keys()


def test_limit_takes_fewer_rows_and_few_rows_cannot_tell(shared_forge: Forge, tiny_base: Path, tmp_path: Path) -> None:
    recipe = tiny.recipe(tiny_base, tiny.write_rows(tmp_path / "rows.jsonl", tiny.PAIRS), {"eval_split": 0.25})
    found = shared_forge.runs.try_base(recipe, limit=3)
    assert found.rows == 3 and found.advice.word == UNCLEAR and "at least 8" in found.advice.why
    with pytest.raises(RecipeError, match="0 rows are too few"):
        shared_forge.runs.try_base(recipe, limit=0)


def test_model_to_train_further_is_what_is_tried(shared_forge: Forge, tiny_base: Path, tmp_path: Path) -> None:
    parent = tiny.finish_model(shared_forge, tiny_base)
    file = tiny.write_rows(tmp_path / "rows.jsonl", tiny.PAIRS)
    settings = {"eval_split": 0.25, "tuning.type": "lora"}
    base, further = (
        shared_forge.runs.try_base(tiny.recipe(tiny_base, file, {**settings, **more}))
        for more in ({}, {"parent": parent.id})
    )
    assert base.zero_shot["loss"] != pytest.approx(further.zero_shot["loss"])


# ---- what is refused ---------------------------------------------------------------------------------------------


def test_nothing_held_out_is_an_error_with_its_fix(shared_forge: Forge, tiny_base: Path, tmp_path: Path) -> None:
    file = tiny.write_rows(tmp_path / "rows.jsonl")
    with pytest.raises(DatasetError, match="No examples are held out") as caught:
        shared_forge.runs.try_base(tiny.recipe(tiny_base, file, {"eval_split": 0}))
    assert "eval_split" in caught.value.fix
    one = tiny.write_rows(tmp_path / "one.jsonl", tiny.PAIRS[:1])
    with pytest.raises(DatasetError, match="only 1 usable row"):
        shared_forge.runs.try_base(tiny.recipe(tiny_base, one))


def test_cancel_ends_it_and_the_next_one_works(shared_forge: Forge, tiny_base: Path, tmp_path: Path) -> None:
    recipe = tiny.recipe(tiny_base, tiny.write_rows(tmp_path / "rows.jsonl", tiny.PAIRS), {"eval_split": 0.25})
    shares: list[float] = []

    def watch(share: float) -> None:
        shares.append(share)
        if share > 0.5:
            raise CancelledError

    with pytest.raises(CancelledError):
        shared_forge.runs.try_base(recipe, watch=watch)
    assert shares == sorted(shares)
    assert shared_forge.runs.try_base(recipe, limit=8).rows == 8


def test_not_beside_a_run(shared_forge: Forge, tiny_base: Path, tmp_path: Path) -> None:
    recipe = tiny.recipe(tiny_base, tiny.write_rows(tmp_path / "rows.jsonl", tiny.PAIRS), {"max_steps": 200})
    run = shared_forge.runs.start(recipe)
    try:
        with pytest.raises(RunStateError, match="A run is in progress"):
            shared_forge.runs.try_base(recipe)
    finally:
        run.stop()
        run.wait(100)


def test_who_may_not_train_and_who_names_folders_from_afar_are_refused(
    shared_forge: Forge, tiny_base: Path, tmp_path: Path
) -> None:
    recipe = tiny.recipe(tiny_base, tiny.write_rows(tmp_path / "rows.jsonl"))
    with acting_as(STRANGER), pytest.raises(AccessError):
        shared_forge.runs.try_base(recipe)
    with acting_as(Caller("bert", "bert", is_owner=False, is_local=False)), pytest.raises(ModelForgeError):
        shared_forge.runs.try_base(recipe)
