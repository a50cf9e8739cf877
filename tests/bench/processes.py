"""Runs what is measured: a function in a process of its own, `modelforge` as a user types it, and what disturbs it.

Everything runs as users have it: no setting of the environment but the home, and no Hub.
"""

from __future__ import annotations

import contextlib
import importlib
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[2]
SPIN = "while True: pass"
STARTS_WITHIN = 300  # seconds until a run beside is under way


@contextlib.contextmanager
def open_home() -> Iterator[Path]:
    """A new home that has the starters, what was measured of this machine and the kernels that were built on it, as one
    has after the first day."""
    from modelforge import hardware, paths, starter
    from modelforge.compute.kernels.build import DEFINED, load_kernels

    for name in starter.STARTERS:
        starter.ensure(name)
    hardware.probe()
    for dtype in DEFINED:
        load_kernels(dtype)
    with tempfile.TemporaryDirectory() as folder:
        cache = Path(folder) / "home" / "cache"
        cache.mkdir(parents=True)
        for pattern in ("starters", "probe.json", "converters", "kernels-*.so"):
            for path in paths.cache_dir().glob(pattern):
                (cache / path.name).symlink_to(path)
        yield cache.parent


def environment_of(home: Path) -> dict[str, str]:
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("MODELFORGE_", "GRADIO_"))}
    return {**kept, "MODELFORGE_HOME": str(home), "HF_HUB_OFFLINE": "1", "GRADIO_ANALYTICS_ENABLED": "False"}


def call(function: Callable[..., Mapping[str, Any]], home: Path, **arguments: Any) -> dict[str, Any]:
    """What a function of a module returns in a process of its own, with `peak_bytes` of that process and the most of
    any that it started. Arguments and result go as JSON."""
    given = json.dumps(arguments, default=str)
    command = [sys.executable, "-m", "tests.bench.processes", function.__module__, function.__name__, given]
    return dict(json.loads(_run(command, home).splitlines()[-1]))


def modelforge(home: Path, *arguments: object) -> str:
    """What a command prints."""
    return _run([sys.executable, "-m", "modelforge.cli", *map(str, arguments)], home)


def _run(command: list[str], home: Path) -> str:
    done = subprocess.run(command, cwd=ROOT, env=environment_of(home), capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(f"{' '.join(command[1:5])} ended with {done.returncode}: {done.stderr[-3000:]}")
    return done.stdout


@dataclass(frozen=True)
class Trained:
    """A run of `modelforge train`. seconds: of its steps alone. peak_bytes: the most that its process held. whole:
    seconds from the first event to the last. epochs: (share of epochs done, seconds) after each step."""

    seconds: float
    peak_bytes: int
    folder: Path
    whole: float
    epochs: tuple[tuple[float, float], ...]


def train(recipe: Mapping[str, Any], home: Path) -> Trained:
    """Train a recipe to its end. The model stays in the home."""
    with _written(recipe) as file:
        events = [json.loads(line) for line in modelforge(home, "train", file, "--json").splitlines()]
    steps = [event for event in events if event["type"] == "progress"]
    last, ended = steps[-1], events[-1]
    if last["step"] != last["total_steps"] or ended["type"] != "finished":
        raise RuntimeError(f"the run did not finish: {ended}")
    return Trained(
        float(last["seconds"]),
        int(ended["peak_bytes"]),
        home / "models" / ended["model_id"],
        _seconds_between(events[0]["time"], ended["time"]),
        tuple((float(step["epoch"]), float(step["seconds"])) for step in steps),
    )


def plan(recipe: Mapping[str, Any], home: Path) -> dict[str, Any]:
    """What `modelforge plan` predicts."""
    with _written(recipe) as file:
        return dict(json.loads(modelforge(home, "plan", file, "--json")))


@contextlib.contextmanager
def training_beside(recipe: Mapping[str, Any], home: Path) -> Iterator[None]:
    """Another run of ours, under way for as long as this is open."""
    with _written(recipe) as file, tempfile.TemporaryFile("w+") as said:
        command = [sys.executable, "-m", "modelforge.cli", "train", str(file), "--json"]
        with _running(command, home, said) as process:
            until = time.monotonic() + STARTS_WITHIN
            while os.pread(said.fileno(), 1 << 20, 0).count(b'"progress"') < 2:
                if process.poll() is not None or time.monotonic() > until:
                    raise RuntimeError("the run beside did not start")
                time.sleep(0.2)
            yield
            if process.poll() is not None:
                raise RuntimeError("the run beside ended too early")


@contextlib.contextmanager
def busy_processor(home: Path) -> Iterator[None]:
    """A process that computes without a pause on one core, as a browser does."""
    with _running([sys.executable, "-c", SPIN], home, subprocess.DEVNULL):
        yield


@contextlib.contextmanager
def _running(command: list[str], home: Path, output: Any) -> Iterator[subprocess.Popen[bytes]]:
    process = subprocess.Popen(command, cwd=ROOT, env=environment_of(home), stdout=output, stderr=subprocess.DEVNULL)
    try:
        yield process
    finally:
        process.kill()
        process.wait()


@contextlib.contextmanager
def _written(recipe: Mapping[str, Any]) -> Iterator[Path]:
    import yaml

    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "recipe.yaml"
        file.write_text(yaml.safe_dump({name: value for name, value in recipe.items()}), encoding="utf-8")
        yield file


def _seconds_between(first: str, last: str) -> float:
    from datetime import datetime

    return (datetime.fromisoformat(last) - datetime.fromisoformat(first)).total_seconds()


def has_fast_bfloat16() -> bool:
    """Whether this machine multiplies faster in bfloat16 than in float32, as a run would find."""
    from modelforge import hardware

    rates = hardware.probe().gigaflops
    return rates.get("bfloat16", 0.0) > 1.2 * rates["float32"]


def main() -> None:
    import resource

    from modelforge.compute.memory import PeakMeter

    module, name, arguments = sys.argv[1:]
    with PeakMeter("cpu") as meter:  # ru_maxrss also counts what the bench itself held when it started this process
        found = dict(getattr(importlib.import_module(module), name)(**json.loads(arguments)))
    peak = meter.peak_bytes + resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss * 1024
    print(json.dumps({"peak_bytes": peak, **found}, default=str))


if __name__ == "__main__":
    main()
