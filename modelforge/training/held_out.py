"""How trainers measure held-out rows: the loss as the mean over all tokens that have a label."""

from __future__ import annotations

from typing import Any


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
