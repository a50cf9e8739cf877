"""The speed that is left to training beside a process that keeps one core busy, and beside a second run of ours."""

from __future__ import annotations

import contextlib
import tempfile
from contextlib import AbstractContextManager
from pathlib import Path

from tests.bench import corpora
from tests.bench.figures import Figure, Options, Row, Skipped, alternate, summarise
from tests.bench.processes import busy_processor, open_home, train, training_beside
from tests.bench.training import recipe_for

QUIET, UNIT = "the same, quiet", "rows/s"
BUSY = Row("LoRA beside one busy process", QUIET, UNIT, 0.6, "higher", main=True)
SECOND = Row("LoRA beside a second run", QUIET, UNIT, 0.4, "higher")
ROWS = (BUSY, SECOND)
FOREVER = 100_000  # steps


def measure(options: Options) -> list[Figure | Skipped]:
    """Three rounds, each quiet and beside each neighbour."""
    count = options.rows or 16
    with open_home() as home, tempfile.TemporaryDirectory() as folder:
        file = corpora.write_rows(Path(folder) / "rows.jsonl", corpora.make_rows(count, options.data))

        def speed(neighbour: AbstractContextManager[None]) -> float:
            with neighbour:
                return count / train(recipe_for(file), home).seconds

        endless = recipe_for(file, max_steps=FOREVER)
        neighbours = {BUSY: lambda: busy_processor(home), SECOND: lambda: training_beside(endless, home)}
        chosen = [row for row in ROWS if options.wants(row)]
        ways = [lambda row=row: speed(neighbours[row]()) for row in chosen]
        quiet, *beside = alternate(options.pairs(3), lambda: speed(contextlib.nullcontext()), *ways)
    return [summarise(row, ours, quiet) for row, ours in zip(chosen, beside, strict=True)]
