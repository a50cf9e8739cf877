"""The first rows as the model will see them, trained tokens coloured."""

from __future__ import annotations

import functools
from collections.abc import Mapping, Sequence
from typing import Any

from modelforge import base_model, starter
from modelforge.recipe import Task
from modelforge.ui import html, warmup

ROWS = 3


def preview_rows(rows: Sequence[Mapping[str, Any]], task: Task, base: str, max_length: int) -> str:
    """HTML of the first few mapped rows; "" when there are none."""
    shown = rows[:ROWS]
    if not shown:
        return ""
    encoder = _encoder(base, max_length)
    if "messages" in shown[0] and encoder is not None:
        spans = [encoder.preview(row["messages"]) for row in shown]
        said = "What the model will see. It learns to write the coloured part; the rest it is given."
    else:
        spans = [_plain_spans(row) for row in shown]
        said = "The first rows. The coloured part is what shall be answered."
    inner = "".join(f'<pre class="mf-preview">{_colour(row)}</pre>' for row in spans)
    return f"<h3>Preview</h3>{html.note(said)}{inner}"


def _colour(spans: Sequence[tuple[str, bool]]) -> str:
    return "".join(f"<mark>{html.text(text)}</mark>" if trained else html.text(text) for text, trained in spans)


def _plain_spans(row: Mapping[str, Any]) -> list[tuple[str, bool]]:
    if "messages" in row:
        return [(f"{each['role']}: {each['content']}\n", each["role"] == "assistant") for each in row["messages"]]
    answers = " / ".join(row["answers"]["text"]) or "(no answer)"
    return [(f"{row['context']}\n\n{row['question']}\n", False), (answers, True)]


def _encoder(base: str, max_length: int) -> Any | None:
    """The encoder of a base model that is on this machine already; None rather than a download."""
    if not starter.is_fetched(base):
        return None
    warmup.wait()
    return _load_encoder(base, max_length)


@functools.lru_cache(maxsize=4)
def _load_encoder(base: str, max_length: int) -> Any:
    from modelforge.data.encode import ChatEncoder

    return ChatEncoder(base_model.load_tokenizer(starter.folder(base), base), max_length)
