"""Seconds and memory to check and prepare a large JSONL file, against what `datasets.load_dataset("json")` alone takes.

Each runs in a process of its own on the same made-up file, in turn; the file is in the cache of the system for both.
"""

from __future__ import annotations

import json
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np

SYLLABLES = (
    "ba",
    "co",
    "di",
    "fu",
    "ga",
    "hel",
    "in",
    "jo",
    "ka",
    "lum",
    "mor",
    "ne",
    "or",
    "pa",
    "qui",
    "ra",
    "st",
    "ti",
)


def report(rows: int, pairs: int) -> None:
    with tempfile.TemporaryDirectory() as folder:
        large, small = Path(folder) / "large.jsonl", Path(folder) / "small.jsonl"
        write_rows(large, rows)
        write_rows(small, 10_000)
        theirs, ours = [], []
        for pair in range(pairs + 1):
            other, mine = _measure("load_dataset", large), _measure("check_and_prepare", large)
            if pair:  # the first pair fills the file cache
                theirs.append(other)
                ours.append(mine)
        quick = _measure("check", small)
    megabytes = round(ours[0]["bytes"] / 1e6)
    print(f"\nA JSONL file of {rows:,} rows, {megabytes} MB (medians of {pairs} pairs)")
    for name, figures in (('datasets.load_dataset("json")', theirs), ("ModelForge: check and prepare", ours)):
        seconds = statistics.median(figure["seconds"] for figure in figures)
        peak = max(figure["peak_bytes"] for figure in figures)
        print(f"  {name:30} {seconds:.2f} s   peak memory {peak / 1e6:.0f} MB")
    ratios = sorted(mine["seconds"] / other["seconds"] for mine, other in zip(ours, theirs, strict=True))
    print(f"  ratio {statistics.median(ratios):.2f}  (from {ratios[0]:.2f} to {ratios[-1]:.2f})")
    print(f"  a file of 10,000 rows is checked in {quick['seconds']:.2f} s")


def write_rows(path: Path, rows: int) -> None:
    """Prompts of a dozen words and answers of about a hundred, of a vocabulary as wide as a language's."""
    draw = np.random.default_rng(0)
    words = ["".join(draw.choice(SYLLABLES, draw.choice((1, 1, 2, 2, 3)))) for _ in range(30_000)]
    shares = 1 / (np.arange(len(words)) + 10)  # as words are spread in a text (G. K. Zipf)
    rising = np.cumsum(shares / shares.sum())
    with path.open("w", encoding="utf-8") as file:
        for start in range(0, rows, 1000):
            lengths = draw.integers(65, 210, 1000)
            drawn = np.searchsorted(rising, draw.random(12_000 + lengths.sum()) * rising[-1])
            text = [words[index] for index in drawn]
            for number, length in enumerate(lengths[: rows - start], start):
                asked, said, text = text[:12], text[12 : 12 + length], text[12 + length :]
                row = {"id": number, "prompt": f"{' '.join(asked)}?", "response": f"{' '.join(said)}."}
                file.write(json.dumps(row, ensure_ascii=False) + "\n")


def _measure(what: str, path: Path) -> dict[str, float]:
    with tempfile.TemporaryDirectory() as home:
        environment = {**os.environ, "MODELFORGE_HOME": home, "HF_HUB_OFFLINE": "1", "HF_DATASETS_CACHE": f"{home}/hf"}
        command = [sys.executable, "-m", "tests.bench.data", what, str(path)]
        done = subprocess.run(command, check=True, capture_output=True, text=True, env=environment)
    figures: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    return figures


def _load_dataset(path: Path) -> Any:
    import datasets

    datasets.disable_progress_bars()
    start = time.perf_counter()
    loaded = datasets.load_dataset("json", data_files=str(path), split="train")
    return len(loaded), time.perf_counter() - start


def _check(path: Path) -> Any:
    from modelforge.data.checks import check

    start = time.perf_counter()
    return check(path), time.perf_counter() - start


def _check_and_prepare(path: Path) -> Any:
    from modelforge.data.checks import check
    from modelforge.data.prepare import prepare

    start = time.perf_counter()
    made = prepare(check(path))
    return made, time.perf_counter() - start


MEASURED = {"load_dataset": _load_dataset, "check": _check, "check_and_prepare": _check_and_prepare}

if __name__ == "__main__":
    given, file = sys.argv[1], Path(sys.argv[2])
    _, seconds = MEASURED[given](file)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    print(json.dumps({"seconds": seconds, "peak_bytes": peak, "bytes": file.stat().st_size}))
