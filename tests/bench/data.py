"""Seconds to check a file, beside what loading it alone takes; and the memory of it.

Three corpora of 200,000 rows, beside `datasets.load_dataset("json")`: real sentences in new orders, one template filled
in, real rows repeated with a number. CSV, Parquet and Excel of 100,000 rows, beside load_dataset and pandas. Each runs
in a process of its own on the same file, after one of two rows: what is imported only once is counted for neither.
"""

from __future__ import annotations

import random
import tempfile
import time
from collections.abc import Callable, Iterator
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Any

from tests import tiny
from tests.bench import corpora
from tests.bench.figures import Figure, Options, Row, Skipped, alternate, summarise
from tests.bench.processes import call

Pairs = Iterator[dict[str, str]]
LOAD, PANDAS = "load_dataset", "pandas.read_excel"
SENTENCES = Row("data check, 200,000 rows of real sentences", LOAD, "s", 4, "lower", main=True)
TEMPLATE = Row("data check, 200,000 rows of one template", LOAD, "s", 4, "lower")
REPEATED = Row("data check, 200,000 rows repeated", LOAD, "s", 4, "lower")
MEMORY = Row("data check, the most memory of these", "", "GB", 1, "lower", judged="value", main=True)
CSV = Row("data check, CSV of 100,000 rows", LOAD, "s", 4, "lower")
PARQUET = Row("data check, Parquet of 100,000 rows", LOAD, "s", 4, "lower")
EXCEL = Row("data check, Excel of 100,000 rows", PANDAS, "s", 4, "lower")
ROWS = (SENTENCES, TEMPLATE, REPEATED, MEMORY, CSV, PARQUET, EXCEL)
LARGE, MIDDLE = 200_000, 100_000


def measure(options: Options) -> list[Figure | Skipped]:
    """Five pairs; three of Excel."""
    sentences = corpora.read_sentences(options.data)
    makers: dict[Row, Callable[[], Pairs]] = {
        SENTENCES: partial(recombine, sentences),
        TEMPLATE: fill_template,
        REPEATED: partial(repeat_with_number, options.data),
    }
    found: list[Figure | Skipped] = []
    peaks: list[float] = []
    with tempfile.TemporaryDirectory() as folder:
        place = Path(folder)
        for row, make in makers.items():
            if options.wants(row):
                pairs = list(islice(make(), options.rows or LARGE))
                ours, theirs = measure_pairs("jsonl", tiny.write_jsonl, pairs, place, options.pairs(5))
                peaks += [each["peak_bytes"] / 1e9 for each in ours]
                found.append(summarise(row, [each["seconds"] for each in ours], [each["seconds"] for each in theirs]))
        found.append(summarise(MEMORY, [max(peaks)]))
        if options.wants(CSV, PARQUET, EXCEL):
            rows = list(islice(recombine(sentences), options.rows or MIDDLE))
            for row, (suffix, write) in FILES.items():
                ours, theirs = measure_pairs(suffix, write, rows, place, options.pairs(3 if row is EXCEL else 5))
                found.append(summarise(row, [each["seconds"] for each in ours], [each["seconds"] for each in theirs]))
    return found


def measure_pairs(
    suffix: str, write: Callable[[Path, list[dict[str, str]]], Any], rows: list[dict[str, str]], home: Path, count: int
) -> list[list[dict[str, Any]]]:
    """Ours and theirs. The first pair fills the file cache; Excel is far slower to read than any disk."""
    files = {"file": home / f"rows.{suffix}", "small": home / f"small.{suffix}"}
    write(files["file"], rows)
    write(files["small"], rows[:2])
    turns = (lambda: call(check_files, home, **files), lambda: call(load_files, home, **files))
    return alternate(count, *turns, warm=suffix != "xlsx")


def check_files(file: str, small: str) -> dict[str, float]:
    from modelforge.data.checks import check

    check(Path(small))
    began = time.perf_counter()
    report = check(Path(file))
    seconds = time.perf_counter() - began
    if not report.ok:
        raise RuntimeError(f"the file has errors: {report.problems[:3]}")
    return {"seconds": seconds}


def load_files(file: str, small: str) -> dict[str, float]:
    """The rival: into Arrow by datasets, without a cache; Excel into a frame by pandas."""
    load_file(small)
    began = time.perf_counter()
    load_file(file)
    return {"seconds": time.perf_counter() - began}


def load_file(file: str) -> None:
    import datasets
    import pandas

    datasets.disable_progress_bars()
    format = {".jsonl": "json", ".csv": "csv", ".parquet": "parquet", ".xlsx": "excel"}[Path(file).suffix]
    if format == "excel":
        pandas.read_excel(file)
        return
    with tempfile.TemporaryDirectory() as cache:
        datasets.load_dataset(format, data_files=file, split="train", cache_dir=cache)


def recombine(sentences: list[str]) -> Pairs:
    """Questions of one sentence and answers of one to six, drawn from the same real ones."""
    draw = random.Random(3)
    while True:
        yield {"prompt": draw.choice(sentences), "response": " ".join(draw.choices(sentences, k=draw.randint(1, 6)))}


def fill_template() -> Pairs:
    """A letter that a shop sends, in which three words and two numbers differ."""
    draw, news = random.Random(4), " ".join(row["document"] for row in corpora.read_news()).split()
    while True:
        thing, place, name = (draw.choice(news) for _ in range(3))
        order, days = draw.randrange(10**6), draw.randrange(1, 30)
        yield {
            "prompt": f"Where is my order {order}, {thing} for {name}?",
            "response": f"Thank you for your message, {name}. Your order {order} ({thing}) has left our warehouse in "
            f"{place} and should reach you within {days} days. If it has not arrived by then, please answer this "
            "message, and we will send it again at no cost to you. We are sorry for the delay.",
        }


def repeat_with_number(data: Path | None) -> Pairs:
    """The same thousand rows again and again, each with its number."""
    rows, number = corpora.make_rows(1000, data), 0
    while True:
        for row in rows:
            number += 1
            yield {"prompt": f"{number}. {corpora.prompt_of(row)}", "response": row["output"]}


def write_csv(file: Path, rows: list[dict[str, str]]) -> None:
    import pandas

    pandas.DataFrame(rows).to_csv(file, index=False)


def write_parquet(file: Path, rows: list[dict[str, str]]) -> None:
    import pandas

    pandas.DataFrame(rows).to_parquet(file)


def write_excel(file: Path, rows: list[dict[str, str]]) -> None:
    from openpyxl import Workbook

    book = Workbook(write_only=True)
    sheet = book.create_sheet()
    sheet.append(list(rows[0]))
    for row in rows:
        sheet.append(list(row.values()))
    book.save(file)


FILES: dict[Row, tuple[str, Callable[[Path, list[dict[str, str]]], None]]] = {
    CSV: ("csv", write_csv),
    PARQUET: ("parquet", write_parquet),
    EXCEL: ("xlsx", write_excel),
}
