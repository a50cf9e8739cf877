"""Gradio: how often an idle app looks into its queue, and whose event it handles."""

from __future__ import annotations

from typing import Any


def poll_queue_less_often(page: Any) -> None:
    """Let a Blocks with a queue look for new events every 0.02 seconds: Gradio's millisecond takes a tenth of a
    processor core away from training, and there is no setting for it."""
    page._queue.sleep_when_free = 0.02


def current_request() -> Any:
    """The gr.Request of the event whose handler is running; None outside one. Gradio gives it to handlers that have a
    parameter for it, and every handler needs it."""
    from gradio.context import LocalContext

    return LocalContext.request.get(None)
