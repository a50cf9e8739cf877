"""SQuAD's nested format: articles of paragraphs of questions (https://rajpurkar.github.io/SQuAD-explorer/), flattened
to one row for each question, one article at a time.
"""

from __future__ import annotations

import json
import re
from collections.abc import Generator, Iterator
from typing import Any

_DECODER = json.JSONDecoder(parse_int=float)  # float(): any number of digits
_SIGN = re.compile(r"[ \t\n]*[:,]?[ \t\n]*")


def is_article(value: Any) -> bool:
    """Whether an object is ``{"title": ..., "paragraphs": [{"context": ..., "qas": [...]}]}``."""
    if not isinstance(value, dict) or not isinstance(value.get("paragraphs"), list):
        return False
    return all(isinstance(each, dict) and isinstance(each.get("qas"), list) for each in value["paragraphs"])


def unfold(article: dict[str, Any], text: str, start: int) -> Iterator[tuple[int, Any]]:
    """The position of each question and its row; article is the value in `text` at `start`."""
    places = _locate(text, start, ("paragraphs", "qas"))
    for paragraph in article["paragraphs"]:
        for question in paragraph["qas"]:
            place = next(places)
            yield place, _flatten(article, paragraph, question) if isinstance(question, dict) else question


def _flatten(article: dict[str, Any], paragraph: dict[str, Any], question: dict[str, Any]) -> dict[str, Any]:
    row = {"title": article["title"]} if "title" in article else {}
    if "context" in paragraph:
        row["context"] = paragraph["context"]
    row |= {key: question[key] for key in ("id", "question", "answers", "is_impossible") if key in question}
    answers = row.get("answers")
    if isinstance(answers, list) and all(isinstance(answer, dict) for answer in answers):
        row["answers"] = {
            "text": [answer.get("text") for answer in answers],
            "answer_start": [answer.get("answer_start") for answer in answers],
        }
    return row


def _locate(text: str, start: int, keys: tuple[str, ...]) -> Generator[int, None, int]:
    """The positions of the elements of the lists at keys[-1] in the elements of the lists at keys[0] of the object at
    `start`, which is valid JSON. Returns its end.

    The decoder does not report positions inside a value.
    """
    position = _skip(text, start + 1)
    while text[position] != "}":
        key, position = _DECODER.raw_decode(text, position)
        position = _skip(text, position)
        if key != keys[0]:
            _, position = _DECODER.raw_decode(text, position)
        else:
            position = _skip(text, position + 1)
            while text[position] != "]":
                if len(keys) > 1:
                    position = yield from _locate(text, position, keys[1:])
                else:
                    yield position
                    _, position = _DECODER.raw_decode(text, position)
                position = _skip(text, position)
            position += 1
        position = _skip(text, position)
    return position + 1


def _skip(text: str, position: int) -> int:
    """Skip a colon or a comma and the white space around it."""
    sign = _SIGN.match(text, position)
    return sign.end() if sign else position
