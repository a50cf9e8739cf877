"""Votes are kept for each person, counted with an interval, and become preference pairs that train."""

from __future__ import annotations

from pathlib import Path

import pytest

from modelforge.caller import Caller, acting_as
from modelforge.data.checks import check
from modelforge.errors import RecipeError
from modelforge.models.votes import Side, Vote, Votes, write_jsonl
from modelforge.scores.votes import Tally

ANNA = Caller("anna", "anna", is_owner=False, is_local=False)


def vote(said: str, number: int = 0, *, swapped: bool = False, system: str = "") -> Vote:
    tuned = Side(model="model-1", name="Colours", answer=f"Red {number}.")
    base = Side(model="base:x", name="x", answer=f"I do not know {number}.")
    prompt = [{"role": "system", "content": system}] if system else []
    return Vote(
        prompt=(*prompt, {"role": "user", "content": f"Which colour has door {number}?"}),
        left=base if swapped else tuned,
        right=tuned if swapped else base,
        vote=said,
        blind=True,
    )


def test_votes_are_counted_for_each_pair_whichever_side_a_model_was_on() -> None:
    votes = Votes()
    for each in (vote("left"), vote("right", swapped=True), vote("right"), vote("tie"), vote("both bad")):
        votes.add(each)
    with acting_as(ANNA):
        votes.add(vote("left"))
        assert len(votes.all()) == 1
    [(pair, names, tally)] = Votes().tallies()
    assert pair == ("base:x", "model-1") and names == ("x", "Colours")
    assert tally == Tally(first=1, second=2, ties=1, both_bad=1)
    with pytest.raises(RecipeError):
        votes.add(vote("up"))
    assert votes.delete_all() == 5 and votes.tallies() == []


def test_interval_says_when_one_is_preferred() -> None:
    few, many = Tally(first=2), Tally(first=18, second=2)
    assert few.winner == 0 and few.interval[0] < 0.5
    assert many.winner == 1 and Tally(first=2, second=18).winner == 2
    assert many.interval == pytest.approx((0.6990, 0.9721), abs=1e-3)  # statsmodels' proportion_confint, wilson
    assert Tally(ties=3).interval == (0.0, 1.0)


@pytest.mark.parametrize("system", ["", "Be brief."])
def test_preferred_answers_become_pairs_that_the_dataset_tab_reads(tmp_path: Path, system: str) -> None:
    votes = Votes()
    for number in range(6):
        votes.add(vote("right" if number % 2 else "left", number, swapped=bool(number % 2), system=system))
    for each in (vote("tie"), vote("both bad"), vote("left", 7, system="One more.") if system else vote("tie")):
        votes.add(each)
    same = vote("left").model_copy(update={"right": Side(model="base:x", name="x", answer="Red 0.")})
    votes.add(same)
    pairs = votes.preferences()
    assert len(pairs) == (7 if system else 6)
    file = tmp_path / "votes.jsonl"
    file.write_bytes(write_jsonl(pairs))
    report = check(file, "text-generation", fewest=1)
    assert report.ok and report.shape.name == "preference", report.problems
    for row in report.mapped_rows:
        assert row["chosen"][-1]["content"].startswith("Red")
        assert row["rejected"][-1]["content"].startswith("I do not know")
