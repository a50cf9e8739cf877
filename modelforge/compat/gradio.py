"""Gradio: how often an idle app looks into its queue."""

from __future__ import annotations

from typing import Any


def poll_queue_less_often(page: Any) -> None:
    """Let a Blocks with a queue look for new events every 0.02 seconds: Gradio's millisecond takes a tenth of a
    processor core away from training, and there is no setting for it."""
    page._queue.sleep_when_free = 0.02
