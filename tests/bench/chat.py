"""Tokens a second of a chat with the starter, by each engine, beside transformers' own `generate` in float32; and how
long the first token takes, beside reading the prompt alone.

One model, tuned with a random adapter; one thread for each core. `generate` runs as the base, and as the tuned model as
PEFT loads it.
"""

from __future__ import annotations

import time
from functools import partial
from typing import Any

from modelforge.models.sampling import Sampling, Writing
from tests.bench.evaluation import add_model
from tests.bench.figures import Figure, Options, Row, Skipped, alternate, skip_all, summarise
from tests.bench.processes import call, open_home

TOKENS = 128
ASKED = [{"role": "user", "content": "Write a long story about a lighthouse keeper and the sea. " * 8}]
BASE, PEFT = "generate, base, float32", "generate, PEFT, float32"
SAMPLING = Sampling(max_new_tokens=TOKENS)
LLAMA = Row("chat, llama.cpp, tuned", BASE, "tokens/s", 4, "higher", main=True)
PLAIN = Row("chat, transformers, tuned", PEFT, "tokens/s", 1.3, "higher")
LLAMA_FIRST = Row("first token, llama.cpp", "reading the prompt", "s", 1.2, "lower")
PLAIN_FIRST = Row("first token, transformers", "reading the prompt", "s", 1.2, "lower")
ROWS = (LLAMA, PLAIN, LLAMA_FIRST, PLAIN_FIRST)
ENGINES = ((LLAMA, LLAMA_FIRST, "auto"), (PLAIN, PLAIN_FIRST, "transformers"))


def measure(options: Options) -> list[Figure | Skipped]:
    """Three rounds, the first of each of which loads; in one process, as in the app."""
    with open_home() as home:
        found = call(measure_all, home, rounds=options.pairs(3, quick=2))
    rows: list[Figure | Skipped] = []
    for speed, first, engine in ENGINES:
        if engine not in found:
            rows += skip_all((speed, first), found["problem"])
        else:
            rows.append(summarise(speed, found[engine]["speed"], found[speed.rival]["speed"]))
            rows.append(summarise(first, found[engine]["first"], found[engine]["reading"]))
    return rows


def measure_all(rounds: int) -> dict[str, Any]:
    """Way -> lists of `speed`, tokens a second, and `first`, seconds to the first token; of an engine also `reading`,
    seconds to read the prompt. problem: why llama.cpp is not there."""
    from modelforge.threads import share_processor

    share_processor()  # as in the app
    from modelforge import Forge

    forge = Forge()
    try:
        playground, record = forge.playground, add_model(forge)
        problem = playground.engine.prepare(record)
        engines = ["transformers"] if problem else ["transformers", "auto"]
        ways = {name: partial(time_generate, playground, record, name) for name in (BASE, PEFT)}
        ways |= {engine: partial(time_answer, playground, record, engine, base=False) for engine in engines}
        found: dict[str, Any] = {"problem": f"llama.cpp: {problem}"}
        for name, results in zip(ways, alternate(rounds, *ways.values(), warm=True), strict=True):
            speeds, firsts = zip(*results, strict=True)
            found[name] = {"speed": speeds, "first": firsts}
        readings = alternate(rounds, *(partial(time_reading, playground, record, engine) for engine in engines))
        for engine, seconds in zip(engines, readings, strict=True):
            found[engine]["reading"] = seconds
        return found
    finally:
        forge.playground.unload()


def time_answer(playground: Any, record: Any, engine: str, *, base: bool) -> tuple[float, float]:
    """(tokens a second after the first one, seconds to the first one)."""
    writing = Writing()
    began = time.perf_counter()
    sampling = SAMPLING.model_copy(update={"engine": engine})
    pieces = playground.answer(record, ASKED, sampling, base=base, writing=writing)
    next(pieces)
    first, known = time.perf_counter(), writing.tokens
    for _ in pieces:
        pass
    return (writing.tokens - known) / (time.perf_counter() - first), first - began


def time_generate(playground: Any, record: Any, which: str) -> tuple[float, float]:
    """The same for transformers on a model that nothing of ours has touched."""
    import torch

    if which not in _plain:
        _plain[which] = load_plain(record, which)
    model = _plain[which]
    tokenizer = playground.load(record)[0].tokenizer
    given = tokenizer.apply_chat_template(ASKED, add_generation_prompt=True, return_dict=True, return_tensors="pt")
    seconds = []
    for count in (1, TOKENS):
        began = time.perf_counter()
        with torch.inference_mode():
            model.generate(**given, max_new_tokens=count, min_new_tokens=count, do_sample=False)
        seconds.append(time.perf_counter() - began)
    return (TOKENS - 1) / (seconds[1] - seconds[0]), seconds[0]


def load_plain(record: Any, which: str) -> Any:
    from peft import PeftModel
    from transformers import AutoModelForCausalLM

    from modelforge import base_model, paths

    model = AutoModelForCausalLM.from_pretrained(base_model.resolve(record.base_model).folder, dtype="float32").eval()
    if which == BASE:
        return model
    return PeftModel.from_pretrained(model, paths.model_dir(record.id)).eval()


_plain: dict[str, Any] = {}


def time_reading(playground: Any, record: Any, engine: str) -> float:
    """Seconds to read the prompt, and nothing else."""
    import torch

    from modelforge.models.prompt import encode_prompt

    if engine == "auto":
        opened, scale, _ = playground.engine.choose(record, base=False)
        ids = encode_prompt(opened.tokenizer, ASKED)
        began = time.perf_counter()
        list(opened.server.write(ids, 1, {"temperature": 0, "cache_prompt": False}, scale=scale))
        return time.perf_counter() - began
    loaded, model = playground.load(record)
    ids = encode_prompt(loaded.tokenizer, ASKED)
    with playground.turn(model, base=False), torch.inference_mode():
        began = time.perf_counter()
        model(input_ids=torch.tensor([ids]), logits_to_keep=1)
        return time.perf_counter() - began
