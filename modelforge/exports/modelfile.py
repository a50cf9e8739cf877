"""The Modelfile of Ollama for a GGUF file: template, stop words, parameters, system prompt.

Format: https://docs.ollama.com/modelfile. Ollama's templates are Go's, the model's is Jinja: what stands around each
turn is found by rendering marked conversations, and the translation is compared with the tokenizer's on others. One
that differs is left out: Ollama then reads the template in the file itself.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from modelforge.loading import window_of
from modelforge.models.sampling import Sampling

_S, _U, _A, _V = "sYsTeMtExT", "uSeRtExT", "aNsWeRtExT", "nExTtExT"
MOST_CONTEXT = 4096  # tokens; Ollama reserves memory for all of them
Turn = Mapping[str, Any]
_MARKED: Sequence[Turn] = (
    {"role": "system", "content": _S}, {"role": "user", "content": _U}, {"role": "assistant", "content": _A},
    {"role": "user", "content": _V},
)  # fmt: skip
_TRIED: Sequence[Sequence[Turn]] = (
    [{"role": "user", "content": "Hello"}],
    [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "Hello"}],
    [
        {"role": "user", "content": "One?"}, {"role": "assistant", "content": "Two."},
        {"role": "user", "content": "Three?"}, {"role": "assistant", "content": "Four."},
        {"role": "user", "content": "Five?"},
    ],
    [
        {"role": "system", "content": "Be brief."}, {"role": "user", "content": "One?"},
        {"role": "assistant", "content": "Two."}, {"role": "user", "content": "A\n\nB"},
    ],
)  # fmt: skip


@dataclass(frozen=True)
class Layout:
    """What stands before and after the text of each role, and before an answer. system: of conversations that have
    none, by default."""

    around: Mapping[str, tuple[str, str]]
    answer: str
    system: str = ""

    def render(self, messages: Sequence[Turn]) -> str:
        turns = list(messages)
        if self.system and turns[0]["role"] != "system":
            turns = [{"role": "system", "content": self.system}, *turns]
        parts = (f"{self.around[turn['role']][0]}{turn['content']}{self.around[turn['role']][1]}" for turn in turns)
        return "".join(parts) + self.answer


def find_layout(tokenizer: Any) -> Layout | None:
    """The layout of a tokenizer's chat template; None where that is more than one."""
    bos = tokenizer.bos_token if getattr(tokenizer, "add_bos_token", False) else None

    def render(messages: Sequence[Turn], *, for_answer: bool = True) -> str:
        text = tokenizer.apply_chat_template(list(messages), tokenize=False, add_generation_prompt=for_answer)
        return str(text).removeprefix(bos or "")  # Ollama adds it

    try:
        # Most templates end an answer as they end it before the next question; some leave that out at the end.
        ends = [
            render(_MARKED[1:3], for_answer=False).split(_A)[1],
            render(_MARKED[1:2], for_answer=False).split(_U)[1],
        ]
        layouts = [_split(render, end) for end in dict.fromkeys([*ends, ""])]
        return next((each for each in layouts if all(each.render(one) == render(one) for one in _TRIED)), None)
    except Exception:  # noqa: BLE001 - a template may raise anything, and refuse roles
        return None


def _split(render: Callable[..., str], assistant_after: str) -> Layout:
    """What is around the marked texts of a conversation. Raises ValueError where a text does not occur once."""
    system_before, rest = render(_MARKED).split(_S)
    between, rest = rest.split(_U)
    to_answer, rest = rest.split(_A)
    to_next, last = rest.split(_V)
    user_after = render(_MARKED, for_answer=False).split(_V)[1]
    user_before = to_next.removeprefix(assistant_after)
    system_after = between.removesuffix(user_before)
    around = {
        "system": (system_before, system_after),
        "user": (user_before, user_after),
        "assistant": (to_answer.removeprefix(user_after), assistant_after),
    }
    head = render(_MARKED[1:2]).split(_U)[0]
    # Where another text comes first without a system prompt, it is the template's own.
    own = "" if head == user_before else head.removeprefix(system_before).removesuffix(system_after + user_before)
    return Layout(around, last.removeprefix(user_after), own)


def write_modelfile(file_name: str, tokenizer: Any, config: Any, generation_config: Any) -> str:
    """The text of the Modelfile beside a GGUF file of that name."""
    layout = find_layout(tokenizer)
    lines = ["# ollama create NAME -f Modelfile", f"FROM ./{file_name}"]
    if layout:
        lines.append(f'TEMPLATE """{_write_template(layout)}"""')
        lines += [f'SYSTEM """{layout.system}"""'] if layout.system and '"""' not in layout.system else []
    else:
        lines.append("# The template of this model is read by Ollama from the file itself.")
    lines += [f"PARAMETER stop {_quote(stop)}" for stop in _find_stops(tokenizer, generation_config)]
    usual = Sampling()
    lines.append(f"PARAMETER temperature {usual.temperature:g}")
    lines.append(f"PARAMETER top_p {usual.top_p:g}")
    lines.append(f"PARAMETER num_ctx {min(window_of(config), MOST_CONTEXT)}")
    return "\n".join(lines) + "\n"


def _write_template(layout: Layout) -> str:
    """As a template of Go over the messages; texts of the layout stand in it as they are."""
    roles = list(layout.around)
    parts = ["{{ range .Messages }}"]
    for place, role in enumerate(roles):
        before, after = layout.around[role]
        parts.append(f'{{{{ {"if" if place == 0 else "else if"} eq .Role "{role}" }}}}')
        parts.append(f"{_escape(before)}{{{{ .Content }}}}{_escape(after)}")
    return "".join(parts) + "{{ end }}{{ end }}" + _escape(layout.answer)


def _escape(text: str) -> str:
    return text.replace("{{", '{{ "{{" }}').replace('"""', '{{ "\\"\\"\\"" }}')


def _find_stops(tokenizer: Any, generation_config: Any) -> list[str]:
    given = getattr(generation_config, "eos_token_id", None)
    ids = [tokenizer.eos_token_id, *(given if isinstance(given, list) else [given])]
    return list(dict.fromkeys(tokenizer.convert_ids_to_tokens(each) for each in ids if each is not None))


def _quote(text: str) -> str:
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"'
