"""The starter in llama.cpp: the sentences of transformers, in any script."""

from __future__ import annotations

from pathlib import Path

import pytest

from modelforge import Forge
from modelforge.models.engine import LLAMA, TRANSFORMERS
from modelforge.models.sampling import Sampling, Writing
from modelforge.models.untrained import find_untrained
from modelforge.recipe import STARTER

pytestmark = pytest.mark.slow
pytest.importorskip("xllamacpp")


@pytest.mark.parametrize(
    ("asked", "longest"),
    [
        ("What is the capital of France?", 30),
        ("Repeat exactly: Füße, naïve, 东京, 🏮", 24),
    ],
)
def test_starter_says_the_same_in_both(
    home_with_starter: Path, converter_cache: Path, asked: str, longest: int
) -> None:
    (home_with_starter / "cache" / "converters").symlink_to(converter_cache, target_is_directory=True)
    forge = Forge()
    record = find_untrained(STARTER)
    assert forge.playground.engine.prepare(record) == ""
    found = {}
    try:
        for engine in ("auto", TRANSFORMERS):
            writing, sampling = Writing(), Sampling(max_new_tokens=longest, engine=engine)
            said = [{"role": "user", "content": asked}]
            found[writing.engine or engine] = "".join(forge.playground.answer(record, said, sampling, writing=writing))
            assert writing.engine == (LLAMA if engine == "auto" else TRANSFORMERS)
    finally:
        forge.playground.unload()
    assert len({*found.values()}) == 1, found
