"""`python -m tests.bench [MODULE...]`: measure, print the table, compare with the last release.

Exits with 1 where a target is missed, a figure of the last release is lost, or a module fails; what could not be
measured on this machine is listed and fails nothing.
"""

from __future__ import annotations

import argparse
import importlib
import sys
import time
import traceback
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from tests.bench import readme, results, table
from tests.bench.figures import Figure, Options, Skipped

MODULES = (
    "startup", "data", "app_use", "training", "short_rows", "neighbours", "rate", "quick_tuning", "stock_trainers",
    "prediction", "chat", "evaluation",
)  # fmt: skip
"""In the order in which they run; each has ROWS and measure(options)."""


def main(arguments: Sequence[str] | None = None) -> int:
    given = read_arguments(arguments)
    options = Options(given.quick, given.data, given.rows, given.pairs)
    machine = describe_machine(given.data)
    print(f"{machine.kind}, {machine.memory_gb} GB, {machine.system}, Python {machine.python}, torch {machine.torch}")
    stored = results.read()

    def keep(measured: Sequence[Figure | Skipped]) -> None:
        if given.write:
            results.write([each for each in measured if isinstance(each, Figure)], machine)
            readme.write(results.read())

    found, failed = measure_all(given.what or choose(options), options, keep)
    figures = [each for each in found if isinstance(each, Figure)]
    print(f"\n{table.draw(found)}")
    compared = results.compare(figures, stored, machine)
    if compared:
        print("\nBeside the last release:", *(each.sentence for each in compared), sep="\n  ")
    missed = [each.row.key for each in figures if not each.is_met]
    lost = [each.figure.row.key for each in compared if each.is_lost]
    for what, names in (("targets missed", missed), ("figures lost", lost), ("modules failed", failed)):
        if names:
            print(f"\n{what}:", *names, sep="\n  ")
    return int(bool(missed or lost or failed))


def read_arguments(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.bench", description=__doc__)
    parser.add_argument(
        "what", nargs="*", choices=[[], *MODULES, "llamafactory"], help=f"default: {', '.join(MODULES)}"
    )
    parser.add_argument("--quick", action="store_true", help="the main rows, with fewer pairs")
    parser.add_argument(
        "--data", type=Path, help="a JSON list of instruction, input, output; default: text that is here"
    )
    parser.add_argument("--rows", type=int, help="rows to train on or to check, instead of each module's own number")
    parser.add_argument("--pairs", type=int, help="pairs to measure, instead of each module's own number")
    parser.add_argument("--write", action="store_true", help=f"keep the figures in {results.FILE.name}")
    given = parser.parse_args(arguments)
    if given.write and (given.quick or given.rows or given.pairs):
        parser.error("--write keeps figures of the usual sizes: leave --quick, --rows and --pairs out")
    return given


def choose(options: Options) -> list[str]:
    """All modules that have a row to measure."""
    return [name for name in MODULES if options.wants(*load(name).ROWS)]


def load(name: str) -> Any:
    return importlib.import_module(f"tests.bench.{name}")


def measure_all(
    names: Sequence[str], options: Options, keep: Callable[[Sequence[Figure | Skipped]], None] = lambda _: None
) -> tuple[list[Figure | Skipped], list[str]]:
    """What every module found, and the names of those that failed: an hour of figures is not lost for one. keep: called
    with what each module found, once it has ended."""
    found: list[Figure | Skipped] = []
    failed = []
    for name in names:
        began = time.monotonic()
        try:
            measured = load(name).measure(options)
        except Exception:  # noqa: BLE001 - reported, and the bench then fails
            traceback.print_exc()
            failed.append(name)
            continue
        found += measured
        keep(measured)
        print(f"\n{name}, {time.monotonic() - began:.0f} s\n{table.draw(measured)}", flush=True)
    return found, failed


def describe_machine(data: Path | None) -> results.Machine:
    import hashlib
    import platform
    from importlib.metadata import version

    from modelforge import hardware
    from tests.bench.processes import has_fast_bfloat16

    here = hardware.detect()
    return results.Machine(
        next(device.name for device in here.devices if device.kind == "cpu"),
        here.cores,
        round(here.memory_bytes / 1e9),
        has_fast_bfloat16(),
        f"{data.name} ({hashlib.sha256(data.read_bytes()).hexdigest()[:8]})" if data else "bundled",
        here.system,
        platform.python_version(),
        version("torch"),
    )


if __name__ == "__main__":
    sys.exit(main())
