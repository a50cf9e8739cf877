"""How every handler of the app is attached: errors become one sentence on the page, never a traceback.

`listen` is the only way in which tabs attach handlers.
"""

from __future__ import annotations

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
    """Attach `handler` to an event such as ``button.click``; it is no part of a public API."""
    options.setdefault("show_progress", "hidden")
    return event(guarded(handler), inputs, outputs, api_visibility="private", **options)


def listen_all(triggers: list[Any], handler: Callable[..., Any], inputs: Any = None, outputs: Any = None) -> Any:
    """Attach one handler to several events; one that comes while another is worked on is taken after it, not lost.

    The events turn a number that nobody sees, and the handler listens to that alone. Where two handlers listen to one
    event, Gradio 6 takes an event that came meanwhile again for both, each time that either ends: they wake each other
    for as long as they are slow.
    """
    turn = gr.Number(visible="hidden")
    gr.on(triggers, None, None, turn, js="() => Math.random()", show_progress="hidden", api_visibility="private")
    return listen(turn.change, handler, inputs, outputs, trigger_mode="always_last")


def guarded(handler: Callable[..., Any]) -> Callable[..., Any]:
    """The handler, with a user's mistake shown as a sentence and a bug of ours logged and said to be one."""
    if inspect.isgeneratorfunction(handler):

        @functools.wraps(handler)
        def generator(*args: Any, **kwargs: Any) -> Iterator[Any]:
            try:
                yield from handler(*args, **kwargs)
            except Exception as error:
                raise _as_shown(error) from error

        return generator

    @functools.wraps(handler)
    def function(*args: Any, **kwargs: Any) -> Any:
        try:
            return handler(*args, **kwargs)
        except Exception as error:
            raise _as_shown(error) from error

    return function


def _as_shown(error: Exception) -> gr.Error:
    if isinstance(error, gr.Error):
        return error
    if isinstance(error, ModelForgeError):  # Gradio shows a message as HTML, and what a user typed can be in it
        return gr.Error(html.text(error), title="That did not work", print_exception=False, duration=15)
    log.exception("a handler of the app failed")
    return gr.Error(
        f"{type(error).__name__}: {html.text(error)}. "
        "The terminal that ModelForge runs in has the details; please report it.",
        title="Something went wrong that should not have",
        print_exception=False,
        duration=15,
    )
