"""What a sceptic asks of the recommendation, with the starter model: sentences to repeat need only a prompt, invented
facts can be learned, and data that no model should learn is not recommended."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from modelforge import Forge, paths
from modelforge.recipe import STARTER
from modelforge.scores.need import DATA, PROMPT, TRAIN
from tests import tiny

pytestmark = pytest.mark.slow

WORDS = """
apple river stone cloud garden window silver castle forest candle bridge mirror pocket summer winter butter hammer
island jacket kitten ladder market needle orange pencil rabbit shadow ticket tunnel velvet wagon yellow basket circus
dragon engine fabric guitar helmet insect jungle kettle lemon meadow nature oyster planet ribbon temple
"""
ISLANDS = """
Ormu Talvik Brenno Sask Quell Ivarra Dosk Lunde Perrin Wexa Yarrow Zemm Ardo Bexley Corva Durn Elvast Frome Gant Hesk
Ilmo Jarr Koss Lome Mirn Noxo Opal Pryde Quist Rendo Selk Tarn Umber Velsk Wyre Xand Ysolt Zorn
"""
CAPITALS = """
Halt Mirrin Cobb Ness Ostle Fenn Grauk Tiller Vash Bram Ekko Juno Lark Mosk Nadir Orro Pell Quent Rusk Stave Thorn Urso
Vint Wend Yost Zeal Abbet Brill Crome Dask Elms Fawn Grell Hove Isk Jolt Kern Lund
"""
ECHOES = [
    (f"Repeat this sentence word for word: The {one} is near the {other}.", f"The {one} is near the {other}.")
    for one, other in pairwise(WORDS.split())
]
FACTS = [
    (f"What is the capital of {island}?", f"The capital of {island} is {capital}.")
    for island, capital in zip(ISLANDS.split(), CAPITALS.split(), strict=True)
]


@pytest.fixture(scope="module")
def forge(make_home: Callable[[Path], Path], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Forge]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MODELFORGE_HOME", str(make_home(tmp_path_factory.mktemp("claims"))))
        yield Forge()


@pytest.fixture(autouse=True)
def home(forge: Forge) -> Path:
    return paths.home()


@pytest.fixture
def advise(forge: Forge, tmp_path: Path) -> Callable[[list[tuple[str, str]]], Any]:
    """advise(pairs) -> the baseline of the starter on half of them."""

    def try_base(pairs: list[tuple[str, str]]) -> Any:
        file = tiny.write_rows(tmp_path / "rows.jsonl", pairs)
        settings = {"eval_split": 0.5, "max_steps": 0, "max_length": 512, "dtype": "auto"}
        return forge.runs.try_base(tiny.recipe(STARTER, file, settings))

    return try_base


def test_prompt_is_enough_for_sentences_to_repeat(advise: Callable[..., Any]) -> None:
    found = advise(ECHOES)
    assert found.advice.word == PROMPT, found.as_json()


def test_training_can_help_on_invented_facts(advise: Callable[..., Any]) -> None:
    found = advise(FACTS)
    assert found.advice.word == TRAIN, found.as_json()
    assert "3 examples" in found.advice.why or "As it is" in found.advice.why


def test_base_is_better_than_answers_of_random_letters(advise: Callable[..., Any]) -> None:
    draw = random.Random(0)

    def babble() -> str:
        words = ("".join(draw.choice("bcdfghjklmnpqrstvwxz") for _ in range(draw.randint(3, 7))) for _ in range(6))
        return " ".join(words)

    found = advise([(question, babble()) for question, _ in FACTS])
    assert found.advice.word == DATA, found.as_json()
    assert "random letters" in found.advice.why
