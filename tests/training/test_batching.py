"""Which rows stand in a batch together: seen in the batches that a real trainer is given."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from modelforge.training.batching import (
    LENGTH_MULTIPLE,
    LengthGroupedSampler,
    RightPadding,
    leave_out_masks,
    padding_multiple,
)
from tests import tiny

Build = Callable[..., Any]


def many_rows(count: int = 128) -> list[dict[str, Any]]:
    return [{"messages": tiny.messages(f"{n}?", "red " * (1 + n * 7 % 32))} for n in range(count)]


def seen_batches(trainer: Any) -> list[dict[str, Any]]:
    """Every batch that the trainer computes a loss for, in order."""
    batches = []
    compute = trainer.compute_loss

    def watch(model: Any, inputs: Any, **more: Any) -> Any:
        batches.append(inputs)
        return compute(model, inputs, **more)

    trainer.compute_loss = watch
    trainer.train()
    return batches


def rows_of(batch: dict[str, Any]) -> list[tuple[int, ...]]:
    return [tuple(token for token in row if token) for row in batch["input_ids"].tolist()]  # 0 pads


@pytest.mark.parametrize("accumulated", [1, 2])
def test_each_epoch_goes_through_every_row_once_in_another_order(build: Build, accumulated: int) -> None:
    sizes = {"per_device_train_batch_size": 4, "gradient_accumulation_steps": accumulated}
    trainer = build(sizes, rows=many_rows(30), eval_split=0, max_steps=0, num_train_epochs=3)
    batches = seen_batches(trainer)
    expected = Counter(tuple(ids) for ids in trainer.train_dataset["input_ids"])
    assert len(batches) == 3 * 8
    epochs = [batches[start : start + 8] for start in (0, 8, 16)]
    for epoch in epochs:
        assert Counter(row for batch in epoch for row in rows_of(batch)) == expected
    orders = {tuple(row for batch in epoch for row in rows_of(batch)) for epoch in epochs}
    assert len(orders) == 3


@pytest.mark.parametrize("count", [40, 128])
def test_batches_hold_little_padding(build: Build, count: int) -> None:
    trainer = build(rows=many_rows(count), eval_split=0, per_device_train_batch_size=4)
    batches = list(trainer.get_train_dataloader())
    assert all(batch["input_ids"].shape[1] % LENGTH_MULTIPLE == 0 for batch in batches)
    held = sum(batch["input_ids"].shape[0] * int(batch["lengths"].max()) for batch in batches)
    needed = sum(int(batch["lengths"].sum()) for batch in batches)
    assert needed == sum(map(len, trainer.train_dataset["input_ids"]))
    assert held < 1.1 * needed  # random batches of four would hold 1.5 times as much


@pytest.mark.parametrize("count", [1, 3, 4, 5, 31, 32])
@pytest.mark.parametrize("batch_size", [1, 4, 32])
def test_sampler_gives_every_index_once(count: int, batch_size: int) -> None:
    sampler = LengthGroupedSampler([n * 37 % 50 for n in range(count)], batch_size, seed=1)
    assert len(sampler) == count
    assert sorted(sampler) == list(range(count))


def test_order_follows_from_seed_and_epoch_alone() -> None:
    def order(seed: int, epoch: int) -> list[int]:
        sampler = LengthGroupedSampler([n * 37 % 50 for n in range(64)], 4, seed)
        sampler.set_epoch(epoch)
        return list(sampler)

    assert order(0, 0) == order(0, 0)
    assert len({tuple(order(seed, epoch)) for seed in (0, 1) for epoch in (0, 1, 2)}) == 6


def test_the_longest_rows_do_not_always_come_last() -> None:
    lengths = list(range(0, 900, 30))  # 30 rows, so the last batch of four is not full
    last = set()
    for epoch in range(10):
        sampler = LengthGroupedSampler(lengths, 4, seed=0)
        sampler.set_epoch(epoch)
        last.add(tuple(sorted(list(sampler)[28:])))
    assert len(last) > 1


def test_rows_are_padded_on_the_right_and_counted_without_padding() -> None:
    rows = [{"input_ids": [5, 6, 7], "labels": [-100, 6, 7]}, {"input_ids": [8], "labels": [-100]}]
    batch = RightPadding(9)(rows)
    assert batch["input_ids"].tolist() == [[5, 6, 7], [8, 9, 9]]
    assert batch["labels"].tolist() == [[-100, 6, 7], [-100, -100, -100]]
    assert batch["lengths"].tolist() == [3, 1]
    assert RightPadding(9, 8)(rows)["input_ids"].tolist() == [[5, 6, 7, *[9] * 5], [8, *[9] * 7]]


@pytest.mark.parametrize(("window", "multiple"), [(512, 8), (60, 1)])
def test_batches_are_never_longer_than_a_model_can_read(window: int, multiple: int) -> None:
    assert padding_multiple(SimpleNamespace(max_position_embeddings=window)) == multiple


def test_masks_of_right_padding_are_left_out_and_no_answer_changes() -> None:
    ids = torch.tensor([[5, 6, 7, 8, 9], [5, 6, 0, 0, 0], [7, 8, 9, 0, 0]])
    right = torch.tensor([[1, 1, 1, 1, 1], [1, 1, 0, 0, 0], [1, 1, 1, 0, 0]])
    plain, changed = tiny.model().eval(), tiny.model().eval()
    seen: list[object] = []
    leave_out_masks(changed)
    changed.register_forward_pre_hook(lambda _, given, named: seen.append(named["attention_mask"]), with_kwargs=True)
    for mask, is_left_out in ((right, True), (right.flip(1), False), (torch.ones_like(right), True)):
        with torch.no_grad():
            expected, found = (
                model(input_ids=ids, attention_mask=mask, use_cache=False).logits for model in (plain, changed)
            )
        assert torch.allclose(found[mask.bool()], expected[mask.bool()], atol=1e-5)
        assert (seen.pop() is None) is is_left_out
