"""The Modelfile is one by Ollama's grammar, and its template gives what the tokenizer's gives."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import trl
from jinja2 import TemplateError

from modelforge.exports.modelfile import find_layout, write_modelfile
from tests import tiny
from tests.exports import ollama

TEMPLATES = {path.stem: path for path in (Path(trl.__file__).parent / "chat_templates").glob("*.jinja")}
TRANSLATED = ("qwen2_5", "qwen3")
WORDS = ("Hello", "What is 2 + 2?", 'He said "no".', "two\n\nlines", "{{ braces }}", "é 漢字", "<b>bold</b>", "# head")


def make_conversations() -> list[list[dict[str, str]]]:
    """Twenty, of one to four turns, with and without a system prompt; they end with a question."""
    found = []
    for number in range(20):
        turns = [
            {"role": "user" if place % 2 == 0 else "assistant", "content": WORDS[(number + place) % len(WORDS)]}
            for place in range(2 * (number % 3) + 1)
        ]
        system = [{"role": "system", "content": WORDS[number % len(WORDS)]}] if number % 2 else []
        found.append([*system, *turns])
    return found


def write(tokenizer: Any) -> str:
    return write_modelfile("m-F16.gguf", tokenizer, tiny.config(), SimpleNamespace(eos_token_id=[2, 3]))


def check_template(tokenizer: Any) -> None:
    found = ollama.parse(write(tokenizer))
    for messages in make_conversations():
        rendered = tokenizer.apply_chat_template(messages, tokenize=False, add_generation_prompt=True)
        bos = tokenizer.bos_token if getattr(tokenizer, "add_bos_token", False) else None
        assert ollama.render(found, messages) == rendered.removeprefix(bos or "")


def test_modelfile_of_the_starter(starter_cache: Path) -> None:
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(starter_cache / "SmolLM2-135M-Instruct")
    check_template(tokenizer)
    found = ollama.parse(write(tokenizer))
    assert dict(found)["FROM"] == "./m-F16.gguf"
    assert dict(found)["SYSTEM"].startswith("You are a helpful AI assistant named SmolLM")
    parameters = ollama.read_parameters(found)
    assert ("stop", tokenizer.eos_token) in parameters
    assert {"temperature": 0.0, "num_ctx": 512}.items() <= dict(parameters).items()


@pytest.mark.parametrize("name", TEMPLATES)
def test_template_is_translated_exactly_or_left_to_ollama(name: str) -> None:
    tokenizer = tiny.tokenizer()
    tokenizer.chat_template = TEMPLATES[name].read_text(encoding="utf-8")
    try:
        tokenizer.apply_chat_template([{"role": "user", "content": "hi"}], tokenize=False)
    except (TemplateError, TypeError):
        pytest.skip("it takes no plain conversation")
    if find_layout(tokenizer):
        check_template(tokenizer)
    else:
        assert name not in TRANSLATED
        assert "TEMPLATE" not in dict(ollama.parse(write(tokenizer)))


@pytest.mark.parametrize("template", ["{{ raise_exception('no') }}", "{{ messages[0]['content'][::-1] }}", "fixed"])
def test_template_that_cannot_be_translated_is_left_out(template: str) -> None:
    tokenizer = tiny.tokenizer()
    tokenizer.chat_template = template
    assert find_layout(tokenizer) is None
    assert "TEMPLATE" not in dict(ollama.parse(write(tokenizer)))


def test_quotes_and_braces_of_a_template_stay(monkeypatch: pytest.MonkeyPatch) -> None:
    tokenizer = tiny.tokenizer()
    turns = "{% for m in messages %}[{{ '{{' }}\"\"\"{{ m['role'] }}]{{ m['content'] }}<end>\n{% endfor %}"
    tokenizer.chat_template = turns + "{% if add_generation_prompt %}[assistant]{% endif %}"
    check_template(tokenizer)
