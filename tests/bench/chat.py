"""Tokens a second of a chat with the starter, by each engine, against transformers' own `generate` in float32; and how
long the first token takes, against reading the prompt alone.

One model, tuned with a random adapter; one thread for each core; in turns, medians. `generate` is measured three times:
the base, the tuned model as PEFT loads it, and the tuned model merged, which can no longer answer as its base.
"""

from __future__ import annotations

import itertools
import statistics
import tempfile
import time
from typing import Any

import pytest

from modelforge.models.sampling import Sampling, Writing
from tests.bench.evaluation import add_model

TOKENS = 128
ASKED = [{"role": "user", "content": "Write a long story about a lighthouse keeper and the sea. " * 8}]
RIVAL, PEFT, MERGED = "generate, base", "generate, PEFT", "generate, merged"
SAMPLING = Sampling(max_new_tokens=TOKENS)


def report(rounds: int) -> None:
    with tempfile.TemporaryDirectory() as folder, pytest.MonkeyPatch.context() as patch:
        from modelforge import Forge, paths, starter
        from modelforge.recipe import STARTER
        from modelforge.threads import share_processor

        share_processor()
        starter.ensure(STARTER)
        cached = paths.cache_dir() / "starters"
        patch.setenv("MODELFORGE_HOME", folder)
        paths.make_folder(paths.cache_dir())
        (paths.cache_dir() / "starters").symlink_to(cached, target_is_directory=True)
        forge = Forge()
        try:
            _measure(forge, add_model(forge), rounds)
        finally:
            forge.playground.unload()


def _measure(forge: Any, record: Any, rounds: int) -> None:
    playground = forge.playground
    problem = playground.engine.prepare(record)
    print(f"\nChat with the starter, {TOKENS} tokens{f' (llama.cpp: {problem})' if problem else ''}")
    ways: dict[str, Any] = {
        name: lambda name=name: time_generate(playground, record, name) for name in (RIVAL, PEFT, MERGED)
    }
    engines = ["transformers"] if problem else ["transformers", "auto"]
    for engine, base in itertools.product(engines, (False, True)):
        name = f"{'transformers' if engine != 'auto' else 'llama.cpp'}, {'base' if base else 'tuned'}"
        ways[name] = lambda engine=engine, base=base: time_answer(playground, record, engine, base=base)
    speeds: dict[str, list[float]] = {name: [] for name in ways}
    firsts: dict[str, list[float]] = {name: [] for name in ways}
    for _, (name, measure) in itertools.product(range(rounds + 1), ways.items()):
        speed, first = measure()
        speeds[name].append(speed)
        firsts[name].append(first)
    rivals = {name: statistics.median(speeds[name][1:]) for name in (RIVAL, PEFT, MERGED)}
    for name, found in speeds.items():
        speed, first = statistics.median(found[1:]), statistics.median(firsts[name][1:])  # the first loads
        times = ", ".join(f"{speed / other:5.2f} times {rival}" for rival, other in rivals.items())
        print(f"  {name:22} {speed:6.1f} tokens/s  {times}; first token {first:.3f} s")
    read = [time_reading(playground, record, engine) for engine in engines for _ in range(rounds)]
    for place, engine in enumerate(engines):
        name = "llama.cpp, tuned" if engine == "auto" else "transformers, tuned"
        seconds = statistics.median(read[place * rounds : (place + 1) * rounds])
        print(f"  {name:22} first token {statistics.median(firsts[name][1:]) / seconds:.2f} times reading the prompt")


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
    if which == RIVAL:
        return model
    tuned = PeftModel.from_pretrained(model, paths.model_dir(record.id)).eval()
    return tuned.merge_and_unload().eval() if which == MERGED else tuned


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
