"""Supervised fine-tuning as it really happens: TRL's trainer on a tiny Llama, no part of it replaced."""

from __future__ import annotations

import math
import random
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
import trl
from safetensors.torch import load_file
from torch.nn import functional
from transformers import TrainerState

from modelforge import hardware, paths, recipe
from modelforge.compute.compute import Compute
from modelforge.compute.fused import fused_lora
from modelforge.compute.tune import unwrap
from modelforge.data.split import split
from modelforge.errors import RunawayError, TrainingError
from modelforge.models.folder import read_manifest
from modelforge.recipe import Recipe
from modelforge.tasks.summarization import INSTRUCTION
from modelforge.training.arguments import common_arguments
from modelforge.training.examples import Examples, encode_examples
from modelforge.training.methods import sft_decoder
from modelforge.training.run import Job, train
from modelforge.training.saving import BestCallback, SavingCallback
from tests import tiny
from tests.machine import live_in

Build = Callable[..., Any]
LONG = "The lamp of house 0 is red and the boat of house 1 is blue and the door of house 2 is green. " * 2


def losses(trainer: Any) -> list[float]:
    return [entry["loss"] for entry in trainer.state.log_history if "loss" in entry]


def encode(rows: Any, recipe: Recipe, tokenizer: Any = None) -> Examples:
    return encode_examples(rows, sft_decoder.make_encoder(tokenizer or tiny.tokenizer(), recipe, tiny.config()), recipe)


def run_training(trainer: Any) -> list[float]:
    with fused_lora(trainer.model):
        trainer.train()
    return losses(trainer)


def uneven_rows() -> list[dict[str, Any]]:
    """Answers of very different lengths, so that a mean of batch means is not the mean over tokens."""
    return [{"messages": tiny.messages(f"Number {n}?", "red lamp " * (1 + 4 * (n % 5)))} for n in range(20)]


def test_trainer_is_trls_own(build: Build) -> None:
    assert isinstance(build(), trl.SFTTrainer)


@pytest.mark.parametrize("checkpointing", [False, True])
def test_every_adapter_weight_changes_and_no_base_weight_does(build: Build, checkpointing: bool) -> None:
    trainer = build(compute=Compute("cpu", "float32", checkpointing, ()))
    before = {name: part.detach().clone() for name, part in trainer.model.named_parameters()}
    run_training(trainer)
    after = dict(trainer.model.named_parameters())
    adapter = [name for name in before if "lora_" in name]
    assert len(adapter) == 2 * 7 * 2  # A and B of seven matrices in two layers
    for name, part in before.items():
        same = torch.equal(part, after[name])
        assert same is ("lora_" not in name), f"{name} {'did not change' if same else 'changed'}"
    assert {name for name, part in after.items() if part.requires_grad} == set(adapter)


def test_saved_adapter_is_the_trained_one_and_holds_every_layer(probed: Path, base: Path, tmp_path: Path) -> None:
    wanted = tiny.recipe(base, "", max_steps=2, seed=5)
    result = train(Job("run-0", wanted, tiny.rows(), {}, tmp_path, lambda *_, **__: None, lambda: False))
    assert result.model_id is not None
    saved = load_file(paths.model_dir(result.model_id) / "adapter_model.safetensors")
    assert len(saved) == 2 * 7 * 2
    assert all(part.abs().sum() > 0 for part in saved.values())  # B starts as zeros: it was saved after training


def test_prompt_and_padding_carry_no_loss(build: Build) -> None:
    tokenizer = tiny.tokenizer()
    rows = [{"messages": tiny.messages("Short?", "red.")}, {"messages": tiny.messages(LONG, LONG)}]
    trainer = build(rows=rows, eval_split=0, max_length=512)
    batch = next(iter(trainer.get_train_dataloader()))
    assert batch["input_ids"].shape == batch["labels"].shape
    for ids, labels in zip(batch["input_ids"].tolist(), batch["labels"].tolist(), strict=True):
        answer = [token for token, label in zip(ids, labels, strict=True) if label != -100]
        assert all(label in (-100, token) for token, label in zip(ids, labels, strict=True))
        assert tokenizer.decode(answer) in (f"red.{tokenizer.eos_token}", f"{LONG}{tokenizer.eos_token}")
        if 0 in ids:  # the pad token's id
            assert set(labels[ids.index(0) :]) == {-100}


def test_labels_end_with_the_end_of_text_token() -> None:
    tokenizer = tiny.tokenizer()
    examples = encode(tiny.rows(), Recipe(), tokenizer)
    for row in [*examples.train, *examples.evaluation]:
        assert row["labels"][-1] == row["input_ids"][-1] == tokenizer.eos_token_id


@pytest.mark.parametrize("fused", [True, False], ids=["fused", "trl"])
def test_loss_of_a_row_depends_neither_on_the_pad_token_nor_on_its_neighbours(build: Build, fused: bool) -> None:
    losses_of_short = []
    for pad_token in ("<|pad|>", "<|other|>", "<|im_end|>"):
        for neighbour in ("", "x" * 40, LONG):
            tokenizer = tiny.tokenizer(pad_token)
            trainer = build(tokenizer=tokenizer)
            unfuse(trainer, tokenizer, fused)
            short = {"input_ids": [1, 88, 272, 85, 202, 263, 2], "labels": [-100, -100, -100, -100, -100, 263, 2]}
            ids = tokenizer(neighbour)["input_ids"]
            silent = {"input_ids": ids, "labels": [-100] * len(ids)}  # nothing is learnt from the neighbour
            batch = trainer.data_collator([short, silent] if ids else [short])
            with torch.no_grad():
                losses_of_short.append(float(trainer.compute_loss(trainer.model, dict(batch))))
    assert losses_of_short == pytest.approx([losses_of_short[0]] * len(losses_of_short), abs=1e-5)


def unfuse(trainer: Any, tokenizer: Any, fused: bool = False) -> None:
    """Let a trainer compute its loss as TRL does, from batches as TRL makes them."""
    if not fused:
        from trl.trainer.sft_trainer import DataCollatorForLanguageModeling

        trainer.fused = False
        trainer.data_collator = DataCollatorForLanguageModeling(pad_token_id=tokenizer.pad_token_id)


@pytest.mark.parametrize("accumulated", [1, 2])
def test_fused_loss_trains_as_trls_own(build: Build, accumulated: int) -> None:
    settings = {"max_steps": 6, "gradient_accumulation_steps": accumulated, "eval_split": 0.2}
    runs = []
    for fused in (True, False):
        trainer = build(settings, rows=uneven_rows())
        assert trainer.fused
        unfuse(trainer, tiny.tokenizer(), fused)
        if fused:
            run_training(trainer)
        else:
            trainer.train()
        runs.append((losses(trainer), trainer.evaluate()["eval_loss"], trainer.state.num_input_tokens_seen))
    (ours, our_evaluation, _), (theirs, their_evaluation, _) = runs
    assert len(ours) == 6
    assert ours == pytest.approx(theirs, abs=1e-4)
    assert our_evaluation == pytest.approx(their_evaluation, abs=1e-4)


@pytest.mark.parametrize(
    "settings", [{}, {"tuning.type": "full", "tuning.top_layers": 1}, {"tuning.type": "full"}], ids=str
)
def test_fault_12_float32_weights_are_multiplied_in_bfloat16_where_that_was_decided(
    build: Build, settings: dict[str, Any]
) -> None:
    compute = Compute("cpu", "bfloat16", False, (), weights="float32")
    trainer = build(settings, compute=compute, max_steps=2)
    found: dict[str, set[torch.dtype]] = {}

    def note(name: str, output: Any) -> None:
        found.setdefault(name, set()).add(output.dtype)

    for name, part in unwrap(trainer.model).model.named_modules():
        if name.endswith("_proj"):
            part.register_forward_hook(lambda part, given, output, name=name: note(name, output))
    assert run_training(trainer)
    assert len(found) == 14
    assert set().union(*found.values()) == {torch.bfloat16}
    assert {part.dtype for part in trainer.model.parameters()} == {torch.float32}


@pytest.mark.parametrize("changes", [{"attention_bias": True}, {"tie_word_embeddings": False}])
def test_loss_is_the_cross_entropy_of_the_answers(build: Build, changes: dict[str, Any]) -> None:
    trainer = build(model=tiny.model(**changes), eval_split=0)
    batch = next(iter(trainer.get_train_dataloader()))
    logits = trainer.model(input_ids=batch["input_ids"]).logits[:, :-1]
    wanted = functional.cross_entropy(logits.flatten(0, 1), batch["labels"][:, 1:].flatten(), ignore_index=-100)
    with fused_lora(trainer.model):
        assert trainer.compute_loss(trainer.model, batch).item() == pytest.approx(wanted.item(), abs=1e-5)


@pytest.mark.parametrize("batch_size", [1, 2, 3, 16])
def test_evaluation_loss_is_the_mean_over_all_answer_tokens(build: Build, batch_size: int) -> None:
    trainer = build(rows=uneven_rows(), eval_split=0.4, per_device_train_batch_size=batch_size)
    total, tokens = 0.0, 0
    for row in trainer.eval_dataset:
        with torch.no_grad():
            logits = trainer.model(input_ids=torch.tensor([row["input_ids"]])).logits[0, :-1]
        labels = torch.tensor(row["labels"][1:])
        total += float(functional.cross_entropy(logits, labels, ignore_index=-100, reduction="sum"))
        tokens += int((labels != -100).sum())
    assert trainer.evaluate()["eval_loss"] == pytest.approx(total / tokens, abs=1e-5)


def test_four_batches_are_evaluated_as_one(build: Build) -> None:
    trainer = build(per_device_train_batch_size=2, eval_split=0.5)
    sizes = [len(batch["input_ids"]) for batch in trainer.get_eval_dataloader()]
    assert sum(sizes) == len(trainer.eval_dataset) and max(sizes) == 8
    assert len(next(iter(trainer.get_train_dataloader()))["input_ids"]) == 2


def test_loss_falls_on_something_that_can_be_learnt(build: Build) -> None:
    trainer = build(max_steps=25, per_device_train_batch_size=8, learning_rate=3e-2, lr_scheduler_type="cosine")
    found = run_training(trainer)
    assert len(found) == 25
    assert sum(found[-3:]) / 3 < found[0] / 2


def test_same_seed_gives_the_same_losses_and_another_seed_others(build: Build) -> None:
    first, again, other = (run_training(build(seed=seed, rows=uneven_rows())) for seed in (3, 3, 4))
    assert first == again
    assert first != other


def test_accumulated_batches_train_as_one_large_batch(build: Build, monkeypatch: pytest.MonkeyPatch) -> None:
    in_order = torch.utils.data.SequentialSampler(range(18))  # grouping by length depends on the batch size
    monkeypatch.setattr(sft_decoder.AnswerTrainer, "_get_train_sampler", lambda *_: in_order)
    rows = uneven_rows()
    large = build(rows=rows, per_device_train_batch_size=4, max_steps=4, min_eval_rows=0)
    assert len(large.train_dataset) == 18
    expected = run_training(large)
    small = build(rows=rows, per_device_train_batch_size=2, gradient_accumulation_steps=2, max_steps=4, min_eval_rows=0)
    assert run_training(small) == pytest.approx(expected, abs=1e-5)
    assert small.state.global_step == 4
    for (name, one), other in zip(large.model.named_parameters(), small.model.parameters(), strict=True):
        assert torch.allclose(one, other, atol=1e-4), name


@pytest.mark.parametrize("evaluations", [1, 2, 3, 4, 10, 49, 75, 100])
def test_evaluations_are_spread_evenly_over_any_number_of_steps(evaluations: int) -> None:
    wanted, examples = Recipe(evaluations=evaluations), Examples([{}], [], [], 0, 0, 0)
    share = common_arguments(wanted, Compute("cpu", "float32", False, ()), Path("unused"), examples)["eval_steps"]
    arguments, state = SimpleNamespace(eval_steps=share, logging_steps=None, save_steps=None), TrainerState()
    for steps in range(1, 3000):
        state.compute_steps(arguments, steps)
        assert state.eval_steps == -(-steps // evaluations), steps


def test_examples_that_are_cut_or_lose_their_answer_are_counted_and_told() -> None:
    rows = [
        {"messages": tiny.messages("Short?", "red.")},
        {"messages": tiny.messages("Long?", LONG)},
        {"messages": tiny.messages(LONG, "red.")},
    ]
    examples = encode(rows, Recipe().with_settings({"max_length": 40, "eval_split": 0}))
    assert len(examples.train) == 2
    assert (examples.cut_rows, examples.left_out) == (2, 1)
    assert examples.cut_tokens > 0
    assert [line.startswith(("Cut 2", "Left out 1")) for line in examples.warnings[:2]] == [True, True]
    assert "held out" in examples.warnings[-1]


def test_nothing_left_to_train_on_is_refused_with_the_setting_to_change() -> None:
    with pytest.raises(TrainingError) as caught:
        encode([{"messages": tiny.messages(LONG, "red.")}], Recipe(max_length=8))
    assert caught.value.where == "setting max_length"


# ---- events of a whole run -------------------------------------------------------------------------------------


@dataclass
class Seen:
    """What one run let out: its events, and the trainer and examples it was made of."""

    events: list[dict[str, Any]] = field(default_factory=list)
    built: dict[str, Any] = field(default_factory=dict)
    manifest: dict[str, Any] = field(default_factory=dict)
    record: Any = None
    dataset: Any = None

    @property
    def args(self) -> Any:
        return self.built["trainer"].args

    @property
    def lora(self) -> Any:
        return self.built["trainer"].model.peft_config["default"]

    @property
    def adapted(self) -> dict[str, Any]:
        """The layers that got an adapter, by name."""
        modules = self.built["trainer"].model.named_modules()
        return {name: layer for name, layer in modules if hasattr(layer, "lora_A")}

    def callback(self, kind: type) -> Any:
        [found] = [each for each in self.built["trainer"].callback_handler.callbacks if isinstance(each, kind)]
        return found

    def of(self, type: str) -> list[dict[str, Any]]:
        return [event for event in self.events if event["type"] == type]


def follow(
    wanted: Recipe, rows: list[dict[str, Any]], folder: Path, eval_rows: list[dict[str, Any]] | None = None
) -> list[dict[str, Any]]:
    events: list[dict[str, Any]] = []
    emit = lambda type, **fields: events.append({"type": type, **fields})  # noqa: E731
    train(Job("run-0", wanted, rows, {}, folder, emit, lambda: False, eval_rows=eval_rows))
    return events


@pytest.mark.slow
@pytest.mark.parametrize(
    ("steps", "evaluations", "expected"),
    [
        (8, 4, [0, 2, 4, 6, 8]),
        (7, 4, [0, 2, 4, 6, 7]),  # never more often than asked for, and always at the end
        (3, 100, [0, 1, 2, 3]),
        (5, 1, [0, 5]),
    ],
)
def test_held_out_loss_is_measured_at_the_start_during_and_at_the_end(
    probed: Path, base: Path, tmp_path: Path, *, steps: int, evaluations: int, expected: list[int]
) -> None:
    wanted = tiny.recipe(base, "", max_steps=steps, evaluations=evaluations)
    events = follow(wanted, tiny.rows(), tmp_path, tiny.rows(20)[16:])
    measured = [event for event in events if event["type"] == "evaluated"]
    assert [event["step"] for event in measured] == expected
    assert all(event["perplexity"] == pytest.approx(math.exp(event["eval_loss"])) for event in measured)
    progress = [event for event in events if event["type"] == "progress"]
    assert [event["step"] for event in progress] == list(range(1, steps + 1))
    assert all(event["total_steps"] == steps for event in progress)
    assert [event["learning_rate"] for event in progress] == sorted(
        (event["learning_rate"] for event in progress), reverse=True
    )


def test_nothing_is_measured_when_nothing_is_held_out(probed: Path, base: Path, tmp_path: Path) -> None:
    events = follow(tiny.recipe(base, "", eval_split=0), tiny.rows(), tmp_path)
    assert not [event for event in events if event["type"] == "evaluated"]
    assert any("held out" in event["message"] for event in events if event["type"] == "warning")


def test_tokens_of_progress_are_those_that_were_trained_on(probed: Path, base: Path, tmp_path: Path) -> None:
    wanted = tiny.recipe(base, "", max_steps=0, num_train_epochs=2, eval_split=0)
    rows = uneven_rows()
    events = follow(wanted, rows, tmp_path)
    encoded = encode(rows, wanted)
    tokens = [event["tokens"] for event in events if event["type"] == "progress"]
    assert tokens == sorted(tokens)
    assert tokens[-1] == 2 * sum(len(row["input_ids"]) for row in encoded.train)


def test_loss_that_is_no_number_ends_the_run_with_a_reason(probed: Path, tmp_path: Path) -> None:
    broken = tiny.model()
    broken.model.norm.weight.data.fill_(float("inf"))
    folder = tmp_path / "broken"
    broken.save_pretrained(folder)
    tiny.tokenizer().save_pretrained(folder)
    for eval_split in (0.0, 0.1):
        with pytest.raises(RunawayError) as caught:
            follow(tiny.recipe(folder, "", eval_split=eval_split), tiny.rows(), tmp_path)
        assert "learning_rate" in caught.value.where + caught.value.fix
    assert not list((paths.home() / "models").glob("*"))


def test_bfloat16_trains_with_adapters_in_float32(build: Build) -> None:
    trainer = build(compute=Compute("cpu", "bfloat16", False, ()), model=tiny.model().to(torch.bfloat16), max_steps=2)
    assert all(math.isfinite(loss) for loss in run_training(trainer))
    assert {part.dtype for part in trainer.model.parameters() if part.requires_grad} == {torch.float32}


# ---- every field of the recipe reaches the trainer -------------------------------------------------------------

Reached = dict[str, tuple[Any, Callable[[Seen], Any], Any]]
"""A setting -> a value that is not its default, where it must be seen once the run is over, and what must be seen."""

DECODER: Reached = {
    "name": ("Reached", lambda seen: seen.manifest["name"], "Reached"),
    "base_model": ("<base>", lambda seen: seen.manifest["base_model"].endswith("tiny"), True),
    "task": ("summarization", lambda seen: seen.of("sampled")[0]["prompt"].startswith(INSTRUCTION), True),
    "dataset": ("<dataset>", lambda seen: seen.manifest["dataset"]["name"], "reached"),
    "columns": (
        {"document": "frage", "summary": "antwort"},
        lambda seen: seen.dataset.columns,
        {"document": "frage", "summary": "antwort"},
    ),
    # What a Hub dataset consists of cannot be chosen in a file; tests/data/ fetches one.
    "dataset_config": ("main", lambda seen: seen.manifest["recipe"]["dataset_config"], "main"),
    "dataset_split": ("test", lambda seen: seen.manifest["recipe"]["dataset_split"], "test"),
    "repairs": (("strip",), lambda seen: seen.dataset.repairs.get("strip", 0) > 0, True),
    "tuning.r": (3, lambda seen: seen.lora.r, 3),
    "tuning.lora_alpha": (5.0, lambda seen: seen.lora.lora_alpha, 5.0),
    "tuning.lora_dropout": (0.25, lambda seen: seen.lora.lora_dropout, 0.25),
    "tuning.target_modules": (
        "q_proj, v_proj",
        lambda seen: {name.rpartition(".")[2] for name in seen.adapted},
        {"q_proj", "v_proj"},
    ),
    "tuning.top_layers": (1, lambda seen: {name.split(".")[-3] for name in seen.adapted}, {"1"}),  # layers 0 and 1
    "tuning.use_rslora": (
        True,
        lambda seen: {round(layer.scaling["default"], 4) for layer in seen.adapted.values()},
        {round(5 / math.sqrt(3), 4)},
    ),
    "tuning.use_dora": (
        True,
        lambda seen: all(layer.lora_magnitude_vector for layer in seen.adapted.values()),
        True,
    ),
    "num_train_epochs": (1.5, lambda seen: seen.args.num_train_epochs, 1.5),
    "max_steps": (5, lambda seen: (seen.args.max_steps, seen.record.step), (5, 5)),
    "learning_rate": (3e-3, lambda seen: seen.args.learning_rate, 3e-3),
    "lr_scheduler_type": ("cosine", lambda seen: seen.args.lr_scheduler_type.value, "cosine"),
    "warmup_steps": (
        2,
        lambda seen: [round(event["learning_rate"], 6) for event in seen.of("progress")[:3]],
        [0.0, 0.0015, 0.003],
    ),
    "weight_decay": (0.125, lambda seen: seen.built["trainer"].optimizer.param_groups[0]["weight_decay"], 0.125),
    "max_grad_norm": (0.5, lambda seen: seen.args.max_grad_norm, 0.5),
    "per_device_train_batch_size": (
        3,
        lambda seen: (seen.args.per_device_train_batch_size, seen.args.per_device_eval_batch_size),
        (3, 12),  # nothing is kept of an evaluation
    ),
    "gradient_accumulation_steps": (2, lambda seen: seen.args.gradient_accumulation_steps, 2),
    "max_length": (
        64,
        lambda seen: (seen.args.max_length, max(map(len, seen.built["trainer"].train_dataset["input_ids"]))),
        (64, 64),
    ),
    "eval_split": (0.25, lambda seen: len(seen.built["trainer"].eval_dataset), 4),
    "evaluations": (2, lambda seen: [event["step"] for event in seen.of("evaluated")], [0, 3, 5]),
    "checkpoint_minutes": (7.0, lambda seen: seen.callback(SavingCallback).seconds, 420.0),
    "save_steps": (2, lambda seen: [event["step"] for event in seen.of("checkpoint")], [2, 4]),
    "load_best_model_at_end": (False, lambda seen: seen.callback(BestCallback).keep, False),
    "early_stopping_patience": (1, lambda seen: seen.callback(BestCallback).patience, 1),
    "gradient_checkpointing": (
        "on",
        lambda seen: (seen.args.activation_checkpointing, seen.of("started")[0]["gradient_checkpointing"]),
        (True, True),
    ),
    "dtype": (
        "bfloat16",
        lambda seen: (seen.manifest["hardware"]["dtype"], str(seen.built["trainer"].model.dtype), seen.args.bf16),
        ("bfloat16", "torch.bfloat16", True),
    ),
    "attn_implementation": (
        "eager",
        lambda seen: seen.built["trainer"].model.config._attn_implementation,
        "eager",
    ),
    "optim": ("adafactor", lambda seen: type(seen.built["trainer"].optimizer.optimizer).__name__, "Adafactor"),
    "seed": (7, lambda seen: (seen.args.seed, seen.built["split"]), (7, True)),
    "verdict_metric": ("rouge1", lambda seen: seen.manifest["metrics"]["verdict"]["metric"], "rouge1"),
}

PREFERENCES: Reached = {
    "method": ("dpo", lambda seen: isinstance(seen.built["trainer"], trl.DPOTrainer), True),
    "tuning.type": (
        "qlora",
        lambda seen: {type(layer.base_layer).__name__ for layer in seen.adapted.values()},
        {"Linear4bit"},
    ),
    "dpo.beta": (0.3, lambda seen: (seen.args.beta, seen.built["trainer"].beta), (0.3, 0.3)),
    "dpo.loss_type": ("robust", lambda seen: seen.built["trainer"].loss_types, ["robust"]),
    "dpo.label_smoothing": (0.125, lambda seen: seen.built["trainer"].label_smoothing, 0.125),
    "min_eval_rows": (3, lambda seen: len(seen.built["trainer"].eval_dataset), 3),
    "train_share": (0.5, lambda seen: len(seen.built["trainer"].train_dataset), 6),
}
LABELS: Reached = {
    "kto.beta": (0.3, lambda seen: (seen.args.beta, seen.built["trainer"].beta), (0.3, 0.3)),
    "kto.desirable_weight": (1.5, lambda seen: seen.built["trainer"].desirable_weight, 1.5),
    "kto.undesirable_weight": (1.25, lambda seen: seen.built["trainer"].undesirable_weight, 1.25),
    "kto.loss_type": ("apo_zero_unpaired", lambda seen: seen.built["trainer"].loss_type, "apo_zero_unpaired"),
}
TEXTS: Reached = {
    "report_to": (
        "tensorboard",
        lambda seen: any(Path(seen.args.output_dir).parent.rglob("events.out.tfevents*")),
        True,
    ),
    "long_texts": (
        "cut",
        lambda seen: [event["message"][:3] for event in seen.of("warning") if "max_length" in event["message"]],
        ["Cut"],
    ),
}
REWARDS: Reached = {
    "grpo.num_generations": (2, lambda seen: seen.built["trainer"].num_generations, 2),
    "grpo.max_completion_length": (
        5,
        lambda seen: seen.built["trainer"].generation_config.max_new_tokens,
        5,
    ),
    "grpo.temperature": (0.7, lambda seen: seen.built["trainer"].generation_config.temperature, 0.7),
    "grpo.beta": (0.05, lambda seen: seen.built["trainer"].beta, 0.05),
    "grpo.rewards": (
        [{"type": "length", "weight": 2.0}, {"type": "matches_reference", "weight": 0.5}],
        lambda seen: (seen.built["trainer"].reward_func_names, seen.built["trainer"].reward_weights.tolist()),
        (["length", "matches_reference"], [2.0, 0.5]),
    ),
}
DOCUMENTS: Reached = {
    "max_target_length": (
        5,
        lambda seen: (
            max(map(len, seen.built["trainer"].train_dataset["labels"])),
            seen.built["trainer"].limits[1],
        ),
        (5, 5),
    ),
}
QUESTIONS: Reached = {
    "doc_stride": (5, lambda seen: seen.built["trainer"].encoder.doc_stride, 5),
    "max_answer_length": (2, lambda seen: seen.built["trainer"].longest, 2),
}
FURTHER: Reached = {
    "parent": (
        "<parent>",
        lambda seen: (seen.manifest["parent"], seen.lora.r),
        "the model of the first run, with its r",
    ),
}


@dataclass(frozen=True)
class Tried:
    """A run to see settings in. shape: of its rows. others: what it needs besides."""

    reached: Reached
    shape: str = ""
    architecture: str = "decoder"
    others: dict[str, Any] = field(default_factory=dict)


QUICK = {"max_steps": 1, "dtype": "float32", "per_device_train_batch_size": 2}
RUNS = {
    "decoder": Tried(DECODER),
    "preferences": Tried(PREFERENCES, "preference", others=QUICK),
    "labels": Tried(LABELS, "labelled", others=QUICK | {"method": "kto"}),
    "texts": Tried(TEXTS, "text", others=QUICK | {"max_length": 12}),
    "rewards": Tried(REWARDS, "prompts", others=QUICK | {"method": "grpo"}),
    "documents": Tried(DOCUMENTS, "summary", "encoder-decoder", QUICK | {"task": "summarization"}),
    "questions": Tried(QUESTIONS, "span", "encoder", QUICK | {"task": "question-answering", "max_length": 32}),
    "further": Tried(FURTHER, "summary", others=QUICK | {"task": "summarization"}),
}

# Measured with in place of a share: test_separate_dataset_is_measured_with_in_place_of_a_share.
# Belongs to the app, not to the trainer: see test_interrupted_run_is_resumed_automatically_if_its_recipe_says.
OWN_RUN = {"eval_dataset", "auto_resume"}


@pytest.fixture(scope="module")
def look_at(tmp_path_factory: pytest.TempPathFactory, measured: Path, base: Path) -> Iterator[Callable[[str], Seen]]:
    """look_at("decoder") -> that run, seen from everywhere; each is carried out once."""
    from modelforge import Forge
    from modelforge.training.methods import dpo, grpo, kto, sft_encoder, sft_encoder_decoder

    home = tmp_path_factory.mktemp("reached") / "home"
    with live_in(home, measured), pytest.MonkeyPatch.context() as patch:
        files, forge = tmp_path_factory.mktemp("files"), Forge()
        result = Seen()
        for module in (sft_decoder, sft_encoder_decoder, sft_encoder, dpo, kto, grpo):

            def watch(*given: Any, build: Any = module.build_trainer, **more: Any) -> Any:
                result.built["trainer"] = build(*given, **more)
                return result.built["trainer"]

            patch.setattr(module, "build_trainer", watch)
        bases = {"decoder": base} | {name: tiny.WRITERS[name](files / name) for name in ("encoder-decoder", "encoder")}

        @cache
        def look(name: str) -> Seen:
            with pytest.MonkeyPatch.context() as inner:
                inner.setenv("MODELFORGE_HOME", str(home))  # not that of the test which looks first
                return carry_out(name)

        def carry_out(name: str) -> Seen:
            nonlocal result
            tried = RUNS[name]
            parent = look("decoder").record.model_id if "parent" in tried.reached else ""
            file = files / "reached.jsonl"
            tiny.write_jsonl(file, tiny.user_rows(tried.shape) if tried.shape else rows_that_lose_something())
            fills = {"<base>": str(base), "<dataset>": str(file), "<parent>": parent}
            settings = {
                "base_model": str(bases[tried.architecture]),
                "dataset": str(file),
                **tried.others,
                **{name: fills.get(str(value), value) for name, (value, _, _) in tried.reached.items()},
            }
            result = seen = Seen()
            run = forge.runs.start(Recipe().with_settings(settings))
            run.wait()
            assert run.model_id, run.record.error
            seen.events = list(run.events())
            seen.record, seen.dataset = run.record, forge.datasets.find(run.record.dataset_id)
            seen.manifest = read_manifest(run.model_id)
            if name == "decoder":
                rows = forge.datasets.rows(seen.dataset.id)
                held_out = [rows[index] for index in split(rows, 0.25, seed=7)[1]]
                expected = {row["messages"][-1]["content"] for row in held_out[:3]}
                seen.built["split"] = {event["expected"] for event in seen.of("sampled")} == expected
            return seen

        yield look


def rows_that_lose_something() -> list[dict[str, str]]:
    """Rows that are alike are not held out from each other; every second answer goes beyond max_length."""
    letters = random.Random(0)
    words = ["".join(letters.choices("abcdefgh", k=5)) for _ in range(400)]
    pairs = [
        (" ".join(letters.sample(words, 3)) + " ", " ".join(letters.sample(words, 20 if n % 2 else 2)))
        for n in range(16)
    ]
    return [{"antwort": summary, "frage": document, "x": "y"} for document, summary in pairs]


@pytest.mark.parametrize("name", [name for name in recipe.fields() if name not in OWN_RUN])
def test_every_setting_reaches_the_trainer(look_at: Callable[[str], Seen], name: str) -> None:
    run = next((run for run, tried in RUNS.items() if name in tried.reached), None)
    assert run, f"say in RUNS where {name} shows once it has trained"
    value, look, expected = RUNS[run].reached[name]
    assert value != recipe.fields()[name].default, "this is the default, so it shows nothing"
    found = look(look_at(run))
    if name == "parent":
        expected = (look_at("decoder").record.model_id, 3)
    assert found == expected


@pytest.fixture
def seen(look_at: Callable[[str], Seen]) -> Seen:
    """The run in which most settings do not have their default."""
    return look_at("decoder")


def test_separate_dataset_is_measured_with_in_place_of_a_share(probed: Path, base: Path, tmp_path: Path) -> None:
    from modelforge import Forge

    file = tiny.write_rows(tmp_path / "train.jsonl")
    other = tiny.write_rows(tmp_path / "measure.jsonl", tiny.PAIRS[16:19])
    settings = {"eval_split": 0.25, "eval_dataset": str(other)}
    forge = Forge()
    run = forge.runs.start(tiny.recipe(base, file, settings))
    run.wait()
    assert run.model_id, run.record.error
    started = next(event for event in run.events() if event["type"] == "started")
    assert (started["train_rows"], started["eval_rows"]) == (16, 3)
    asked = [event["prompt"] for event in run.events() if event["type"] == "sampled" and event["step"] == 0]
    assert asked == [prompt for prompt, _ in tiny.PAIRS[16:19]]
    assert set(read_manifest(run.model_id)["metrics"]) == {"before", "base", "tuned", "verdict"}


def test_manifest_holds_the_whole_recipe_that_trained(seen: Seen) -> None:
    again = Recipe.build(seen.manifest["recipe"])
    assert again == Recipe.build(seen.record.recipe)
    assert again.seed == 7
    assert seen.manifest["metrics"]["base"].keys() == seen.manifest["metrics"]["tuned"].keys()
    assert hardware.detect().device.name == seen.manifest["hardware"]["device"]
