"""Halves of surrogate pairs, which JSON can name and no text can hold.

Whoever cuts a text amid an emoji leaves one behind: clients that shorten it, and servers that stream it in pieces.
"""

import re
from typing import Any

_HALF = re.compile(r"[\ud800-\udfff]")
_PAIR = re.compile(r"[\ud800-\udbff][\udc00-\udfff]")
_FIRST_HALF = re.compile(r"[\ud800-\udbff]\Z")


def whole(value: Any) -> Any:
    """Return a text, or all that a JSON value holds, with pairs put together and U+FFFD for each half alone."""
    match value:
        case str():
            return _HALF.sub("\ufffd", _PAIR.sub(_together, value)) if not value.isascii() else value
        case list():
            return [whole(child) for child in value]
        case dict():
            return {whole(key): whole(child) for key, child in value.items()}
        case _:
            return value


def _together(pair: re.Match[str]) -> str:
    return pair[0].encode("utf-16", "surrogatepass").decode("utf-16")


class Halves:
    """Makes the pieces of a streamed text whole: a half at a piece's end waits for the next piece."""

    def __init__(self) -> None:
        self._held = ""

    def feed(self, piece: str) -> str:
        """Take a piece and return what can be told by now. Half a character that never gets its other is no loss."""
        if piece.isascii() and not self._held:
            return piece
        text = self._held + piece
        self._held = text[-1] if _FIRST_HALF.search(text) else ""
        return str(whole(text.removesuffix(self._held) if self._held else text))
