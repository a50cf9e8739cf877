"""A process that writes: `python writer.py REGISTRY THREADS WRITES`. Started by test_transactions.py.

Each thread, as often as told, adds a model and counts up a run's steps: a lost record or a lost update shows.
"""

from __future__ import annotations

import os
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from modelforge import paths
from modelforge.store import ModelRecord, Store, utc_now

RUN = "run-000000000000"


def main(path: Path, threads: int, writes: int) -> None:
    store = Store(path)

    def write(thread: int) -> None:
        for number in range(writes):
            name = f"{os.getpid()} {thread} {number}"
            with store.transaction():
                store.models.add(
                    ModelRecord(
                        id=paths.new_id("model"),
                        name=name,
                        base_model="x",
                        custom_base_model=False,
                        task="text-generation",
                        method="sft",
                        tuning="lora",
                        created=utc_now(),
                        dataset_name="x",
                    )
                )
                store.runs.update(RUN, step=store.runs.get(RUN).step + 1)

    with ThreadPoolExecutor(threads) as pool:
        list(pool.map(write, range(threads)))


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3]))
