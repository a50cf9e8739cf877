"""From a conversation to token ids that fit into a model's window, and from its tokens back to text. Loads no model."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from modelforge.errors import RecipeError
from modelforge.models.sampling import Message, Writing

Said = Sequence[Message] | str
"""A conversation; or a text as it is, which the model continues."""


def encode_prompt(tokenizer: Any, said: Said) -> list[int]:
    """Its token ids. A conversation with a model without a chat template is a text. Raises RecipeError for one that the
    template refuses."""
    from jinja2 import TemplateError

    if isinstance(said, str) or not tokenizer.chat_template:
        text = said if isinstance(said, str) else "\n\n".join(message["content"] for message in said)
        return list(tokenizer(text, verbose=False)["input_ids"])
    try:
        ids = tokenizer.apply_chat_template(list(said), add_generation_prompt=True, return_dict=True)["input_ids"]
    except TemplateError as error:
        raise RecipeError(
            f"The model's chat template refuses this conversation: {error}.",
            where="messages",
            fix="Leave the system prompt empty, and let user and assistant take turns.",
        ) from error
    return list(ids)


def fit_prompt(
    ids: Sequence[int], longest: int, window: int, writing: Writing, *, whole: bool = False
) -> tuple[list[int], int]:
    """(the ids that are read, the longest answer) so that both fit into the window. writing: is filled in.

    The end of a conversation is what is answered, so its beginning is cut; a long answer may take half of the window
    from it. whole: refuse what would be cut (RecipeError), and let the answer be shorter instead.
    """
    writing.prompt_tokens, writing.window = len(ids), window
    if whole and len(ids) >= window:
        raise RecipeError(
            f"The prompt has {len(ids):,} tokens, and the model reads {window:,} at once, its answer included.",
            where="prompt",
            fix="Shorten it.",
        )
    kept = list(ids) if whole else list(ids[-max(window - longest, window // 2) :])
    writing.cut_tokens = len(ids) - len(kept)
    return kept, min(longest, window - len(kept))


class TextPieces:
    """The text of tokens as they come, in pieces that end at whole characters."""

    def __init__(self, tokenizer: Any) -> None:
        self._tokenizer = tokenizer
        self._shown = ""
        self.tokens: list[int] = []

    def add(self, token: int) -> str:
        """What the token adds to the text; "" while a character is not complete."""
        self.tokens.append(token)
        text = str(self._tokenizer.decode(self.tokens, skip_special_tokens=True))
        if text.endswith("\ufffd"):  # the rest of this character comes with the next token
            return ""
        piece, self._shown = text[len(self._shown) :], text
        return piece

    def end(self) -> str:
        """What is left when no more tokens come."""
        return str(self._tokenizer.decode(self.tokens, skip_special_tokens=True))[len(self._shown) :]
