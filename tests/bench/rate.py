"""The share of the processor's matrix rate that training reaches: the operations that the rows need, over the time of
their steps, over the rate of a large square product measured before and after.

Only what the rows need counts, from shapes: no padding, half of the attention, logits of answers alone, and what all
rows begin with once in a batch.
"""

from __future__ import annotations

import json
import tempfile
from pathlib import Path
from typing import Any

from tests.bench import corpora
from tests.bench.figures import Figure, Options, Row, Skipped, summarise
from tests.bench.processes import call, has_fast_bfloat16, open_home, train
from tests.bench.training import SLOW, recipe_for

SQUARE = "a square product of 2,048"
FLOAT32 = Row("LoRA, operations a second, float32", SQUARE, "GFLOP/s", 0.75, "higher")
BFLOAT16 = Row("LoRA, operations a second, bfloat16", SQUARE, "GFLOP/s", 0.5, "higher")
ROWS = (FLOAT32, BFLOAT16)
SIDE = 2048
RANK, BATCH = 16, 4


def measure(options: Options) -> list[Figure | Skipped]:
    """Three runs in each number format."""
    found: list[Figure | Skipped] = []
    with open_home() as home, tempfile.TemporaryDirectory() as folder:
        made = corpora.make_rows(options.rows or 20, options.data)
        file = corpora.write_rows(Path(folder) / "rows.jsonl", made)
        needed = call(count_work, home, file=file)["operations"]
        for row, dtype in ((FLOAT32, "float32"), (BFLOAT16, "bfloat16")):
            if dtype == "bfloat16" and not has_fast_bfloat16():
                found.append(Skipped(row, SLOW))
                continue
            ours, theirs = [], []
            for _ in range(options.pairs(3)):
                before = call(time_product, home, dtype=dtype)["gigaflops"]
                seconds = train(recipe_for(file, dtype=dtype), home).seconds
                after = call(time_product, home, dtype=dtype)["gigaflops"]
                ours.append(needed / seconds / 1e9)
                theirs.append((before + after) / 2)
            found.append(summarise(row, ours, theirs))
    return found


def time_product(dtype: str) -> dict[str, float]:
    """The median of twenty products of two square matrices, in 10^9 operations a second."""
    import statistics
    import time

    import torch

    left, right = (torch.randn(SIDE, SIDE).to(getattr(torch, dtype)) for _ in range(2))
    seconds = []
    for _ in range(20):
        began = time.perf_counter()
        left @ right
        seconds.append(time.perf_counter() - began)
    return {"gigaflops": 2 * SIDE**3 / statistics.median(seconds) / 1e9}


def count_tokens(file: str) -> dict[str, list[int]]:
    """Of each row, as they are trained on: all its tokens, and those of the answer; and how many all begin with."""
    from modelforge import loading, starter
    from modelforge.data.encode import IGNORED, ChatEncoder
    from modelforge.recipe import STARTER

    encoder = ChatEncoder(loading.load_tokenizer(starter.ensure(STARTER), "starter"), 512)
    rows, answers = [], []
    for line in Path(file).read_text(encoding="utf-8").splitlines():
        row = json.loads(line)
        turns = [{"role": "user", "content": row["prompt"]}, {"role": "assistant", "content": row["response"]}]
        encoded = encoder.encode_row({"messages": turns})
        rows.append(list(encoded.input_ids))
        answers.append(sum(label != IGNORED for label in encoded.labels))
    common = next((place for place, column in enumerate(zip(*rows, strict=False)) if len(set(column)) > 1), 0)
    return {"tokens": [len(row) for row in rows], "answers": answers, "common": [common]}


def count_work(file: str) -> dict[str, float]:
    """Operations of one epoch of LoRA on the starter.

    For each frozen weight and token two forward and two backward, for the input; for each of an adapter's two more, for
    the weight itself (Kaplan et al., arXiv 2001.08361, section 2.1). Attention: two products forward and four backward,
    each of half a square (L x L). The output matrix, and what follows the last attention: for tokens of answers.
    """
    from transformers import AutoConfig

    from modelforge import starter
    from modelforge.recipe import STARTER

    config: Any = AutoConfig.from_pretrained(starter.ensure(STARTER))
    width, inner = config.hidden_size, config.intermediate_size
    heads = config.num_attention_heads * config.head_dim
    keys = config.num_key_value_heads * config.head_dim
    shapes = [(width, heads), (width, keys), (width, keys), (heads, width)]  # q, k, v, o
    shapes += [(width, inner), (width, inner), (inner, width)]  # gate, up, down
    each, after_attention = (
        4 * sum(rows * columns for rows, columns in some) + 6 * RANK * sum(rows + columns for rows, columns in some)
        for some in (shapes, shapes[3:])
    )
    counted = count_tokens(file)
    (common,) = counted["common"]
    operations = 0.0
    for number, (tokens, answers) in enumerate(zip(counted["tokens"], counted["answers"], strict=True)):
        known = common if number % BATCH else 0
        operations += config.num_hidden_layers * each * (tokens - known)
        operations -= after_attention * (tokens - known - answers)
        operations += 6 * config.num_hidden_layers * heads * (tokens**2 - known**2)
        operations += 4 * config.vocab_size * width * answers
    return {"operations": operations}
