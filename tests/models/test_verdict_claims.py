"""What a sceptic asks for, with the starter model: facts that are learned are better in other words, nonsense is not, a
change that is none is none, another language is worse, and a model compared with itself is hardly ever anything."""

from __future__ import annotations

import json
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from modelforge import Forge
from modelforge.models.evaluate import Evaluation, conclude
from modelforge.models.generate import write_answer
from modelforge.models.outcomes import Measured, Outcome
from modelforge.models.sampling import Sampling
from modelforge.scores.metrics import METRICS
from modelforge.scores.verdict import BETTER, UNCLEAR, WORSE
from modelforge.store import RunState
from tests import tiny

pytestmark = pytest.mark.slow

ISLANDS = ("Ormu", "Talvik", "Brenno", "Sask", "Quell", "Ivarra", "Dosk", "Lunde", "Perrin", "Wexa", "Yarrow", "Zemm")
CAPITALS = ("Halt", "Mirrin", "Cobb", "Ness", "Ostle", "Fenn", "Grauk", "Tiller", "Vash", "Bram", "Ekko", "Juno")
FACTS = [(f"What is the capital of {island}?", f"The capital of {island} is {capital}.")
    for island, capital in zip(ISLANDS, CAPITALS, strict=True)]  # fmt: skip
REWORDED = [(f"Tell me which town is the capital of the island {island}.", answer)
    for island, (_, answer) in zip(ISLANDS, FACTS, strict=True)]  # fmt: skip
SETTINGS = {
    "eval_split": 0, "num_train_epochs": 20, "learning_rate": 1e-3, "max_length": 128, "max_steps": 0, "dtype": "auto",
    "per_device_train_batch_size": 4,
}  # fmt: skip
STARTER = "HuggingFaceTB/SmolLM2-135M-Instruct"
Pairs = list[tuple[str, str]]
Train = Callable[..., Any]


@pytest.fixture(scope="module")
def forge(make_home: Callable[[Path], Path], tmp_path_factory: pytest.TempPathFactory) -> Any:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MODELFORGE_HOME", str(make_home(tmp_path_factory.mktemp("claims"))))
        yield Forge()


@pytest.fixture(autouse=True)
def home(forge: Forge) -> Path:
    from modelforge import paths

    return paths.home()


@pytest.fixture
def judge(forge: Forge, tmp_path: Path) -> Callable[..., Evaluation]:
    """judge(pairs to train on, pairs to measure on, settings) -> the evaluation of the trained starter."""

    def train_and_measure(taught: Pairs, asked: Pairs, settings: dict[str, Any] | None = None) -> Evaluation:
        file = tiny.write_rows(tmp_path / "taught.jsonl", taught)
        run = forge.runs.start(tiny.recipe(STARTER, file, {**SETTINGS, **(settings or {})}))
        assert run.wait(1500) is RunState.finished, run.record.error
        return forge.models[run.model_id].evaluate(data=tiny.write_rows(tmp_path / "asked.jsonl", asked))

    return train_and_measure


def test_facts_that_were_learned_are_better_in_other_words(judge: Callable[..., Evaluation]) -> None:
    found = judge(FACTS, REWORDED)
    assert (found.verdict.word, found.verdict.metric) == (BETTER, "rougeL"), found.verdict
    print(found.base, found.tuned, [each.answers for each in found.measured.outcomes][:3])


def test_gibberish_is_not_better_also_not_on_more_gibberish(judge: Callable[..., Evaluation]) -> None:
    draw = random.Random(0)

    def babble() -> str:
        return " ".join(
            "".join(draw.choice("bcdfghjklmnpqrstvwxz") for _ in range(draw.randint(3, 7))) for _ in range(6)
        )

    taught = [(f"{question} ({number})", babble()) for number in range(3) for question, _ in FACTS]
    found = judge(taught[:24], [*FACTS])
    assert found.verdict.word != BETTER, found.verdict
    found = judge(taught[:24], taught[24:])
    assert found.verdict.word != BETTER, found.verdict


def test_shuffled_answers_teach_the_style_and_the_page_says_what_the_verdict_rests_on(
    judge: Callable[..., Evaluation],
) -> None:
    moved = [(question, FACTS[(place + 5) % 12][1]) for place, (question, _) in enumerate(FACTS)]
    found = judge(moved, REWORDED, {"verdict_metric": "exact_match"})
    assert found.verdict.metric == "exact_match" and found.verdict.word != BETTER, found.verdict
    assert "Exact match" in found.verdict.why
    assert found.differences["loss"].high < 0  # the style is learned, and shown as what it is


def test_one_step_at_a_tiny_rate_is_no_clear_difference(judge: Callable[..., Evaluation]) -> None:
    for metric in ("auto", "loss"):
        settings = {"max_steps": 1, "learning_rate": 1e-7, "verdict_metric": metric}
        assert judge(FACTS, REWORDED, settings).verdict.word == UNCLEAR


def test_answers_in_another_language_than_expected_are_worse(judge: Callable[..., Evaluation]) -> None:
    colours = {"red": "rouge", "blue": "bleu", "green": "vert", "white": "blanc", "black": "noir", "brown": "brun"}
    asked = [(f"Say in one English sentence: the {thing} is {colour}.", f"The {thing} is {colour}.")
        for thing in ("house", "table") for colour in colours]  # fmt: skip
    french = [(question, f"La chose est {word}, voilà tout ce que je sais.")
        for (question, _), word in zip(asked, [*colours.values()] * 2, strict=True)]  # fmt: skip
    found = judge(french, asked)
    assert found.verdict.word == WORSE, found.verdict


def test_model_compared_with_itself_at_temperature_1_is_hardly_ever_better_or_worse(
    forge: Forge, tmp_path: Path
) -> None:
    """200 comparisons of two answers to each question, drawn from eight answers of the starter to each."""
    run = forge.runs.start(
        tiny.recipe(STARTER, tiny.write_rows(tmp_path / "rows.jsonl", FACTS), {**SETTINGS, "max_steps": 1})
    )
    assert run.wait(600) is RunState.finished
    loaded, model = forge.playground.load(forge.models.find(run.model_id))
    drawn: list[list[str]] = []
    for question, _ in [*FACTS, *REWORDED]:
        asked = [{"role": "user", "content": question}]
        drawn.append(
            [
                "".join(
                    write_answer(
                        model, loaded.tokenizer, asked, Sampling(max_new_tokens=24, temperature=1.0, seed=seed)
                    )
                )
                for seed in range(8)
            ]
        )
    expected = [answer for _, answer in [*FACTS, *REWORDED]]
    words = []
    for seed in range(200):
        choose = random.Random(seed)
        outcomes = []
        for row, answers in enumerate(drawn):
            sides = dict(zip(("base", "tuned"), choose.sample(answers, 2), strict=True))
            scores = {side: {"rougeL": METRICS["rougeL"]([text], [expected[row]])} for side, text in sides.items()}
            outcomes.append(Outcome(str(row), row, "", expected[row], sides, scores))
        words.append(conclude(Measured(outcomes, "base", ("rougeL",))).verdict.word)
    print(json.dumps({word: words.count(word) for word in set(words)}))
    assert sum(word != UNCLEAR for word in words) <= 10
