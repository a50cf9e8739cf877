"""How tabs attach handlers: errors become a sentence on the page, never a traceback."""

from __future__ import annotations

import contextlib
import functools
import inspect
import logging
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import gradio as gr

from modelforge.caller import STRANGER, Caller, acting_as, current_caller
from modelforge.compat.gradio import current_request
from modelforge.errors import AccessError, ModelForgeError
from modelforge.ui.look import html

log = logging.getLogger("modelforge")

CALLER, PEOPLE = "modelforge.caller", "modelforge.people"
"""Where `sign_in` puts, in a request's scope, who asks, and the `People` of the app."""
LONGEST_PATH = 4096  # characters
END = object()


def listen(
    event: Any,
    handler: Callable[..., Any],
    inputs: Any = None,
    outputs: Any = None,
    *,
    for_chat: bool = False,
    **options: Any,
) -> Any:
    """Attach `handler` to an event such as ``button.click``; it is not part of a public API. for_chat: also for people
    who may only chat.

    Where no progress is shown, it is shown on nothing: else the browser keeps a status for everything that any handler
    ever wrote to, and walks over the whole page for each of them at every event: a core was busy while nobody did
    anything.
    """
    if options.setdefault("show_progress", "hidden") == "hidden":
        options.setdefault("show_progress_on", [])
    return event(guarded(handler, for_chat=for_chat), inputs, outputs, api_visibility="private", **options)


listen_in_chat = functools.partial(listen, for_chat=True)


def listen_all(
    triggers: list[Any],
    handler: Callable[..., Any],
    inputs: Any = None,
    outputs: Any = None,
    *,
    for_chat: bool = False,
) -> Any:
    """Attach one handler to several events; an event during a call is handled after it, not lost.

    The events change a hidden number, and the handler listens to that number alone. Where two handlers listen to the
    same event, Gradio 6 repeats an event that came during a call for both, each time that either ends: slow handlers
    would trigger each other again and again.
    """
    trigger = gr.Number(visible="hidden")
    gr.on(triggers, None, None, trigger, js="() => Math.random()", api_visibility="private")
    return listen(trigger.change, handler, inputs, outputs, trigger_mode="always_last", for_chat=for_chat)


def guarded(handler: Callable[..., Any], *, for_chat: bool = False) -> Callable[..., Any]:
    """The handler, run for the person whose event it is; a user's mistake is shown as a sentence, a bug is logged and
    reported as one. For who may only chat it does nothing, unless it is for chat."""
    if not inspect.isgeneratorfunction(handler):

        @functools.wraps(handler)
        def function(*args: Any, **kwargs: Any) -> Any:
            with _show_errors(), acting_as(caller := identify(args)):
                return handler(*args, **kwargs) if for_chat or caller.may_train else gr.skip()

        return function

    @functools.wraps(handler)
    def generator(*args: Any, **kwargs: Any) -> Iterator[Any]:
        with _show_errors():
            caller = identify(args)
            if not (for_chat or caller.may_train):
                return
            with contextlib.closing(handler(*args, **kwargs)) as steps:
                while True:  # each step may run in another thread, and so in another context
                    with acting_as(caller):
                        step = next(steps, END)
                    if step is END:
                        return
                    yield step

    return generator


def identify(inputs: Sequence[Any] = ()) -> Caller:
    """Whose event the running handler is for; outside an app, who runs the code. Raises AccessError for a page or a
    file in the inputs that is somebody else's."""
    request = current_request()
    if request is None:
        return current_caller()
    scope = request.request.scope
    caller: Caller = scope.get(CALLER) or STRANGER
    people = scope.get(PEOPLE)
    if people:
        things = [f"file:{each}" for each in inputs if _is_file(each)]
        things += [f"page:{request.session_hash}"] if request.session_hash else []
        if not all(people.claim(thing, caller) for thing in things):
            raise AccessError("This belongs to somebody else.", fix="Reload the page.")
    return caller


def _is_file(value: Any) -> bool:
    return isinstance(value, str) and len(value) < LONGEST_PATH and Path(value).is_absolute()


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
