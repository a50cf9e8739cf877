"""Time the store: `python tests/store/measure.py [FOLDER]`. Prints milliseconds; asserts nothing.

The goals (docs/audit.md, 16): 10,000 models list in < 50 ms, a write at 1 MB has p95 <= 15 ms.
"""

from __future__ import annotations

import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from modelforge import paths
from modelforge.store import ModelRecord, Store, utc_now

_FIRST = "import sys; from tests.store.measure import list_first; list_first(sys.argv[1])"
_OTHER = "import sys; from tests.store.measure import write_often; write_often(sys.argv[1], int(sys.argv[2]))"


def make_model(number: int) -> ModelRecord:
    return ModelRecord(
        id=paths.new_id("model"),
        name=f"support answers {number}",
        base_model="HuggingFaceTB/SmolLM2-135M-Instruct",
        custom_base_model=False,
        task="text-generation",
        method="sft",
        tuning="lora",
        created=utc_now(),
        run_id=paths.new_id("run"),
        dataset_id=paths.new_id("dataset"),
        dataset_name="faq.csv",
        metrics={"perplexity": 12.34567, "rouge1": 0.41234, "rougeL": 0.3},
    )


def fill(store: Store, count: int) -> None:
    with store.transaction():
        for number in range(count):
            store.models.add(make_model(number))


def report(what: str, act: Callable[[], object], times: int) -> None:
    spent = []
    for _ in range(times):
        begin = time.perf_counter()
        act()
        spent.append((time.perf_counter() - begin) * 1000)
    p95 = statistics.quantiles(spent, n=20)[-1] if times > 1 else spent[0]
    print(f"{what:55} median {statistics.median(spent):8.2f}  p95 {p95:8.2f}  max {max(spent):8.2f} ms")


def write_often(path: str, times: int) -> None:
    store = Store(Path(path))
    report("  a write among several processes", lambda: store.models.add(make_model(0)), times)


def list_first(path: str) -> None:
    store = Store(Path(path))
    processor = time.process_time()
    report("  the first list in a new process", store.models.all, 1)
    print(f"    of the processor {(time.process_time() - processor) * 1000:.1f} ms")


def main() -> None:
    with tempfile.TemporaryDirectory(dir=sys.argv[1] if len(sys.argv) > 1 else None) as folder:
        path = Path(folder) / "small.json"
        store = Store(path)
        report("fill with 2,200 models in one transaction", lambda: fill(store, 2200), 1)
        print(f"size {path.stat().st_size / 1e6:.2f} MB")
        first = store.models.all()[0].id
        report("a write (update)", lambda: store.models.update(first, name="other"), 300)
        report("a write (add)", lambda: store.models.add(make_model(0)), 100)
        report("get", lambda: store.models.get(first), 300)
        other = Store(path)

        def alternate() -> None:
            other.models.update(first, name="theirs")

        def write_and_alternate() -> None:
            store.models.update(first, name="mine")

        for _ in range(3):
            write_and_alternate()
            report("a write after another process's write", alternate, 1)
        others = [subprocess.Popen([sys.executable, "-c", _OTHER, str(path), "100"]) for _ in range(3)]
        for process in others:
            process.wait()

        path = Path(folder) / "large.json"
        store = Store(path)
        report("fill with 10,000 models in one transaction", lambda: fill(store, 10_000), 1)
        print(f"size {path.stat().st_size / 1e6:.2f} MB")
        report("list 10,000, the first time", store.models.all, 1)
        report("list 10,000", store.models.all, 100)
        for _ in range(5):
            subprocess.run([sys.executable, "-c", _FIRST, str(path)], check=True)
        first = store.models.all()[0].id

        def write_and_list() -> None:
            store.models.update(first, name="other")
            begin = time.perf_counter()
            store.models.all()
            listed.append((time.perf_counter() - begin) * 1000)

        listed: list[float] = []
        report("a write at 10,000, and the list", write_and_list, 20)
        print(f"  of which the list: median {statistics.median(listed):.2f}  max {max(listed):.2f} ms")
        report("open and list 10,000", lambda: list(Store(path).models.all()), 5)
        report("find by name", lambda: store.models.find("support answers 5000"), 20)


if __name__ == "__main__":
    main()
