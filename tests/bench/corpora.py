"""Real text to measure with: sentences and questions that are in this repository, or a file of the user's.

Rows are as alpaca's: {"instruction", "input", "output"}.
"""

from __future__ import annotations

import csv
import json
import random
import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[2]
SAMPLES = ROOT / "assets" / "datasets"
WORDS_OF_ALPACA = (4.5, 0.75)
"""Mean and spread of the logarithm of an answer's words, as alpaca's are: half have more than 90, a tenth over 240."""


def read_sentences(data: Path | None = None) -> list[str]:
    """Sentences of five words and more: of the bundled samples and the licence, which are the same in each release, or
    of the rows in `data`."""
    if data:
        texts = [f"{row['instruction']}. {row['output']}" for row in json.loads(data.read_text(encoding="utf-8"))]
    else:
        texts = [row[side] for row in read_news() for side in ("document", "summary")]
        texts += [f"{row['instruction']} {row['output']}" for row in read_questions()]
        texts.append((ROOT / "LICENSE").read_text(encoding="utf-8"))
    found = (each.strip() for text in texts for each in re.split(r"(?<=[.!?])\s+|\n\n+", text))
    return list(dict.fromkeys(" ".join(each.split()) for each in found if len(each.split()) >= 5))


def read_questions() -> list[dict[str, str]]:
    """The 60 bundled customer questions with their answers, of 50 tokens."""
    with (SAMPLES / "customer_questions.csv").open(encoding="utf-8") as file:
        rows = [list(row.values()) for row in csv.DictReader(file)]
    return [{"instruction": row[0], "input": "", "output": row[1]} for row in rows]


def read_news() -> list[dict[str, str]]:
    """The bundled news: documents with their summaries."""
    return [json.loads(line) for line in (SAMPLES / "local_news.jsonl").read_text(encoding="utf-8").splitlines()]


def make_rows(count: int, data: Path | None = None) -> list[dict[str, str]]:
    """The first rows of `data`; without it, rows of real sentences whose lengths spread as alpaca's do."""
    if data:
        return list(json.loads(data.read_text(encoding="utf-8"))[:count])
    draw, sentences = random.Random(0), read_sentences()
    rows = []
    for _ in range(count):
        words = min(400, int(draw.lognormvariate(*WORDS_OF_ALPACA)) + 4)
        rows.append({"instruction": draw.choice(sentences), "input": "", "output": make_text(words, sentences, draw)})
    return rows


def make_text(words: int, sentences: Sequence[str], draw: random.Random) -> str:
    """Sentences in a new order, up to so many words."""
    found: list[str] = []
    while len(found) < words:
        found += draw.choice(sentences).split()
    return " ".join(found[:words])


def write_rows(file: Path, rows: Iterable[Mapping[str, Any]]) -> Path:
    """As JSON Lines of prompt and response: both sides read the same file."""
    lines = (json.dumps({"prompt": prompt_of(row), "response": row["output"]}, ensure_ascii=False) for row in rows)
    file.write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")
    return file


def prompt_of(row: Mapping[str, Any]) -> str:
    return "\n\n".join(part for part in (row["instruction"], row["input"]) if part)
