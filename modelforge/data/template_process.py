"""The process in which chat templates are rendered. It loads jinja2 alone; `template_renderer` starts and ends it.

A template is a program of a stranger's, and jinja2 bounds neither its time nor its memory: compiling
``{{ "a" * 10**10 }}`` is enough. Lines of JSON come in, ``[template, [variables, ...]]``, and for each goes an answer
out.
"""

from __future__ import annotations

import contextlib
import json
import signal
import sys
from collections.abc import Mapping
from datetime import datetime
from functools import lru_cache
from typing import Any

from jinja2 import Template, TemplateError, nodes
from jinja2.exceptions import SecurityError
from jinja2.ext import Extension
from jinja2.parser import Parser
from jinja2.runtime import Macro
from jinja2.sandbox import ImmutableSandboxedEnvironment
from jinja2.utils import Namespace

MOST_TEXT, MOST_TIMES = 1_000_000, 4  # characters, and times what came in: the longest text that is rendered
_LONGEST_MESSAGE = 500


def main() -> None:
    """Answer until there are no more lines. The arguments are the bytes and seconds that a rendering may take."""
    memory_bytes, seconds = map(int, sys.argv[1:])
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C stops a run, which still needs this process
    _limit("RLIMIT_AS", memory_bytes)
    for line in sys.stdin.buffer:
        _limit("RLIMIT_CPU", seconds)
        sys.stdout.buffer.write(json.dumps(answer(line)).encode() + b"\n")
        sys.stdout.buffer.flush()


def answer(line: bytes) -> dict[str, Any]:
    """{"texts"}, {"error"}: why the template rejects the variables, or {"beyond"}: it takes or writes too much."""
    try:
        template, variables = json.loads(line)
        texts = [compile_template(template).render(each) for each in variables]
    except MemoryError:
        return {"beyond": True}
    except Exception as error:  # noqa: BLE001 - a template can raise anything
        return {"error": str(error)[:_LONGEST_MESSAGE] or type(error).__name__}
    longest = max(map(len, texts))
    return {"beyond": True} if longest > MOST_TEXT + MOST_TIMES * len(line) else {"texts": texts}


def _limit(name: str, more: int) -> None:
    """Let the system end this process at a limit, where there is one: not on Windows, and no RLIMIT_AS on a Mac. Of the
    processor's time, so many seconds from now: a process whose app has been killed ends too."""
    with contextlib.suppress(ImportError, OSError, ValueError):
        import resource

        used = sum(resource.getrusage(resource.RUSAGE_SELF)[:2]) if name == "RLIMIT_CPU" else 0
        _, most = resource.getrlimit(getattr(resource, name))
        resource.setrlimit(getattr(resource, name), (round(used) + more, most))


class _Generation(Extension):
    """``{% generation %}``, which marks an answer for those who want to know where it is."""

    tags = {"generation"}  # noqa: RUF012 - as jinja2 declares it

    def parse(self, parser: Parser) -> nodes.Node:
        line = next(parser.stream).lineno
        body = parser.parse_statements(("name:endgeneration",), drop_needle=True)
        return nodes.CallBlock(self.call_method("write"), [], [], body).set_lineno(line)

    def write(self, caller: Macro) -> str:
        return caller()


class _Namespace(Namespace):
    """Without names that begin with an underscore, which lead to what is behind Python's objects."""

    def __init__(*args: Any, **more: Any) -> None:  # so that a template may name a value `self`
        self, *items = args
        values = dict(*items, **more)
        for name in values:
            _refuse_private(name)
        Namespace.__init__(self, values)

    def __setitem__(self, name: str, value: Any) -> None:
        _refuse_private(name)
        super().__setitem__(name, value)


class _Dict:
    """`dict` without its attributes, for the same reason."""

    def __call__(self, *items: Any, **more: Any) -> dict[Any, Any]:
        return dict(*items, **more)

    def fromkeys(self, *items: Any) -> dict[Any, Any]:
        return dict.fromkeys(*items)


def _refuse_private(name: Any) -> None:
    if isinstance(name, str) and name.startswith("_"):
        raise SecurityError(f"a namespace has no {name}")


def _raise(message: str) -> None:
    raise TemplateError(message)


def _to_json(
    value: Any, ensure_ascii: bool = False, indent: Any = None, separators: Any = None, sort_keys: bool = False
) -> str:
    return json.dumps(value, ensure_ascii=ensure_ascii, indent=indent, separators=separators, sort_keys=sort_keys)


def _format_now(pattern: str) -> str:
    return datetime.now().strftime(pattern)


_GLOBALS: Mapping[str, Any] = {
    "raise_exception": _raise,
    "strftime_now": _format_now,
    "dict": _Dict(),
    "namespace": _Namespace,
}


@lru_cache(maxsize=8)
def compile_template(text: str) -> Template:
    """As transformers does, without loading it: `tests/compat` compares the two."""
    environment = ImmutableSandboxedEnvironment(
        trim_blocks=True, lstrip_blocks=True, extensions=[_Generation, "jinja2.ext.loopcontrols"]
    )
    environment.filters["tojson"] = _to_json
    environment.globals.update(_GLOBALS)
    return environment.from_string(text)


if __name__ == "__main__":
    main()
