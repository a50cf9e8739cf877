"""Compiled kernels find what torch finds, whatever they are given; how they are built, and what happens where they
cannot be."""

from __future__ import annotations

import logging
import math
import shutil
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from modelforge import hardware, paths
from modelforge.compat.torch import FakeTensorMode
from modelforge.compute.decide import choose_dtype
from modelforge.compute.kernels import build, plain
from modelforge.compute.kernels.build import DEFINED, build_ahead, load_kernels
from modelforge.compute.kernels.try_out import FARTHEST, find_distances
from modelforge.compute.kernels.use import kernels_for, used_kernels, using
from modelforge.recipe import Recipe

pytestmark = pytest.mark.skipif(not shutil.which("g++"), reason="no g++")


@pytest.fixture(params=DEFINED)
def compiled(request: pytest.FixtureRequest, kernels: dict[str, Any]) -> Any:
    return kernels[request.param]


def test_results_are_nearer_to_the_exact_ones_than_those_of_torch(compiled: Any) -> None:
    found, of_torch = (find_distances(each, compiled.dtype) for each in (compiled, plain))
    assert len(found) == 9
    for name, distance in found.items():
        assert distance < min(1.05 * of_torch[name] + 1e-6, FARTHEST[compiled.dtype]), name


def test_results_do_not_depend_on_the_number_of_threads(compiled: Any) -> None:
    torch.manual_seed(0)
    logits, scores = (torch.randn(*shape).to(compiled.dtype) for shape in ((70, 900), (6, 120, 60)))
    rows, weight = torch.randn(300, 96).to(compiled.dtype), torch.randn(96).to(compiled.dtype)
    usual, found = torch.get_num_threads(), []
    try:
        for threads in (1, 2, 3):
            torch.set_num_threads(threads)
            normed = torch.empty_like(rows)
            scale = compiled.normalise(SimpleNamespace(weight=weight, variance_epsilon=1e-6), rows, normed)
            weights = compiled.weigh(scores.clone(), 20, 3)
            found.append([scale, normed, weights, *compiled.find_totals(logits)])
    finally:
        torch.set_num_threads(usual)
    for others in found[1:]:
        assert all(torch.equal(one, other) for one, other in zip(found[0], others, strict=True))


@pytest.mark.parametrize("bad", [math.nan, math.inf])
def test_numbers_that_ran_away_are_seen(compiled: Any, bad: float) -> None:
    """A run stops at them; one that became a plain number would train on."""
    rows = torch.ones(2, 40, dtype=compiled.dtype)
    rows[0, 17] = bad
    out, norm = torch.empty_like(rows), SimpleNamespace(weight=torch.ones_like(rows[0]), variance_epsilon=0.0)
    compiled.normalise(norm, rows, out)
    assert out[0].isnan().any() and out[1].isfinite().all()
    back = compiled.add_norm_gradient((torch.ones(2, 1), norm.weight), rows.clone(), rows, rows)
    assert not back[0].isfinite().any() and back[1].isfinite().all()
    hidden = torch.empty(2, 20, dtype=compiled.dtype)
    compiled.open_gate(rows, hidden)
    assert not hidden[0, 17].isfinite() and hidden[1].isfinite().all()
    compiled.open_gate(rows.roll(20, 1), hidden)
    assert not hidden[0, 17].isfinite()
    weights = compiled.weigh(rows[:, None].clone(), 39, 1)
    assert weights[0].isnan().all() and weights[1].isfinite().all()
    for differentiates in (False, True):
        logits = rows.clone()
        scores = compiled.score_logits(logits, torch.tensor([3, 3]), differentiates=differentiates)
        assert not scores[0].isfinite() and scores[1].isfinite()
    assert not logits[0].isfinite().all()
    totals, _ = compiled.find_totals(rows)
    assert not totals[0].isfinite() and totals[1].isfinite()


def test_scores_far_apart_give_neither_more_nor_less_than_all(compiled: Any) -> None:
    logits = torch.tensor([[-3e4, 0.0, 3e4], [1e30, -1e30, 0.0], [5.0, 5.0, -math.inf]]).to(compiled.dtype)
    scores = compiled.score_logits(logits.clone(), torch.tensor([2, 0, 0]), differentiates=False)
    assert scores.tolist() == pytest.approx([0, 0, -math.log(2)], abs=1e-6)
    weights = compiled.weigh(logits[:, None].clone(), 2, 1)
    assert weights[:, 0].flatten().tolist() == pytest.approx([0, 0, 1, 1, 0, 0, 0.5, 0.5, 0], abs=1e-6)


@pytest.mark.parametrize("count", [0, 1])
def test_no_rows_and_one_row(compiled: Any, count: int) -> None:
    rows = torch.randn(count, 8).to(compiled.dtype)
    norm = SimpleNamespace(weight=torch.ones(8, dtype=compiled.dtype), variance_epsilon=1e-6)
    assert compiled.normalise(norm, rows, torch.empty_like(rows)).shape == (count, 1)
    assert compiled.find_totals(rows)[0].shape == (count, 1)
    labels = torch.zeros(count, dtype=torch.int64)
    assert compiled.score_logits(rows, labels, differentiates=True).shape == (count,)


def test_what_the_library_does_not_understand_is_computed_by_torch(compiled: Any) -> None:
    rows = torch.randn(4, 6, dtype=compiled.dtype)
    with using(compiled):
        assert used_kernels() is compiled and kernels_for(rows) is compiled
        assert kernels_for(rows.double()) is plain and kernels_for(rows.t()) is plain
        with FakeTensorMode():
            assert kernels_for(torch.empty(4, 6, dtype=compiled.dtype)) is plain
        with using(None):
            assert kernels_for(rows) is plain
    assert used_kernels() is None
    for label in (-100, 6):
        with pytest.raises((IndexError, RuntimeError), match="out of bounds"):
            compiled.score_logits(rows.clone(), torch.tensor([0, 1, label, 2]), differentiates=True)
    # a norm may be in another number format than its rows, all tokens may share one position, a matrix may have gaps
    norm = SimpleNamespace(weight=torch.ones(6, dtype=torch.float64), variance_epsilon=1e-6)
    found, right = torch.empty_like(rows), torch.empty_like(rows)
    assert torch.equal(compiled.normalise(norm, rows, found), plain.normalise(norm, rows, right))
    assert torch.equal(found, right)
    heads, turn = torch.randn(4, 3 * 6).to(compiled.dtype), torch.rand(1, 1, 6).to(compiled.dtype)
    shared, index = turn.expand(4, -1, -1), torch.arange(12)
    exact = plain.turn_heads(heads.double(), index, ((shared.double(),) * 2,) * 2, (1, 1))
    found = compiled.turn_heads(heads, index, ((shared,) * 2,) * 2, (1, 1))
    torch.testing.assert_close(found.double(), exact, rtol=2e-2, atol=1e-2)
    apart = rows.t().contiguous().t()
    exact = torch.empty(4, 3, dtype=torch.float64)
    plain.open_gate(apart.double(), exact)
    hidden = torch.empty(4, 3, dtype=compiled.dtype)
    compiled.open_gate(apart, hidden)
    torch.testing.assert_close(hidden.double(), exact, rtol=2e-2, atol=1e-3)


# ---- building --------------------------------------------------------------------------------------------------

Compiler = Callable[[str], Path]


@pytest.fixture
def compiler(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Compiler:
    """compiler(script) -> a program g++ that comes first on the PATH."""

    def make(script: str) -> Path:
        place = tmp_path / "bin"
        place.mkdir()
        program = place / "g++"
        program.write_text(f"#!/bin/sh\n{script}\n")
        program.chmod(0o755)
        monkeypatch.setenv("PATH", f"{place}:/usr/bin:/bin")
        return program

    return make


@pytest.fixture
def warned(caplog: pytest.LogCaptureFixture) -> Callable[[], str]:
    caplog.set_level(logging.WARNING, logger="modelforge")
    return lambda: "\n".join(record.getMessage() for record in caplog.records if record.levelno >= logging.WARNING)


def list_cache() -> list[str]:
    return sorted(path.name for path in paths.cache_dir().iterdir())


def test_library_is_built_once_and_has_the_same_name_when_it_is_built_again() -> None:
    first = load_kernels("float32")
    assert first and len(list_cache()) == 1
    (library,) = paths.cache_dir().iterdir()
    assert library.stat().st_mode & 0o077 == 0
    written = library.stat().st_mtime_ns
    again = load_kernels("float32")
    assert again and again.name == first.name and library.stat().st_mtime_ns == written
    library.unlink()
    rebuilt = load_kernels("float32")
    assert rebuilt and rebuilt.name == first.name


def test_app_builds_what_a_usual_run_computes_with(probed: Path) -> None:
    for library in paths.cache_dir().glob("kernels-*.so"):
        library.unlink()
    build_ahead()
    (library,) = paths.cache_dir().glob("kernels-*.so")
    best, _ = choose_dtype(Recipe(), hardware.probe())
    assert library.name.startswith(f"kernels-{best}-")


def test_without_a_compiler_torch_computes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, warned: Callable[[], str]
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    assert load_kernels("float32") is None and load_kernels("float16") is None
    assert not warned()  # most machines have none
    assert not paths.cache_dir().exists()


def test_compiler_that_fails_is_told_and_leaves_nothing(compiler: Compiler, warned: Callable[[], str]) -> None:
    compiler("echo 'unknown value native' >&2; exit 1")
    assert load_kernels("float32") is None
    assert "could not be built" in warned() and "unknown value native" in warned()
    assert not list_cache()


def test_compiler_that_does_not_end_is_left(
    compiler: Compiler, monkeypatch: pytest.MonkeyPatch, warned: Callable[[], str]
) -> None:
    monkeypatch.setattr(build, "MOST_SECONDS", 0.5)
    compiler("exec sleep 60")
    assert load_kernels("float32") is None
    assert "timed out" in warned() and not list_cache()


@pytest.mark.parametrize(
    ("right", "wrong", "told"),
    [
        ("1.0f / (1.0f + exponential(-x))", "1.0f / (1.0f + exponential(x))", "open_gate is off by"),
        ("sum += power", "std::abort(); sum += power", "could not be built"),
        ("most + std::log(sum)", "most + std::log(sum - 2)", "score_logits is off by nan"),
    ],
)
def test_library_that_is_wrong_or_crashes_is_never_used(  # noqa: PLR0917 - three of them are one case
    right: str, wrong: str, told: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, warned: Callable[[], str]
) -> None:
    source = build.SOURCE.read_text()
    assert source.count(right) == 1
    spoiled = tmp_path / "kernels.cpp"
    spoiled.write_text(source.replace(right, wrong).replace("#include <cmath>", "#include <cmath>\n#include <cstdlib>"))
    monkeypatch.setattr(build, "SOURCE", spoiled)
    assert load_kernels("float32") is None
    assert told in warned() and not list_cache()


@pytest.mark.parametrize("damage", ["cut off", "changed", "emptied"])
def test_damaged_library_is_not_loaded_but_built_again(damage: str, warned: Callable[[], str]) -> None:
    """One that is cut off would end the process when it is called."""
    first = load_kernels("float32")
    (library,) = paths.cache_dir().iterdir()
    whole = library.read_bytes()
    library.unlink()  # never written over while this process has it
    spoiled = {"cut off": whole[:9000], "changed": whole[:-1] + b"?", "emptied": b""}[damage]
    library.write_bytes(spoiled)
    again = load_kernels("float32")
    assert first and again and again.name == first.name and "damaged" in warned()
    assert library.read_bytes() == whole
