"""Chat templates give the same text in their own process as transformers gives in this one, for all that TRL knows."""

from __future__ import annotations

import datetime
import functools
from pathlib import Path
from typing import Any

import pytest
import trl
from jinja2 import TemplateError
from transformers.utils import chat_template_utils

from modelforge.data import template_renderer
from modelforge.data.template import PLAIN_TEMPLATE, ChatTemplate
from modelforge.data.template_renderer import bound_templates
from modelforge.errors import DatasetError
from tests import tiny

FILES = sorted((Path(trl.__file__).parent / "chat_templates").glob("*.jinja"))
KNOWN = {path.stem: path for path in FILES if not path.stem.endswith("_training")}  # those are nearly the others
PARAMETERS = {"type": "object", "properties": {"city": {"type": "string", "description": "of <where> & 'when'"}}}
TOOLS = [{"type": "function", "function": {"name": "weather", "description": "é", "parameters": PARAMETERS}}]
CALL = {"id": "abcdefghi", "type": "function", "function": {"name": "weather", "arguments": {"city": "Rome"}}}
CHATS: list[list[dict[str, Any]]] = [
    [{"role": "user", "content": "hi"}],
    tiny.messages("  two\nlines <b>&'\"\u2028 ", "é 漢字 👩‍👩‍👧 \x07 {{ 1 }}"),
    [{"role": "system", "content": "Be brief."}, *tiny.messages("a", "b"), *tiny.messages("", "d")],
    [
        {"role": "user", "content": "Rome?"},
        {"role": "assistant", "content": "", "tool_calls": [CALL]},
        {"role": "tool", "name": "weather", "tool_call_id": "abcdefghi", "content": "sunny"},
        {"role": "assistant", "content": "It is sunny."},
    ],
]
FEATURES = {
    "json": "{{ messages | tojson }}{{ messages | tojson(indent=2) }}{{ messages | tojson(sort_keys=True) }}",
    "loop controls": "{% for m in messages %}{% if loop.index > 2 %}{% break %}{% endif %}{{ m.role }}{% endfor %}",
    "blocks": "  {% if true %}\n  x\n  {% endif %}\n\n{{- bos_token }}|{{ eos_token }}|{{ pad_token }}",
    "namespace": "{% set n = namespace(self=1, b=2) %}{% for m in messages %}{% set n.b = m.role %}{% endfor %}{{n}}",
    "private names": "{% set n = namespace() %}{% set n._b = 1 %}{{ n._b }}",
    "dict": "{{ dict(a=1, **{'b': 2}) }}{{ dict.fromkeys('ab', 3) }}{{ dict.__class__ }}",
    "answers": "{% for m in messages %}{% generation %}{% set x=1 %}{{ m.role }}{% endgeneration %}{{ x }}{% endfor %}",
    "macro": "{% macro say(m) %}<{{ m.role }}>{{ caller() if caller else '' }}{% endmacro %}{{ say(messages[0]) }}",
    "error": "{{ raise_exception('not so') }}",
    "syntax": "{% if %}",
    "undefined": "{{ messages[0].nothing }}{{ nothing is defined }}{{ messages[0].nothing.more }}",
    "date": "{{ strftime_now('%Y-%m-%d') }}",
    "changes": "{{ messages.append(1) }}",
    "tools": "{{ tools }} {{ documents }} {{ add_generation_prompt }}",
}


theirs_cached = functools.cache(chat_template_utils._cached_compile_jinja_template)


@pytest.fixture(scope="module")
def tokenizer() -> Any:
    return tiny.tokenizer()


def render(tokenizer: Any, chat: list[dict[str, Any]], tools: list[dict[str, Any]] | None, more: bool) -> str:
    try:
        return str(tokenizer.apply_chat_template(chat, tools=tools, tokenize=False, add_generation_prompt=more))
    except (TemplateError, TypeError, ValueError, KeyError):
        return "rejected"


def render_both(
    tokenizer: Any, chat: list[dict[str, Any]], tools: list[dict[str, Any]] | None, more: bool
) -> tuple[str, str]:
    """(as transformers by itself, as in a process of its own)."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(chat_template_utils, "_compile_jinja_template", theirs_cached)
        theirs = render(tokenizer, chat, tools, more)
    bound_templates()
    return theirs, render(tokenizer, chat, tools, more)


@pytest.mark.parametrize("name", KNOWN)
def test_known_templates_give_the_same_text(tokenizer: Any, name: str) -> None:
    tokenizer.chat_template = KNOWN[name].read_text(encoding="utf-8")
    for chat in CHATS:
        for tools in (None, TOOLS):
            for more in (False, True):
                theirs, ours = render_both(tokenizer, chat, tools, more)
                assert ours == theirs


@pytest.mark.parametrize("feature", FEATURES)
def test_what_templates_may_use_is_the_same(tokenizer: Any, feature: str) -> None:
    tokenizer.chat_template = FEATURES[feature]
    for chat in CHATS:
        theirs, ours = render_both(tokenizer, chat, TOOLS, True)
        assert ours == theirs
    if feature == "date":
        assert ours == datetime.datetime.now().strftime("%Y-%m-%d")


@pytest.mark.parametrize("name", ["plain", *KNOWN])
def test_chats_are_encoded_as_apply_chat_template_gives_them(tokenizer: Any, name: str) -> None:
    tokenizer.chat_template = KNOWN[name].read_text(encoding="utf-8") if name in KNOWN else PLAIN_TEMPLATE
    template = ChatTemplate(tokenizer)
    for chat in CHATS:
        for tools in ([], TOOLS):
            expected = render(tokenizer, chat, tools or None, True)
            try:
                found = template.render(chat, tools, for_answer=True)
            except DatasetError:
                found = "rejected"
            assert found == expected


def test_nothing_is_rendered_or_compiled_in_this_process(tokenizer: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    import jinja2

    def fail(*_: Any, **__: Any) -> None:
        raise AssertionError("compiled here")

    bound_templates()
    monkeypatch.setattr(jinja2.Environment, "compile", fail)
    monkeypatch.setattr(jinja2.Environment, "parse", fail)
    tokenizer.chat_template = tiny.TEMPLATE + "{# never seen before #}"
    assert tokenizer.apply_chat_template(CHATS[0], return_dict=True)["input_ids"]
    assert trl.data_utils.apply_chat_template({"messages": CHATS[0]}, tokenizer)["text"]
    assert template_renderer.RENDERER._process
