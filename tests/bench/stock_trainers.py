"""Rows a second of DPO, summarization, question answering and long sequences, each beside the stock trainer of it, with
the same data, model and settings.

TRL's trainers compute in bfloat16 where this processor is fast in it, else in float32; transformers' as they come, in
float32.
"""

from __future__ import annotations

import random
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from modelforge.recipe import STARTER
from tests import tiny
from tests.bench import corpora, rivals
from tests.bench.figures import Figure, Options, Row, Skipped, alternate, summarise
from tests.bench.processes import call, has_fast_bfloat16, open_home, train
from tests.bench.training import recipe_for

READER = "sentence-transformers/all-MiniLM-L6-v2"
UNIT = "rows/s"
DPO = Row("DPO, LoRA, 2 pairs of 300 tokens", "TRL DPOTrainer", UNIT, 2.5, "higher")
SUMMARIES = Row("summarization, as T5-small, 8 documents", "Seq2SeqTrainer", UNIT, 2.5, "higher")
SPANS = Row("question answering, MiniLM, 8 texts", "Trainer", UNIT, 2.5, "higher")
LONG = Row("LoRA, 2 rows of 2,048 tokens", "TRL SFTTrainer", UNIT, 2.5, "higher")
ROWS = (DPO, SUMMARIES, SPANS, LONG)


@dataclass(frozen=True)
class Work:
    """What both sides of a row do. rows: as a user brings them. recipe: ours. settings: the rival's beyond those that
    every rival has. base: a Hub id of a starter, or the folder of a model made here."""

    rival: Callable[..., Any]
    rows: Sequence[Mapping[str, Any]]
    recipe: Mapping[str, Any]
    settings: Mapping[str, Any]
    base: str


def measure(options: Options) -> list[Figure | Skipped]:
    """Two pairs each: a pair takes over a minute."""
    texts = Texts(options.data)
    with open_home() as home, tempfile.TemporaryDirectory() as folder:
        makers = {DPO: make_dpo, SUMMARIES: partial(make_summaries, Path(folder) / "t5"), SPANS: make_spans}
        makers[LONG] = make_long
        return [
            measure_pair(row, make(texts), home, Path(folder) / f"{number}", options.pairs(2))
            for number, (row, make) in enumerate(makers.items())
        ]


def measure_pair(row: Row, work: Work, home: Path, place: Path, count: int) -> Figure:
    from modelforge import starter

    place.mkdir()
    file = tiny.write_jsonl(place / "rows.jsonl", work.rows)
    batch = work.recipe["per_device_train_batch_size"]
    given = {
        "base": starter.ensure(work.base) if work.base in starter.STARTERS else work.base,
        "file": file,
        "settings": {"per_device_train_batch_size": batch, **work.settings},
        "out": place / "stock",
    }
    recipe = recipe_for(file, base_model=work.base, **work.recipe)
    ours, theirs = alternate(count, lambda: train(recipe, home), lambda: call(work.rival, home, **given))
    return summarise(
        row, [len(work.rows) / run.seconds for run in ours], [len(work.rows) / each["seconds"] for each in theirs]
    )


class Texts:
    """Draws texts of real sentences."""

    def __init__(self, data: Path | None) -> None:
        self.draw = random.Random(2)
        self.sentences = corpora.read_sentences(data)

    def sentence(self) -> str:
        return self.draw.choice(self.sentences)

    def text(self, words: int) -> str:
        return corpora.make_text(int(words * self.draw.uniform(0.5, 1.5)), self.sentences, self.draw)


def make_dpo(texts: Texts) -> Work:
    rows = [{"prompt": texts.sentence(), "chosen": texts.text(180), "rejected": texts.text(180)} for _ in range(6)]
    recipe = {"method": "dpo", "per_device_train_batch_size": 2}
    return Work(rivals.train_dpo, rows, recipe, {"bf16": has_fast_bfloat16(), "max_length": 512}, STARTER)


def make_summaries(folder: Path, texts: Texts) -> Work:
    """A T5 of T5-small's shape with random weights and the starter's tokenizer."""
    rows = [{"document": texts.text(230), "summary": texts.text(40)} for _ in range(40)]
    recipe = {
        "task": "summarization", "tuning": {"type": "full"}, "learning_rate": 5e-5, "per_device_train_batch_size": 8,
    }  # fmt: skip
    return Work(rivals.train_summaries, rows, recipe, {}, str(write_t5(folder)))


def make_spans(texts: Texts) -> Work:
    """Three words of a text, with the text before them as the question."""
    rows = []
    for _ in range(40):
        context = texts.text(160)  # one window of 384 tokens: both sides read all of it
        words = context.split()
        place = texts.draw.randrange(10, len(words) - 3)
        answer = " ".join(words[place : place + 3])
        start = len(" ".join(words[:place])) + 1
        question = f"What follows after {' '.join(words[place - 4 : place])}?"
        answers = {"text": [answer], "answer_start": [start]}
        rows.append({"context": context, "question": question, "answers": answers})
    recipe = {
        "task": "extractive-question-answering", "tuning": {"type": "full"}, "learning_rate": 5e-5, "max_length": 384,
        "per_device_train_batch_size": 8,
    }  # fmt: skip
    return Work(rivals.train_spans, rows, recipe, {}, READER)


def make_long(texts: Texts) -> Work:
    """Longer than 2,048 tokens, so that both sides cut them there."""
    rows = [
        {"prompt": texts.sentence(), "response": corpora.make_text(2000, texts.sentences, texts.draw)} for _ in range(4)
    ]
    recipe = {"max_length": 2048, "per_device_train_batch_size": 2}
    return Work(rivals.train_sft, rows, recipe, {"bf16": has_fast_bfloat16(), "max_length": 2048}, STARTER)


def write_t5(folder: Path) -> Path:
    import torch
    from transformers import AutoTokenizer, T5Config, T5ForConditionalGeneration

    from modelforge import starter

    tokenizer = AutoTokenizer.from_pretrained(starter.ensure(STARTER))
    tokenizer.pad_token = tokenizer.pad_token or tokenizer.eos_token
    torch.manual_seed(0)
    config = T5Config(  # the defaults are T5-small's shape
        vocab_size=len(tokenizer),
        pad_token_id=tokenizer.pad_token_id,
        eos_token_id=tokenizer.eos_token_id,
        decoder_start_token_id=tokenizer.pad_token_id,
    )
    T5ForConditionalGeneration(config).save_pretrained(folder)
    tokenizer.chat_template = None
    tokenizer.save_pretrained(folder)
    return folder
