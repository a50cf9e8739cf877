"""Rows that have nothing to do with each other, as many as are asked for, for tests that plant something among them."""

from __future__ import annotations

import random
from typing import Any

_OPENINGS = [
    "How do I {verb} the {noun}?",
    "Where can {person} {verb} a {quality} {noun}?",
    "Is it right that the {noun} in {place} is {quality}?",
    "{person} says the {noun} must be {quality}. Why would anyone {verb} it?",
    "What happens to a {noun} when {person} has to {verb} it in {place} at {hour} o'clock?",
    "Give me {hour} reasons to {verb} {quality} things, {person}.",
    "Compare the {noun} of {place} with any other {noun}.",
]
_ANSWERS = [
    "Ask {person} in {place}; before {hour} it is {quality}.",
    "No. Nobody may {verb} it, for it is {quality}.",
    "First {verb} it, then wait for {hour} days. In {place} they call that {quality}.",
    "Yes, and {person} has the {noun} to show for it.",
    "That depends on the {noun}: a {quality} one lasts {hour} years, in {place} even longer, as {person} found out.",
    "{hour} times as much as in {place}.",
]
_WORDS = {
    kind: words.split()
    for kind, words in {
        "verb": "mend paint carry sell borrow sharpen bury boil weigh fold polish rent plant heat lock sweep",
        "noun": "ladder kettle bridge violin harbour oven garden compass wagon mirror barrel lantern anchor bell",
        "quality": "brittle blue heavy early silent narrow holy damp costly crooked rare loud sour round",
        "person": "Ida Mathis Greta Anselm Ruth Tove Emil Wanda Hanno Silke Bodo Nele Arne Frieda",
        "place": "Bremen Graz Lyon Porto Turin Ghent Basel Cork Brno Gdansk Tartu Split Lund Vaduz",
    }.items()
}


def make_pairs(count: int, seed: int = 0) -> list[tuple[str, str]]:
    """Questions, each another one, and answers."""
    draw = random.Random(seed)
    pairs: dict[str, str] = {}
    while len(pairs) < count:
        words = {kind: draw.choice(some) for kind, some in _WORDS.items()} | {"hour": str(draw.randrange(2, 9999))}
        first, second, third = (_invent(draw) for _ in range(3))
        question = f"{draw.choice(_OPENINGS).format(**words)} It is for {first} of {second}."
        pairs[question] = f"{draw.choice(_ANSWERS).format(**words)} So {third} told {first}."
    return list(pairs.items())


def _invent(draw: random.Random) -> str:
    """A name that nothing else has."""
    return "".join(draw.choice(letters) for letters in ("BDFGKLMNPRST", "aeiou", "bdfgklmnprst", "aeiou", "lmnrst"))


def make_long_pair(seed: int) -> tuple[str, str]:
    """A question and an answer of about fifty words each."""
    pairs = make_pairs(4, seed + 1_000)
    return " ".join(question for question, _ in pairs), " ".join(f"{answer} {question}" for question, answer in pairs)


def chat(question: str, answer: str, system: str = "") -> dict[str, Any]:
    turns = [{"role": "user", "content": question}, {"role": "assistant", "content": answer}]
    return {"messages": [{"role": "system", "content": system}, *turns] if system else turns}


def make_chats(count: int, seed: int = 0) -> list[dict[str, Any]]:
    return [chat(*pair) for pair in make_pairs(count, seed)]
