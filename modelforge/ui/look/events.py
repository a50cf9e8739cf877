"""How tabs attach handlers: errors become a sentence on the page, never a traceback."""

from __future__ import annotations

import contextlib
import functools
import inspect
import logging
from collections.abc import Callable, Iterator
from typing import Any

import gradio as gr

from modelforge.errors import ModelForgeError
from modelforge.ui.look import html

log = logging.getLogger("modelforge")


def listen(event: Any, handler: Callable[..., Any], inputs: Any = None, outputs: Any = None, **options: Any) -> Any:
    """Attach `handler` to an event such as ``button.click``; it is not part of a public API."""
    options.setdefault("show_progress", "hidden")
    return event(guarded(handler), inputs, outputs, api_visibility="private", **options)


def listen_all(triggers: list[Any], handler: Callable[..., Any], inputs: Any = None, outputs: Any = None) -> Any:
    """Attach one handler to several events; an event during a call is handled after it, not lost.

    The events change a hidden number, and the handler listens to that number alone. Where two handlers listen to the
    same event, Gradio 6 repeats an event that came during a call for both, each time that either ends: slow handlers
    would trigger each other again and again.
    """
    trigger = gr.Number(visible="hidden")
    gr.on(triggers, None, None, trigger, js="() => Math.random()", show_progress="hidden", api_visibility="private")
    return listen(trigger.change, handler, inputs, outputs, trigger_mode="always_last")


def guarded(handler: Callable[..., Any]) -> Callable[..., Any]:
    """The handler; a user's mistake is shown as a sentence, a bug is logged and reported as one."""
    if not inspect.isgeneratorfunction(handler):
        return _show_errors()(handler)

    @functools.wraps(handler)
    def generator(*args: Any, **kwargs: Any) -> Iterator[Any]:
        with _show_errors():
            yield from handler(*args, **kwargs)

    return generator


@contextlib.contextmanager
def _show_errors() -> Iterator[None]:
    try:
        yield
    except Exception as error:
        raise _as_shown(error) from error


def _as_shown(error: Exception) -> gr.Error:
    if isinstance(error, gr.Error):
        return error
    if isinstance(error, ModelForgeError):  # Gradio shows a message as HTML, and what a user typed can be in it
        return gr.Error(html.text(error), title="That did not work", print_exception=False, duration=15)
    log.exception("a handler of the app failed")
    return gr.Error(
        f"{type(error).__name__}: {html.text(error)}. "
        "This is a bug: please report it with the details in the terminal of ModelForge.",
        title="Something went wrong",
        print_exception=False,
        duration=15,
    )
