"""Which rows form a batch, how a batch is padded, and the loss of held-out rows, which does not depend on batches."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import torch

from modelforge.compat.transformers import ChosenSampler
from modelforge.compat.trl import score_labels_by
from modelforge.compute.answer_loss import has_answer_loss
from modelforge.compute.compute import Compute
from modelforge.compute.decoders.distinct_tokens import forget_batch, note_batch
from modelforge.compute.label_scores import score_labels
from modelforge.compute.product import round_up
from modelforge.compute.tune import unwrap
from modelforge.loading import window_of

LENGTH_MULTIPLE = 8  # of batches, in tokens: see `padding_multiple`
BUCKET_TOKENS = 8  # rows whose lengths differ by less than this count as equally long


class LengthGroupedSampler(torch.utils.data.Sampler[int]):
    """Row indices such that each batch holds rows of about the same length, the batches in random order.

    Random batches of four carry 1.7 times as many tokens as needed, padding included; transformers' own grouping, which
    sorts within a few dozen batches, about 1.15 times on small datasets; this one under 1.05. The order depends on
    seed and epoch alone, so that a resumed run sees the same batches.
    """

    def __init__(self, lengths: Sequence[int], batch_size: int, seed: int) -> None:
        self.lengths = list(lengths)
        self.batch_size = batch_size
        self.seed = seed
        self.epoch = 0

    def set_epoch(self, epoch: int) -> None:
        self.epoch = epoch

    def __len__(self) -> int:
        return len(self.lengths)

    def __iter__(self) -> Iterator[int]:
        generator = torch.Generator().manual_seed(self.seed * 1_000_003 + self.epoch)
        shuffled = torch.randperm(len(self.lengths), generator=generator).tolist()
        ordered = sorted(
            shuffled, key=lambda index: self.lengths[index] // BUCKET_TOKENS
        )  # stable: equal lengths stay shuffled
        # A batch that is not full must come last: the loader cuts the stream every batch_size rows. Its rows come from
        # a random place, or each epoch would end with the longest rows.
        full, left = divmod(len(ordered), self.batch_size)
        place = int(torch.randint(full + 1, (), generator=generator)) * self.batch_size
        last, ordered[place : place + left] = ordered[place : place + left], []
        for batch in torch.randperm(full, generator=generator).tolist():
            yield from ordered[batch * self.batch_size : (batch + 1) * self.batch_size]
        yield from last


class LengthGrouped(ChosenSampler):
    """For trainers: each batch has rows of about the same length."""

    def row_lengths(self, rows: Any) -> list[int]:
        return [len(ids) for ids in rows["input_ids"]]

    def make_sampler(self, rows: Any) -> Any:
        args = self.args  # type: ignore[attr-defined]
        return LengthGroupedSampler(self.row_lengths(rows), args.train_batch_size, args.seed)


def padding_multiple(config: Any) -> int:
    """What the lengths of a model's batches are made a multiple of, where as many tokens always fit: then few shapes of
    products come again and again (see `product.ROW_MULTIPLE`; a batch of four rows has a multiple of that)."""
    return LENGTH_MULTIPLE if window_of(config) % LENGTH_MULTIPLE == 0 else 1


class RightPadding:
    """Rows of a batch padded on the right to the longest, or the next multiple of some length, without a mask.

    With causal attention no token sees those to its right, and padding has no label: a mask would only make attention
    slower. -> input_ids (B, T), labels (B, T), lengths (B): how many of a row's places are not padding
    """

    def __init__(self, pad_token_id: int, multiple: int = 1) -> None:
        self.pad_token_id, self.multiple = pad_token_id, multiple

    def find_width(self, rows: Sequence[Mapping[str, Any]]) -> int:
        """T"""
        return round_up(max(len(row["input_ids"]) for row in rows), self.multiple)

    def __call__(self, rows: list[dict[str, Any]]) -> dict[str, Any]:
        lengths, width = [len(row["input_ids"]) for row in rows], self.find_width(rows)

        def pad(values: list[int], filler: int) -> list[int]:
            return values + [filler] * (width - len(values))

        return {
            "input_ids": torch.tensor([pad(row["input_ids"], self.pad_token_id) for row in rows]),
            "labels": torch.tensor([pad(row["labels"], -100) for row in rows]),
            "lengths": torch.tensor(lengths),
        }


def leave_out_masks(model: Any) -> None:
    """Let a decoder compute batches that are padded on the right alone without their mask, which makes attention slower
    and changes no token: see `RightPadding`. A loss that balances experts counts padding, so it keeps the mask."""
    decoder = unwrap(model)
    if getattr(decoder.config.get_text_config(), "output_router_logits", False):
        return

    def leave_out(_: Any, given: Any, named: dict[str, Any]) -> tuple[Any, dict[str, Any]]:
        mask = named.get("attention_mask")
        if mask is not None and mask.dim() == 2 and named.get("use_cache") is False:
            is_right_padded = bool((mask[:, 1:] <= mask[:, :-1]).all()) and bool(mask[:, 0].all())
            if is_right_padded:
                if named.get("input_ids") is not None:
                    note_batch(named["input_ids"], mask.sum(1))
                named = {**named, "attention_mask": None}
        return given, named

    decoder.register_forward_pre_hook(leave_out, with_kwargs=True)
    decoder.register_forward_hook(lambda *_: forget_batch(), always_call=True)


def compute_labels_alone(model: Any, compute: Compute) -> None:
    """Let a decoder whose trainer was built by TRL compute pairs or labelled answers without masks and score labelled
    tokens alone, where that gives the same."""
    leave_out_masks(model)
    if has_answer_loss(model, compute.device):
        score_labels_by(unwrap(model), score_labels)


class TokenMeanLoss:
    """For trainers: the evaluation loss is the mean over all held-out answer tokens. Trainer's own is a mean of batch
    means, which depends on how rows are batched."""

    label_shift = 1
    """How many positions labels are behind the outputs that predict them: 1 for decoders, 0 for encoder-decoders."""

    def compute_loss(
        self, model: Any, inputs: Any, return_outputs: bool = False, num_items_in_batch: Any = None
    ) -> Any:
        computed = super().compute_loss(  # type: ignore[misc]
            model, inputs, return_outputs=return_outputs, num_items_in_batch=num_items_in_batch
        )
        self.count_held_out(inputs, computed[0] if return_outputs else computed)
        return computed

    def count_held_out(self, inputs: Any, loss: Any) -> None:
        """Add a batch's loss to the mean, during an evaluation."""
        if not self.model.training:  # type: ignore[attr-defined]
            tokens = int((inputs["labels"][:, self.label_shift :] != -100).sum())
            self._held_out_loss += float(loss) * tokens
            self._held_out_tokens += tokens

    def evaluation_loop(self, *args: Any, **kwargs: Any) -> Any:
        self._held_out_loss, self._held_out_tokens = 0.0, 0
        output = super().evaluation_loop(*args, **kwargs)  # type: ignore[misc]
        output.metrics["eval_loss"] = self._held_out_loss / max(self._held_out_tokens, 1)
        return output
