"""Columns that no role uses, sorted by what is lost with them: images, labels, scores, weights, and the others."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

_WORDS = {
    "media": {"image", "images", "img", "photo", "photos", "picture", "pictures", "audio", "speech", "sound", "video"},
    "labels": {"label", "labels", "thumb", "thumbs", "liked", "feedback", "preference", "vote", "desirable", "correct"},
    "scores": {
        "score", "scores", "rating", "ratings", "reward", "rewards", "stars", "grade", "quality", "votes", "upvotes",
        "helpfulness", "correctness", "coherence", "complexity", "verbosity", "honesty", "truthfulness", "margin",
    },
    "weights": {"weight", "weights", "importance"},
}  # fmt: skip
"""Kind -> words in the names of such columns."""
_MEDIA_FILE = re.compile(r"\.(png|jpe?g|gif|webp|bmp|tiff?|wav|mp3|flac|ogg|m4a|mp4|webm|mov)$", re.IGNORECASE)
_SENTENCES = {
    "media": "Images, audio and video are not used, as only text is trained: {}.",
    "labels": "Labels are not used{}: {}.",
    "scores": "Scores and ratings are not used{}: {}.",
    "weights": "Weights are not used, as every row counts once: {}.",
    "others": "Not used: {}.",
}
_LISTED = 20  # columns of one kind


def describe_unused(
    columns: Sequence[str], sample: Iterable[Mapping[str, Any]], *, learns_all: bool
) -> tuple[str, ...]:
    """One sentence for each kind of unused column. learns_all: whether every answer is learned as a good one."""
    rows = list(sample)
    sorted_columns: dict[str, list[str]] = {kind: [] for kind in _SENTENCES}
    for column in columns:
        sorted_columns[_find_kind(column, rows)].append(column)
    consequence = ", so every answer is learned as a good one" if learns_all else ""
    found = []
    for kind, sentence in _SENTENCES.items():
        if names := sorted_columns[kind]:
            more = f" and {len(names) - _LISTED} more" if len(names) > _LISTED else ""
            listed = ", ".join(names[:_LISTED]) + more
            found.append(sentence.format(*([consequence] if sentence.count("{}") == 2 else []), listed))
    return tuple(found)


def _find_kind(column: str, rows: Sequence[Mapping[str, Any]]) -> str:
    value = next((row[column] for row in rows if row.get(column) is not None), None)
    if _is_media(value):
        return "media"
    words = set(re.findall(r"[^\W_]+", re.sub(r"([a-z0-9])([A-Z])", r"\1 \2", column).lower()))
    return next((kind for kind, known in _WORDS.items() if words & known), "others")


def _is_media(value: Any) -> bool:
    """Bytes, a file's name, or what datasets keep of an image or a sound: its bytes and path."""
    if isinstance(value, list) and value:
        value = value[0]
    if isinstance(value, Mapping):
        return {"bytes", "path"} <= value.keys() or {"array", "sampling_rate"} <= value.keys()
    return isinstance(value, bytes) or (isinstance(value, str) and bool(_MEDIA_FILE.search(value.strip()[-10:])))
