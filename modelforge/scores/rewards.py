"""How rewards score an answer: 0 to 1, by pure functions of texts.

What can be rewarded, and its settings, is declared in `recipe/rewards.py`. The answers
come from a model, so nothing in them may raise an exception, and every search in them is limited in time.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import lru_cache
from typing import Any

# A dependency of transformers. Unlike `re` it has timeouts, and supports scripts and marks of Unicode.
import regex  # type: ignore[import-untyped]

from modelforge.errors import RecipeError
from modelforge.recipe.rewards import Avoids, Contains, Length, MatchesPattern, MatchesReference, Reward, ValidJson
from modelforge.scores.metrics import exact_match, f1, normalise
from modelforge.scores.user_patterns import fits, search
from modelforge.text import normalize

# Scripts that are written without blanks between words, so that a word in them has no edges to be found.
_UNSPACED = r"\p{Thai}\p{Lao}\p{Myanmar}\p{Khmer}\p{Hiragana}\p{Katakana}\p{Han}"
_WORD = regex.compile(rf"[{_UNSPACED}]\p{{M}}*|[\S--[{_UNSPACED}]]+", regex.V1)
_INSIDE = regex.compile(rf"[\w--[{_UNSPACED}]]", regex.V1)  # a character that continues a word


def score_valid_json(settings: ValidJson, answer: str, reference: str) -> float:
    """1 where ``json.loads(answer)`` gives a value that fits the schema, else 0.

    Strict, since whatever reads the answers later is: text or a Markdown fence around the JSON is 0. So is what
    Python's reader takes but RFC 8259 does not (NaN, Infinity), a name that occurs twice in an object (readers differ
    on which one counts, RFC 7493 section 2.3), a number of more digits or a nesting deeper than Python can read, and an
    answer whose check takes longer than `CHECK_SECONDS`. As in the standard,
    ``format`` in a schema is not checked.
    """
    try:
        value = json.loads(answer, parse_constant=_refuse_constant, object_pairs_hook=_read_object)
        return float(not settings.json_schema or fits(value, settings.json_schema))
    except (ValueError, RecursionError, TimeoutError, OverflowError):  # the last: 10**400 is a multiple of 0.5?
        return 0.0


def score_length(settings: Length, answer: str, reference: str) -> float:
    """1 from `least` to `most`; n/least below; 2 - n/most above, and 0 from twice `most` on.

    n: characters, without white space around the answer; or words, which are what white space parts, and in scripts
    without blanks between words each character (as word processors count).
    """
    length = len(answer.strip()) if settings.unit == "characters" else len(_WORD.findall(answer))
    if length < settings.least:
        return length / settings.least
    return max(0.0, min(1.0, 2 - length / settings.most))


def score_contains(settings: Contains, answer: str, reference: str) -> float:
    """Different words and phrases found / all listed. See `contains_phrase`."""
    return _share_found(settings.words, answer)


def score_avoids(settings: Avoids, answer: str, reference: str) -> float:
    """1 - different words and phrases found / all listed; how often each is there does not matter."""
    return 1 - _share_found(settings.words, answer)


def score_matches_pattern(settings: MatchesPattern, answer: str, reference: str) -> float:
    """1 where the pattern is found in the answer, or with `whole` is all of it; else 0.

    White space around the answer does not count. 0 also where the search takes longer than `SEARCH_SECONDS`; what
    comes after `SEARCHED_CHARACTERS` is not searched.
    """
    try:
        return float(search(settings.pattern, answer.strip(), whole=settings.whole))
    except TimeoutError:
        return 0.0


def score_matches_reference(settings: MatchesReference, answer: str, reference: str) -> float:
    """f1 and exact_match as in `scores/metrics.py`; contains: 1 where the reference is in the answer, else 0.

    For contains both are normalised first, so that 1,000 is in "It is 1000.", and 5 is not in "15". A reference of
    which nothing is left then (the choice A of a test, +) is searched for unchanged.
    """
    if settings.by == "f1":
        return f1(answer, reference)
    if settings.by == "exact_match":
        return exact_match(answer, reference)
    wanted = normalise(reference)
    return float(contains_phrase(normalise(answer), wanted) if wanted else contains_phrase(answer, reference))


SCORES: dict[str, Callable[[Any, str, str], float]] = {
    "valid_json": score_valid_json,
    "length": score_length,
    "contains": score_contains,
    "avoids": score_avoids,
    "matches_pattern": score_matches_pattern,
    "matches_reference": score_matches_reference,
}
"""How each type of reward is scored, of its settings, an answer and the row's reference ("" where it has none)."""


def score(reward: Reward, answer: str, reference: str) -> float:
    """0 to 1, without the reward's weight."""
    return SCORES[reward.type](reward, answer, reference)


def total(rewards: Sequence[Reward], answer: str, reference: str) -> float:
    """The sum of all scores, each times its weight: what the model is trained to raise."""
    return sum(reward.weight * score(reward, answer, reference) for reward in rewards)


def find_highest(rewards: Sequence[Reward]) -> float:
    """The highest `total` there can be: 1 on whatever weighs more than 0, 0 on the rest."""
    return sum(max(0.0, reward.weight) for reward in rewards)


def name_rewards(rewards: Sequence[Reward]) -> list[str]:
    """A unique name for each: valid_json, length, valid_json_2."""
    seen: dict[str, int] = {}
    names = []
    for reward in rewards:
        seen[reward.type] = count = seen.get(reward.type, 0) + 1
        names.append(reward.type if count == 1 else f"{reward.type}_{count}")
    return names


def check_rows(rewards: Sequence[Reward], rows: Iterable[Mapping[str, Any]]) -> None:
    """Raises RecipeError where a reward compares with a reference and mapped rows have none."""
    comparing = {reward.type for reward in rewards} & {"matches_reference"}
    rows = list(rows) if comparing else []
    lacking = [number for number, row in enumerate(rows, start=1) if not (row.get("reference") or "").strip()]
    if lacking:
        names = ", ".join(sorted(comparing))
        raise RecipeError(
            f"{len(lacking):,} of {len(rows):,} rows have no reference to compare answers with; the first is row "
            f"{lacking[0]:,}.",
            where=f"setting grpo.rewards, {names}",
            fix="Choose the column of references, fill in or remove these rows, or reward "
            f"something other than {names}.",
        )


def reward_functions(rewards: Sequence[Reward]) -> list[Callable[..., list[float]]]:
    """What TRL's GRPOTrainer takes as reward_funcs: a function of a batch for each, by the names of `name_rewards`.

    They do not weigh; reward_weights are ``[reward.weight for reward in rewards]``.
    """
    return [_make_function(reward, name) for reward, name in zip(rewards, name_rewards(rewards), strict=True)]


def _make_function(reward: Reward, name: str) -> Callable[..., list[float]]:
    def score_batch(completions: Sequence[Any], reference: Sequence[str | None] | None = None, **_: Any) -> list[float]:
        references = reference or [None] * len(completions)
        pairs = zip(completions, references, strict=True)
        return [score(reward, _read_answer(completion), expected or "") for completion, expected in pairs]

    score_batch.__name__ = name  # TRL logs the mean of each under this name
    return score_batch


def _read_answer(completion: Any) -> str:
    """A completion of TRL: a text where the prompt is one, else a list of messages that the model added."""
    return completion if isinstance(completion, str) else str(completion[-1]["content"] or "")


def contains_phrase(text: str, phrase: str) -> bool:
    """Whether a word or phrase is in the text, not inside another word: "art" is in "art." and not in "party".

    Capitals do not matter (Unicode's full case folding), nor how white space is written. Scripts without blanks between
    words have no such edges: there it is found anywhere.
    """
    text, phrase = _fold(text), _fold(phrase)
    place = text.find(phrase)
    while place >= 0 and (_is_inside(text, place) or _is_inside(text, place + len(phrase))):
        place = text.find(phrase, place + 1)
    return place >= 0


def _is_inside(text: str, place: int) -> bool:
    """Whether a word continues over that place, so that there is no edge."""
    return 0 < place < len(text) and all(map(_INSIDE.match, text[place - 1 : place + 1]))


@lru_cache(maxsize=4)  # many words are searched for in one answer
def _fold(text: str) -> str:
    return " ".join(normalize("NFC", normalize("NFC", text).casefold()).split())


def _share_found(words: Sequence[str], answer: str) -> float:
    different = {_fold(word) for word in words}
    return sum(contains_phrase(answer, word) for word in different) / len(different)


def _refuse_constant(name: str) -> None:
    raise ValueError(f"{name} is not JSON")


def _read_object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    read = dict(pairs)
    if len(read) < len(pairs):
        raise ValueError("a name occurs twice")
    return read
