"""Runs that train only the top layers read what the layers below make of each row from a file: the same values as
computed, the same curve after a pause, and nothing is read that was not made of exactly this."""

from __future__ import annotations

import contextlib
import os
import stat
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

from modelforge import Forge, paths
from modelforge.compute.compute import Compute
from modelforge.compute.decoders.frozen_layers import compute_below, find_cut, is_output
from modelforge.compute.fused import fused_lora, fused_norms
from modelforge.compute.tune import unwrap
from modelforge.store import RunState
from modelforge.training import stored_output
from modelforge.training.callback import RunStopped
from modelforge.training.frozen_layers import stored_frozen_layers
from modelforge.training.stored_output import Rows, make_room
from tests import tiny

Build = Callable[..., Any]
LAYERS = 5
UNEVEN = [{"messages": tiny.messages(f"Number {n}?", "red lamp " * (1 + 4 * (n % 5)))} for n in range(20)]
BFLOAT16 = Compute("cpu", "bfloat16", False, (), weights="bfloat16")


class Events(list[dict[str, Any]]):
    def emit(self, kind: str, **values: Any) -> None:
        self.append({"type": kind, **values})

    def of(self, kind: str) -> list[dict[str, Any]]:
        return [event for event in self if event["type"] == kind]


def stay() -> None:
    """Neither Stop nor Pause is pressed."""


@pytest.fixture
def quick(build: Build) -> Build:
    """A trainer of the top two of five layers, that reads each row more than once."""

    def make(settings: dict[str, Any] | None = None, *, model: Any = None, **more: Any) -> Any:
        given = {"tuning.top_layers": 2, "max_steps": 12, "eval_split": 0.2, **(settings or {})}
        return build(given, **{"model": model or tiny.model(num_hidden_layers=LAYERS), "rows": UNEVEN, **more})

    return make


@contextlib.contextmanager
def stored(trainer: Any) -> Iterator[Events]:
    events = Events()
    with fused_lora(trainer.model), fused_norms(trainer.model), stored_frozen_layers(trainer, events.emit, stay):
        yield events


def files() -> list[Path]:
    return sorted(stored_output.folder().glob("*"))


def randomise(trainer: Any) -> None:
    """An adapter starts with zeros, behind which half of its gradients would be zero too."""
    generator = torch.Generator().manual_seed(1)
    for part in trainer.model.parameters():
        if part.requires_grad and part.dim() == 2:
            part.data = part.data + 0.05 * torch.randn(part.shape, generator=generator)


def learn(trainer: Any, rows: list[dict[str, Any]]) -> tuple[float, dict[str, torch.Tensor]]:
    """The loss of a batch, and the gradients."""
    batch = trainer.data_collator(rows)
    trainer.model.zero_grad()
    loss = trainer.compute_loss(trainer.model, batch)
    loss.backward()
    gradients = {name: part.grad.clone() for name, part in trainer.model.named_parameters() if part.grad is not None}
    return float(loss.detach()), gradients


def compare(trainer: Any, tolerance: float) -> None:
    randomise(trainer)
    trainer.model.train()
    rows = list(trainer.train_dataset)
    batches = [rows[:1], rows[:3], rows[3:8], [rows[0], max(rows, key=lambda row: len(row["input_ids"]))]]
    with fused_lora(trainer.model), fused_norms(trainer.model):
        expected = [learn(trainer, batch) for batch in batches]
    with stored(trainer) as events:
        found = [learn(trainer, batch) for batch in batches]
    assert [event["layers"] for event in events.of("stored")] == [LAYERS - 2] and not events.of("warning")
    for (loss, gradients), (wanted, wanted_gradients) in zip(found, expected, strict=True):
        assert loss == pytest.approx(wanted, rel=tolerance)
        assert gradients.keys() == wanted_gradients.keys() and gradients
        for name, gradient in wanted_gradients.items():
            assert gradient.norm() > 0, name
            assert (gradients[name] - gradient).norm() <= tolerance * gradient.norm(), name


@pytest.mark.parametrize(
    "settings",
    [
        {},
        {"tuning.target_modules": "q_proj,v_proj"},
        {"tuning.use_dora": True},
        {"tuning.type": "full"},
        {"gradient_accumulation_steps": 2},
    ],
    ids=str,
)
def test_loss_and_gradients_are_those_of_the_plain_computation(quick: Build, settings: dict[str, Any]) -> None:
    compare(quick(settings), 1e-4)


def test_loss_and_gradients_are_the_same_with_gradient_checkpointing(quick: Build) -> None:
    compare(quick(compute=Compute("cpu", "float32", True, ())), 1e-4)


def test_loss_and_gradients_in_bfloat16_differ_by_rounding(quick: Build) -> None:
    model = tiny.model(num_hidden_layers=LAYERS).to(torch.bfloat16)
    compare(quick(model=model, compute=BFLOAT16), 3e-2)


def test_rounding_of_many_layers_in_bfloat16_is_not_taken_for_a_fault(quick: Build) -> None:
    model = tiny.model(num_hidden_layers=30, initializer_range=0.3).to(torch.bfloat16)
    with stored(quick({"tuning.top_layers": 10}, model=model, compute=BFLOAT16)) as events:
        assert [event["layers"] for event in events.of("stored")] == [20]


@pytest.mark.parametrize("family", ["Gemma", "Qwen2", "GPT2", "GPTNeoX", "Mistral"])
def test_other_families_continue_from_the_cut_too(quick: Build, family: str) -> None:
    import transformers

    given = {name: value for name, value in tiny.config(num_hidden_layers=LAYERS).to_dict().items() if name in KNOWN}
    config = getattr(transformers, f"{family}Config")(**given)
    for name in ("resid_pdrop", "embd_pdrop", "attn_pdrop"):
        setattr(config, name, 0.0)
    torch.manual_seed(0)
    compare(quick(model=getattr(transformers, FAMILIES.get(family, f"{family}ForCausalLM"))(config)), 1e-4)


KNOWN = {
    *("vocab_size", "hidden_size", "intermediate_size", "num_hidden_layers", "num_attention_heads"),
    *("num_key_value_heads", "max_position_embeddings", "eos_token_id", "pad_token_id", "bos_token_id"),
}
FAMILIES = {"GPT2": "GPT2LMHeadModel"}


def test_layers_below_are_computed_once_for_training_and_evaluations(quick: Build) -> None:
    trainer = quick()
    calls = {number: 0 for number in range(LAYERS)}

    def count(number: int) -> Callable[..., None]:
        def add(*_: Any) -> None:
            calls[number] += 1

        return add

    for number, layer in enumerate(unwrap(trainer.model).model.layers):
        layer.mlp.register_forward_hook(count(number))
    with stored(trainer):
        before = dict(calls)
        trainer.train()
        trainer.evaluate()
    assert [calls[number] - before[number] for number in range(LAYERS - 2)] == [0] * (LAYERS - 2)
    assert calls[LAYERS - 1] - before[LAYERS - 1] > 12


def test_training_takes_the_same_course(quick: Build) -> None:
    curves = []
    for is_stored in (True, False):
        trainer = quick()
        with stored(trainer) if is_stored else fused_lora(trainer.model):
            trainer.train()
            evaluated = trainer.evaluate()["eval_loss"]
        losses = [entry["loss"] for entry in trainer.state.log_history if "loss" in entry]
        assert len(losses) == 12
        curves.append([*losses, evaluated])
    assert curves[0] == pytest.approx(curves[1], rel=1e-3)


def test_answers_during_training_come_from_the_whole_model(quick: Build) -> None:
    trainer = quick()
    ids = torch.tensor([list(trainer.train_dataset[0]["input_ids"])])
    with torch.no_grad():
        expected = trainer.model(input_ids=ids).logits
    with stored_frozen_layers(trainer, Events().emit, stay):
        learn(trainer, [trainer.train_dataset[1]])
        with torch.no_grad():
            assert torch.equal(trainer.model(input_ids=ids).logits, expected)
    assert trainer.cut is None and "below" not in trainer.data_collator([trainer.train_dataset[0]])


@pytest.mark.parametrize(
    ("settings", "model"),
    [
        ({"tuning.top_layers": 0}, {}),
        ({"tuning.top_layers": LAYERS}, {}),
        ({"max_steps": 1}, {}),
        ({"max_steps": 0, "num_train_epochs": 1}, {}),
        ({"tuning.type": "full"}, {"tie_word_embeddings": False}),  # the output matrix is trained too: TRL's loss
    ],
    ids=str,
)
def test_nothing_is_stored_where_it_would_not_be_read_again(
    quick: Build, settings: dict[str, Any], model: dict[str, Any]
) -> None:
    with stored(quick(settings, model=tiny.model(num_hidden_layers=LAYERS, **model))) as events:
        assert events == []
    assert not stored_output.folder().exists()


def warning_of(trainer: Any) -> str:
    with stored(trainer) as events:
        trainer.train()
    assert not events.of("stored") and files() == []
    return str(events.of("warning")[0]["message"])


def test_dropout_below_the_cut_is_reported_and_stays(quick: Build) -> None:
    model = tiny.model(num_hidden_layers=LAYERS, attention_dropout=0.1)
    assert "dropout below the layers" in warning_of(quick(model=model))


def test_dropout_of_the_adapter_is_above_the_cut(quick: Build) -> None:
    with stored(quick({"tuning.lora_dropout": 0.1})) as events:
        assert len(events.of("stored")) == 1


def test_file_above_the_limit_is_not_written(quick: Build, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stored_output, "MOST_STORED_BYTES", 1000)
    assert "GB of disk, more than" in warning_of(quick())


def test_file_that_would_fill_the_disk_is_not_written(quick: Build, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stored_output, "_MOST_OF_FREE", 0.0)
    assert "GB are free" in warning_of(quick())


@pytest.mark.parametrize(
    ("otherwise", "reason"), [(0.0, "not called one after another"), (None, "cannot be computed separately")]
)
def test_layers_that_depend_on_each_other_are_computed_as_always(
    quick: Build, otherwise: float | None, reason: str
) -> None:
    """The last layer adds what the first one has computed, as in some architectures."""
    trainer = quick()
    layers = unwrap(trainer.model).model.layers
    seen: dict[str, Any] = {}
    layers[0].mlp.register_forward_hook(lambda part, given, output: seen.update(first=output))
    layers[-1].mlp.register_forward_hook(lambda part, given, output: output + seen.pop("first", otherwise))
    assert reason in warning_of(trainer)


def test_file_is_private_and_of_the_size_that_was_counted(quick: Build) -> None:
    with stored(quick()) as events:
        (file,) = files()
    (event,) = events.of("stored")
    assert file.stat().st_size == event["bytes"] == event["tokens"] * 32 * 4
    assert event["rows"] == len(UNEVEN) and not event["reused"]
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert stat.S_IMODE(file.parent.stat().st_mode) == 0o700


def test_next_run_on_the_same_rows_reads_the_same_file(quick: Build) -> None:
    with stored(quick()):
        (file,) = files()
    made = file.stat().st_mtime_ns, file.read_bytes()
    with stored(quick(learning_rate=0.1, max_steps=30)) as events:
        assert [event["reused"] for event in events.of("stored")] == [True]
    assert files() == [file] and file.read_bytes() == made[1]


@pytest.mark.parametrize("change", ["rows", "cut", "weights", "config", "format"])
def test_another_file_is_made_for_other(quick: Build, change: str) -> None:
    with stored(quick()):
        (first,) = files()
    model = tiny.model(num_hidden_layers=LAYERS, **({"rope_theta": 500.0} if change == "config" else {}))
    if change == "weights":
        model.model.layers[0].mlp.up_proj.weight.data[0, 0] += 1e-3
    if change == "format":
        model = model.to(torch.bfloat16)
    other: dict[str, Any] = {"rows": UNEVEN[1:]} if change == "rows" else {}
    settings = {"tuning.top_layers": 3} if change == "cut" else {}
    trainer = quick(settings, model=model, **other, **({"compute": BFLOAT16} if change == "format" else {}))
    with stored(trainer) as events:
        assert [event["reused"] for event in events.of("stored")] == [False]
        assert len(files()) == 2 and first in files()


def test_trained_weights_do_not_change_the_file(quick: Build) -> None:
    with stored(quick()):
        (file,) = files()
    trainer = quick({"tuning.r": 4})
    randomise(trainer)
    with stored(trainer):
        assert files() == [file]


@pytest.mark.parametrize("damage", ["other numbers", "half of it"])
def test_file_with_other_content_is_made_again(quick: Build, damage: str) -> None:
    with stored(quick()):
        (file,) = files()
    whole = file.read_bytes()
    file.write_bytes(whole[: len(whole) // 2] if damage == "half of it" else whole[::-1])
    with stored(quick()) as events:
        assert [event["reused"] for event in events.of("stored")] == [False]
        assert file.read_bytes() == whole


def test_stop_while_it_is_stored_leaves_nothing_behind(quick: Build) -> None:
    def stop() -> None:
        raise RunStopped

    trainer = quick()
    with pytest.raises(RunStopped), stored_frozen_layers(trainer, Events().emit, stop):
        pass
    assert files() == [] and trainer.cut is None


def test_oldest_files_are_removed_first(quick: Build) -> None:
    kept = []
    for top in (1, 2, 3):
        with stored(quick({"tuning.top_layers": top})):
            kept.append(next(file for file in files() if file not in kept))
    for age, file in enumerate(reversed(kept)):
        os.utime(file, (1000 - age, 1000 - age))
    size = kept[0].stat().st_size
    make_room(2 * size)
    assert files() == sorted(kept[1:])
    make_room(0, kept=kept[1])
    assert files() == [kept[1]]


def test_rows_are_found_whatever_their_order_and_the_same_row_is_stored_once() -> None:
    rows = Rows([[1, 2, 3], [4], [1, 2, 3], [5, 6]])
    assert rows.tokens == 6
    assert [rows.find(row) for row in ([4], [5, 6], [1, 2, 3])] == [0, 1, 3]
    assert [list(map(len, batch)) for batch in rows.batches(4)] == [[1, 2], [3]]
    with pytest.raises(KeyError):
        rows.find([7])


@pytest.mark.parametrize("keeps_file", [True, pytest.param(False, marks=pytest.mark.slow)])
def test_paused_run_resumes_to_the_same_end(probed: Path, tmp_path: Path, keeps_file: bool) -> None:
    base = tiny.write_base(tmp_path / "base", num_hidden_layers=LAYERS)
    file = tiny.write_rows(tmp_path / "colours.jsonl", tiny.PAIRS[:24])
    settings = {"tuning.top_layers": 2, "max_steps": 12, "evaluations": 2, "learning_rate": 1e-2, "eval_split": 0.25}
    forge = Forge()
    whole = forge.runs.start(tiny.recipe(base, file, settings))
    whole.wait(60)
    run = forge.runs.start(tiny.recipe(base, file, settings))
    for event in run.events():
        if event["type"] == "progress" and event["step"] == 5:
            run.pause()
    assert run.wait(60) is RunState.paused
    if not keeps_file:
        make_room(0)
    again = Forge().runs.resume(run.id)
    assert again.wait(60) is RunState.finished
    assert [event["reused"] for event in again.events() if event["type"] == "stored"] == [True, keeps_file]
    curves = [
        {event["step"]: event["loss"] for event in each.events() if event["type"] == "progress"}
        for each in (whole, again)
    ]
    assert curves[0] == curves[1]
    assert again.record.metrics == whole.record.metrics
    weights = [
        (paths.model_dir(each.record.model_id) / "adapter_model.safetensors").read_bytes() for each in (whole, again)
    ]
    assert weights[0] == weights[1]


def test_cut_is_below_the_lowest_trained_layer(quick: Build) -> None:
    trainer = quick()
    cut = find_cut(trainer.model)
    assert cut is not None
    assert (len(cut.lower), len(cut.upper)) == (LAYERS - 2, 2)
    unwrap(trainer.model).model.embed_tokens.weight.requires_grad_(True)
    assert find_cut(trainer.model) is None


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_numbers_of_another_row_are_not_taken_for_rounding(quick: Build, dtype: str) -> None:
    trainer = quick(model=tiny.model(num_hidden_layers=LAYERS).to(getattr(torch, dtype)))
    cut = find_cut(trainer.model)
    assert cut is not None
    ids, others = torch.arange(3, 33)[None], torch.arange(43, 73)[None]
    assert is_output(cut, ids, compute_below(cut, torch.cat([others, ids]))[1:])
    assert not is_output(cut, ids, compute_below(cut, others))


def test_batch_is_computed_as_accurately_from_stored_numbers_as_beside_other_rows(quick: Build) -> None:
    """In bfloat16 a row differs by its neighbours, and no more than that by what is stored."""
    trainer = quick(model=tiny.model(num_hidden_layers=LAYERS).to(torch.bfloat16), compute=BFLOAT16)
    row = max(trainer.train_dataset, key=lambda each: len(each["input_ids"]))
    ids = torch.tensor([row["input_ids"]])
    body = unwrap(trainer.model).base_model
    with torch.no_grad(), trainer.accelerator.autocast():
        alone = body(input_ids=ids).last_hidden_state.float()
        beside = body(input_ids=torch.cat([ids, ids.flip(1), ids.roll(5, 1)])).last_hidden_state[:1].float()
    with stored(trainer), torch.no_grad(), trainer.accelerator.autocast():
        batch = trainer.data_collator([row])
        with trainer.continued(batch):
            found = body(input_ids=batch["input_ids"]).last_hidden_state[:, : ids.shape[1]].float()
    assert (found - alone).norm() <= max(2 * float((beside - alone).norm()), 0.02 * float(alone.norm()))
