"""Two sides on one prompt: as each answers alone; blind until the vote; kept, and made a dataset."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from modelforge import Forge
from modelforge.errors import ModelForgeError, RecipeError
from modelforge.models.sampling import Sampling
from modelforge.models.untrained import find_untrained
from modelforge.ui.playground.choices import OF, Speaker
from modelforge.ui.playground.sides import Pen, Round, find_both, raise_problem, show_round, write_round
from tests import tiny

PROMPT = ({"role": "user", "content": "What colour is the lamp of house 0?"},)
SHORT = Sampling(max_new_tokens=24)


def finish(forge: Forge, speakers: tuple[Speaker, Speaker], sampling: Sampling = SHORT, *, blind: bool = True) -> Round:
    made = Round(PROMPT, (Pen(speakers[0]), Pen(speakers[1])), blind)
    calls = write_round(forge.playground, made, sampling)
    for call in calls:
        assert call.wait(60)
        raise_problem(call)
    return made


def test_both_sides_say_what_each_says_alone(forge: Forge, record: Any, tiny_base: Path) -> None:
    model = forge.models[record.id]
    alone = {base: model.chat(list(PROMPT), base=base, sampling=SHORT) for base in (False, True)}
    same_weights = finish(forge, (Speaker(record, value="a"), Speaker(record, base=True, value="b")))
    assert [pen.text for pen in same_weights.pens] == [alone[False], alone[True]]
    assert same_weights.is_whole and all(pen.writing.tokens for pen in same_weights.pens)
    two_models = finish(forge, (Speaker(find_untrained(str(tiny_base)), value="c"), Speaker(record, value="a")))
    assert [pen.text for pen in two_models.pens] == [alone[True], alone[False]]


def test_names_and_speed_are_hidden_until_the_vote(forge: Forge, record: Any) -> None:
    made = finish(forge, (Speaker(record, value=record.id), Speaker(record, base=True, value=f"{record.id}{OF}")))
    hidden = show_round(made, is_done=True)
    assert record.name not in hidden and "token" not in hidden
    vote = made.as_vote("left")
    assert (vote.left.name, vote.blind) == (record.name, True)
    voted = Round(made.prompt, made.pens, True, "left")
    assert record.name in show_round(voted, is_done=True) and "a second" in show_round(voted, is_done=True)
    assert record.name in show_round(Round(made.prompt, made.pens, blind=False))


def test_stopped_answers_stay_and_cannot_be_voted_on(forge: Forge, record: Any) -> None:
    made = Round(PROMPT, (Pen(Speaker(record)), Pen(Speaker(record, base=True))), blind=True)
    calls = write_round(forge.playground, made, Sampling(max_new_tokens=400, temperature=2.0, top_p=1.0))
    while not made.pens[0].text:
        assert not calls[0].wait(0.01) or made.pens[0].text
    for call in calls:
        call.cancel()
    for call in calls:
        assert call.wait(60)
        raise_problem(call)
    assert made.pens[0].text


def test_a_side_that_fails_says_why_and_the_other_stays(forge: Forge, record: Any, tiny_base: Path) -> None:
    other = tiny.finish_model(forge, tiny_base, name="Other")
    forge.models.delete(other.id)
    made = Round(PROMPT, (Pen(Speaker(record)), Pen(Speaker(other))), blind=False)
    [call] = write_round(forge.playground, made, SHORT)
    assert call.wait(60)
    with pytest.raises(ModelForgeError):
        raise_problem(call)
    assert made.pens[0].is_whole and not made.is_whole


def test_both_sides_must_be_two_models_that_chat(forge: Forge, record: Any, tmp_path: Path) -> None:
    first, second = find_both(forge, record.id, "Fine-tuned", f"{record.id}{OF}")
    assert (first.base, second.base) == (False, True)
    for against in (record.id, "", None, "model-000000000000", str(tiny.WRITERS["encoder"](tmp_path / "encoder"))):
        with pytest.raises((RecipeError, ModelForgeError)):
            find_both(forge, record.id, "Fine-tuned", against)
