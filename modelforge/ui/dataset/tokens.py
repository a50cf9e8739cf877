"""Tokens and texts as HTML: alternating shades for tokens, colour for what is learned, grey for what is cut off.

Every text is shown unchanged, never as markup; the style sheet draws signs beside invisible characters.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Sequence
from itertools import groupby

from modelforge.data.token_text import Token
from modelforge.ui.look import html

SHOWN_TOKENS = 1500  # of one row; a browser gets slow with many more
SHOWN_CUT_TOKENS = 200

_DIRECTIONS = [chr(code) for code in (*range(0x202A, 0x202F), *range(0x2066, 0x206A))]
_SIGNS = {
    "\n": "↵",
    "\r": "␍",
    "\t": "⇥",
    "\u00a0": "⍽",
    "\u202f": "⍽",
    "\u2007": "⍽",
    "\u00ad": "SHY",
    "\u200b": "ZWSP",
    "\u200c": "ZWNJ",
    "\u200e": "LRM",
    "\u200f": "RLM",
    "\u061c": "ALM",
    "\u2028": "LS",
    "\u2029": "PS",
    "\ufeff": "BOM",
    **{character: unicodedata.bidirectional(character) for character in _DIRECTIONS},
}
"""What is drawn before an invisible character. The joiner inside emoji is not listed: its effect is visible."""

_UNSEEN = re.compile(f"[\x01-\x1f\x7f{''.join(_SIGNS)}]")


def show_tokens(tokens: Sequence[Token], max_length: int, cut: int, css: str = "mf-learned") -> str:
    """A span for each token, a mark around learned ones, and a line where max_length cuts."""
    kept = [token for token in tokens if not token.cut]
    beyond = [token for token in tokens if token.cut]
    parts = [_show_spans(kept, SHOWN_TOKENS, css)]
    if cut:
        noun = "token" if cut == 1 else "tokens"
        label = html.text(f"cut here: max_length {max_length}, {cut} {noun} lost")
        parts.append(f'<span class="mf-cut-line">{label}</span>')
        parts.append(f'<span class="mf-cut">{_show_some(beyond, SHOWN_CUT_TOKENS)}</span>')
    return "".join(parts)


def _show_spans(tokens: Sequence[Token], most: int, css: str) -> str:
    spans = [(trained, list(members)) for trained, members in groupby(tokens, key=lambda token: token.trained)]
    share = max(most // max(len(spans), 1), 20)  # so that a long prompt does not hide the answer
    parts = []
    for trained, members in spans:
        inner = _show_some(members, share if len(tokens) > most else len(members))
        parts.append(f'<mark class="{css}">{inner}</mark>' if trained else inner)
    return "".join(parts)


def _show_some(tokens: Sequence[Token], most: int) -> str:
    """The tokens, or the first and last of many."""
    if len(tokens) <= most:
        return "".join(map(_show_token, tokens))
    half = most // 2
    left_out = len(tokens) - 2 * half
    gap = f'<span class="mf-gap">… {left_out} tokens are not shown …</span>'
    first, last = tokens[:half], tokens[len(tokens) - half :]
    return "".join([*map(_show_token, first), gap, *map(_show_token, last)])


def _show_token(token: Token) -> str:
    return f'<span class="mf-token">{show_text(token.text)}</span>'


def show_text(text: str) -> str:
    """The text, escaped, with a sign beside each invisible character."""
    return _UNSEEN.sub(_show_sign, html.text(text))


def _show_sign(found: re.Match[str]) -> str:
    character = found.group()
    sign = _SIGNS.get(character, f"U+{ord(character):04X}")
    # As a reference: a browser takes a bare carriage return for a newline.
    return f'<span class="mf-sign" data-sign="{sign}"></span>{"&#13;" if character == chr(13) else character}'
