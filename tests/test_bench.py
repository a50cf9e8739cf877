"""The bench's own rules: what a figure is, when it is missed or lost, what is written, and that every row has a target.

What it measures is measured by `make bench`.
"""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from modelforge.data.checks import check
from modelforge.recipe import Recipe
from tests import tiny
from tests.bench import __main__ as bench
from tests.bench import corpora, prediction, quick_tuning, readme, results, rivals, stock_trainers, table, training
from tests.bench.figures import Figure, Options, Row, Skipped, alternate, summarise
from tests.bench.processes import Trained, call

FASTER = Row("training", "a rival", "rows/s", 5, "higher", main=True)
SHORTER = Row("a check", "another rival", "s", 4, "lower")
ALONE = Row("a command", "python -c pass", "s", 0.2, "lower", judged="value")
MACHINE = results.Machine("Some processor", 2, 24, True, "bundled", "Linux", "3.11", "2.13")


def test_ratio_is_the_median_over_the_pairs_with_its_range() -> None:
    figure = summarise(FASTER, [10.0, 12.0, 11.0], [2.0, 2.0, 1.0])
    assert (figure.ours, figure.theirs) == (11.0, 2.0)
    assert (figure.value, figure.low, figure.high, figure.pairs) == (6.0, 5.0, 11.0, 3)


def test_row_that_is_judged_alone_keeps_the_rival_beside_it() -> None:
    figure = summarise(ALONE, [0.19, 0.18, 0.3], [0.02, 0.02, 0.02])
    assert (figure.value, figure.theirs, figure.is_met) == (0.19, 0.02, True)


@pytest.mark.parametrize(
    ("row", "ours", "met"), [(FASTER, 5.0, True), (FASTER, 4.9, False), (SHORTER, 4.0, True), (SHORTER, 4.1, False)]
)
def test_target_is_met_at_the_target_itself_and_not_beyond(row: Row, ours: float, met: bool) -> None:
    assert summarise(row, [ours], [1.0]).is_met is met


def test_figure_with_a_fault_misses_its_target_however_fast_it_is() -> None:
    figure = summarise(FASTER, [100.0], [1.0], fault="held-out loss +3.0%")
    assert not figure.is_met
    assert "MISSED: held-out loss +3.0%" in table.draw([figure])


def test_sides_take_turns_and_a_warm_round_does_not_count() -> None:
    said: list[str] = []

    def say(what: str) -> int:
        said.append(what)
        return len(said)

    assert alternate(2, lambda: say("a"), lambda: say("b"), warm=True) == [[3, 5], [4, 6]]
    assert "".join(said) == "ababab"


def test_table_has_a_line_for_each_figure_and_says_what_was_not_measured() -> None:
    skipped = Skipped(SHORTER, "there is no such file")
    drawn = table.draw([summarise(FASTER, [2.5, 2.6], [0.5, 0.5]), summarise(ALONE, [0.31], [0.02]), skipped])
    head, first, second, last = (line.split() for line in drawn.splitlines())
    assert head == ["ours", "beside", "theirs", "judged", "range", "target"]
    assert " ".join(first) == "training 2.55 rows/s a rival 0.500 rows/s 5.10 5.00 to 5.20 (2) >= 5 met"
    assert " ".join(second) == "a command 0.310 s python -c pass 0.020 s 0.310 (1) <= 0.2 s MISSED"
    assert " ".join(last) == "not measured: a check, beside another rival: there is no such file"


@pytest.mark.parametrize(("value", "text"), [(0.2134, "0.213"), (4.518, "4.52"), (81.26, "81.3"), (12400.4, "12,400")])
def test_numbers_have_three_digits(value: float, text: str) -> None:
    assert table.number(value) == text


def release(file: Path, *figures: Figure) -> list[dict[str, Any]]:
    results.write(figures, MACHINE, file)
    return results.read(file)


def measured(row: Row, value: float) -> Figure:
    return summarise(row, [value], [1.0])


@pytest.mark.parametrize(
    ("row", "before", "now", "lost"),
    [
        (FASTER, 6.0, 5.2, False),  # 13% less
        (FASTER, 6.0, 5.0, True),  # 17% less
        (FASTER, 6.0, 9.0, False),
        (SHORTER, 2.0, 2.2, False),
        (SHORTER, 2.0, 2.4, True),  # 20% more
        (SHORTER, 2.0, 1.0, False),
    ],
)
def test_figure_is_lost_when_more_than_15_percent_worse(
    tmp_path: Path, row: Row, before: float, now: float, lost: bool
) -> None:
    stored = release(tmp_path / "results.json", measured(row, before))
    (compared,) = results.compare([measured(row, now)], stored, MACHINE)
    assert compared.is_lost is lost
    assert compared.sentence.startswith("LOST: ") is lost


@pytest.mark.parametrize("change", [{"fast_bfloat16": False}, {"cores": 8}, {"data": "rows.json (12345678)"}])
def test_figure_of_another_kind_of_machine_or_of_other_data_is_shown_and_never_lost(
    tmp_path: Path, change: dict[str, Any]
) -> None:
    stored = release(tmp_path / "results.json", measured(FASTER, 6.0))
    (compared,) = results.compare([measured(FASTER, 1.0)], stored, replace(MACHINE, **change))
    assert not compared.is_lost
    assert compared.sentence == "training | a rival: 1.00 now, 6.00 before (83% worse, another machine or other data)"


def test_only_figures_of_the_usual_sizes_are_kept(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        bench.main(["startup", "--write", "--rows", "8"])
    assert "--write keeps figures of the usual sizes" in capsys.readouterr().err


def test_memory_system_and_versions_make_no_other_kind_of_machine(tmp_path: Path) -> None:
    stored = release(tmp_path / "results.json", measured(FASTER, 6.0))
    newer = replace(MACHINE, memory_gb=32, system="Linux 7", python="3.14", torch="2.14")
    assert results.compare([measured(FASTER, 1.0)], stored, newer)[0].is_lost


def test_row_that_the_last_release_did_not_have_is_not_compared(tmp_path: Path) -> None:
    stored = release(tmp_path / "results.json", measured(FASTER, 6.0))
    changed = replace(FASTER, judged="value")
    assert results.compare([measured(SHORTER, 3.0), measured(changed, 3.0)], stored, MACHINE) == []
    assert results.compare([measured(FASTER, 6.0)], results.read(tmp_path / "none.json"), MACHINE) == []


def test_results_keep_machine_and_date_and_the_rows_that_were_not_measured_again(tmp_path: Path) -> None:
    file = tmp_path / "results.json"
    release(file, measured(FASTER, 6.0), measured(SHORTER, 3.0))
    (stored,) = release(file, measured(FASTER, 7.0))
    assert {each["key"]: each["value"] for each in stored["figures"]} == {FASTER.key: 7.0, SHORTER.key: 3.0}
    assert stored["kind"] == MACHINE.kind
    assert all(each["date"] == stored["date"] for each in stored["figures"])


def test_results_of_each_kind_of_machine_are_kept_and_compared_with_their_own(tmp_path: Path) -> None:
    file, other = tmp_path / "results.json", replace(MACHINE, processor="Another")
    release(file, measured(FASTER, 6.0))
    results.write([measured(FASTER, 3.0), measured(SHORTER, 3.0)], other, file)
    stored = results.read(file)
    assert [[each["value"] for each in machine["figures"]] for machine in stored] == [[3.0, 3.0], [6.0]]
    for machine, before in ((MACHINE, 6.0), (other, 3.0)):
        (compared,) = results.compare([measured(FASTER, 2.5)], stored, machine)
        assert (compared.before, compared.is_lost) == (before, True)


def test_committed_results_are_of_rows_that_there_are() -> None:
    keys = {row.key for name in bench.MODULES for row in bench.load(name).ROWS}
    assert {each["key"] for machine in results.read() for each in machine["figures"]} <= keys


def test_every_row_of_every_module_is_listed_once_with_a_target() -> None:
    rows = [row for name in bench.MODULES for row in bench.load(name).ROWS]
    keys = [row.key for row in rows]
    assert len(set(keys)) == len(keys) == len({row.name + row.rival for row in rows})
    for row in rows:
        assert row.target > 0, row.key
        assert row.rival or row.judged == "value", f"{row.key} has nothing to be a ratio to"


def test_quick_bench_measures_only_modules_with_main_rows() -> None:
    quick = bench.choose(Options(quick=True))
    assert set(quick) == {name for name in bench.MODULES if any(row.main for row in bench.load(name).ROWS)}
    assert {"training", "startup", "data"} <= set(quick) < set(bench.MODULES)
    assert bench.choose(Options()) == list(bench.MODULES)


def test_a_module_that_fails_loses_no_figure_of_the_others_and_fails_the_bench(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def fail(options: Options) -> list[Figure]:
        raise RuntimeError("the rival is gone")

    modules = {"good": lambda options: [measured(FASTER, 6.0)], "bad": fail}
    monkeypatch.setattr(bench, "MODULES", tuple(modules))
    monkeypatch.setattr(bench, "load", lambda name: SimpleNamespace(ROWS=(FASTER,), measure=modules[name]))
    assert bench.main([]) == 1
    captured = capsys.readouterr()
    assert "the rival is gone" in captured.err
    assert "modules failed:\n  bad" in captured.out
    assert bench.main(["good"]) == 0


def test_exit_code_tells_that_a_target_was_missed(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(bench, "MODULES", ("slow",))
    monkeypatch.setattr(
        bench, "load", lambda name: SimpleNamespace(ROWS=(FASTER,), measure=lambda options: [measured(FASTER, 4.0)])
    )
    assert bench.main([]) == 1
    assert f"targets missed:\n  {FASTER.key}" in capsys.readouterr().out


def test_higher_loss_on_held_out_rows_is_a_fault_and_a_lower_one_is_not() -> None:
    losses = {"before": 2.0, "ours": 1.53, "near": 1.51, "far": 1.49}
    assert training.judge(losses, "near") == ""
    assert training.judge(losses, "far") == "held-out loss +2.7%"
    assert training.judge({**losses, "ours": 1.2}, "far") == ""


def test_epochs_after_the_first_are_counted_from_its_last_step() -> None:
    run = Trained(10.0, 0, Path(), 0.0, ((0.5, 3.0), (1.0, 6.0), (1.5, 8.0), (2.0, 10.0)))
    assert quick_tuning.seconds_after_first(run) == 4.0


def test_prediction_is_as_far_off_below_as_above() -> None:
    assert prediction.off(8.0, 10.0) == prediction.off(10.0, 8.0) == 1.25


def test_rows_are_those_of_a_file_or_real_sentences_with_as_many_words_as_alpaca_has(tmp_path: Path) -> None:
    rows = [{"instruction": f"Say {number}.", "input": "", "output": f"{number}."} for number in range(5)]
    file = tmp_path / "rows.json"
    file.write_text(json.dumps(rows))
    assert corpora.make_rows(3, file) == rows[:3]
    made = corpora.make_rows(200)
    assert made == corpora.make_rows(200)
    words = sorted(len(row["output"].split()) for row in made)
    assert 60 < words[100] < 130
    assert words[-1] <= 400


def count_letters(text: str) -> dict[str, int]:
    """Called in a process of its own."""
    return {"letters": len(text)}


def test_function_runs_in_a_process_of_its_own_and_its_memory_is_told(tmp_path: Path) -> None:
    found = call(count_letters, tmp_path, text="four")
    assert found["letters"] == 4
    assert found["peak_bytes"] > 1e6
    with pytest.raises(RuntimeError, match="unexpected keyword"):
        call(count_letters, tmp_path, letters=4)


RIVALS = {
    "sft": ("decoder", "chat", rivals.train_sft, {"bf16": False, "max_length": 64}),
    "sft at its best": ("decoder", "chat", rivals.train_sft, {**rivals.BEST, "max_length": 64}),
    "dpo": ("decoder", "preference", rivals.train_dpo, {"bf16": False, "max_length": 64}),
    "summaries": ("encoder-decoder", "summary", rivals.train_summaries, {}),
    "spans": ("encoder", "span", rivals.train_spans, {}),
}


@pytest.mark.parametrize("name", RIVALS)
def test_rival_trains_the_rows_that_we_train_and_leaves_its_weights(tmp_path: Path, name: str) -> None:
    architecture, shape, train, settings = RIVALS[name]
    base = tiny.WRITERS[architecture](tmp_path / "base")
    rows = [row for row in tiny.user_rows(shape, 9) if row.get("answers", {"text": True})["text"]]
    file = tiny.write_jsonl(tmp_path / "rows.jsonl", rows)
    steps = {"per_device_train_batch_size": 2, "max_steps": 2}
    found = train(str(base), str(file), {**settings, **steps}, str(tmp_path / "out"))
    assert found["seconds"] > 0
    assert found["peak_bytes"] > 1e6
    assert [*(tmp_path / "out").glob("*.safetensors")]


def test_rows_that_trl_packs_at_its_best_do_not_see_each_other() -> None:
    model = tiny.model(**rivals.BEST_MODEL).train()
    draw = torch.Generator().manual_seed(0)
    first, second = (torch.randint(4, model.config.vocab_size, (1, size), generator=draw) for size in (20, 15))
    packed = {
        "input_ids": torch.cat([first, second], 1),
        "position_ids": torch.cat([torch.arange(20), torch.arange(15)])[None],
    }
    logits = model(**packed, use_cache=False).logits  # as its trainer calls it
    torch.testing.assert_close(logits[:, 20:], model(input_ids=second, use_cache=False).logits, atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("settings", [*prediction.RECIPES.values(), quick_tuning.QUICK], ids=str)
def test_what_is_predicted_and_what_is_tuned_are_recipes(tmp_path: Path, settings: dict[str, Any]) -> None:
    recipe = Recipe().with_settings(training.recipe_for(tmp_path, **settings))
    assert check(prediction.write_longest(tmp_path / "rows.jsonl", settings), recipe.task).ok


@pytest.mark.parametrize("make", [stock_trainers.make_dpo, stock_trainers.make_spans, stock_trainers.make_long])
def test_what_the_stock_trainers_train_is_a_recipe_with_its_rows(tmp_path: Path, make: Any) -> None:
    work = make(stock_trainers.Texts(None))
    recipe = Recipe().with_settings(training.recipe_for(tmp_path, base_model=work.base, **work.recipe))
    assert check(tiny.write_jsonl(tmp_path / "rows.jsonl", work.rows), recipe.task).ok


def test_rows_for_the_stock_trainers_are_such_as_a_user_brings() -> None:
    texts = stock_trainers.Texts(None)
    spans, dpo, long = (
        make(texts).rows for make in (stock_trainers.make_spans, stock_trainers.make_dpo, stock_trainers.make_long)
    )
    for row in spans:
        (start,), (text,) = row["answers"]["answer_start"], row["answers"]["text"]
        assert row["context"][start : start + len(text)] == text
    assert all(row["chosen"] != row["rejected"] for row in dpo)
    assert min(len(row["response"].split()) for row in long) == 2000


def test_readme_shows_the_figures_of_the_last_release() -> None:
    page, stored = readme.FILE.read_text(encoding="utf-8"), results.read()
    assert readme.MARKED.search(page)
    assert readme.put_in(page, stored) == page


def test_figures_in_the_readme_say_what_was_missed(tmp_path: Path) -> None:
    row = training.BEST
    results.write([summarise(row, [6.0, 8.0], [2.0, 4.0], "held-out loss +3.0%")], MACHINE, tmp_path / "results.json")
    drawn = readme.draw(results.read(tmp_path / "results.json"))
    assert f"| {row.name} | {row.rival} | 2.50 (2.00 to 3.00), missed: held-out loss +3.0% | ≥ 4 |" in drawn


def test_readme_has_a_column_for_each_machine_and_rows_that_only_one_measured(tmp_path: Path) -> None:
    file = tmp_path / "results.json"
    results.write([measured(FASTER, 6.0)], replace(MACHINE, processor="Older"), file)
    results.write([measured(SHORTER, 3.0)], MACHINE, file)
    drawn = readme.draw(results.read(file))
    assert "| what | beside | Some processor | Older | target |\n|---|---|---|---|---|\n" in drawn
    assert f"| {FASTER.name} | {FASTER.rival} | - | 6.00 | ≥ 5 |" in drawn
    assert f"| {SHORTER.name} | {SHORTER.rival} | 3.00 | - | ≤ 4 |" in drawn
