"""The preview of rewards: the model answers a few prompts before training, and each answer gets its scores."""

from __future__ import annotations

import gc
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from functools import partial
from typing import Any

from modelforge import warmup
from modelforge.errors import RecipeError, RunStateError
from modelforge.forge import Forge
from modelforge.recipe import Recipe
from modelforge.ui.look import html

TRIED = 4  # prompts; each takes some seconds on a CPU
LONGEST_CELL = 600  # characters

_one_at_a_time = threading.Lock()


def try_rewards(forge: Forge, recipe: Recipe) -> Iterator[str]:
    """HTML that grows: a progress bar, then a row for each answer, then the warnings. Raises ModelForgeError."""
    forge.runs.refuse_beside_run()
    rows = forge.datasets.rows(forge.datasets.resolve(recipe.dataset, recipe).id)
    if not rows:
        raise RecipeError("The dataset has no prompts.", where="dataset", fix="Choose another one.")
    chosen = [rows[place * len(rows) // TRIED] for place in range(min(TRIED, len(rows)))]
    if not _one_at_a_time.acquire(blocking=False):
        raise RunStateError("Another preview of rewards is in progress.", fix="Try again in a minute.")
    try:
        yield html.bar(0, "Loading the base model …")
        warmup.wait()
        from modelforge.models.reward_preview import find_warnings, preview_rewards

        samples: list[Any] = []
        with _model(forge, recipe) as (model, tokenizer, turn):
            for index, row in enumerate(chosen):
                yield html.bar(index / len(chosen), f"Answering prompt {index + 1} of {len(chosen)} …") + _list(samples)
                forge.runs.refuse_beside_run()
                samples += preview_rewards(
                    model, tokenizer, [row], recipe.grpo, count=1, seed=(recipe.seed + index) % 2**31, turn=turn
                )
        notes = [html.note(sentence, "warning") for sentence in find_warnings(samples)]
        fine = html.note("The answers earn different rewards, so there is something to learn from.", "good")
        yield _list(samples) + ("".join(notes) or fine)
    finally:
        _one_at_a_time.release()


@contextmanager
def _model(forge: Forge, recipe: Recipe) -> Iterator[tuple[Any, Any, Callable[[], AbstractContextManager[None]]]]:
    """(model, tokenizer, turn) of what the run would start from; the memory is freed at the end.

    turn: entered for each step of the model and never across a yield to the page: a run that starts waits for it.
    """
    if recipe.parent:
        record = forge.models.find(recipe.parent)
        loaded, model = forge.playground.load(record)
        yield model, loaded.tokenizer, partial(forge.playground.turn, model, base=False)
        return
    from modelforge import base_model, loading
    from modelforge.models.loaded import load_weights

    forge.playground.unload()
    base = base_model.resolve(recipe.base_model, recipe.task)
    architecture = base_model.architecture_of(base, recipe.task)
    tokenizer = loading.load_tokenizer(base.folder, base.id, architecture)
    model = load_weights(base, architecture, seed=recipe.seed).eval()
    try:
        yield model, tokenizer, nullcontext
    finally:
        del model
        gc.collect()


def _list(samples: Sequence[Any]) -> str:
    """Of each: prompt, answer, reference, the score of each reward, and the total."""
    return "".join(_describe(sample) for sample in samples)


def _describe(sample: Any) -> str:
    prompt, answer, reference = (
        html.text(text if len(text) <= LONGEST_CELL else f"{text[:LONGEST_CELL]}…")
        for text in (sample.prompt, sample.answer, sample.reference)
    )
    titles = {name: name.replace("_", " ").capitalize() for name in sample.scores}
    scores = "".join(f"<span>{titles[name]} <b>{score:.2f}</b></span>" for name, score in sample.scores.items())
    return (
        f'<div class="mf-sample"><div class="mf-sample-asked">{prompt}</div>'
        f"<div>{answer}{' … (cut off)' if sample.is_cut else ''}</div>"
        f"{f'<div>Reference: {reference}</div>' if reference else ''}"
        f'<div class="mf-scores">{scores}<span>Total <b>{sample.total:.2f}</b></span></div></div>'
    )
