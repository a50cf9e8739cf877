"""What `modelforge.compat.gradio` sets in Gradio."""

from __future__ import annotations

import inspect

import gradio
from gradio.queueing import Queue

from modelforge.compat.gradio import poll_queue_less_often


def test_queue_sleeps_as_long_as_it_is_set_to() -> None:
    with gradio.Blocks() as page:
        pass
    page.queue()
    assert page._queue.sleep_when_free < 0.02
    poll_queue_less_often(page)
    assert isinstance(page._queue, Queue) and page._queue.sleep_when_free == 0.02
    assert "asyncio.sleep(self.sleep_when_free)" in inspect.getsource(Queue)
