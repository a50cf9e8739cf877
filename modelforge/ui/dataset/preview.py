"""Rows as the model sees them, and how long they are. How tokens and texts become HTML is in `tokens`."""

from __future__ import annotations

import functools
import weakref
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from modelforge import loading, paths, starter, warmup
from modelforge.errors import BaseModelError, DatasetError
from modelforge.recipe import STARTER, Recipe
from modelforge.ui.dataset.tokens import show_text, show_tokens
from modelforge.ui.look import html
from modelforge.ui.look.histogram import draw_lengths

if TYPE_CHECKING:
    from modelforge.data.encode import ChatEncoder
    from modelforge.data.lengths import Lengths

ROWS = 3
MOST_CHARACTERS = 6000  # of a text that is shown without its tokens


def preview_rows(rows: Sequence[Mapping[str, Any]], base: str, max_length: int) -> str:
    """HTML of the first few mapped rows; "" when there are none."""
    shown = rows[:ROWS]
    if not shown:
        return ""
    encoder = _encoder(base, max_length)
    bodies = "".join(_show_row(row, f"Row {number}", encoder, max_length) for number, row in enumerate(shown, start=1))
    return f"<h3>Preview</h3>{_legend(shown[0], encoder)}{bodies}"


def preview_row(row: Mapping[str, Any], number: int | str, base: str, max_length: int) -> str:
    """HTML of one mapped row and its legend. number: which row it is, or what to call it."""
    encoder = _encoder(base, max_length)
    place = number if isinstance(number, str) else f"Row {number}"
    return _legend(row, encoder) + _show_row(row, place, encoder, max_length)


def show_lengths(rows: Sequence[Mapping[str, Any]], base: str, max_length: int) -> str:
    """The chart of these rows' lengths; "" where they cannot be measured, as the tokenizer is not on this machine."""
    lengths = _measure(rows, base)
    return length_chart(lengths, max_length) if lengths else ""


def propose_max_length(rows: Sequence[Mapping[str, Any]], base: str) -> int:
    """A max_length that cuts almost none of these rows; the default where they cannot be measured."""
    lengths = _measure(rows, base)
    return lengths.proposed() if lengths and lengths.tokens else Recipe().max_length


def longest_row(rows: Sequence[Mapping[str, Any]], base: str) -> int:
    """Tokens of the longest of these rows; 0 where not all were measured."""
    lengths = _measure(rows, base)
    return lengths.tokens[-1] if lengths and len(lengths.tokens) == len(rows) else 0


def length_chart(lengths: Lengths, max_length: int, limit: int | None = None) -> str:
    """HTML: how long the rows are, and a sentence on what max_length cuts and what is proposed.

    limit: the model's context in tokens, the most that is proposed.
    """
    refused = _refused_note(lengths)
    if not lengths.tokens:
        return refused or html.note("There are no rows to measure.")
    edges, counts = lengths.bins()
    kind = "warning" if lengths.count_cut(max_length) else "quiet"
    sentence = html.note(lengths.describe(max_length, limit), kind)
    return f"{sentence}{refused}{draw_lengths(edges, counts, max_length)}"


def _refused_note(lengths: Lengths) -> str:
    if not lengths.refused:
        return ""
    sentence = f"{lengths.refused} of {lengths.measured} rows are rejected by the chat template of this base model."
    return html.note(sentence, "bad")


def _legend(row: Mapping[str, Any], encoder: ChatEncoder | None) -> str:
    """One line on what the colours mean for rows of this shape."""
    learnt = '<b class="mf-learnt">coloured</b>'
    tokens = '<b class="mf-token">shades</b> <b class="mf-token">are</b> <b class="mf-token">tokens</b>'
    signs = '<span class="mf-sign" data-sign="↵"></span> a line break'
    cut = '<b class="mf-cut">grey</b> is cut off'
    if "answers" in row:
        parts = [f"The {learnt} part is the expected answer", signs]
    elif encoder is None:
        missing = "The tokenizer of this base model is not on this machine, so the rows are shown without its template"
        parts = [missing, *([f"{learnt}: learned"] if "prompt" not in row else []), signs]
    elif "chosen" in row:
        worse = '<b class="mf-rejected">red</b>'
        parts = [f"The model learns to prefer the {learnt} answer to the {worse} one", tokens, cut, signs]
    elif "prompt" in row:
        parts = ["The prompt that the model gets", tokens, cut, signs]
    else:
        parts = [f"What the model sees. It learns to write the {learnt} part", tokens, cut, signs]
    return f'<div class="mf-note mf-quiet mf-keys">{"; ".join(parts)}.</div>'


def _show_row(row: Mapping[str, Any], place: str, encoder: ChatEncoder | None, max_length: int) -> str:
    """A line about the row, then the row."""
    if "answers" in row:
        return _head(place) + _box(_show_question(row))
    if encoder is None:
        return _head(place) + _box(_show_turns(row))
    try:
        encoded = encoder.encode_row(row)
        body = _box(show_tokens(encoder.preview_tokens(row), max_length, encoded.cut))
        if "rejected" in row:
            body += _show_rejected(row, encoder, max_length)
    except DatasetError as error:
        return _head(place) + html.note(str(error), "bad") + _box(_show_turns(row))
    learnt = sum(label >= 0 for label in encoded.labels)
    total = len(encoded.input_ids) + encoded.cut
    losses = "".join(html.note(sentence, "warning") for sentence in encoder.losses(row))
    return _head(f"{place}: {total} tokens, {learnt} of them learned") + losses + body


def _show_rejected(row: Mapping[str, Any], encoder: ChatEncoder, max_length: int) -> str:
    """The worse answer of a pair, without its prompt."""
    row = {"prompt": row["prompt"], "chosen": row["rejected"]}
    tokens = encoder.preview_tokens(row)
    begin = next((index for index, token in enumerate(tokens) if token.trained), 0)
    return _box(show_tokens(tokens[begin:], max_length, encoder.encode_row(row).cut, "mf-rejected"))


def _show_turns(row: Mapping[str, Any]) -> str:
    """The row without a template: each message with its role, the answers coloured."""
    if "text" in row:
        return f'<mark class="mf-learnt">{show_text(_shorten(row["text"]))}</mark>'
    parts = []
    for side, css in (("messages", "mf-learnt"), ("prompt", ""), ("chosen", "mf-learnt"), ("rejected", "mf-rejected")):
        for message in row.get(side, ()):
            content = show_text(_shorten(_write_content(message)))
            coloured = bool(css) and message["role"] == "assistant"
            body = f'<mark class="{css}">{content}</mark>' if coloured else content
            parts.append(f"{html.text(message['role'])}: {body}\n")
    return "".join(parts)


def _write_content(message: Mapping[str, Any]) -> str:
    calls = message.get("tool_calls")
    return f"{message['content']}{calls}" if calls else str(message["content"])


def _show_question(row: Mapping[str, Any]) -> str:
    """The question, then its context with the answers coloured in place."""
    context, found = row["context"], row["answers"]
    answers = list(zip(found["text"], found["answer_start"], strict=False))
    places = [(start, start + len(text)) for text, start in answers if context[start : start + len(text)] == text]
    parts, place = [], 0
    for start, stop in sorted(places):
        if stop <= place:
            continue  # one answer within another
        begin = max(start, place)
        parts.append(show_text(_shorten(context[place:begin])))
        parts.append(f'<mark class="mf-learnt">{show_text(context[begin:stop])}</mark>')
        place = stop
    parts.append(show_text(_shorten(context[place:])))
    strays = [text for text, start in answers if context[start : start + len(text)] != text]
    notes = ['<span class="mf-gap">(no answer)</span>\n' if not answers else ""]
    notes += [f'<span class="mf-gap">(not at the given position)</span> {show_text(text)}\n' for text in strays]
    return f"<b>{show_text(row['question'])}</b>\n{''.join(notes)}\n{''.join(parts)}"


def _shorten(text: str, most: int = MOST_CHARACTERS) -> str:
    """The beginning and the end of a very long text."""
    if len(text) <= most:
        return text
    return f"{text[: most // 2]} … {len(text) - most} characters are not shown … {text[-most // 2 :]}"


def _head(title: str) -> str:
    return f'<div class="mf-preview-head">{html.text(title)}</div>'


def _box(inner: str) -> str:
    return f'<pre class="mf-preview">{inner}</pre>'


_known_lengths: weakref.WeakKeyDictionary[Any, dict[str, Lengths]] = weakref.WeakKeyDictionary()


def _measure(rows: Sequence[Mapping[str, Any]], base: str) -> Lengths | None:
    """Lengths of rows, measured once while the rows are open; None without a tokenizer."""
    known: dict[str, Lengths] = {} if isinstance(rows, list) else _known_lengths.setdefault(rows, {})
    if base not in known:
        encoder = _encoder(base, Recipe().max_length)
        if encoder is None:
            return None
        from modelforge.data.lengths import measure

        known[base] = measure(rows, encoder)
    return known[base]


def _encoder(base: str, max_length: int) -> ChatEncoder | None:
    """The encoder of a base model that is already on this machine; None instead of a download."""
    folder = _find_tokenizer(base)
    if folder is None:
        return None
    if base == STARTER:
        warmup.wait_for_first()
    else:
        warmup.wait()
    from modelforge.data.encode import ChatEncoder

    try:
        return ChatEncoder(_load_tokenizer(folder, base), max_length)
    except BaseModelError:  # reported where the base model is chosen
        return None


def load_starters_tokenizer() -> None:
    """Load it ahead of need: the rows of every dataset are shown with it."""
    if folder := _find_tokenizer(STARTER):
        _load_tokenizer(folder, STARTER)


def _find_tokenizer(base: str) -> Path | None:
    if base in starter.STARTERS:
        return starter.folder(base) if starter.is_fetched(base) else None
    typed = paths.existing(base)
    if typed:
        return typed if (typed / "tokenizer.json").exists() else None
    from huggingface_hub import try_to_load_from_cache
    from huggingface_hub.errors import HFValidationError

    try:
        found = try_to_load_from_cache(base, "tokenizer.json")
    except HFValidationError:
        return None
    return Path(found).parent if isinstance(found, str) else None


@functools.lru_cache(maxsize=4)
def _load_tokenizer(folder: Path, base: str) -> Any:
    return loading.load_tokenizer(folder, base)
