"""How models of each method and architecture are measured beside their base: numbers that can be had by hand."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from modelforge import Forge, paths
from modelforge.data.encode import ChatEncoder
from modelforge.errors import DatasetError, RecipeError
from modelforge.models.evaluate import Evaluation
from modelforge.models.sampling import Sampling
from modelforge.models.spans import score_spans
from modelforge.recipe import Recipe
from modelforge.scores.metrics import METRICS
from modelforge.scores.rewards import total
from modelforge.store import RunState
from tests import tiny

Train = Callable[..., Any]
LEARN = {"max_steps": 20, "learning_rate": 1e-2, "per_device_train_batch_size": 4, "evaluations": 1, "eval_split": 0.25}
REWARDS = [{"type": "length", "least": 3, "most": 8}, {"type": "matches_reference", "weight": 0.5}]
GRPO = {"method": "grpo", "grpo.rewards": REWARDS, "grpo.max_completion_length": 8, "max_steps": 1}
OF_EACH: dict[str, tuple[str, str, dict[str, Any]]] = {
    "dpo": ("decoder", "preference", {"method": "dpo"}),
    "kto": ("decoder", "labelled", {"method": "kto"}),
    "grpo": ("decoder", "prompts", GRPO),
    "summary": ("encoder-decoder", "summary", {"task": "summarization", "max_target_length": 12}),
    "span": ("encoder", "span", {"task": "question-answering"}),
}
"""The model of each way of measuring: its architecture, its rows, its settings besides the tuning."""


def train_one(train: Train, kind: str, tuning: str = "lora") -> Any:
    architecture, shape, settings = OF_EACH[kind]
    return train(architecture, shape, {**settings, "tuning.type": tuning})


@pytest.fixture(autouse=True)
def home(shared_forge: Forge) -> Path:
    return paths.home()


@pytest.fixture(scope="module")
def train(shared_forge: Forge, tmp_path_factory: pytest.TempPathFactory) -> Train:
    """train("decoder", "preference", settings) -> a model trained by a real run on 16 rows of that shape; once."""
    folder, trained = tmp_path_factory.mktemp("files"), dict[str, Any]()
    bases = {name: write(folder / name) for name, write in tiny.WRITERS.items()}

    def make(architecture: str, shape: str, settings: dict[str, Any]) -> Any:
        key = f"{architecture} {shape} {settings}"
        if key not in trained:
            file = tiny.write_jsonl(folder / f"{shape}.jsonl", tiny.user_rows(shape))
            run = shared_forge.runs.start(tiny.recipe(bases[architecture], file, {**LEARN, **settings}))
            assert run.wait(100) is RunState.finished, run.record.error
            trained[key] = shared_forge.models[run.model_id]
        return trained[key]

    return make


def file_of(shape: str, folder: Path) -> Path:
    return tiny.write_jsonl(folder / f"more {shape}.jsonl", tiny.user_rows(shape, 24)[16:])


@pytest.mark.slow
@pytest.mark.parametrize("tuning", ["lora", "full"])
def test_preferences_learnt_show_as_a_margin_and_the_base_has_none(train: Train, tmp_path: Path, tuning: str) -> None:
    model = train_one(train, "dpo", tuning)
    found = model.evaluate()
    assert found.rows == 4
    assert found.base["reward_margin"] == 0 < found.tuned["reward_margin"]
    assert found.tuned["preference_accuracy"] == 1 >= found.base["preference_accuracy"]
    # what training measured on the same rows, of the same model
    manifest = model.playground.load(model.record)[0].manifest
    assert found.tuned["reward_margin"] == pytest.approx(manifest["metrics"]["tuned"]["reward_margin"], rel=1e-3)
    assert model.evaluate(data=file_of("preference", tmp_path), limit=5).rows == 5


@pytest.mark.slow
@pytest.mark.parametrize("tuning", ["lora", "full"])
def test_labelled_answers_learnt_show_as_a_margin_and_the_base_has_none(
    train: Train, tmp_path: Path, tuning: str
) -> None:
    model = train_one(train, "kto", tuning)
    found = model.evaluate()
    assert found.rows == 4
    assert found.base == {"reward_margin": 0} and found.tuned["reward_margin"] > 0
    manifest = model.playground.load(model.record)[0].manifest
    assert found.tuned["reward_margin"] == pytest.approx(manifest["metrics"]["tuned"]["reward_margin"], rel=1e-3)
    assert model.evaluate(data=file_of("labelled", tmp_path), limit=5).rows == 5


def test_pairs_whose_answers_lie_beyond_max_length_are_left_out(train: Train, tmp_path: Path) -> None:
    model = train("decoder", "preference", {"method": "dpo", "max_steps": 1, "max_length": 64})
    long = [{"prompt": "Why? " * 60, "chosen": "So.", "rejected": "No."}]
    file = tiny.write_jsonl(tmp_path / "long.jsonl", [*tiny.user_rows("preference", 2), *long])
    assert model.evaluate(data=file).rows == 2
    with pytest.raises(DatasetError, match="beyond 64 tokens"):
        model.evaluate(
            data=tiny.write_jsonl(
                tmp_path / "longer.jsonl", [row | {"prompt": f"{n} {row['prompt']}"} for n in range(2) for row in long]
            )
        )


@pytest.mark.slow
@pytest.mark.parametrize("tuning", ["lora", "full"])
def test_rewards_are_those_of_the_likeliest_answers(train: Train, tmp_path: Path, tuning: str) -> None:
    model = train_one(train, "grpo", tuning)
    found = model.evaluate(data=file_of("prompts", tmp_path))
    rewards, short = Recipe().with_settings(GRPO).grpo.rewards, Sampling(max_new_tokens=8)
    assert found.rows == 8
    for base, side in ((False, found.tuned), (True, found.base)):
        earned = [
            total(rewards, model.chat(row["prompt"], base=base, sampling=short), row["reference"])
            for row in tiny.user_rows("prompts", 24)[16:]
        ]
        assert side == {"mean_reward": pytest.approx(sum(earned) / 8)}


def test_reward_that_compares_refuses_a_file_without_references(train: Train, tmp_path: Path) -> None:
    model = train_one(train, "grpo")
    file = tiny.write_jsonl(tmp_path / "bare.jsonl", [{"prompt": row["prompt"]} for row in tiny.user_rows("prompts")])
    with pytest.raises(RecipeError, match="reference"):
        model.evaluate(data=file)


@pytest.mark.slow
@pytest.mark.parametrize("tuning", ["lora", "full"])
def test_summaries_that_are_compared_are_those_of_the_playground(train: Train, tmp_path: Path, tuning: str) -> None:
    model = train_one(train, "summary", tuning)
    found = model.evaluate(data=file_of("summary", tmp_path))
    rows = tiny.user_rows("summary", 24)[16:]
    for base, side in ((False, found.tuned), (True, found.base)):
        answers = [model.summarise(row["document"], base=base, sampling=Sampling(max_new_tokens=12)) for row in rows]
        assert side.keys() == {"rouge1", "rouge2", "rougeL"}
        for name in side:
            assert side[name] == pytest.approx(METRICS[name](answers, [row["summary"] for row in rows]))


@pytest.mark.slow
@pytest.mark.parametrize("tuning", ["lora", "full"])
def test_questions_are_measured_as_they_are_answered(train: Train, tmp_path: Path, tuning: str) -> None:
    model = train_one(train, "span", tuning)
    found = model.evaluate(data=file_of("span", tmp_path))
    rows = tiny.user_rows("span", 24)[16:]
    assert found.rows == 8
    for base, side in ((False, found.tuned), (True, found.base)):
        spans = [model.find_answer(row["context"], row["question"], base=base) for row in rows]
        assert side == pytest.approx(score_spans([span.text for span in spans], rows))


def test_rows_for_another_method_are_refused_with_the_method_for_them(train: Train, tmp_path: Path) -> None:
    model = train_one(train, "dpo")
    with pytest.raises(RecipeError, match="dpo cannot train") as caught:
        model.evaluate(data=file_of("chat", tmp_path))
    assert "sft" in caught.value.fix


def test_progress_goes_to_the_end_for_every_way_of_measuring(train: Train) -> None:
    for kind in OF_EACH:
        told: list[float] = []
        assert isinstance(train_one(train, kind).evaluate(watch=told.append), Evaluation)
        assert told == sorted(told) and told[-1] == 1 and len(told) > 1


def narrow_decoder(folder: Path) -> Path:
    """A GPT-2, whose table of positions ends at 48 tokens."""
    import torch
    from transformers import GPT2Config, GPT2LMHeadModel

    tokens = {"bos_token_id": 1, "eos_token_id": 2, "pad_token_id": 0}
    torch.manual_seed(0)
    config = GPT2Config(vocab_size=len(tiny.tokenizer()), n_positions=48, n_embd=32, n_layer=2, n_head=4, **tokens)
    GPT2LMHeadModel(config).save_pretrained(folder)
    tiny.tokenizer().save_pretrained(folder)
    return folder


@pytest.mark.slow
@pytest.mark.parametrize(("shape", "settings"), [("chat", {}), ("preference", {"method": "dpo"})])
def test_rows_longer_than_the_models_window_are_measured_as_far_as_it_reaches(
    shared_forge: Forge, tmp_path: Path, shape: str, settings: dict[str, Any]
) -> None:
    answer = "response" if shape == "chat" else "chosen"
    rows = [{**row, answer: row[answer] + " And so on." * 20} for row in tiny.user_rows(shape)]
    assert all(len(ChatEncoder(tiny.tokenizer(), 512).encode_row({"text": row[answer]}).input_ids) > 48 for row in rows)
    file = tiny.write_jsonl(tmp_path / "long.jsonl", rows)
    run = shared_forge.runs.start(
        tiny.recipe(narrow_decoder(tmp_path / "narrow"), file, {**LEARN, **settings, "max_steps": 2, "max_length": 512})
    )
    assert run.wait(100) is RunState.finished, run.record.error
    assert shared_forge.models[run.model_id].evaluate().rows == 4
