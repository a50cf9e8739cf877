"""Gradio: how it is loaded, how often an idle app looks into its queue, whose event it handles, and how the stream of a
page that was closed ends."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from importlib.machinery import ModuleSpec, PathFinder, SourceFileLoader
from types import ModuleType
from typing import Any

_COMPONENT_META = "gradio.component_meta"


class _LoaderWithoutStubs(SourceFileLoader):
    def exec_module(self, module: ModuleType) -> None:
        super().exec_module(module)
        module.create_or_modify_pyi = _write_no_stub  # type: ignore[attr-defined]


def _write_no_stub(component_class: type, class_name: str, events: Sequence[Any]) -> None:
    """In place of `create_or_modify_pyi`."""


class _FinderWithoutStubs:
    @staticmethod
    def find_spec(name: str, path: Sequence[str] | None = None, target: ModuleType | None = None) -> ModuleSpec | None:
        spec = PathFinder.find_spec(name, path) if name == _COMPONENT_META else None
        if spec and spec.origin and isinstance(spec.loader, SourceFileLoader):
            spec.loader = _LoaderWithoutStubs(name, spec.origin)
            return spec
        return None


def load_without_stubs() -> None:
    """Import Gradio, without writing stubs for editors: for each of its seventy components it parses the source and
    renders a template, every time, to compare with a file beside it. That is more than half of its import."""
    sys.meta_path.insert(0, _FinderWithoutStubs)
    try:
        import gradio  # noqa: F401
    finally:
        sys.meta_path.remove(_FinderWithoutStubs)


def poll_queue_less_often(page: Any) -> None:
    """Let a Blocks with a queue look for new events every 0.02 seconds: Gradio's millisecond takes a tenth of a
    processor core away from training, and there is no setting for it."""
    page._queue.sleep_when_free = 0.02


def has_told_reader(error: RuntimeError | KeyError) -> bool:
    """Whether Gradio has raised this at the end of a page's stream of events, after telling the page the same, or when
    the page had left.

    Of a session that it does not know, or no more, as when a page was closed, it first sends that it was not found,
    and then raises the answer 404, for which it is too late: the log would show a traceback. A page that is left with
    two streams open is forgotten twice, which is a KeyError the second time.
    """
    from asyncio import CancelledError

    from fastapi import HTTPException

    if isinstance(error, KeyError):
        return isinstance(error.__cause__ or error.__context__, CancelledError)
    return isinstance(error.__cause__, HTTPException) and error.__cause__.status_code == 404


def current_request() -> Any:
    """The gr.Request of the event whose handler is running; None outside one. Gradio gives it to handlers that have a
    parameter for it, and every handler needs it."""
    from gradio.context import LocalContext

    return LocalContext.request.get(None)
