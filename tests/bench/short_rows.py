"""Tokens a second on short rows beside our own long ones: the 60 bundled customer questions, and rows of some 430
tokens. All tokens of a row count, those that it shares with others too."""

from __future__ import annotations

import random
import tempfile
from pathlib import Path

from tests.bench import corpora
from tests.bench.figures import Figure, Options, Row, Skipped, alternate, summarise
from tests.bench.processes import call, open_home, train
from tests.bench.rate import count_tokens
from tests.bench.training import recipe_for

SHORT = Row("LoRA, 60 rows of 50 tokens", "our own rows of 430 tokens", "tokens/s", 0.9, "higher", main=True)
ROWS = (SHORT,)
LONG_ROWS, LONG_WORDS = 16, 300


def measure(options: Options) -> list[Figure | Skipped]:
    """Three rounds."""
    draw, sentences = random.Random(1), corpora.read_sentences(options.data)
    long_rows = [
        {"instruction": draw.choice(sentences), "input": "", "output": corpora.make_text(LONG_WORDS, sentences, draw)}
        for _ in range(LONG_ROWS)
    ]
    with open_home() as home, tempfile.TemporaryDirectory() as folder:
        short = corpora.write_rows(Path(folder) / "short.jsonl", corpora.read_questions())
        long = corpora.write_rows(Path(folder) / "long.jsonl", long_rows)
        tokens = [sum(call(count_tokens, home, file=file)["tokens"]) for file in (short, long)]
        runs = alternate(options.pairs(3), *(lambda file=file: train(recipe_for(file), home) for file in (short, long)))
    ours, theirs = ([count / run.seconds for run in each] for count, each in zip(tokens, runs, strict=True))
    return [summarise(SHORT, ours, theirs)]
